// wake(): from any thread, coalesced, never lost. A wake that is lost shows as a poll that sleeps to its deadline, which
// is seconds away.
#include <atomic>
#include <thread>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

using std::chrono::milliseconds;

// Polls with a far deadline until `is_true`; false when a poll slept through.
bool poll_until(Rig& rig, const std::function<bool()>& is_true) {
  const auto far = rig.options().patience;
  while (!is_true()) {
    const std::uint64_t start = rig.backend().now();
    rig.step(far);
    const std::uint64_t slept = rig.backend().now() - start;
    if (slept >= static_cast<std::uint64_t>(std::chrono::nanoseconds(far).count())) {
      rig.fail("a wake was lost");
      return false;
    }
  }
  return true;
}

void before_the_wait(Rig& rig) {
  rig.settle();
  for (int i = 0; i < 100; ++i) {
    rig.backend().wake();
    const std::uint64_t start = rig.backend().now();
    rig.step(rig.options().patience);
    const std::chrono::nanoseconds slept(rig.backend().now() - start);
    DEMAND(rig, slept < rig.options().patience / 2);
  }
}

void during_the_wait(Rig& rig) {
  std::atomic<bool> is_set = false;
  std::atomic<bool> is_waiting = false;
  std::thread other([&] {
    while (!is_waiting) std::this_thread::yield();
    is_set = true;
    rig.backend().wake();
  });
  is_waiting = true;
  poll_until(rig, [&] { return is_set.load(); });
  other.join();
}

// A thousand wakes are few turns, and then the loop sleeps again.
void coalesced(Rig& rig) {
  rig.settle();
  for (int i = 0; i < 1000; ++i) rig.backend().wake();
  std::uint64_t polls = 0;
  for (bool slept = false; !slept && polls < 1000; ++polls) {
    const std::uint64_t deadline = rig.backend().now() + 5'000'000;
    rig.backend().poll(deadline, rig.sink());
    slept = rig.backend().now() >= deadline;
  }
  DEMAND(rig, polls <= 5);
}

// Two sides answer each other; one lost wake and it stands still.
void ping_pong(Rig& rig) {
  constexpr int kRounds = 3000;
  std::atomic<int> asked = 0;
  std::atomic<int> answered = 0;
  std::atomic<bool> is_over = false;
  std::thread other([&] {
    for (int i = 1; i <= kRounds && !is_over; ++i) {
      asked = i;
      rig.backend().wake();
      while (answered < i && !is_over) std::this_thread::yield();
    }
  });
  for (int i = 1; i <= kRounds; ++i) {
    if (!poll_until(rig, [&] { return asked >= i; })) break;
    answered = i;
  }
  is_over = true;
  other.join();
  DEMAND_EQ(rig, answered.load(), kRounds);
}

// Several threads, no answer in between: what was set before the last wake is seen after it.
void from_many_threads(Rig& rig) {
  constexpr int kThreads = 3;
  constexpr int kEach = 2000;
  std::atomic<int> count = 0;
  std::vector<std::thread> others;
  for (int t = 0; t < kThreads; ++t) {
    others.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        ++count;
        rig.backend().wake();
      }
    });
  }
  poll_until(rig, [&] { return count == kThreads * kEach; });
  for (std::thread& other : others) other.join();
}

// A wake must not eat a result, nor a result a wake.
void together_with_data(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  for (std::size_t i = 1; i <= 200; ++i) {
    peer.send(10);
    rig.backend().wake();
    if (!poll_until(rig, [&] { return recv.bytes.size() == i * 10; })) return;
  }
}

const Row kRows[] = {
    {"WakeBeforeTheWait", 0, before_the_wait},     {"WakeDuringTheWait", 0, during_the_wait},
    {"WakesAreCoalesced", 0, coalesced},           {"WakePingPong", 0, ping_pong},
    {"WakeFromManyThreads", 0, from_many_threads}, {"WakeTogetherWithData", 0, together_with_data},
};

}  // namespace

std::span<const Row> wake_rows() { return kRows; }

}  // namespace weir::test
