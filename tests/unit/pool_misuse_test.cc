// What a pool must not let pass: each transition of a block that is none, and each touch of memory that is not
// the application's.
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <tuple>

#include "weir/pool.h"

namespace weir {
namespace {

// Every transition that is not one, at levels off and all: the fast path and the followed one say the same.
struct Misuse {
  const char* name;
  void (*act)(Pool& pool);
  const char* message;
};
const Misuse kMisuses[] = {
    {"LoanFree",
     [](Pool& pool) {
       Block* block = pool.take().block();
       static_cast<void>(pool.loan(block, 0, 1, nullptr));
     },
     "loan: block 0 of pool \"test\" is free"},
    {"LoanTwice",
     [](Pool& pool) {
       Block* block = pool.take_for_backend(BlockState::posted);
       const Buf buf = pool.loan(block, 0, 1, nullptr);
       static_cast<void>(pool.loan(block, 1, 1, nullptr));
     },
     "loan: .* is loaned, 1 handles"},
    {"LoanWhatAHandleLent",
     [](Pool& pool) {
       Buf buf = pool.take();
       lend_for_recv(buf);
       static_cast<void>(pool.loan(buf.block(), 0, 1, nullptr));
     },
     "loan: .* is lent, 1 handles"},
    {"LoanTooLong",
     [](Pool& pool) {
       static_cast<void>(pool.loan(pool.take_for_backend(BlockState::lent), 1, 1024, nullptr));
     },
     "\\(1025 and 1024\\)"},
    {"LoanOffsetOverflows",
     [](Pool& pool) {
       static_cast<void>(
           pool.loan(pool.take_for_backend(BlockState::lent), 0xffffffffu, 2, nullptr));
     },
     "\\(4294967297 and 1024\\)"},
    {"GiveBackFree",
     [](Pool& pool) {
       Block* block = pool.take().block();
       pool.give_back(block);
     },
     "give back: .* is free"},
    {"GiveBackApp",
     [](Pool& pool) {
       const Buf buf = pool.take();
       pool.give_back(buf.block());
     },
     "give back: .* is app, 1 handles"},
    {"GiveBackTwice",
     [](Pool& pool) {
       Block* block = pool.take_for_backend(BlockState::posted);
       pool.give_back(block);
       pool.give_back(block);
     },
     "give back: .* is free"},
    {"GiveBackWithAHandle",
     [](Pool& pool) {
       Buf buf = pool.take();
       lend_for_recv(buf);
       pool.give_back(buf.block());
     },
     "give back: .* is lent, 1 handles"},
    {"GiveBackToAnotherPool",
     [](Pool& pool) {
       Pool other({}, pool.ledger());
       other.give_back(pool.take_for_backend(BlockState::posted));
     },
     "give back: .* is posted"},
    {"TakeForBackendAsFree",
     [](Pool& pool) { static_cast<void>(pool.take_for_backend(BlockState::free)); },
     "BlockState::posted"},
    {"DropWhileLent",
     [](Pool& pool) {
       Buf buf = pool.take();
       lend_for_recv(buf);
       buf.reset();
     },
     "release: .* is lent"},
    {"LendForRecvShared",
     [](Pool& pool) {
       Buf buf = pool.take();
       const Buf other = buf.share();
       lend_for_recv(buf);
     },
     "write: .* 2 handles"},
    {"LendForRecvLoaned",
     [](Pool& pool) {
       Buf buf = pool.loan(pool.take_for_backend(BlockState::lent), 0, 1, nullptr);
       lend_for_recv(buf);
     },
     "lend for a receive: .* is loaned"},
    {"LendForRecvNothing",
     [](Pool&) {
       Buf buf;
       lend_for_recv(buf);
     },
     "target.block\\(\\) != nullptr"},
    {"ReturnFromRecvApp",
     [](Pool& pool) {
       Buf buf = pool.take();
       return_from_recv(buf);
     },
     "return from a receive: .* is app"},
    {"LendForSendPosted",
     [](Pool& pool) { lend_for_send(*pool.take_for_backend(BlockState::posted)); },
     "lend for a send: .* is posted"},
    {"HoldZeroCopyLent",
     [](Pool& pool) { hold_zero_copy(*pool.take_for_backend(BlockState::lent)); },
     "hold for zero-copy: .* is lent"},
    {"ReturnFromSendTwice",
     [](Pool& pool) {
       const Buf buf = pool.take();
       lend_for_send(*buf.block());
       return_from_send(*buf.block());
       return_from_send(*buf.block());
     },
     "return from a send: .* is app, 1 handles, 0 sends"},
    {"ReleaseZeroCopyOfNothing",
     [](Pool& pool) {
       const Buf buf = pool.take();
       release_zero_copy(*buf.block());
     },
     "release from zero-copy: .*0 zero-copy"},
    {"UnchargeMoreThanWasCharged",
     [](Pool& pool) {
       LoanAccount account{.generation = 1};
       const Buf buf = pool.loan(pool.take_for_backend(BlockState::lent), 0, 1, &account);
       account.loaned_bytes = 1023;
     },
     "uncharge: .* is loaned"},
    {"IndexNeverMade", [](Pool& pool) { pool.at(1); }, "\\(1 and 0\\)"},
    {"BlocksOfNothing", [](Pool& pool) { Pool({.block_bytes = 0}, pool.ledger()); }, "block_bytes"},
};
class PoolMisuse : public ::testing::TestWithParam<std::tuple<LedgerLevel, Misuse>> {};

TEST_P(PoolMisuse, Aborts) {
  const auto& [level, row] = GetParam();
  Ledger ledger(level);
  Pool pool({.block_bytes = 1024, .blocks_max = 8, .slab_blocks = 4, .name = "test"}, ledger);
  EXPECT_DEATH(row.act(pool), row.message);
}
INSTANTIATE_TEST_SUITE_P(All, PoolMisuse,
                         ::testing::Combine(::testing::Values(LedgerLevel::off, LedgerLevel::all),
                                            ::testing::ValuesIn(kMisuses)),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param) == LedgerLevel::off ? "Off"
                                                                                         : "All") +
                                  std::get<1>(row.param).name;
                         });

// Memory that the sanitizer must catch somebody touching, and how it came to that.
struct Forbidden {
  const char* name;
  const std::byte* (*make)(Pool& pool);
};
const Forbidden kForbidden[] = {
    {"Free", [](Pool& pool) -> const std::byte* { return pool.take().data(); }},
    {"Posted",
     [](Pool& pool) -> const std::byte* {
       return pool.take_for_backend(BlockState::posted)->base;
     }},
    {"Lent",
     [](Pool& pool) -> const std::byte* {
       return pool.take_for_backend(BlockState::lent)->base + 1023;
     }},
    {"LentByAHandle",
     [](Pool& pool) {
       Buf buf = pool.take();
       lend_for_recv(buf);
       return static_cast<const std::byte*>(buf.detach()->base);
     }},
    {"ZeroCopyPending",
     [](Pool& pool) {
       Buf buf = pool.take();
       hold_zero_copy(*buf.block());
       return buf.data();
     }},
    {"HeadroomOfAFreeBlock", [](Pool& pool) -> const std::byte* { return pool.take().data() - 1; }},
};
class PoolPoison : public ::testing::TestWithParam<Forbidden> {};

TEST_P(PoolPoison, TouchingItIsCaught) {
  if (!kPoisons) GTEST_SKIP() << "this build has no AddressSanitizer";
  Ledger ledger;
  Pool pool({.block_bytes = 1024}, ledger);
  EXPECT_DEATH(
      {
        const std::byte* data = GetParam().make(pool);
        const volatile std::byte value = *data;
        static_cast<void>(value);
      },
      "use-after-poison");
}
INSTANTIATE_TEST_SUITE_P(All, PoolPoison, ::testing::ValuesIn(kForbidden),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace weir
