// The heap behind one door: counted by thread.
#include "src/os/heap.h"

#include <new>

#include "weir/check.h"
#include "weir/metrics.h"

namespace weir::inline v0::os {

void* heap_allocate(std::size_t size_bytes) {
  return heap_allocate_aligned(size_bytes, alignof(std::max_align_t));
}

void* heap_allocate_aligned(std::size_t size_bytes, std::size_t alignment) {
  ++thread_counts().heap_allocations;
  void* const memory = ::operator new (size_bytes, std::align_val_t{alignment}, std::nothrow);
  if (memory == nullptr) {
    check_failed(__FILE__, __LINE__, "out of memory: bytes asked for",
                 static_cast<std::int64_t>(size_bytes), 0);
  }
  return memory;
}

void heap_free(void* memory, std::size_t alignment) noexcept {
  ::operator delete (memory, std::align_val_t{alignment});
}

}  // namespace weir::inline v0::os
