// Containers that weir keeps for itself. What they allocate counts as weir's, in Metrics::heap_allocations.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "weir/metrics.h"

namespace weir::inline v0 {

template <typename T>
struct CountedAllocator {
  using value_type = T;

  CountedAllocator() = default;
  template <typename Other>
  CountedAllocator(const CountedAllocator<Other>&) {}  // NOLINT: containers convert it

  T* allocate(std::size_t count) {
    ++thread_counts().heap_allocations;
    return std::allocator<T>().allocate(count);
  }
  void deallocate(T* memory, std::size_t count) { std::allocator<T>().deallocate(memory, count); }
  friend bool operator==(const CountedAllocator&, const CountedAllocator&) { return true; }
};

template <typename T>
using CountedVector = std::vector<T, CountedAllocator<T>>;

}  // namespace weir::inline v0
