// What the ledger follows at each level, what it says about a block, and that it finds a write during a send.
#include "weir/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "weir/pool.h"

namespace weir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

std::uint64_t clock_ns = 0;
std::uint64_t read_clock() { return clock_ns; }

struct Level {
  const char* name;
  LedgerLevel level;
  std::uint64_t followed;  ///< of 1,280 takes
};
const Level kLevels[] = {
    {"Off", LedgerLevel::off, 0},
    {"Sampled", LedgerLevel::sampled, 10},
    {"All", LedgerLevel::all, 1280},
};
class LedgerLevels : public ::testing::TestWithParam<Level> {};

TEST_P(LedgerLevels, FollowsItsShareOfAllTakes) {
  Ledger ledger(GetParam().level);
  Pool pool({.block_bytes = 64}, ledger);
  for (int i = 0; i < 640; ++i) {
    pool.take().reset();
    pool.loan(pool.take_for_backend(BlockState::posted), 0, 1, nullptr).reset();
  }
  EXPECT_EQ(ledger.tracked_count(), GetParam().followed);
  EXPECT_EQ(ledger.entries().size(), 0u);
  EXPECT_EQ(ledger.report(), "");
}
INSTANTIATE_TEST_SUITE_P(All, LedgerLevels, ::testing::ValuesIn(kLevels),
                         [](const auto& row) { return row.param.name; });

class LedgerTest : public ::testing::Test {
 protected:
  LedgerTest() { clock_ns = 1'000'000'000; }
  Ledger ledger_{LedgerLevel::all, read_clock};
  Pool pool_{{.block_bytes = 1024, .name = "test"}, ledger_};
};

TEST_F(LedgerTest, NamesWhatIsOut) {
  const Buf buf = pool_.take();
  const auto line = __LINE__ - 1;
  clock_ns += 2'500'000'000;
  EXPECT_EQ(ledger_.report(), "app for 2.500 s: 1024 B, block 0 of \"test\", by " __FILE__ ":" +
                                  std::to_string(line) + "\n");
}

TEST_F(LedgerTest, KeepsStateAgeAndConnectionOfALoan) {
  ledger_.set_connection_of(
      [](const LoanAccount& account) -> std::uint64_t { return account.generation; });
  LoanAccount account{.generation = 42};
  Block* block = pool_.take_for_backend(BlockState::posted);
  EXPECT_EQ(ledger_.entries().at(0).state, BlockState::posted);
  clock_ns += 1'000'000'000;
  const Buf buf = pool_.loan(block, 0, 1, &account);
  const Ledger::Entry entry = ledger_.entries().at(0);
  EXPECT_EQ(entry.block, block);
  EXPECT_EQ(entry.state, BlockState::loaned);
  EXPECT_EQ(entry.since_ns, 2'000'000'000u);
  EXPECT_EQ(entry.connection, 42u);
  clock_ns += 1'000'000;
  EXPECT_THAT(ledger_.report(),
              AllOf(HasSubstr("loaned for 0.001 s"), HasSubstr(", connection 42, by ")));
}

TEST_F(LedgerTest, KeepsTheNewestOwnerFirst) {
  Block* block = pool_.take_for_backend(BlockState::lent);
  const auto taken = __LINE__ - 1;
  const Buf buf = pool_.loan(block, 0, 1, nullptr);
  const auto loaned = __LINE__ - 1;
  const auto owners = ledger_.entries().at(0).owners;
  EXPECT_EQ(owners[0].line(), static_cast<std::uint32_t>(loaned));
  EXPECT_EQ(owners[1].line(), static_cast<std::uint32_t>(taken));
  EXPECT_EQ(owners[2].line(), 0u);
  EXPECT_THAT(ledger_.report(), HasSubstr(" <- "));
}

TEST_F(LedgerTest, ShowsHowLongTheKernelHoldsABlock) {
  Buf buf = pool_.take();
  Block& block = *buf.block();
  hold_zero_copy(block);
  clock_ns += 5'000'000'000;
  buf.reset();
  clock_ns += 3'000'000'000;
  EXPECT_THAT(ledger_.report(), HasSubstr("zc_pending for 3.000 s"));
  release_zero_copy(block);
  EXPECT_EQ(ledger_.report(), "");
}

TEST_F(LedgerTest, UsesPlacesAgain) {
  std::vector<Buf> held;
  for (int i = 0; i < 100; ++i) held.push_back(pool_.take());
  held.clear();
  for (int i = 0; i < 100; ++i) held.push_back(pool_.take());
  EXPECT_EQ(ledger_.entries().size(), 100u);
  EXPECT_EQ(ledger_.tracked_count(), 200u);
}

TEST_F(LedgerTest, FollowsNoMoreThanItHasPlaces) {
  Pool many({.block_bytes = 64, .blocks_max = 70'000}, ledger_);
  std::vector<Buf> held;
  for (int i = 0; i < 70'000; ++i) held.push_back(many.take());
  EXPECT_EQ(ledger_.entries().size(), 65'535u);
  held.clear();
  EXPECT_EQ(ledger_.entries().size(), 0u);
}

TEST_F(LedgerTest, FindsAWriteDuringASend) {
  Buf buf = pool_.take();
  std::byte* data = buf.writable();
  std::fill_n(data, buf.size(), std::byte{1});
  lend_for_send(*buf.block());
  hold_zero_copy(*buf.block());
  data[1000] = std::byte{2};  // Through a pointer from before; writable() would have refused.
  return_from_send(*buf.block());
  EXPECT_DEATH(release_zero_copy(*buf.block()),
               "ledger_test.cc:.*bytes were written while a send was reading them: block 0");
  data[1000] = std::byte{1};
  release_zero_copy(*buf.block());
}

TEST_F(LedgerTest, FindsAWriteAlsoWhenTheHandleIsGone) {
  Buf buf = pool_.take();
  Block& block = *buf.block();
  std::byte* data = buf.writable();
  lend_for_send(block);
  data[0] = ~data[0];
  buf.reset();
  EXPECT_DEATH(return_from_send(block), "bytes were written");
  unpoison(data, 1);
  data[0] = ~data[0];
  return_from_send(block);
}

TEST_F(LedgerTest, AllowsWritesBetweenSends) {
  Buf buf = pool_.take();
  for (int i = 0; i < 3; ++i) {
    std::fill_n(buf.writable(), buf.size(), static_cast<std::byte>(i));
    lend_for_send(*buf.block());
    lend_for_send(*buf.block());
    return_from_send(*buf.block());
    return_from_send(*buf.block());
  }
  EXPECT_EQ(buf.block()->send_borrows, 0u);
}

TEST(LedgerSampled, HashesNothing) {
  Ledger ledger(LedgerLevel::sampled);
  Pool pool({.block_bytes = 1024}, ledger);
  for (int i = 0; i < 127; ++i) pool.take().reset();
  Buf buf = pool.take();
  ASSERT_NE(buf.block()->ledger_slot, 0u);
  std::byte* data = buf.writable();
  lend_for_send(*buf.block());
  data[0] = ~data[0];
  return_from_send(*buf.block());
  EXPECT_EQ(ledger.entries().at(0).hash, 0u);
}

}  // namespace
}  // namespace weir
