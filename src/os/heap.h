// The one door to the heap for what weir allocates by itself, so that Metrics::heap_allocations counts all of it. Containers of the standard library that only grow at start are not counted.
#pragma once
#include <cstddef>
#include <cstdint>

namespace weir::inline v0::os {

/// Aligned for any type. Exhausted memory aborts: no caller of weir's could go on without it.
void* heap_allocate(std::size_t size_bytes);
void* heap_allocate_aligned(std::size_t size_bytes, std::size_t alignment);
void heap_free(void* memory, std::size_t alignment = alignof(std::max_align_t)) noexcept;

}  // namespace weir::inline v0::os
