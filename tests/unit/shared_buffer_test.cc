// Bytes on other threads: how they come home, when the pool is gone, and under a seeded crowd of threads.
#include "weir/shared_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "weir/loop.h"
#include "weir/metrics.h"
#include "weir/pool.h"

namespace weir {
namespace {

Buf fill(Buf buf, std::string_view text) {
  std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), buf.writable());
  buf.trim_back(buf.size() - text.size());
  return buf;
}

void on_another_thread(const auto& work) { std::thread(work).join(); }

class SharedBufTest : public ::testing::Test {
 protected:
  Buf make(std::string_view text) { return fill(pool_->take(), text); }
  // The pool's last words go to standard error.
  std::string end_pool() {
    ::testing::internal::CaptureStderr();
    pool_.reset();
    return ::testing::internal::GetCapturedStderr();
  }

  Ledger ledger_{LedgerLevel::all};
  std::unique_ptr<Pool> pool_ =
      std::make_unique<Pool>(Pool::Options{.block_bytes = 1024, .blocks_max = 64}, ledger_);
};

TEST_F(SharedBufTest, IsEmptyWithoutBytes) {
  const SharedBuf none, copy(none);  // NOLINT: the copy is what is tested
  EXPECT_TRUE(none.empty());
  EXPECT_FALSE(copy);
  EXPECT_TRUE(SharedBuf(Buf()).empty());
  EXPECT_TRUE(none.buf().empty());
}

TEST_F(SharedBufTest, ComesHomeThroughTheList) {
  SharedBuf shared(make("hello"));
  const Block* block = &pool_->at(0);
  on_another_thread([copy = shared, &shared] {
    EXPECT_EQ(copy.text(), "hello");
    shared = {};
  });
  EXPECT_EQ(pool_->in_use(), 1u);
  EXPECT_EQ(pool_->collect_returns(), 1u);
  EXPECT_EQ(pool_->in_use(), 0u);
  EXPECT_EQ(block->state, BlockState::free);
  EXPECT_EQ(pool_->collect_returns(), 0u);
}

TEST_F(SharedBufTest, CopiesNothingAndAllocatesNothing) {
  const ThreadCounts before = thread_counts();
  Buf buf = pool_->take();
  const std::byte* data = buf.data();
  const SharedBuf shared(std::move(buf));
  EXPECT_EQ(shared.data(), data);
  EXPECT_EQ(thread_counts().bytes_copied, before.bytes_copied);
}

TEST_F(SharedBufTest, IsCollectedWhenThePoolRunsOut) {
  pool_->set_blocks_max(1);
  SharedBuf shared(pool_->take());
  EXPECT_TRUE(pool_->take().empty());
  shared = {};
  EXPECT_FALSE(pool_->take().empty());
}

TEST_F(SharedBufTest, KeepsTheBytesReadOnlyForItsOwnThread) {
  Buf buf = make("hello");
  Buf other = buf.share();
  const SharedBuf shared(std::move(other));
  EXPECT_EQ(buf.headroom(), 0u);
  EXPECT_DEATH(static_cast<void>(buf.writable()), "write: .* 2 handles");
}

TEST_F(SharedBufTest, OneBlockCrossesInSlicesAndComesHomeOnce) {
  Buf rest = make("onetwothree");
  SharedBuf one(rest.split_front(3)), two(rest.split_front(3));
  on_another_thread([one = std::move(one)] { EXPECT_EQ(one.text(), "one"); });
  EXPECT_EQ(pool_->collect_returns(), 0u);
  rest.reset();
  EXPECT_EQ(pool_->in_use(), 1u);
  on_another_thread([two = std::move(two)] { EXPECT_EQ(two.text(), "two"); });
  EXPECT_EQ(pool_->collect_returns(), 1u);
  EXPECT_EQ(pool_->in_use(), 0u);
}

TEST_F(SharedBufTest, CrossesAgainWhileItWaitsToBeCollected) {
  Buf buf = make("hello");
  for (int round = 0; round < 3; ++round) {
    SharedBuf first(buf.share());
    first = {};  // Waits in the list.
    SharedBuf second(buf.share());
    if (round == 1) second = {};  // Again, while it waits.
    EXPECT_EQ(pool_->collect_returns(), 0u);
    EXPECT_EQ(buf.text(), "hello");
    second = {};
    EXPECT_EQ(pool_->collect_returns(), 0u);
    EXPECT_TRUE(buf.is_unique());
  }
}

TEST_F(SharedBufTest, StaysChargedUntilItIsHome) {
  LoanAccount account{.generation = 1};
  SharedBuf shared(pool_->loan(pool_->take_for_backend(BlockState::posted), 0, 10, &account));
  shared = {};
  EXPECT_EQ(account.loaned_bytes, 1024u);
  pool_->collect_returns();
  EXPECT_EQ(account.loaned_bytes, 0u);
}

TEST_F(SharedBufTest, IsNamedInTheReport) {
  const SharedBuf shared(make("hello"));
  EXPECT_THAT(ledger_.report(), ::testing::HasSubstr("app and shared for"));
}

TEST_F(SharedBufTest, WakesTheHomeThreadOncePerCollection) {
  std::atomic<int> wakes = 0;
  pool_->set_on_remote_return([](void* context) { ++*static_cast<std::atomic<int>*>(context); },
                              &wakes);
  SharedBuf shared[3] = {SharedBuf(make("a")), SharedBuf(make("b")), SharedBuf(make("c"))};
  on_another_thread([&] { shared[0] = shared[1] = {}; });
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(pool_->collect_returns(), 2u);
  on_another_thread([&] { shared[2] = {}; });
  EXPECT_EQ(wakes, 2);
}

TEST_F(SharedBufTest, GivesABufOnAnyThread) {
  SharedBuf shared(make("hello"));
  on_another_thread([shared = std::move(shared)]() mutable {
    Buf buf = shared.buf();
    shared = {};
    Buf tail = buf.share();
    tail.trim_front(2);
    buf.reset();
    EXPECT_EQ(tail.text(), "llo");
    EXPECT_EQ(tail.headroom(), 0u);
    Block& block = *tail.block();
    hold_zero_copy(block);  // A send of this thread's loop reads it.
    tail.reset();
    EXPECT_EQ(block.state, BlockState::zc_pending);
    release_zero_copy(block);
  });
  EXPECT_EQ(pool_->collect_returns(), 1u);
}

// What no pool owns crosses too; only a heap block that is held whole does so without a copy.
struct Foreign {
  const char* name;
  Buf (*make)(Pool& pool);
  std::uint64_t copied;
};
Buf taken_together(Pool& pool) {
  BufChain pieces;
  pieces.append(fill(pool.take(), std::string(1000, 'x')));
  pieces.append(fill(pool.take(), std::string(1000, 'x')));
  return pieces.take(2000);
}
const Foreign kForeign[] = {
    {"Heap", taken_together, 0},
    {"HeapWithASecondHandle",
     [](Pool& pool) {
       static Buf other;
       other = taken_together(pool);
       return other.split_front(1000);
     },
     1000},
    {"Borrowed",
     [](Pool&) {
       static const std::string text(500, 'x');
       return Buf::borrow(std::as_bytes(std::span(text)), nullptr, nullptr);
     },
     500},
    {"OfAnotherSharedBuf",
     [](Pool& pool) { return SharedBuf(fill(pool.take(), std::string(300, 'x'))).buf(); }, 300},
};
class SharedBufForeign : public SharedBufTest, public ::testing::WithParamInterface<Foreign> {};

TEST_P(SharedBufForeign, Crosses) {
  Buf buf = GetParam().make(*pool_);
  const std::size_t size = buf.size();
  const std::uint64_t before = thread_counts().bytes_copied;
  SharedBuf shared(std::move(buf));
  EXPECT_EQ(thread_counts().bytes_copied - before, GetParam().copied);
  on_another_thread(
      [shared = std::move(shared), size] { EXPECT_EQ(shared.text(), std::string(size, 'x')); });
  pool_->collect_returns();
  EXPECT_EQ(pool_->in_use(), 0u);
}
INSTANTIATE_TEST_SUITE_P(All, SharedBufForeign, ::testing::ValuesIn(kForeign),
                         [](const auto& row) { return row.param.name; });

// The pool ends first. The leak checker and the address sanitizer say whether the memory went when it should.
TEST_F(SharedBufTest, OutlivesItsPool) {
  SharedBuf shared(make("hello"));
  EXPECT_THAT(end_pool(), ::testing::HasSubstr("1 of 1 blocks held"));
  on_another_thread([shared = std::move(shared)] { EXPECT_EQ(shared.text(), "hello"); });
}

TEST_F(SharedBufTest, ReturnedBeforeThePoolEndsItIsHome) {
  SharedBuf(make("hello")) = {};
  EXPECT_EQ(end_pool(), "");
}

TEST_F(SharedBufTest, OutlivesItsPoolBesideAHandleOfItsOwnThread) {
  for (const bool shared_goes_first : {true, false}) {
    pool_ = std::make_unique<Pool>(Pool::Options{}, ledger_);
    Buf buf = make("hello");
    SharedBuf shared(buf.share());
    EXPECT_THAT(end_pool(), ::testing::HasSubstr("1 of 1 blocks held"));
    if (shared_goes_first) {
      on_another_thread([shared = std::exchange(shared, {})] { EXPECT_EQ(shared.size(), 5u); });
      EXPECT_TRUE(buf.is_unique());
      EXPECT_EQ(buf.text(), "hello");
      buf.reset();
    } else {
      EXPECT_FALSE(buf.is_unique());
      buf.reset();
      on_another_thread(
          [shared = std::exchange(shared, {})] { EXPECT_EQ(shared.text(), "hello"); });
    }
  }
}

TEST_F(SharedBufTest, OutlivesItsPoolBesideASendInTheKernel) {
  Buf buf = make("hello");
  Block& block = *buf.block();
  hold_zero_copy(block);
  SharedBuf shared(std::move(buf));
  EXPECT_THAT(end_pool(), ::testing::HasSubstr("1 of 1 blocks held"));
  on_another_thread([shared = std::move(shared)] { EXPECT_EQ(shared.text(), "hello"); });
  EXPECT_EQ(block.state, BlockState::zc_pending);  // Still there: the kernel reads it.
  release_zero_copy(block);
}

TEST_F(SharedBufTest, TellsNobodyOnceItsLoopIsGone) {
  std::atomic<int> wakes = 0;
  pool_->set_on_remote_return([](void* context) { ++*static_cast<std::atomic<int>*>(context); },
                              &wakes);
  SharedBuf shared(make("hello"));
  pool_->set_on_remote_return(nullptr, nullptr);
  on_another_thread([shared = std::move(shared)] { EXPECT_EQ(shared.text(), "hello"); });
  EXPECT_EQ(wakes, 0);
  EXPECT_EQ(pool_->collect_returns(), 1u);
}

TEST_F(SharedBufTest, AnOrphanCrossesAsWell) {
  Buf buf = make("hello");
  static_cast<void>(end_pool());
  SharedBuf first(buf.share()), second(std::move(buf));
  first = {};
  on_another_thread([second = std::move(second)] { EXPECT_EQ(second.text(), "hello"); });
}

TEST(SharedBufLoop, WakesALoopThatSleeps) {
  Result<std::unique_ptr<Loop>> made = Loop::make({.ledger = LedgerLevel::all});
  ASSERT_TRUE(made) << made.error().to_string();
  Loop& loop = *made.value();
  Timer timer(loop);
  timer.arm(std::chrono::minutes(1), [] { FAIL() << "nobody woke the loop"; });
  SharedBuf shared(loop.copy_of("hello"));
  EXPECT_THAT(loop.report(), ::testing::HasSubstr("app and shared"));
  std::thread thread([&] { shared = {}; });
  loop.run(RunMode::once);
  thread.join();
  loop.run(RunMode::no_wait);
  EXPECT_THAT(loop.report(), ::testing::Not(::testing::HasSubstr("app and shared")));
}

// A crowd: one home thread that shares slices and collects, others that copy, read, pass on and drop them, and a
// pool that ends while they do.
class Mailbox {
 public:
  void put(SharedBuf buf) {
    const std::lock_guard held(lock_);
    bufs_.push_back(std::move(buf));
  }
  SharedBuf take(std::uint32_t which) {
    const std::lock_guard held(lock_);
    if (bufs_.empty()) return {};
    std::swap(bufs_[which % bufs_.size()], bufs_.back());
    SharedBuf buf = std::move(bufs_.back());
    bufs_.pop_back();
    return buf;
  }

 private:
  std::mutex lock_;
  std::vector<SharedBuf> bufs_;
};

// Every block is filled with one byte, so that anybody can check a slice.
bool is_whole(const SharedBuf& shared) {
  const auto bytes = shared.bytes();
  return std::all_of(bytes.begin(), bytes.end(), [&](std::byte byte) { return byte == bytes[0]; });
}

void serve(Mailbox& mailbox, std::atomic<bool>& is_over, std::uint32_t seed) {
  std::mt19937 random(seed);
  while (!is_over.load()) {
    SharedBuf shared = mailbox.take(static_cast<std::uint32_t>(random()));
    if (shared.empty()) {
      std::this_thread::yield();
      continue;
    }
    EXPECT_TRUE(is_whole(shared));
    switch (random() % 4) {
      case 0: mailbox.put(shared); break;
      case 1: mailbox.put(std::move(shared)); break;
      case 2: {
        const Buf buf = shared.buf();
        shared = {};
        const Buf other = buf.share();
        break;
      }
      default: break;
    }
  }
}

TEST(SharedBufCrowd, LosesNothing) {
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const bool pool_ends_first = seed % 2 == 0;
    std::mt19937 random(seed);
    Mailbox mailbox;
    std::atomic<bool> is_over = false;
    std::atomic<int> wakes = 0;
    Ledger ledger(LedgerLevel::sampled);
    auto pool = std::make_unique<Pool>(
        Pool::Options{.block_bytes = 256, .blocks_max = 64, .slab_blocks = 8}, ledger);
    pool->set_on_remote_return([](void* context) { ++*static_cast<std::atomic<int>*>(context); },
                               &wakes);
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] { serve(mailbox, is_over, seed * 100 + i); });
    }
    std::vector<Buf> kept;
    for (int step = 0; step < 2000; ++step) {
      Buf buf = pool->take();
      while (buf.empty()) {  // All are with the others, who drop some.
        kept.clear();
        std::this_thread::yield();
        buf = pool->take();
      }
      std::fill_n(buf.writable(), buf.size(), static_cast<std::byte>(step));
      while (random() % 3 != 0 && buf.size() > 32) mailbox.put(SharedBuf(buf.split_front(32)));
      if (random() % 2 == 0) kept.push_back(std::move(buf));
      if (kept.size() > 16) kept.erase(kept.begin(), kept.begin() + random() % 16);
      if (random() % 8 == 0) pool->collect_returns();
    }
    ::testing::internal::CaptureStderr();
    if (pool_ends_first) {
      pool.reset();
      for (const Buf& buf : kept) mailbox.put(SharedBuf(buf.share()));
      kept.clear();
    }
    is_over = true;
    for (std::thread& thread : threads) thread.join();
    while (mailbox.take(0)) {
    }
    kept.clear();
    if (pool != nullptr) {
      pool->collect_returns();
      EXPECT_EQ(pool->in_use(), 0u);
    }
    pool.reset();
    static_cast<void>(::testing::internal::GetCapturedStderr());
    EXPECT_GT(wakes, 0);
  }
}

}  // namespace
}  // namespace weir
