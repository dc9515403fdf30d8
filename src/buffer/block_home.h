// The way into a pool for the rest of this folder.
#pragma once
#include "weir/pool.h"

namespace weir::inline v0 {

struct BlockHome {
  static SlabSet* slabs(Pool& pool) { return pool.slabs_; }
  static void go(Pool& pool, Block& block) noexcept { pool.go_home(block); }
  static void return_loan(Pool& pool, Block& block) noexcept { pool.return_loan(block); }
};

/// A block of `pool` for bytes that come out of `source`, charged to the same connection. Empty as take() is.
Buf take_like(const Block& source, Pool& pool, std::uint32_t size_bytes, SourceLocation where);

}  // namespace weir::inline v0
