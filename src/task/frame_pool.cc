// Frames: a list a size class and thread, filled from slabs that live as long as the process. Under AddressSanitizer
// a frame that ended is poisoned, so that a reference kept into it is caught where it is used.
#include "src/task/frame_pool.h"

#include <cstdint>
#include <mutex>
#include <new>

#include "src/os/heap.h"
#include "weir/counted.h"
#include "weir/poison.h"

namespace weir::inline v0 {

namespace {
constexpr std::size_t kStep = 32;
constexpr std::size_t kClasses = 64;  // frames of up to 2 KiB; larger ones come from the heap
constexpr std::size_t kSlabBytes = 32 << 10;

struct Free {
  Free* next;
};
struct Lists {
  Free* heads[kClasses] = {};
};
thread_local Lists lists;

// Slabs are never given back, and stay reachable: a frame may outlive the thread that made it.
std::mutex slabs_mutex;
CountedVector<void*>& slabs() {
  static auto* const all = new CountedVector<void*>;
  return *all;
}

void refill(std::size_t size_class) {
  const std::size_t frame_bytes = (size_class + 1) * kStep;
  auto* const slab = static_cast<std::byte*>(os::heap_allocate(kSlabBytes));
  {
    const std::lock_guard lock(slabs_mutex);
    slabs().push_back(slab);
  }
  for (std::size_t at = kSlabBytes / frame_bytes; at-- > 0;) {
    auto* const frame = reinterpret_cast<Free*>(slab + at * frame_bytes);
    frame->next = lists.heads[size_class];
    lists.heads[size_class] = frame;
    poison(frame, frame_bytes);
  }
}
}  // namespace

void* take_frame(std::size_t size_bytes) {
  const std::size_t size_class = (size_bytes - 1) / kStep;
  if (size_class >= kClasses) return os::heap_allocate(size_bytes);
  if (lists.heads[size_class] == nullptr) refill(size_class);
  Free* const frame = lists.heads[size_class];
  unpoison(frame, (size_class + 1) * kStep);
  lists.heads[size_class] = frame->next;
  return frame;
}

void give_frame(void* memory, std::size_t size_bytes) noexcept {
  const std::size_t size_class = (size_bytes - 1) / kStep;
  if (size_class >= kClasses) return os::heap_free(memory);
  auto* const frame = static_cast<Free*>(memory);
  frame->next = lists.heads[size_class];
  lists.heads[size_class] = frame;
  poison(frame, (size_class + 1) * kStep);
}

}  // namespace weir::inline v0
