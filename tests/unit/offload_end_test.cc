// The ends of offloaded work: whichever comes first (the task's, the deadline's, the pool's, the loop's), whoever waits is
// told once, nobody waits for ever, and what the work captured goes where it was made.
#include "tests/unit/offload_rig.h"

#include <random>

namespace weir::test {
namespace {

class OffloadEndTest : public OffloadTest {};

TEST_P(OffloadEndTest, CancelledWhileItWaitsItNeverRuns) {
  auto pool = make_pool(one_thread());
  Gate gate;
  std::atomic<int> ran_count = 0;
  Scope running, waiting;
  const auto blocks = [&]() -> Task<> {
    co_await offload(
        *pool, Work::cpu, [&](Counted&) { gate.pass(); }, Counted());
  };
  const auto waits = [&]() -> Task<> {
    co_await offload(
        *pool, Work::cpu, [&](Counted&) { ++ran_count; }, Counted());
  };
  running.spawn(blocks(), "blocks");
  rig_->turns(2);
  gate.wait_for(1);
  const int live_count_ = Counted::live_count_;
  for (int i = 0; i < 3; ++i) waiting.spawn(waits(), "waits");
  rig_->turns(2);
  EXPECT_EQ(waiting_count(*pool, Work::cpu), 3u);
  waiting.cancel();
  EXPECT_EQ(waiting_count(*pool, Work::cpu), 0u);
  EXPECT_EQ(Counted::live_count_, live_count_);
  gate.open();
  until([&] { return running.count() == 0; });
  EXPECT_EQ(ran_count, 0);
  EXPECT_EQ(metrics().offloads_cancelled, 3u);
  EXPECT_EQ(metrics().offloads_done, 1u);
  expect_nothing_pending();
}

TEST_P(OffloadEndTest, CancelledWhileItRunsItIsAskedToStopAndItsOutcomeDropped) {
  std::atomic<bool> is_running = false, was_asked = false;
  Scope scope;
  const auto works = [&]() -> Task<> {
    co_await offload(
        [&](const StopAsked& stop, Counted&) {
          is_running = true;
          while (!stop.asked()) std::this_thread::yield();
          was_asked = true;
          return Counted();
        },
        Counted());
    ADD_FAILURE() << "went on";
  };
  scope.spawn(works(), "works");
  rig_->turns(2);
  while (!is_running) std::this_thread::yield();
  scope.cancel();
  EXPECT_FALSE(loop().is_alive());  // what nobody waits for does not keep it alive
  EXPECT_EQ(metrics().offloads_abandoned, 1u);
  until([&] { return metrics().offloads_pending == 0; });
  EXPECT_TRUE(was_asked);
}

TEST_P(OffloadEndTest, ADeadlineEndsWorkThatWaitsAndWorkThatRuns) {
  auto pool = make_pool(one_thread());
  Gate gate;
  Error running, waiting;
  std::atomic<bool> has_run = false;
  const auto runs = [&]() -> Task<> {
    Result<Counted> got = co_await result(offload(
        {.timeout = 5ms, .pool = pool.get()},
        [&](Counted&) {
          gate.pass();
          return Counted();
        },
        Counted()));
    running = got.error();
  };
  const auto waits = [&]() -> Task<> {
    Result<void> got = co_await result(offload(
        {.timeout = 1ms, .pool = pool.get()}, [&](Counted&) { has_run = true; }, Counted()));
    waiting = got.error();
  };
  const auto both = [&]() -> Task<> { co_await when_all(runs(), waits()); };
  EXPECT_TRUE(run(both).ok());
  EXPECT_EQ(running, Errc::timed_out);
  EXPECT_EQ(waiting, Errc::timed_out);
  EXPECT_EQ(metrics().offload_timeouts, 2u);
  EXPECT_EQ(metrics().offloads_abandoned + metrics().offloads_cancelled, 2u);
  gate.open();
  until([&] { return metrics().offloads_pending == 0; });
  EXPECT_FALSE(has_run);
}

TEST_P(OffloadEndTest, AnOutcomeInTimeDropsTheDeadline) {
  const auto body = []() -> Task<> { co_await offload({.timeout = 1h}, [] {}); };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(metrics().offload_timeouts, 0u);
  expect_nothing_pending();
}

TEST_P(OffloadEndTest, ACancelledCallbackDoesNotRun) {
  Gate gate;
  auto pool = make_pool(one_thread());
  OffloadCall runs(loop()), waits(loop());
  const auto fails = [counted = Counted()](Result<void>) { ADD_FAILURE() << "called"; };
  ASSERT_EQ(runs.start(
                *pool, Work::cpu, [&] { gate.pass(); }, fails),
            Posted::queued);
  ASSERT_EQ(waits.start(
                *pool, Work::cpu, [] {}, fails),
            Posted::queued);
  gate.wait_for(1);
  runs.cancel();
  waits.cancel();
  EXPECT_FALSE(runs.is_pending());
  gate.open();
  until([&] { return metrics().offloads_pending == 0; });
  EXPECT_EQ(metrics().offloads_cancelled, 1u);
  EXPECT_EQ(metrics().offloads_abandoned, 1u);
}

TEST_P(OffloadEndTest, ACallbackHearsOfItsDeadline) {
  Gate gate;
  OffloadCall call(loop());
  Error got;
  ASSERT_EQ(call.start(
                {.timeout = 1ms}, [&] { gate.pass(); },
                [&, counted = Counted()](Result<void> outcome) { got = outcome.error(); }),
            Posted::queued);
  until([&] { return !call.is_pending(); });
  EXPECT_EQ(got, Errc::timed_out);
  gate.open();
  until([&] { return metrics().offloads_pending == 0; });
}

TEST_P(OffloadEndTest, APoolThatEndsTellsWhoWaits) {
  auto pool = make_pool(one_thread());
  Gate gate;
  int done_count = 0, closed_count = 0;
  Scope scope;
  const auto one = [&]() -> Task<> {
    Result<void> got = co_await result(offload(
        *pool, Work::cpu, [&](Counted&) { gate.pass(); }, Counted()));
    EXPECT_TRUE(got.ok() || got.error() == Errc::closed) << got.error().to_string();
    ++(got.ok() ? done_count : closed_count);
  };
  for (int i = 0; i < 4; ++i) scope.spawn(one(), "one");
  rig_->turns(2);
  gate.wait_for(1);
  std::thread ends([&] { pool.reset(); });  // waits for what runs
  until([&] { return closed_count == 3; });
  gate.open();
  ends.join();
  until([&] { return scope.count() == 0; });
  EXPECT_EQ(done_count, 1);
  EXPECT_EQ(metrics().offloads_cancelled, 3u);
  expect_nothing_pending();
}

TEST_P(OffloadEndTest, APoolThatEndsAsksWhatRunsToStop) {
  auto pool = make_pool();
  std::atomic<int> running_count = 0;
  Scope scope;
  const auto one = [&](Work work) -> Task<> {
    co_await offload(*pool, work, [&](const StopAsked& stop) {
      ++running_count;
      while (!stop.asked()) std::this_thread::yield();
    });
  };
  for (int i = 0; i < 3; ++i) scope.spawn(one(static_cast<Work>(i)), "one");
  rig_->turns(2);
  while (running_count != 3) std::this_thread::yield();
  pool.reset();
  until([&] { return scope.count() == 0; });
  EXPECT_EQ(metrics().offloads_done, 3u);
}

TEST_P(OffloadEndTest, APoolLeavesThreadsThatDoNotEndInTime) {
  OffloadLimits limits = one_thread();
  limits.stop_ns = 1'000'000;
  auto pool = make_pool(limits);
  Gate gate;
  bool is_done = false;
  Scope scope;
  const auto one = [&]() -> Task<> {
    co_await offload(
        *pool, Work::cpu, [&](Counted&) { gate.pass(); }, Counted());
    is_done = true;
  };
  scope.spawn(one(), "one");
  rig_->turns(2);
  gate.wait_for(1);
  ::testing::internal::CaptureStderr();
  pool.reset();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "weir: an offload pool ended while work ran on 1 of its threads\n");
  EXPECT_FALSE(is_done);
  gate.open();  // its outcome still comes
  until([&] { return is_done; });
}

TEST_P(OffloadEndTest, ALoopThatEndsTellsWhoWaitsAndWaitsForWhatRuns) {
  Gate gate;
  Error running, waiting;
  int ended_count = 0;
  {
    auto loop_owner = rig_->take();
    Loop& ending = *loop_owner;
    auto pool = make_pool(one_thread());
    OffloadCall runs(ending), waits(ending);
    ASSERT_EQ(runs.start(
                  *pool, Work::cpu,
                  [&, counted = Counted()] {
                    gate.pass();
                    return Counted();
                  },
                  [&](Result<Counted> got) {
                    running = got.error();
                    gate.open();  // nobody waits for it, but the loop does before it goes
                  }),
              Posted::queued);
    gate.wait_for(1);
    ASSERT_EQ(waits.start(
                  *pool, Work::cpu, [counted = Counted()] { ADD_FAILURE() << "ran"; },
                  [&](Result<void> got) { waiting = got.error(); }),
              Posted::queued);
    struct AtEnd {
      int& count;
      ~AtEnd() { ++count; }
    };
    const auto task = [&]() -> Task<> {
      const AtEnd at_end{ended_count};
      co_await offload(
          *pool, Work::cpu, [](Counted&) { ADD_FAILURE() << "ran"; }, Counted());
    };
    ending.spawn(task(), "task");
    ending.run(RunMode::no_wait);
    ::testing::internal::CaptureStderr();
    loop_owner.reset();
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");  // a task of the loop ends with it
    EXPECT_FALSE(runs.is_pending());
    EXPECT_FALSE(waits.is_pending());
  }
  EXPECT_EQ(running, Errc::stopped);
  EXPECT_EQ(waiting, Errc::stopped);
  EXPECT_EQ(ended_count, 1);
  EXPECT_EQ(gate.passed_count(), 1);
}

TEST_P(OffloadEndTest, ALoopLeavesWorkThatDoesNotEndInTime) {
  Gate gate;
  static std::atomic<int> closure_count;
  struct Closure {
    Closure() { ++closure_count; }
    Closure(const Closure&) { ++closure_count; }
    ~Closure() { --closure_count; }
  };
  Limits limits;
  limits.shutdown_ns = 1'000'000;
  auto pool = make_pool();
  ::testing::internal::CaptureStderr();
  {
    auto ending = Loop::make({.backend = GetParam(), .limits = limits}).value();
    OffloadCall call(*ending);
    ASSERT_EQ(call.start(
                  *pool, Work::cpu, [&, closure = Closure()] { gate.pass(); }, [](Result<void>) {}),
              Posted::queued);
    gate.wait_for(1);
    ending.reset();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "weir: loop \"loop\" ended while 1 pieces of its offloaded work ran\n");
  EXPECT_EQ(closure_count, 1);
  gate.open();
  pool.reset();
  EXPECT_EQ(closure_count, 0);
}

TEST_P(OffloadEndTest, NothingStartsInALoopThatEnds) {
  auto loop_owner = rig_->take();
  OffloadCall first(*loop_owner), second(*loop_owner);
  Gate gate;
  Posted answer = Posted::queued;
  ASSERT_EQ(first.start(
                Work::cpu, [&] { gate.pass(); },
                [&](Result<void>) {
                  gate.open();
                  answer = second.start(
                      Work::cpu, [] {}, [](Result<void>) { ADD_FAILURE() << "called"; });
                }),
            Posted::queued);
  gate.wait_for(1);
  loop_owner.reset();
  EXPECT_EQ(answer, Posted::ended);
}

// Tasks that come and go at random while threads take, run and give back: what is counted adds up, and nothing is left.
TEST_P(OffloadEndTest, TheAccountsBalanceHoweverItEnds) {
  OffloadLimits limits;
  limits.queue_max = 4;
  auto pool = make_pool(limits);
  std::mt19937 random(20261124);
  std::uint64_t ended_count = 0;
  const auto one = [&](int timeout_us) -> Task<> {
    OffloadOptions options;
    options.timeout = std::chrono::microseconds(timeout_us);
    options.pool = pool.get();
    Result<Counted> got = co_await result(offload(
        options,
        [](Counted&) {
          std::this_thread::yield();
          return Counted();
        },
        Counted()));
    ++ended_count;
  };
  for (int round = 0; round < 60; ++round) {
    Scope scope;
    for (auto i = random() % 20; i > 0; --i)
      scope.spawn(one(random() % 3 == 0 ? 1 + static_cast<int>(random() % 100) : 0), "one");
    rig_->turns(static_cast<int>(random() % 10));
    if (random() % 2 == 0) until([&] { return scope.count() == 0; });
  }
  until([&] { return metrics().offloads_pending == 0; });
  const Metrics& counts = metrics();
  EXPECT_EQ(counts.offloads,
            counts.offloads_done + counts.offloads_cancelled + counts.offloads_abandoned);
  EXPECT_GT(counts.offloads_done, 0u);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, OffloadEndTest, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
