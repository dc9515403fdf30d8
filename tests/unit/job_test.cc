// Job: closures of every kind are called, moved and destroyed as often as they should be, and know their source line.
#include "weir/job.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "src/loop/job_queue.h"

namespace weir {
namespace {

// Counts its copies alive, so that a lost or a second destruction shows. `Padding` bytes make it large.
template <std::size_t Padding>
class Counting {
 public:
  Counting(int& alive, int& called) : alive_(&alive), called_(&called) { ++*alive_; }
  Counting(Counting&& other) noexcept : alive_(other.alive_), called_(other.called_) { ++*alive_; }
  Counting(const Counting&) = delete;
  ~Counting() { --*alive_; }
  void operator()() { ++*called_; }

 private:
  int* alive_;
  int* called_;
  std::array<char, Padding> padding_{};
};
using Small = Counting<8>;
using Large = Counting<100>;

template <typename Closure>
class JobLife : public ::testing::Test {
 protected:
  int alive_ = 0;
  int called_ = 0;
  Job make() { return Job(Closure(alive_, called_)); }
};
using Closures = ::testing::Types<Small, Large>;
TYPED_TEST_SUITE(JobLife, Closures);

TYPED_TEST(JobLife, IsDestroyedOnceWithoutHavingRun) {
  { Job job = this->make(); }
  EXPECT_EQ(this->called_, 0);
  EXPECT_EQ(this->alive_, 0);
}

TYPED_TEST(JobLife, RunCallsOnceAndLeavesNothing) {
  Job job = this->make();
  job.run();
  EXPECT_EQ(this->called_, 1);
  EXPECT_EQ(this->alive_, 0);
  EXPECT_FALSE(job);
}

TYPED_TEST(JobLife, ACallKeepsIt) {
  Job job = this->make();
  job();
  job();
  EXPECT_EQ(this->called_, 2);
  EXPECT_EQ(this->alive_, 1);
  EXPECT_TRUE(job);
}

TYPED_TEST(JobLife, MovesLeaveOneOwner) {
  Job first = this->make();
  Job second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): a moved-from job is empty
  Job third = this->make();
  third = std::move(second);
  EXPECT_EQ(this->alive_, 1);
  third = Job();
  EXPECT_EQ(this->alive_, 0);
}

TYPED_TEST(JobLife, IsEmptyWhileItRunsForTheLastTime) {
  Job job;
  bool was_empty = false;
  job = [&job, &was_empty] { was_empty = !job; };
  job.run();
  EXPECT_TRUE(was_empty);
}

TEST(JobTest, CarriesEverySizeOfPlainClosure) {
  std::uint64_t sum = 0;
  std::uint64_t* out = &sum;
  const std::array<std::uint64_t, 3> three{1, 20, 300};
  const std::array<std::uint64_t, 9> nine{1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::vector<Job> jobs;
  jobs.emplace_back([out] { *out += 1; });
  jobs.emplace_back([out, byte = char{4}] { *out += static_cast<std::uint64_t>(byte); });
  jobs.emplace_back([out, three] { *out += three[0] + three[1] + three[2]; });
  jobs.emplace_back([out, nine] { *out += nine[0] + nine[8]; });
  for (int i = 0; i < 100; ++i) jobs.emplace_back([] {});  // they move
  for (Job& job : jobs) job.run();
  EXPECT_EQ(sum, 1u + 4u + 321u + 10u);
}

TEST(JobTest, CarriesWhatCanOnlyBeMoved) {
  int got = 0;
  Job job = [value = std::make_unique<int>(7), &got] { got = *value; };
  Job moved = std::move(job);
  moved.run();
  EXPECT_EQ(got, 7);
}

TEST(JobTest, KeepsTheAlignmentOfAClosure) {
  struct alignas(64) Wide {
    bool* is_aligned;
    void operator()() const { *is_aligned = reinterpret_cast<std::uintptr_t>(this) % 64 == 0; }
  };
  bool is_aligned = false;
  Job job = Wide{&is_aligned};
  Job(std::move(job)).run();
  EXPECT_TRUE(is_aligned);
}

TEST(JobTest, CountsTheAllocationsOfLargeClosuresOnly) {
  const std::uint64_t before = Job::allocations();
  const std::array<char, Job::kInlineBytes> fits{};
  const std::array<char, Job::kInlineBytes + 1> large{};
  const Job small = [fits] { static_cast<void>(fits); };
  EXPECT_EQ(Job::allocations(), before);
  const Job big = [large] { static_cast<void>(large); };
  EXPECT_EQ(Job::allocations(), before + 1);
}

TEST(JobTest, KnowsTheLineThatMadeIt) {
  const auto queue = [](Job job) { return job.where(); };  // as Loop::immediate takes it
  const SourceLocation where = queue([] {});
  EXPECT_EQ(where.line(), static_cast<std::uint32_t>(__LINE__ - 1));
  EXPECT_TRUE(std::string_view(where.file_name()).ends_with("job_test.cc"));
  Job job = [] {};
  const std::uint32_t line = job.where().line();
  const Job moved = std::move(job);
  EXPECT_EQ(moved.where().line(), line);
}

#if defined(__cpp_exceptions)
TYPED_TEST(JobLife, IsDestroyedWhenItThrows) {
  Job job = [inner = this->make()]() mutable {
    inner();
    throw std::runtime_error("on purpose");
  };
  EXPECT_THROW(job.run(), std::runtime_error);
  EXPECT_FALSE(job);
  EXPECT_EQ(this->called_, 1);
  EXPECT_EQ(this->alive_, 0);
}
#endif

TEST(JobDeathTest, AnEmptyJobCannotRun) {
  EXPECT_DEATH(Job().run(), "kind_");
  EXPECT_DEATH(Job()(), "kind_");
}

TEST(JobQueueTest, RunsInTheOrderOfQueuingWhileItGrows) {
  JobQueue queue;
  std::vector<int> ran;
  int next = 0;
  for (int round = 0; round < 300;
       ++round) {  // pushes three and pops two: wraps, and grows while wrapped
    for (int i = 0; i < 3; ++i) {
      queue.push([&ran, number = std::make_unique<int>(next++)] { ran.push_back(*number); });
    }
    for (int i = 0; i < 2; ++i) queue.pop().run();
  }
  EXPECT_EQ(queue.size(), 300u);
  while (!queue.empty()) queue.pop().run();
  ASSERT_EQ(ran.size(), 900u);
  for (int i = 0; i < 900; ++i) EXPECT_EQ(ran[static_cast<std::size_t>(i)], i);
}

TEST(JobQueueTest, APhaseRunsOnlyWhatWasQueuedBeforeIt) {
  JobQueue queue;
  int ran_count = 0;
  const std::function<void()> again = [&] {
    ++ran_count;
    for (int i = 0; i < 3; ++i) queue.push(again);  // grows the ring under the running job
  };
  queue.push(again);
  for (const std::size_t expected : {1u, 3u, 9u, 27u, 81u}) {
    ran_count = 0;
    for (std::size_t left = queue.size(); left != 0; --left) queue.pop().run();
    EXPECT_EQ(ran_count, static_cast<int>(expected));
  }
}

TEST(JobQueueTest, TakesNoMemoryBeforeItsFirstJob) {
  JobQueue queue;
  EXPECT_EQ(queue.capacity(), 0u);
  EXPECT_TRUE(queue.empty());
  queue.push([] {});
  EXPECT_GT(queue.capacity(), 0u);
}

TEST(JobQueueTest, DestroysWhatNeverRan) {
  const auto alive = std::make_shared<int>();
  {
    JobQueue queue;
    for (int i = 0; i < 100; ++i) queue.push([alive] {});
    queue.pop().run();
    EXPECT_EQ(alive.use_count(), 100);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(JobQueueDeathTest, AnEmptyJobCannotBeQueued) { EXPECT_DEATH(JobQueue().push(Job()), "job"); }

TEST(JobQueueDeathTest, AnEmptyQueueHasNoOldest) { EXPECT_DEATH(JobQueue().pop(), "empty"); }

}  // namespace
}  // namespace weir
