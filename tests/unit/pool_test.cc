// Where a pool's blocks go: each transition, bounds, loans, sends, and the pool's own end.
#include "weir/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "src/os/fault.h"
#include "weir/metrics.h"

namespace weir {
namespace {

class PoolTest : public ::testing::Test {
 protected:
  Buf loan(LoanAccount* account = nullptr) {
    return pool_.loan(pool_.take_for_backend(BlockState::lent), 0, 100, account);
  }
  Ledger ledger_;
  Pool pool_{{.block_bytes = 1024, .blocks_max = 8, .slab_blocks = 4, .name = "test"}, ledger_};
};

TEST_F(PoolTest, TakesAWholeBlockForTheApplication) {
  Buf buf = pool_.take();
  EXPECT_EQ(buf.size(), 1024u);
  EXPECT_EQ(buf.block()->state, BlockState::app);
  EXPECT_TRUE(buf.is_unique());
  EXPECT_EQ(pool_.in_use(), 1u);
  EXPECT_EQ(pool_.mapped(), 4u);
  const Block* block = buf.block();
  buf.reset();
  EXPECT_EQ(block->state, BlockState::free);
  EXPECT_EQ(pool_.in_use(), 0u);
}

TEST_F(PoolTest, TakesTheBlockThatCameHomeLast) {
  Buf first = pool_.take(), second = pool_.take();
  const Block* block = first.block();
  second.reset();
  first.reset();
  EXPECT_EQ(pool_.take().block(), block);
}

TEST_F(PoolTest, IsEmptyAtItsBound) {
  std::vector<Buf> held;
  for (int i = 0; i < 8; ++i) held.push_back(pool_.take());
  EXPECT_EQ(pool_.slab_count(), 2u);
  EXPECT_TRUE(pool_.take().empty());
  EXPECT_EQ(pool_.take_for_backend(BlockState::posted), nullptr);
  held.pop_back();
  EXPECT_FALSE(pool_.take().empty());
}

TEST_F(PoolTest, FollowsABoundThatMoves) {
  std::vector<Buf> held;
  for (int i = 0; i < 8; ++i) held.push_back(pool_.take());
  pool_.set_blocks_max(9);
  held.push_back(pool_.take());
  EXPECT_FALSE(held.back().empty());
  pool_.set_blocks_max(2);
  held.resize(2);
  EXPECT_TRUE(pool_.take().empty());  // Though seven are free.
  held.resize(1);
  EXPECT_FALSE(pool_.take().empty());
}

TEST(PoolAmple, IsShortWhenMoreIsHeldThanMerelyKeptReady) {
  Ledger ledger;
  Pool pool({.block_bytes = 1024, .blocks_max = 8, .blocks_ample = 4, .slab_blocks = 4}, ledger);
  std::vector<Buf> held;
  const auto hold = [&](std::size_t count) {
    while (held.size() < count) held.push_back(pool.take());
  };
  EXPECT_EQ(pool.ready_max(), 4u);
  hold(3);
  EXPECT_FALSE(pool.is_short());
  EXPECT_EQ(pool.ready_max(), 1u);
  pool.set_ready(1);  // one of the three
  EXPECT_EQ(pool.ready_max(), 2u);
  hold(4);
  EXPECT_FALSE(pool.is_short());
  hold(5);
  EXPECT_TRUE(pool.is_short());
  EXPECT_EQ(pool.ready_max(), 0u);
  held.resize(4);
  EXPECT_FALSE(pool.is_short());
  held.clear();  // also what was ready: the backend has not said so yet
  EXPECT_FALSE(pool.is_short());
  EXPECT_EQ(pool.ready_max(), 4u);
  pool.set_ready(0);
  pool.set_blocks_max(2);
  hold(2);
  EXPECT_TRUE(pool.is_short());
}

TEST_F(PoolTest, IsEmptyWhenTheSystemHasNoMemory) {
  os::set_fault_hook([](os::Call call, os::Native) {
    return call == os::Call::map ? os::Fault{.error = -12} : os::Fault{};
  });
  const Buf none = pool_.take();
  os::set_fault_hook(nullptr);
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(pool_.slab_count(), 0u);
  EXPECT_FALSE(pool_.take().empty());
}

TEST_F(PoolTest, FindsBlocksByIndex) {
  std::set<const Block*> blocks;
  for (std::uint32_t i = 0; i < 8; ++i) {
    Block* block = pool_.take_for_backend(BlockState::posted);
    EXPECT_EQ(block->index, i);
    EXPECT_EQ(&pool_.at(i), block);
    blocks.insert(block);
  }
  EXPECT_EQ(blocks.size(), 8u);
  for (std::uint32_t i = 0; i < 8; ++i) pool_.give_back(&pool_.at(i));
  EXPECT_EQ(pool_.in_use(), 0u);
}

struct Size {
  const char* name;
  std::uint32_t asked, block_bytes;
};
const Size kSizes[] = {
    {"Odd", 100, 128},
    {"PowerOfTwo", 4096, 4096},
    {"StrideWouldBeAPowerOfTwo", 4096 - 128, 4096 - 128},
    {"Large", 64 << 10, 64 << 10},
};
class PoolSizes : public ::testing::TestWithParam<Size> {};

TEST_P(PoolSizes, SpreadsFirstLinesOverTheCache) {
  constexpr std::size_t kBlocks = 64;
  Ledger ledger;
  Pool pool({.block_bytes = GetParam().asked, .blocks_max = kBlocks}, ledger);
  EXPECT_EQ(pool.block_bytes(), GetParam().block_bytes);
  std::vector<Buf> held;
  std::set<std::uintptr_t> lines;
  for (std::size_t i = 0; i < kBlocks; ++i) {
    held.push_back(pool.take());
    const auto address = reinterpret_cast<std::uintptr_t>(held.back().data());
    EXPECT_EQ(address % 64, 0u);
    lines.insert(address / 64 % 64);
  }
  EXPECT_GE(lines.size(), 16u);
}
INSTANTIATE_TEST_SUITE_P(All, PoolSizes, ::testing::ValuesIn(kSizes),
                         [](const auto& row) { return row.param.name; });

TEST_F(PoolTest, LoansWhatTheBackendReceived) {
  for (const BlockState given : {BlockState::posted, BlockState::lent}) {
    Block* block = pool_.take_for_backend(given);
    EXPECT_EQ(block->state, given);
    Buf buf = pool_.loan(block, 16, 100, nullptr);
    EXPECT_EQ(block->state, BlockState::loaned);
    EXPECT_EQ(buf.data(), block->base + 16);
    EXPECT_EQ(buf.size(), 100u);
    EXPECT_EQ(buf.headroom(), kHeadroomBytes + 16);
    buf.reset();
    EXPECT_EQ(block->state, BlockState::free);
  }
}

TEST_F(PoolTest, ChargesALoanByWhatItPins) {
  LoanAccount account{.generation = 7};
  Buf first = loan(&account), second = loan(&account);
  EXPECT_EQ(account.loaned_bytes, 2048u);
  Buf part = first.split_front(10);
  first.reset();
  EXPECT_EQ(account.loaned_bytes, 2048u);
  part.reset();
  EXPECT_EQ(account.loaned_bytes, 1024u);
  second.reset();
  EXPECT_EQ(account.loaned_bytes, 0u);
}

TEST_F(PoolTest, ForgetsTheChargeOfAnEarlierConnection) {
  LoanAccount account{.generation = 7};
  Buf old = loan(&account);
  account = {.generation = 8};
  Buf fresh = loan(&account);
  old.reset();
  EXPECT_EQ(account.loaned_bytes, 1024u);
}

TEST_F(PoolTest, DoesNotUnchargeWhatWasNotLoanedAgain) {
  LoanAccount account{.generation = 7};
  loan(&account).reset();
  const Buf other = loan(&account);
  Block* block = pool_.take_for_backend(BlockState::lent);
  pool_.give_back(block);
  EXPECT_EQ(account.loaned_bytes, 1024u);
  pool_.take().reset();
  EXPECT_EQ(account.loaned_bytes, 1024u);
}

TEST_F(PoolTest, TellsOnceWhenLoansFellUnderTheMark) {
  static std::vector<std::uint32_t> told;
  told.clear();
  pool_.set_on_loan_return([](LoanAccount& account) { told.push_back(account.loaned_bytes); });
  LoanAccount account{.generation = 1};
  std::vector<Buf> loans;
  for (int i = 0; i < 4; ++i) loans.push_back(loan(&account));
  loans.pop_back();
  EXPECT_TRUE(told.empty());  // Nobody asked.
  account.resume_below_bytes = 2048;
  loans.pop_back();
  EXPECT_TRUE(told.empty());
  loans.clear();
  EXPECT_EQ(told, std::vector<std::uint32_t>{1024});
  EXPECT_EQ(account.resume_below_bytes, 0u);
}

class Refills final : public PoolListener {
 public:
  void on_refill(Pool& pool) override { in_use.push_back(pool.in_use()); }
  std::vector<std::uint32_t> in_use;
};

TEST_F(PoolTest, TellsOnceThatABlockCameHome) {
  Refills refills;
  Buf app = pool_.take();
  LoanAccount account{.generation = 1};
  Buf charged = loan(&account), free_of_charge = loan();
  Block* given = pool_.take_for_backend(BlockState::posted);
  pool_.wait_for_refill(&refills);
  app.reset();
  EXPECT_EQ(refills.in_use, (std::vector<std::uint32_t>{3}));
  charged.reset();
  EXPECT_EQ(refills.in_use.size(), 1u);
  charged = loan(&account);
  for (const auto& drop :
       std::vector<std::function<void()>>{[&] { charged.reset(); }, [&] { free_of_charge.reset(); },
                                          [&] { pool_.give_back(given); }}) {
    const std::size_t before = refills.in_use.size();
    pool_.wait_for_refill(&refills);
    drop();
    EXPECT_EQ(refills.in_use.size(), before + 1);
  }
}

TEST_F(PoolTest, LendsForReceivingAndBack) {
  Buf buf = pool_.take();
  lend_for_recv(buf);
  EXPECT_EQ(buf.block()->state, BlockState::lent);
  EXPECT_EQ(is_poisoned(buf.data(), buf.size()), kPoisons);
  return_from_recv(buf);
  EXPECT_EQ(buf.block()->state, BlockState::app);
  EXPECT_FALSE(is_poisoned(buf.data(), buf.size()));
  static_cast<void>(buf.writable());
}

TEST_F(PoolTest, IsReadOnlyWhileSendsReadIt) {
  Buf buf = pool_.take();
  Block& block = *buf.block();
  for (int i = 0; i < 1000; ++i) lend_for_send(block);
  EXPECT_EQ(block.state, BlockState::app);
  EXPECT_EQ(block.send_borrows, 1000u);
  EXPECT_EQ(buf.tailroom(), 0u);
  for (int i = 0; i < 1000; ++i) return_from_send(block);
  static_cast<void>(buf.writable());
}

// Sends that outlive the last handle, in the order in which they end.
struct SendEnds {
  const char* name;
  std::vector<void (*)(Block&)> starts, ends;
};
const SendEnds kSendEnds[] = {
    {"ZeroCopy", {hold_zero_copy}, {release_zero_copy}},
    {"Plain", {lend_for_send}, {return_from_send}},
    {"ZeroCopyLast", {lend_for_send, hold_zero_copy}, {return_from_send, release_zero_copy}},
    {"PlainLast", {lend_for_send, hold_zero_copy}, {release_zero_copy, return_from_send}},
    {"TwoZeroCopy", {hold_zero_copy, hold_zero_copy}, {release_zero_copy, release_zero_copy}},
};
class PoolSends : public PoolTest,
                  public ::testing::WithParamInterface<std::tuple<LedgerLevel, SendEnds>> {};

TEST_P(PoolSends, HoldTheBlockUntilTheLastEnds) {
  const auto& [level, row] = GetParam();
  Ledger ledger(level);
  Pool pool({.block_bytes = 1024}, ledger);
  LoanAccount account{.generation = 1};
  Buf buf = pool.loan(pool.take_for_backend(BlockState::posted), 0, 10, &account);
  Block& block = *buf.block();
  for (const auto start : row.starts) start(block);
  buf.reset();
  EXPECT_EQ(block.state, BlockState::zc_pending);
  EXPECT_EQ(is_poisoned(block.base, block.capacity), kPoisons);
  for (const auto end : row.ends) {
    EXPECT_EQ(pool.in_use(), 1u);
    EXPECT_EQ(account.loaned_bytes, 1024u);  // It pins the block for as long.
    end(block);
  }
  EXPECT_EQ(block.state, BlockState::free);
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(account.loaned_bytes, 0u);
}
INSTANTIATE_TEST_SUITE_P(All, PoolSends,
                         ::testing::Combine(::testing::Values(LedgerLevel::off, LedgerLevel::all),
                                            ::testing::ValuesIn(kSendEnds)),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param) == LedgerLevel::off ? "Off"
                                                                                         : "All") +
                                  std::get<1>(row.param).name;
                         });

TEST_F(PoolTest, GoesHomeByItsHandleWhenSendsEndedBefore) {
  Buf buf = pool_.take();
  hold_zero_copy(*buf.block());
  release_zero_copy(*buf.block());
  EXPECT_EQ(buf.block()->state, BlockState::app);
  buf.reset();
  EXPECT_EQ(pool_.in_use(), 0u);
}

TEST(PoolEnd, LeavesHeldMemoryReadableAndSaysSo) {
  Ledger ledger(LedgerLevel::all);
  auto pool = std::make_unique<Pool>(
      Pool::Options{.block_bytes = 1024, .blocks_max = 8, .slab_blocks = 4, .name = "dead"},
      ledger);
  LoanAccount account{.generation = 1};
  Buf charged = pool->loan(pool->take_for_backend(BlockState::lent), 0, 100, &account);
  Buf app = pool->take();
  std::fill_n(app.writable(), 4, std::byte{'x'});
  app.trim_back(app.size() - 4);
  Buf part = app.split_front(2);

  ::testing::internal::CaptureStderr();
  pool.reset();
  const std::string report = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(report, ::testing::HasSubstr("pool \"dead\" ends with 2 of 2 blocks held"));
  EXPECT_THAT(report, ::testing::HasSubstr("pool_test.cc:"));
  EXPECT_EQ(ledger.entries().size(), 0u);
  EXPECT_EQ(account.loaned_bytes, 0u);

  EXPECT_EQ(part.text(), "xx");
  EXPECT_EQ(app.block()->origin, BlockOrigin::orphan);
  part.reset();
  EXPECT_EQ(app.text(), "xx");
  static_cast<void>(app.writable());
  app.reset();
  charged.reset();  // The last one: the memory goes (the leak checker would tell).
}

TEST(PoolEnd, WaitsForTheKernel) {
  Ledger ledger;
  auto pool = std::make_unique<Pool>(Pool::Options{}, ledger);
  Buf buf = pool->take();
  Block& block = *buf.block();
  hold_zero_copy(block);
  buf.reset();
  ::testing::internal::CaptureStderr();
  pool.reset();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), ::testing::HasSubstr("1 of 1 blocks held"));
  EXPECT_EQ(block.state, BlockState::zc_pending);
  release_zero_copy(block);
}

TEST(PoolEnd, IsSilentWhenEverythingCameHome) {
  Ledger ledger;
  ::testing::internal::CaptureStderr();
  {
    Pool pool({}, ledger);
    pool.take().reset();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

class CopyBreakTest : public PoolTest {
 protected:
  Buf received(std::uint32_t length) {
    return large_.loan(large_.take_for_backend(BlockState::lent), 0, length, nullptr);
  }
  Pool large_{{.block_bytes = 16 << 10, .blocks_max = 8}, ledger_};
  Metrics metrics_;
};

TEST_F(CopyBreakTest, MovesAShortSliceIntoASmallBlock) {
  Buf buf = received(100);
  std::fill_n(buf.writable(), 100, std::byte{'y'});
  buf = copy_break(std::move(buf), pool_, metrics_);
  EXPECT_EQ(buf.text(), std::string(100, 'y'));
  EXPECT_EQ(buf.pinned_bytes(), 1024u);
  EXPECT_EQ(large_.in_use(), 0u);
  EXPECT_EQ(metrics_.copy_breaks, 1u);
  EXPECT_EQ(metrics_.bytes_copied, 100u);
}

TEST_F(CopyBreakTest, ChargesTheSmallBlockInstead) {
  LoanAccount account{.generation = 1};
  Buf buf = large_.loan(large_.take_for_backend(BlockState::lent), 0, 100, &account);
  buf = copy_break(std::move(buf), pool_, metrics_);
  EXPECT_EQ(account.loaned_bytes, 1024u);
  buf.reset();
  EXPECT_EQ(account.loaned_bytes, 0u);
}

TEST_F(CopyBreakTest, ChargesNobodyForAnEarlierConnection) {
  LoanAccount account{.generation = 1};
  Buf buf = large_.loan(large_.take_for_backend(BlockState::lent), 0, 100, &account);
  account = {.generation = 2};
  buf = copy_break(std::move(buf), pool_, metrics_);
  EXPECT_EQ(account.loaned_bytes, 0u);
}

TEST_F(CopyBreakTest, LeavesALongSliceAlone) {
  EXPECT_EQ(copy_break(received(1024), pool_, metrics_).pinned_bytes(), 16u << 10);
  EXPECT_EQ(metrics_.copy_breaks, 0u);
}

TEST_F(CopyBreakTest, LeavesASmallBlockAlone) {
  Buf buf = loan();
  const Block* block = buf.block();
  EXPECT_EQ(copy_break(std::move(buf), pool_, metrics_).block(), block);
  EXPECT_EQ(copy_break(Buf(), pool_, metrics_).block(), nullptr);
  EXPECT_EQ(metrics_.copy_breaks, 0u);
}

TEST_F(CopyBreakTest, LeavesItAloneWhenNoSmallBlockIsLeft) {
  pool_.set_blocks_max(0);
  EXPECT_EQ(copy_break(received(100), pool_, metrics_).pinned_bytes(), 16u << 10);
  EXPECT_EQ(metrics_.bytes_copied, 0u);
}

}  // namespace
}  // namespace weir
