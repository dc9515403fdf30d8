// The way into a pool for the rest of this folder.
#pragma once
#include "weir/pool.h"

namespace weir::inline v0 {

struct BlockHome {
  static SlabSet* slabs(Pool& pool) { return pool.slabs_; }
  static void go(Pool& pool, Block& block) noexcept { pool.go_home(block); }
  static void return_loan(Pool& pool, Block& block) noexcept { pool.return_loan(block); }
};

}  // namespace weir::inline v0
