// What a handle and a chain may do with bytes, and that they never lose or change one: rows, death tests, and random
// splits, appends and trims against strings.
#include "weir/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/metrics.h"
#include "weir/pool.h"

namespace weir {
namespace {

class BufferTest : public ::testing::Test {
 protected:
  Buf make(std::string_view text) {
    Buf buf = pool_.take();
    std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), buf.writable());
    buf.trim_back(buf.size() - text.size());
    return buf;
  }
  BufChain chain(std::initializer_list<std::string_view> pieces) {
    BufChain chain;
    for (const std::string_view piece : pieces) chain.append(make(piece));
    return chain;
  }
  static std::string text_of(const BufChain& chain) {
    std::string text;
    for (const auto* node = chain.front(); node != nullptr; node = node->next) {
      text.append(node->buf.text());
    }
    return text;
  }

  Ledger ledger_;
  Pool pool_{{.block_bytes = 1024, .blocks_max = 1024}, ledger_};
};

TEST_F(BufferTest, IsEmptyWithoutABlock) {
  const Buf buf;
  EXPECT_FALSE(buf);
  EXPECT_TRUE(buf.empty());
  EXPECT_EQ(buf.pinned_bytes(), 0u);
  EXPECT_EQ(buf.headroom(), 0u);
  EXPECT_EQ(buf.tailroom(), 0u);
  EXPECT_FALSE(buf.is_unique());
  EXPECT_TRUE(buf.share().empty());
}

TEST_F(BufferTest, MovesLeaveNothingBehind) {
  Buf first = make("abc");
  Buf second = std::move(first);
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move): that is what is tested.
  EXPECT_EQ(second.text(), "abc");
  Buf third = make("xyz");
  third = std::move(second);
  EXPECT_EQ(third.text(), "abc");
  EXPECT_EQ(pool_.in_use(), 1u);
  Buf& same = third;
  third = std::move(same);
  EXPECT_EQ(third.text(), "abc");
}

TEST_F(BufferTest, PinsItsWholeBlock) { EXPECT_EQ(make("x").pinned_bytes(), 1024u); }

TEST_F(BufferTest, SharesTheBlockUntilTheLastHandleGoes) {
  Buf first = make("abc");
  Buf second = first.share();
  EXPECT_FALSE(first.is_unique());
  first.reset();
  EXPECT_EQ(pool_.in_use(), 1u);
  EXPECT_EQ(second.text(), "abc");
  EXPECT_TRUE(second.is_unique());
  second.reset();
  EXPECT_EQ(pool_.in_use(), 0u);
}

TEST_F(BufferTest, SplitsWithoutCopying) {
  Buf back = make("headerbody");
  const std::byte* data = back.data();
  Buf front = back.split_front(6);
  EXPECT_EQ(front.text(), "header");
  EXPECT_EQ(back.text(), "body");
  EXPECT_EQ(front.data(), data);
  EXPECT_EQ(front.block(), back.block());
  EXPECT_TRUE(back.split_front(0).empty());
  EXPECT_EQ(back.split_front(4).text(), "body");
  EXPECT_EQ(back.block(), nullptr);
}

TEST_F(BufferTest, TrimmedToNothingItStillHoldsItsBlock) {
  Buf buf = make("abc");
  buf.trim_front(3);
  EXPECT_TRUE(buf.empty());
  EXPECT_EQ(pool_.in_use(), 1u);
  buf.grow_back(2);
  EXPECT_EQ(buf.size(), 2u);
}

TEST_F(BufferTest, GrowsIntoHeadroomAndTailroom) {
  Buf buf = make("body");
  ASSERT_EQ(buf.headroom(), kHeadroomBytes);
  ASSERT_EQ(buf.tailroom(), 1020u);
  buf.grow_front(64);
  buf.grow_back(1020);
  EXPECT_EQ(buf.size(), 64u + 1024u);
  EXPECT_EQ(buf.headroom() + buf.tailroom(), 0u);
  std::fill_n(buf.writable(), buf.size(), std::byte{'x'});  // All of it is there.
}

TEST_F(BufferTest, HasNoRoomToGrowWhileShared) {
  Buf buf = make("body");
  const Buf other = buf.share();
  EXPECT_EQ(buf.headroom(), 0u);
  EXPECT_EQ(buf.tailroom(), 0u);
}

TEST_F(BufferTest, BorrowsMemoryAndReturnsItOnce) {
  int releases = 0;
  const std::string_view text = "static text";
  Buf buf = Buf::borrow(
      std::as_bytes(std::span(text)), [](void* context) { ++*static_cast<int*>(context); },
      &releases);
  EXPECT_EQ(buf.pinned_bytes(), text.size());
  Buf tail = buf.share();
  tail.trim_front(7);
  buf.reset();
  EXPECT_EQ(tail.text(), "text");
  EXPECT_EQ(releases, 0);
  tail.reset();
  EXPECT_EQ(releases, 1);
}

TEST_F(BufferTest, KeepsBorrowedMemoryWhileASendReadsIt) {
  int releases = 0;
  Buf buf = Buf::borrow(
      std::as_bytes(std::span("bytes")), [](void* context) { ++*static_cast<int*>(context); },
      &releases);
  Block& block = *buf.block();
  hold_zero_copy(block);
  buf.reset();
  EXPECT_EQ(releases, 0);
  release_zero_copy(block);
  EXPECT_EQ(releases, 1);
}

TEST_F(BufferTest, BorrowingAllocatesNothingInTheSteadyState) {
  const auto borrow = [] {
    const Buf buf = Buf::borrow(std::as_bytes(std::span("bytes")), nullptr, nullptr);
    EXPECT_EQ(buf.size(), 6u);
  };
  borrow();
  const std::uint64_t before = thread_counts().heap_allocations;
  for (int i = 0; i < 100; ++i) borrow();
  EXPECT_EQ(thread_counts().heap_allocations, before);
}

// Everything that must abort, and what it says.
struct Misuse {
  const char* name;
  void (*act)(Pool& pool);
  const char* message;
};
const Misuse kMisuses[] = {
    {"WriteWhileShared",
     [](Pool& pool) {
       Buf buf = pool.take();
       const Buf other = buf.share();
       static_cast<void>(buf.writable());
     },
     "write: block 0 of pool \"pool\" is app, 2 handles"},
    {"WriteWhileASendReads",
     [](Pool& pool) {
       Buf buf = pool.take();
       lend_for_send(*buf.block());
       static_cast<void>(buf.writable());
     },
     "write: .*1 handles, 1 sends"},
    {"WriteWhileZeroCopyReads",
     [](Pool& pool) {
       Buf buf = pool.take();
       hold_zero_copy(*buf.block());
       static_cast<void>(buf.writable());
     },
     "write: .*1 zero-copy sends"},
    {"WriteBorrowed",
     [](Pool&) {
       Buf buf = Buf::borrow(std::as_bytes(std::span("x")), nullptr, nullptr);
       static_cast<void>(buf.writable());
     },
     "write: block 0 is app"},
    {"WriteWithoutABlock", [](Pool&) { static_cast<void>(Buf().writable()); }, "block_ != nullptr"},
    {"WriteWhileLent",
     [](Pool& pool) {
       Buf buf = pool.take();
       lend_for_recv(buf);
       static_cast<void>(buf.writable());
     },
     "write: .* is lent"},
    {"ShareWhileLent",
     [](Pool& pool) {
       Buf buf = pool.take();
       lend_for_recv(buf);
       static_cast<void>(buf.share());
     },
     "share: .* is lent"},
    {"TrimFrontTooMuch", [](Pool& pool) { pool.take().trim_front(1025); }, "\\(1025 and 1024\\)"},
    {"TrimBackTooMuch", [](Pool& pool) { pool.take().trim_back(1025); }, "\\(1025 and 1024\\)"},
    {"SplitTooMuch", [](Pool& pool) { static_cast<void>(pool.take().split_front(1025)); },
     "\\(1025 and 1024\\)"},
    {"GrowFrontTooMuch", [](Pool& pool) { pool.take().grow_front(65); }, "\\(65 and 64\\)"},
    {"GrowBackTooMuch", [](Pool& pool) { pool.take().grow_back(1); }, "\\(1 and 0\\)"},
    {"ChainTakeTooMuch", [](Pool&) { static_cast<void>(BufChain().take(1)); }, "\\(1 and 0\\)"},
    {"ChainSplitTooMuch", [](Pool&) { static_cast<void>(BufChain().split_front(1)); },
     "\\(1 and 0\\)"},
    {"ChainTrimTooMuch", [](Pool&) { BufChain().trim_front(1); }, "\\(1 and 0\\)"},
    {"ChainCopyTooMuch",
     [](Pool&) {
       std::byte target[1];
       BufChain().copy_to(target);
     },
     "\\(1 and 0\\)"},
};
class BufferMisuse : public BufferTest, public ::testing::WithParamInterface<Misuse> {};

TEST_P(BufferMisuse, Aborts) { EXPECT_DEATH(GetParam().act(pool_), GetParam().message); }
INSTANTIATE_TEST_SUITE_P(All, BufferMisuse, ::testing::ValuesIn(kMisuses),
                         [](const auto& row) { return row.param.name; });

using BufChainTest = BufferTest;

TEST_F(BufChainTest, CountsBytesAndPieces) {
  BufChain pieces = chain({"ab", "", "cde"});
  EXPECT_EQ(pieces.bytes(), 5u);
  EXPECT_EQ(pieces.count(), 2u);  // The empty one was dropped.
  EXPECT_EQ(pieces.pinned_bytes(), 2048u);
  EXPECT_EQ(pieces.pop_front().text(), "ab");
  EXPECT_EQ(pieces.pop_front().text(), "cde");
  EXPECT_TRUE(pieces.empty());
  EXPECT_EQ(pieces.bytes(), 0u);
  EXPECT_TRUE(pieces.pop_front().empty());
}

TEST_F(BufChainTest, AppendsChains) {
  BufChain first = chain({"ab"});
  first.append(chain({"cd", "ef"}));
  first.append(BufChain());
  BufChain all;
  all.append(std::move(first));
  all.append(make("gh"));
  EXPECT_EQ(text_of(all), "abcdefgh");
  EXPECT_EQ(all.bytes(), 8u);
}

TEST_F(BufChainTest, MoveAssignmentDropsWhatWasThere) {
  BufChain first = chain({"ab"});
  first = chain({"cd"});
  EXPECT_EQ(text_of(first), "cd");
  EXPECT_EQ(pool_.in_use(), 1u);
  BufChain& same = first;
  first = std::move(same);
  EXPECT_EQ(text_of(first), "cd");
}

TEST_F(BufChainTest, TakesWithoutCopyingWhatLiesInOnePiece) {
  BufChain pieces = chain({"abcd", "ef"});
  const std::uint64_t before = thread_counts().bytes_copied;
  EXPECT_EQ(pieces.take(3).text(), "abc");
  EXPECT_EQ(pieces.take(1).text(), "d");
  EXPECT_EQ(pieces.take(2).text(), "ef");
  EXPECT_TRUE(pieces.take(0).empty());
  EXPECT_EQ(thread_counts().bytes_copied, before);
}

TEST_F(BufChainTest, TakesTogetherWhatLiesInSeveralPieces) {
  BufChain pieces = chain({"ab", "cd", "efg"});
  const std::uint64_t before = thread_counts().bytes_copied;
  const Buf buf = pieces.take(5);
  EXPECT_EQ(buf.text(), "abcde");
  EXPECT_EQ(buf.block()->origin, BlockOrigin::pool);
  EXPECT_EQ(text_of(pieces), "fg");
  EXPECT_EQ(thread_counts().bytes_copied, before + 5);
}

TEST_F(BufChainTest, ChargesWhatItTakesTogetherToTheSameConnection) {
  LoanAccount account{.generation = 3};
  BufChain pieces;
  for (int i = 0; i < 2; ++i) {
    pieces.append(pool_.loan(pool_.take_for_backend(BlockState::lent), 0, 100, &account));
  }
  Buf buf = pieces.take(200);
  EXPECT_EQ(account.loaned_bytes, 1024u);
  buf.reset();
  EXPECT_EQ(account.loaned_bytes, 0u);
}

TEST_F(BufChainTest, TakesTogetherOnTheHeapWhatFitsInNoBlock) {
  BufChain pieces;
  for (int i = 0; i < 3; ++i) pieces.append(make(std::string(1000, static_cast<char>('a' + i))));
  const Buf buf = pieces.take(2500);
  EXPECT_EQ(buf.text(), std::string(1000, 'a') + std::string(1000, 'b') + std::string(500, 'c'));
  EXPECT_EQ(buf.block()->origin, BlockOrigin::heap);
  EXPECT_EQ(buf.headroom(), kHeadroomBytes);
  EXPECT_EQ(pool_.in_use(), 1u);
}

TEST_F(BufChainTest, TakesTogetherOnTheHeapWhenThePoolIsEmpty) {
  BufChain pieces = chain({"ab", "cd"});
  pool_.set_blocks_max(2);
  const Buf buf = pieces.take(4);
  EXPECT_EQ(buf.text(), "abcd");
  EXPECT_EQ(buf.block()->origin, BlockOrigin::heap);
}

TEST_F(BufChainTest, TrimsBlocksHome) {
  BufChain pieces = chain({"abc", "def", "ghi"});
  pieces.trim_front(4);
  EXPECT_EQ(text_of(pieces), "efghi");
  EXPECT_EQ(pool_.in_use(), 2u);
  pieces.trim_front(5);
  EXPECT_EQ(pool_.in_use(), 0u);
  pieces.append(make("x"));
  EXPECT_EQ(text_of(pieces), "x");
}

TEST_F(BufChainTest, AppendingAllocatesNothingInTheSteadyState) {
  static_cast<void>(chain({"a", "b", "c"}));
  const std::uint64_t before = thread_counts().heap_allocations;
  for (int i = 0; i < 100; ++i) static_cast<void>(chain({"a", "b", "c"}));
  EXPECT_EQ(thread_counts().heap_allocations, before);
}

TEST_F(BufChainTest, AgreesWithStringsUnderRandomChanges) {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](std::size_t bound) { return random() % (bound + 1); };
    BufChain pieces;
    std::string model;
    std::vector<std::pair<Buf, std::string>> taken;
    char next = 'a';
    for (int step = 0; step < 3000; ++step) {
      switch (random() % 8) {
        case 0:
        case 1: {
          const std::string text(below(300),
                                 next = next == 'z' ? 'a' : static_cast<char>(next + 1));
          pieces.append(make(text));
          model += text;
          break;
        }
        case 2: {
          const std::size_t count = below(std::min<std::size_t>(model.size(), 1500));
          taken.emplace_back(pieces.take(count), model.substr(0, count));
          model.erase(0, count);
          break;
        }
        case 3: {
          const std::size_t count = below(std::min<std::size_t>(model.size(), 500));
          pieces.trim_front(count);
          model.erase(0, count);
          break;
        }
        case 4: {
          BufChain front = pieces.split_front(below(model.size()));
          ASSERT_EQ(text_of(front), model.substr(0, front.bytes()));
          front.append(std::move(pieces));
          pieces = std::move(front);
          break;
        }
        case 5: {
          std::string copy(below(model.size()), '\0');
          pieces.copy_to(std::as_writable_bytes(std::span(copy)));
          ASSERT_EQ(copy, model.substr(0, copy.size()));
          break;
        }
        case 6:
          if (!taken.empty()) {
            auto& [buf, text] = taken[below(taken.size() - 1)];
            const std::size_t count = below(text.size());
            Buf front = buf.split_front(count);
            ASSERT_EQ(front.text(), text.substr(0, count));
            text.erase(0, count);
            model += front.text();
            pieces.append(std::move(front));
          }
          break;
        default:
          if (taken.size() > 10) {
            ASSERT_EQ(taken.front().first.text(), taken.front().second);
            taken.erase(taken.begin());
          }
          break;
      }
      ASSERT_EQ(pieces.bytes(), model.size());
    }
    ASSERT_EQ(text_of(pieces), model);
    for (const auto& [buf, text] : taken) ASSERT_EQ(buf.text(), text);
    taken.clear();
    pieces.clear();
    ASSERT_EQ(pool_.in_use(), 0u);
  }
}

}  // namespace
}  // namespace weir
