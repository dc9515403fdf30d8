// Where a pool's blocks go: each transition, each illegal one, bounds, loans, sends, and the pool's own end.
#include "weir/pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "weir/metrics.h"

namespace weir {
namespace {

constexpr Pool::Options kSmall{.block_bytes = 1024, .blocks_max = 8, .slab_blocks = 4};

TEST(Pool, TakesAWholeBlockForTheApplication) {
  Ledger ledger;
  Pool pool(kSmall, ledger);
  Buf buf = pool.take();
  EXPECT_EQ(buf.size(), 1024u);
  EXPECT_EQ(buf.block()->state, BlockState::app);
  EXPECT_TRUE(buf.is_unique());
  EXPECT_EQ(pool.in_use(), 1u);
  EXPECT_EQ(pool.mapped(), 4u);
  buf.reset();
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(Pool, TakesTheBlockThatCameHomeLast) {
  Ledger ledger;
  Pool pool(kSmall, ledger);
  Buf first = pool.take(), second = pool.take();
  const Block* block = first.block();
  second.reset();
  first.reset();
  EXPECT_EQ(pool.take().block(), block);
}

TEST(Pool, IsEmptyAtItsBound) {
  Ledger ledger;
  Pool pool(kSmall, ledger);
  std::vector<Buf> held;
  for (int i = 0; i < 8; ++i) held.push_back(pool.take());
  EXPECT_TRUE(pool.take().empty());
  EXPECT_EQ(pool.take_for_backend(BlockState::posted), nullptr);
  EXPECT_EQ(pool.slab_count(), 2u);
  held.pop_back();
  EXPECT_FALSE(pool.take().empty());
}

TEST(Pool, LoansWhatTheBackendReceived) {
  Ledger ledger;
  Pool pool(kSmall, ledger);
  LoanAccount account{.generation = 7};
  for (const BlockState given : {BlockState::posted, BlockState::lent}) {
    Block* block = pool.take_for_backend(given);
    EXPECT_EQ(block->state, given);
    EXPECT_EQ(&pool.at(block->index), block);
    Buf buf = pool.loan(block, 16, 100, &account);
    EXPECT_EQ(block->state, BlockState::loaned);
    EXPECT_EQ(buf.data(), block->base + 16);
    EXPECT_EQ(buf.size(), 100u);
    EXPECT_EQ(account.loaned_bytes, 1024u);
    buf.reset();
    EXPECT_EQ(block->state, BlockState::free);
    EXPECT_EQ(account.loaned_bytes, 0u);
  }
}

}  // namespace
}  // namespace weir
