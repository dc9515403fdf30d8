// Blocks that no pool owns: borrowed memory, memory of other threads, and pieces too long for any pool block.
#pragma once
#include "weir/buffer.h"

namespace weir::inline v0 {

/// A block on the heap in state `app`, with one handle over all `size_bytes` and the usual headroom.
Buf make_heap_buf(std::uint32_t size_bytes);
void free_heap_block(Block& block) noexcept;

/// The end of a block that is not a pool's: no handle and no send is left.
void retire(Block& block) noexcept;

}  // namespace weir::inline v0
