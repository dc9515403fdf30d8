// Preloaded into a server: counts heap allocations, and the bytes of calls of memcpy and memmove. Both counters lie in
// the file that COUNT_HEAP_IN names, so that they can be read at any time and whatever way the server ends.
// Copies that the compiler made inline, and those within libc, are not seen; those under 64 bytes are not counted.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

constexpr std::size_t kLeastBytes = 64;
struct Counters {
  std::atomic<std::uint64_t> allocations, copied_bytes;
};
Counters counters_of_its_own;
Counters* counters = &counters_of_its_own;

using Copy = void* (*)(void* to, const void* from, std::size_t size);
Copy real_memcpy, real_memmove;

[[gnu::constructor]] void find_counters() {
  real_memcpy = reinterpret_cast<Copy>(dlsym(RTLD_NEXT, "memcpy"));
  real_memmove = reinterpret_cast<Copy>(dlsym(RTLD_NEXT, "memmove"));
  const char* const path = std::getenv("COUNT_HEAP_IN");
  const int fd = path != nullptr ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* const memory = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory != MAP_FAILED) counters = static_cast<Counters*>(memory);
  close(fd);
}

void count_allocation() { counters->allocations.fetch_add(1, std::memory_order_relaxed); }
void count_copy(std::size_t size) {
  if (size >= kLeastBytes) counters->copied_bytes.fetch_add(size, std::memory_order_relaxed);
}

// Before the real one is known. Volatile, or the compiler makes the loop a call of what it is in.
void copy_bytes(volatile char* to, const char* from, std::size_t size) {
  if (to < from) {
    for (std::size_t i = 0; i < size; ++i) to[i] = from[i];
  } else {
    for (std::size_t i = size; i-- > 0;) to[i] = from[i];
  }
}

}  // namespace

extern "C" {
void* malloc(std::size_t size) noexcept {
  count_allocation();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  count_allocation();
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) noexcept {
  count_allocation();
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  count_allocation();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  count_allocation();
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? 12 : 0;  // ENOMEM
}
void* memcpy(void* __restrict to, const void* __restrict from, std::size_t size) noexcept {
  count_copy(size);
  if (real_memcpy != nullptr) return real_memcpy(to, from, size);
  copy_bytes(static_cast<char*>(to), static_cast<const char*>(from), size);
  return to;
}
void* memmove(void* to, const void* from, std::size_t size) noexcept {
  count_copy(size);
  if (real_memmove != nullptr) return real_memmove(to, from, size);
  copy_bytes(static_cast<char*>(to), static_cast<const char*>(from), size);
  return to;
}
}
