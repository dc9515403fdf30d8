// Preloaded into a service: counts allocations of operator new, and copies of memcpy and memmove that are as long as the
// slices which must not be copied. At the end it writes both to the file that COUNT_CALLS_TO names.
#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

constexpr std::size_t kLongBytes = 1024;
std::atomic<unsigned long long> new_count, long_copies, long_copy_bytes;

void count_copy(std::size_t size) {
  if (size < kLongBytes) return;
  long_copies.fetch_add(1, std::memory_order_relaxed);
  long_copy_bytes.fetch_add(size, std::memory_order_relaxed);
}

void* allocate(std::size_t size) {
  new_count.fetch_add(1, std::memory_order_relaxed);
  void* const memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
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

struct Report {
  ~Report() {
    const char* const path = std::getenv("COUNT_CALLS_TO");
    std::FILE* const file = path != nullptr ? std::fopen(path, "w") : nullptr;
    if (file == nullptr) return;
    std::fprintf(file, "{\"new\": %llu, \"long_copies\": %llu, \"long_copy_bytes\": %llu}\n",
                 new_count.load(), long_copies.load(), long_copy_bytes.load());
    std::fclose(file);
  }
} report;

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

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
