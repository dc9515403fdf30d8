// Preloaded into a service: counts allocations of operator new, and copies of memcpy and memmove that are as long as the
// slices which must not be copied, or as COUNT_CALLS_FROM says. The counts lie in the file that COUNT_CALLS_TO names,
// mapped, so that they can be read while the service runs.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

struct Counts {
  std::atomic<unsigned long long> allocations, long_copies, long_copy_bytes;
};
constinit Counts at_first{};
constinit std::atomic<Counts*> counts{&at_first};
constinit std::size_t long_bytes = 1024;

[[gnu::constructor]] void map_counts() {
  if (const char* const from = std::getenv("COUNT_CALLS_FROM")) {
    long_bytes = std::strtoul(from, nullptr, 10);
  }
  const char* const path = std::getenv("COUNT_CALLS_TO");
  const int file = path != nullptr ? open(path, O_RDWR) : -1;
  if (file < 0 || ftruncate(file, sizeof(Counts)) != 0) return;
  void* const memory = mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory != MAP_FAILED) counts = static_cast<Counts*>(memory);
}

void count_copy(std::size_t size) {
  if (size < long_bytes) return;
  counts.load()->long_copies.fetch_add(1);
  counts.load()->long_copy_bytes.fetch_add(size);
}

void* allocate(std::size_t size, std::size_t alignment = alignof(std::max_align_t)) {
  counts.load()->allocations.fetch_add(1);
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, size == 0 ? 1 : size) != 0) std::abort();
  return memory;
}

// A loop that the compiler does not turn back into a call of what it is in.
[[gnu::optimize("no-tree-loop-distribute-patterns")]] void copy_forward(char* to, const char* from,
                                                                        std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) to[i] = from[i];
}
[[gnu::optimize("no-tree-loop-distribute-patterns")]] void copy_backward(char* to, const char* from,
                                                                         std::size_t size) {
  for (std::size_t i = size; i-- > 0;) to[i] = from[i];
}

}  // namespace

using std::align_val_t;
using std::nothrow_t;

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, const nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const nothrow_t&) noexcept { return allocate(size); }
void* operator new(std::size_t size, align_val_t to) {
  return allocate(size, static_cast<std::size_t>(to));
}
void* operator new(std::size_t size, align_val_t to, const nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(to));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, align_val_t) noexcept { std::free(memory); }

extern "C" {
void* memcpy(void* __restrict to, const void* __restrict from, std::size_t size) noexcept {
  count_copy(size);
  copy_forward(static_cast<char*>(to), static_cast<const char*>(from), size);
  return to;
}
void* memmove(void* to, const void* from, std::size_t size) noexcept {
  count_copy(size);
  if (to < from) {
    copy_forward(static_cast<char*>(to), static_cast<const char*>(from), size);
  } else {
    copy_backward(static_cast<char*>(to), static_cast<const char*>(from), size);
  }
  return to;
}
}
