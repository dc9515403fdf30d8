// Memory that nobody may touch is marked so under AddressSanitizer, and costs nothing elsewhere: free blocks, blocks
// lent or posted for receiving, and blocks that only the kernel still reads.
#pragma once
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define WEIR_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_POISONS 1
#endif
#endif

#if defined(WEIR_POISONS)
#include <sanitizer/asan_interface.h>
#endif

namespace weir::inline v0 {

#if defined(WEIR_POISONS)
inline constexpr bool kPoisons = true;
inline void poison(const void* data, std::size_t size) { __asan_poison_memory_region(data, size); }
inline void unpoison(const void* data, std::size_t size) {
  __asan_unpoison_memory_region(data, size);
}
inline bool is_poisoned(const void* data, std::size_t size) {
  return size != 0 && __asan_region_is_poisoned(const_cast<void*>(data), size) != nullptr;
}
#else
inline constexpr bool kPoisons = false;
inline void poison(const void*, std::size_t) {}
inline void unpoison(const void*, std::size_t) {}
inline bool is_poisoned(const void*, std::size_t) { return false; }
#endif

}  // namespace weir::inline v0
