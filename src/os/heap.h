// Memory from the heap for what weir allocates by itself, counted for Metrics::heap_allocations. Its containers count
// too: weir/counted.h.
#pragma once
#include <cstddef>
#include <cstdint>

namespace weir::inline v0::os {

/// Aligned for any type. Exhausted memory aborts: no caller of weir's could go on without it.
void* heap_allocate(std::size_t size_bytes);
void* heap_allocate_aligned(std::size_t size_bytes, std::size_t alignment);
void heap_free(void* memory, std::size_t alignment = alignof(std::max_align_t)) noexcept;

}  // namespace weir::inline v0::os
