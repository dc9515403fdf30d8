// The gate between a loop that goes to sleep and threads that wake it: no wake is lost, and only a sleeper costs a
// signal.
#include "src/os/wake_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

namespace weir::test {
namespace {

constexpr std::uint32_t kRounds = 20'000;

void dawdle(std::uint64_t spins) {
  for (; spins != 0; --spins)
    std::atomic_signal_fence(std::memory_order_seq_cst);  // keeps the loop
}
template <typename IsDone>
void spin_until(IsDone is_done) {
  for (std::uint32_t spins = 1; !is_done(); ++spins) {
    if (spins % 256 == 0) std::this_thread::yield();
  }
}

// One producer waits for each answer, so nobody else's wake can hide a lost one. The loop's way to sleep takes a random
// time, which sweeps it over the moment of the next wake.
TEST(WakeGateStress, NoWakeIsLost) {
  WakeGate gate;
  std::atomic<std::uint32_t> queued{0};
  std::atomic<std::uint32_t> signal_count{0};
  std::atomic<std::uint32_t> answered{0};
  std::atomic<bool> is_lost{false};
  std::thread producer([&] {
    for (std::uint32_t round = 1; round <= kRounds && !is_lost; ++round) {
      queued.store(round, std::memory_order_relaxed);
      if (gate.wake()) signal_count.fetch_add(1);
      spin_until([&] { return answered.load() == round || is_lost; });
    }
  });
  std::minstd_rand random(1);
  std::uint32_t sleep_count = 0;
  std::uint32_t signals_seen = 0;
  while (answered.load() != kRounds && !is_lost) {
    const std::uint32_t newest = queued.load(std::memory_order_relaxed);
    if (newest != answered.load()) {
      answered.store(newest);
      continue;
    }
    dawdle(random() % 300);
    if (gate.enter()) {
      ++sleep_count;
      const auto started = std::chrono::steady_clock::now();
      spin_until([&] {
        is_lost = std::chrono::steady_clock::now() - started > std::chrono::seconds(20);
        return signal_count.load() != signals_seen || is_lost;
      });
      signals_seen = signal_count.load();
    }
    gate.leave();
  }
  producer.join();
  EXPECT_FALSE(is_lost) << "asleep with something queued, after " << answered << " rounds";
  EXPECT_GT(sleep_count, 0u);
}

TEST(WakeGate, ARunningLoopIsNotSignalledButDoesNotSleep) {
  WakeGate gate;
  EXPECT_FALSE(gate.wake());
  EXPECT_FALSE(gate.enter());
  gate.leave();
  EXPECT_TRUE(gate.enter());  // the wake counted once
}

TEST(WakeGate, ASleeperIsSignalledOnce) {
  WakeGate gate;
  ASSERT_TRUE(gate.enter());
  EXPECT_TRUE(gate.wake());
  EXPECT_FALSE(gate.wake());
  EXPECT_TRUE(gate.leave());
  EXPECT_FALSE(gate.wake());
}

TEST(WakeGate, ATurnThatLooksFirstUsesTheWakeUp) {
  WakeGate gate;
  EXPECT_FALSE(gate.take_wake());
  EXPECT_FALSE(gate.wake());
  EXPECT_TRUE(gate.is_woken());
  EXPECT_TRUE(gate.take_wake());
  EXPECT_FALSE(gate.is_woken());
  EXPECT_TRUE(gate.enter());
}

TEST(WakeGate, AWaitThatEndedByItselfWasNotWoken) {
  WakeGate gate;
  ASSERT_TRUE(gate.enter());
  EXPECT_FALSE(gate.leave());
}

TEST(WakeGate, AForeignWaiterIsSignalledOnceAfterEachTurn) {
  WakeGate gate;
  gate.stay_asleep();
  EXPECT_TRUE(gate.wake());
  EXPECT_FALSE(gate.wake());
  gate.rest();
  EXPECT_TRUE(gate.wake());
}

}  // namespace
}  // namespace weir::test
