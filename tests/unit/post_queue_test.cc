// The queue between threads: nothing lost, nothing twice, each producer's order kept. The threads meet at queues and
// semaphores only.
#include "src/loop/post_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

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

}  // namespace
}  // namespace weir
