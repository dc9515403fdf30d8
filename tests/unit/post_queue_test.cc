// The queue between threads and the wake state: nothing lost, nothing twice, each producer's order kept, no lost wake.
// The threads meet at queues and semaphores only; a wake that is lost shows as a wait that does not end in time.
#include "src/loop/post_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "src/loop/wake_state.h"

namespace weir {
namespace {

std::size_t drain(PostQueue& queue, std::size_t budget = 1'000'000) {
  return queue.drain(budget, [](Job&& job) { job.run(); });
}

class PostQueueCapacity : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(PostQueueCapacity, RefusesWhatIsOverItAndKeepsTheRefusedJob) {
  const std::uint32_t capacity = GetParam();
  PostQueue queue(capacity);
  std::vector<std::uint32_t> ran;
  for (std::uint32_t round = 0; round < 5; ++round) {
    ran.clear();
    std::uint32_t next = 0;
    const auto push = [&] {
      return queue.push([&ran, number = next] { ran.push_back(number); }) ? (++next, true) : false;
    };
    for (std::uint32_t i = 0; i < capacity; ++i) ASSERT_TRUE(push());
    EXPECT_EQ(queue.size(), capacity);
    Job refused = [&ran] { ran.push_back(1'000'000); };
    EXPECT_FALSE(queue.push(std::move(refused)));
    ASSERT_TRUE(refused);  // NOLINT(bugprone-use-after-move): it was not taken
    const std::size_t half = drain(queue, (capacity + 1) / 2);
    for (std::size_t i = 0; i < half; ++i) ASSERT_TRUE(push());  // exactly as many as left
    EXPECT_FALSE(push());
    EXPECT_EQ(drain(queue), capacity);
    EXPECT_TRUE(queue.empty());
    ASSERT_EQ(ran.size(), capacity + half);
    for (std::uint32_t i = 0; i < ran.size(); ++i) ASSERT_EQ(ran[i], i);
  }
}
INSTANTIATE_TEST_SUITE_P(Capacities, PostQueueCapacity,
                         ::testing::Values(1, 2, 3, 7, 8, 100, 1024, 65'536),
                         [](const auto& instance) { return std::to_string(instance.param); });

TEST(PostQueueTest, AJobMayPostToItsOwnQueue) {
  PostQueue queue(4);
  int ran_count = 0;
  ASSERT_TRUE(queue.push([&] {
    ++ran_count;
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.push([&] { ++ran_count; }));
    EXPECT_FALSE(queue.push([&] { ++ran_count; }));  // it counts itself until its drain ends
  }));
  EXPECT_EQ(drain(queue, 1), 1u);
  EXPECT_TRUE(queue.push([&] { ++ran_count; }));
  EXPECT_EQ(drain(queue), 4u);
  EXPECT_EQ(ran_count, 5);
}

TEST(PostQueueTest, DestroysWhatNeverRan) {
  const auto alive = std::make_shared<int>();
  {
    PostQueue queue(10);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(queue.push([alive] {}));
    EXPECT_EQ(drain(queue, 2), 2u);
    EXPECT_EQ(alive.use_count(), 4);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

// Tells from which address it is moved: in a drain that of its cell.
struct CellSpy {
  std::set<const void*>* addresses;
  explicit CellSpy(std::set<const void*>* out) : addresses(out) {}
  CellSpy(CellSpy&& other) noexcept : addresses(other.addresses) { addresses->insert(&other); }
  void operator()() const {}
};

TEST(PostQueueTest, UsesAsManyCellsAsJobsWaitedAtOnce) {
  PostQueue queue(65'536);
  std::set<const void*> addresses, first;
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(queue.push(CellSpy(&addresses)));
    addresses.clear();
    EXPECT_EQ(drain(queue), 10u);
    EXPECT_GE(addresses.size(), 10u);
    if (round == 0) first = addresses;
    ASSERT_EQ(addresses, first);
  }
}

#if defined(__cpp_exceptions)
TEST(PostQueueTest, GivesRoomBackAlsoAfterAJobThatThrows) {
  PostQueue queue(1);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(queue.push([] { throw std::runtime_error("on purpose"); }));
    EXPECT_THROW(drain(queue), std::runtime_error);
  }
}
#endif

// What one producer sent: its number and a counter that must arrive without a gap.
struct Ledger {
  std::vector<std::uint32_t> next;
  std::uint64_t total = 0;
  void take(std::size_t producer, std::uint32_t number) {
    EXPECT_EQ(number, next[producer]) << "of producer " << producer;
    ++next[producer];
    ++total;
  }
};

struct Row {
  std::string name;
  std::uint32_t capacity;
  std::size_t budget;
  friend std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }
};
constexpr std::size_t kProducers = 3;
constexpr std::uint32_t kPerProducer = 20'000;
constexpr std::uint32_t kRounds = 20'000;
class PostQueueStress : public ::testing::TestWithParam<Row> {};

TEST_P(PostQueueStress, LosesNothingAndKeepsEachProducersOrder) {
  PostQueue queue(GetParam().capacity);
  Ledger ledger{std::vector<std::uint32_t>(kProducers)};
  std::vector<std::thread> producers;
  for (std::size_t producer = 0; producer < kProducers; ++producer) {
    producers.emplace_back([&, producer] {
      for (std::uint32_t number = 0; number < kPerProducer; ++number) {
        Job job = [&ledger, producer, number] { ledger.take(producer, number); };
        // NOLINTNEXTLINE(bugprone-use-after-move): a refused job is left as it was
        while (!queue.push(std::move(job))) std::this_thread::yield();
      }
    });
  }
  while (ledger.total < kProducers * kPerProducer) {
    if (drain(queue, GetParam().budget) == 0) std::this_thread::yield();
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(drain(queue), 0u);
}
const Row kRows[] = {
    {"One", 1, 100},
    {"Tiny", 3, 2},
    {"OftenFull", 64, 1000},
    {"Roomy", 65'536, 1024},
};
INSTANTIATE_TEST_SUITE_P(Sizes, PostQueueStress, ::testing::ValuesIn(kRows),
                         [](const auto& instance) { return instance.param.name; });

// Lets a little time pass, and now and then the other thread run.
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
// time, which sweeps it over the moment of the next post.
TEST(WakeStateStress, NoWakeIsLost) {
  PostQueue posts(16);
  WakeState wake;
  std::atomic<std::uint32_t> wake_count{0};
  std::atomic<std::uint32_t> answered{0};
  std::atomic<bool> is_lost{false};
  std::thread producer([&] {
    for (std::uint32_t round = 1; round <= kRounds && !is_lost; ++round) {
      EXPECT_TRUE(posts.push([&answered, round] { answered.store(round); }));
      wake.notify([&] { wake_count.fetch_add(1); });
      spin_until([&] { return answered.load() == round || is_lost; });
    }
  });
  std::minstd_rand random(1);
  std::uint32_t sleep_count = 0;
  std::uint32_t wakes_seen = 0;
  while (answered.load() != kRounds && !is_lost) {
    if (drain(posts) != 0) continue;
    dawdle(random() % 300);
    if (!wake.try_sleep([&] { return !posts.empty(); })) continue;
    ++sleep_count;
    const auto started = std::chrono::steady_clock::now();
    spin_until([&] {
      is_lost = std::chrono::steady_clock::now() - started > std::chrono::seconds(20);
      return wake_count.load() != wakes_seen || is_lost;
    });
    wakes_seen = wake_count.load();
    wake.awake();
  }
  producer.join();
  EXPECT_FALSE(is_lost) << "asleep with a job queued, after " << answered << " rounds";
  EXPECT_GT(sleep_count, 0u);
}

// The loop marks itself asleep, then looks at its queue; a producer queues, then notifies. Whatever of the producer's two
// steps happens before the mark, between mark and look, or after the look, the loop does not sleep on.
struct Interleaving {
  std::string name;
  int queues_at;
  int notifies_at;
  friend std::ostream& operator<<(std::ostream& out, const Interleaving& row) {
    return out << row.name;
  }
};
class WakeStateOrder : public ::testing::TestWithParam<Interleaving> {};

TEST_P(WakeStateOrder, NeverSleepsOnAQueuedJob) {
  PostQueue posts(16);
  WakeState wake;
  bool is_woken = false;
  const auto act_at = [&](int moment) {
    if (GetParam().queues_at == moment) {
      EXPECT_TRUE(posts.push([] {}));
    }
    if (GetParam().notifies_at == moment) wake.notify([&] { is_woken = true; });
  };
  act_at(0);
  const bool is_asleep = wake.try_sleep([&] {
    act_at(1);
    const bool has_work = !posts.empty();
    act_at(2);
    return has_work;
  });
  EXPECT_TRUE(!is_asleep || is_woken);
}
const Interleaving kInterleavings[] = {
    {"BothBefore", 0, 0},       {"NotifiesAfterTheMark", 0, 1}, {"NotifiesAfterTheLook", 0, 2},
    {"BothAfterTheMark", 1, 1}, {"AroundTheLook", 1, 2},        {"BothAfterTheLook", 2, 2},
};
INSTANTIATE_TEST_SUITE_P(Interleavings, WakeStateOrder, ::testing::ValuesIn(kInterleavings),
                         [](const auto& instance) { return instance.param.name; });

TEST(WakeStateTest, OnlyASleeperIsWokenAndOnlyOnce) {
  WakeState wake;
  int wake_count = 0;
  const auto count = [&] { ++wake_count; };
  EXPECT_FALSE(wake.notify(count));  // it runs
  ASSERT_TRUE(wake.try_sleep([] { return false; }));
  EXPECT_TRUE(wake.notify(count));
  EXPECT_FALSE(wake.notify(count));  // somebody did
  EXPECT_TRUE(wake.awake());
  EXPECT_FALSE(wake.notify(count));
  EXPECT_EQ(wake_count, 1);
}

TEST(WakeStateTest, WorkFoundOnTheWayToSleepKeepsItAwake) {
  WakeState wake;
  EXPECT_FALSE(wake.try_sleep([] { return true; }));
  EXPECT_FALSE(wake.notify([] { FAIL() << "nobody sleeps"; }));
}

TEST(WakeStateTest, AWaitThatEndedByItselfWasNotNotified) {
  WakeState wake;
  ASSERT_TRUE(wake.try_sleep([] { return false; }));
  EXPECT_FALSE(wake.awake());
}

}  // namespace
}  // namespace weir
