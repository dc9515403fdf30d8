// Offloading: work runs on a pool's threads, its outcome comes back on the loop that asked, queues are bounded and told, and
// sockets go on whatever the threads do.
#include "tests/unit/offload_rig.h"

#include <stdexcept>
#include <string>

namespace weir::test {
namespace {

TEST_P(OffloadTest, RunsElsewhereAndComesBackOnTheLoop) {
  std::thread::id ran, resumed;
  std::string got;
  const auto body = [&]() -> Task<> {
    const std::string text = "some text that does not fit into a short string";
    got = co_await offload(
        [&ran](const std::string& given, const Counted&) {
          ran = std::this_thread::get_id();
          return given + "!";
        },
        text, Counted());
    resumed = std::this_thread::get_id();
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(got, "some text that does not fit into a short string!");
  EXPECT_EQ(resumed, std::this_thread::get_id());
  EXPECT_NE(ran, resumed);
  EXPECT_EQ(metrics().offloads, 1u);
  EXPECT_EQ(metrics().offloads_done, 1u);
  expect_nothing_pending();
}

TEST_P(OffloadTest, ValuesMayBeMoveOnlyOrNone) {
  int called_count = 0;
  std::unique_ptr<int> got;
  const auto body = [&]() -> Task<> {
    co_await offload(Work::file, [&] { ++called_count; });
    auto owned = std::make_unique<int>(7);
    got = co_await offload(
        Work::dns, [](std::unique_ptr<int>& given) { return std::move(given); }, std::move(owned));
    auto named = [owned = std::make_unique<int>(8)] { return *owned; };
    EXPECT_EQ(co_await offload([](auto& work) { return work(); }, std::move(named)), 8);
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(called_count, 1);
  ASSERT_NE(got, nullptr);
  EXPECT_EQ(*got, 7);
}

TEST_P(OffloadTest, AResultIsTheOutcome) {
  int got = 0;
  Error caught;
  const auto body = [&]() -> Task<> {
    got = co_await offload([]() -> Result<int> { return 5; });
    co_await offload([]() -> Result<void> { return {}; });
    Result<int> failed = co_await result(
        offload([]() -> Result<int> { return Error::of(Errc::busy, Operation::read); }));
    caught = failed.error();
    co_await offload([]() -> Result<void> { return Error::of(Errc::no_space, Operation::write); });
    ADD_FAILURE() << "went on after an error";
  };
  EXPECT_EQ(run(body), Errc::no_space);
  EXPECT_EQ(got, 5);
  EXPECT_EQ(caught, Errc::busy);
}

#if defined(__cpp_exceptions)
TEST_P(OffloadTest, AnExceptionIsThrownWhereItIsAwaited) {
  std::string caught;
  const auto body = [&]() -> Task<> {
    try {
      co_await offload([](Counted&) -> int { throw std::runtime_error("no luck"); }, Counted());
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(caught, "no luck");
}

TEST_P(OffloadTest, AnExceptionThatNobodyCatchesEndsTheTask) {
  const auto body = []() -> Task<> {
    co_await offload([]() -> int { throw std::runtime_error("no luck"); });
  };
  EXPECT_EQ(run(body), Errc::exception);
}

TEST_P(OffloadTest, ACallbackHearsOfAnExceptionAsAnError) {
  OffloadCall call(loop());
  Error got;
  EXPECT_EQ(call.start(
                Work::cpu, []() -> int { throw std::runtime_error("no luck"); },
                [&](Result<int> outcome) { got = outcome.error(); }),
            Posted::queued);
  until([&] { return !call.is_pending(); });
  EXPECT_EQ(got.to_string(), "offload: exception: got \"no luck\"");
}
#endif

TEST_P(OffloadTest, ACallbackRunsOnTheLoopAndNeverInsideTheStart) {
  OffloadCall call(loop());
  std::thread::id told;
  int got = 0;
  EXPECT_EQ(call.start(
                Work::cpu, [counted = Counted()] { return 3; },
                [&, counted = Counted()](Result<int> outcome) {
                  EXPECT_FALSE(call.is_pending());
                  told = std::this_thread::get_id();
                  got = outcome.value();
                }),
            Posted::queued);
  EXPECT_TRUE(call.is_pending());
  EXPECT_EQ(got, 0);
  loop().run();
  EXPECT_EQ(got, 3);
  EXPECT_EQ(told, std::this_thread::get_id());
  expect_nothing_pending();
}

TEST_P(OffloadTest, ACallbackMayDestroyItsCallAndStartTheNext) {
  auto call = std::make_unique<OffloadCall>(loop());
  OffloadCall next(loop());
  bool is_done = false;
  EXPECT_EQ(call->start(
                Work::cpu, [] {},
                [&](Result<void>) {
                  call.reset();
                  EXPECT_EQ(next.start(
                                Work::cpu, [] {}, [&](Result<void>) { is_done = true; }),
                            Posted::queued);
                }),
            Posted::queued);
  loop().run();
  EXPECT_TRUE(is_done);
  EXPECT_EQ(call, nullptr);
}

TEST_P(OffloadTest, AFullQueueIsToldAndATaskWaitsForRoom) {
  Gate gate;
  auto pool = make_pool(one_thread(2));
  std::vector<int> order;
  OffloadCall calls[3] = {OffloadCall(loop()), OffloadCall(loop()), OffloadCall(loop())};
  const auto start = [&](int i) {
    return calls[i].start(
        *pool, Work::cpu, [&] { gate.pass(); }, [&order, i](Result<void>) { order.push_back(i); });
  };
  ASSERT_EQ(start(0), Posted::queued);
  gate.wait_for(1);
  OffloadCall queued[2] = {OffloadCall(loop()), OffloadCall(loop())};
  for (OffloadCall& call : queued) {
    ASSERT_EQ(call.start(
                  *pool, Work::cpu, [] {}, [&](Result<void>) { order.push_back(10); }),
              Posted::queued);
  }
  EXPECT_EQ(start(1), Posted::full);
  EXPECT_FALSE(calls[1].is_pending());
  // The classes have a queue each.
  EXPECT_EQ(calls[2].start(
                *pool, Work::file, [] {}, [&](Result<void>) { order.push_back(30); }),
            Posted::queued);
  Error refused;
  const auto waits = [&]() -> Task<> {
    OffloadOptions options;
    options.when_full = WhenFull::fail;
    options.pool = pool.get();
    Result<void> got = co_await result(offload(options, [] {}));
    refused = got.error();
    co_await yield();
    gate.open();
  };
  const auto waits_for_room = [&]() -> Task<> {
    co_await offload(*pool, Work::cpu, [] {});
    order.push_back(20);
  };
  const auto both = [&]() -> Task<> { co_await when_all(waits_for_room(), waits()); };
  EXPECT_TRUE(run(both).ok());
  until([&] { return order.size() == 5; });
  EXPECT_EQ(refused, Errc::queue_full);
  EXPECT_THAT(order, ::testing::UnorderedElementsAre(0, 10, 10, 30, 20));
  EXPECT_EQ(order[0], 0);
  EXPECT_EQ(metrics().offloads_refused, 2u);
  EXPECT_EQ(metrics().offloads_waited, 1u);
  expect_nothing_pending();
}

TEST_P(OffloadTest, OneThreadRunsWorkInOrder) {
  auto pool = make_pool(one_thread());
  std::vector<int> ran, told;
  const auto one = [&](int i) -> Task<> {
    co_await offload(*pool, Work::cpu, [&ran, i] { ran.push_back(i); });
    told.push_back(i);
  };
  Scope scope;
  std::vector<int> wanted;
  for (int i = 0; i < 100; ++i) {
    scope.spawn(one(i), "one");
    wanted.push_back(99 - i);
  }
  until([&] { return scope.count() == 0; });
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(ran, wanted);
  EXPECT_EQ(told, wanted);
}

TEST_P(OffloadTest, AClassHasItsOwnThreadsAndLeavesTheOthersGoing) {
  OffloadLimits limits;
  limits.threads_max = 3;
  limits.cpu_max = 2;
  auto pool = make_pool(limits);
  Gate gate;
  bool is_file_done = false;
  Scope scope;
  const auto blocks = [&]() -> Task<> { co_await offload(*pool, Work::cpu, [&] { gate.pass(); }); };
  for (int i = 0; i < 5; ++i) scope.spawn(blocks(), "blocks");
  rig_->turns(2);
  gate.wait_for(2);
  const auto reads = [&]() -> Task<> {
    co_await offload(*pool, Work::file, [] {});
    is_file_done = true;
  };
  EXPECT_TRUE(run(reads).ok());
  EXPECT_TRUE(is_file_done);
  EXPECT_EQ(gate.entered_count(), 2);
  EXPECT_EQ(running_count(*pool, Work::cpu), 2u);
  EXPECT_EQ(waiting_count(*pool, Work::cpu), 3u);
  gate.open();
  until([&] { return scope.count() == 0; });
  EXPECT_EQ(gate.passed_count(), 5);
  EXPECT_LE(pool->stats().thread_count, 3u);
}

TEST_P(OffloadTest, ThreadsStartWhenThereIsWorkAndNoneSleeps) {
  auto pool = make_pool();
  EXPECT_EQ(pool->stats().thread_count, 0u);
  const auto one_by_one = [&]() -> Task<> {
    co_await offload(*pool, Work::cpu, [] {});
    while (running_count(*pool, Work::cpu) != 0) co_await yield();
  };
  EXPECT_TRUE(run(one_by_one).ok());
  EXPECT_EQ(pool->stats().thread_count, 1u);
  Gate gate;
  Scope scope;
  const auto blocks = [&](Work work) -> Task<> {
    co_await offload(*pool, work, [&] { gate.pass(); });
  };
  for (int i = 0; i < 10; ++i) scope.spawn(blocks(static_cast<Work>(i % 3)), "blocks");
  rig_->turns(2);
  gate.wait_for(4);
  EXPECT_EQ(pool->stats().thread_count, 4u);
  gate.open();
  until([&] { return scope.count() == 0; });
}

// Two loops on two threads and one pool: each gets its own outcomes, and all of them, also past full post queues.
TEST_P(OffloadTest, SeveralLoopsShareAPool) {
  constexpr int kRounds = 200;
  auto pool = make_pool();
  const auto make_loop = [] {
    Limits limits;
    limits.posts_max = 1;
    limits.posts_per_turn = 3;
    return Loop::make({.backend = GetParam(), .limits = limits}).value();
  };
  const auto serve = [&](Loop& own, int base, int& sum) {
    const auto one = [&](int i) -> Task<> {
      const int got = co_await offload(*pool, static_cast<Work>(i % 3), [=] { return base + i; });
      EXPECT_EQ(got, base + i);
      sum += got - base;
    };
    for (int i = 0; i < kRounds; ++i) own.spawn(one(i), "one");
    own.run();
    EXPECT_EQ(own.metrics().offloads_done, static_cast<std::uint64_t>(kRounds));
  };
  int sums[2] = {};
  auto here =
      make_loop();  // one after another: their rings come from memory that a sanitizer knows nothing of
  std::thread other([&] { serve(*make_loop(), 1000, sums[1]); });
  serve(*here, 0, sums[0]);
  other.join();
  EXPECT_EQ(sums[0], kRounds * (kRounds - 1) / 2);
  EXPECT_EQ(sums[1], sums[0]);
}

// Sockets go on while every thread of the pool is stuck, and as many as wait besides.
TEST_P(OffloadTest, ThreadsThatAreStuckDoNotDelaySockets) {
  Gate gate;
  Scope scope;
  const auto blocks = [&](Work work) -> Task<> { co_await offload(work, [&] { gate.pass(); }); };
  for (int i = 0; i < 30; ++i) scope.spawn(blocks(static_cast<Work>(i % 3)), "blocks");
  rig_->turns(2);
  gate.wait_for(4);
  Stream one, other;
  std::tie(one, other) = connect_streams(*rig_);
  int round_count = 0;
  const auto echoes = [&]() -> Task<> {
    while (Buf bytes = co_await other.read()) co_await other.write(std::move(bytes));
    co_await other.finish();
  };
  const auto asks = [&]() -> Task<> {
    for (; round_count < 100; ++round_count) {
      co_await one.write("ping");
      Buf back = co_await one.read_exact(4);
    }
    co_await one.finish();
  };
  const auto both = [&]() -> Task<> { co_await when_all(echoes(), asks()); };
  EXPECT_TRUE(run(both).ok());
  EXPECT_EQ(round_count, 100);
  EXPECT_EQ(gate.entered_count(), 4);
  EXPECT_EQ(gate.passed_count(), 0);
  EXPECT_EQ(metrics().offloads_done, 0u);
  gate.open();
  until([&] { return scope.count() == 0; });
}

TEST_P(OffloadTest, TimesAreCounted) {
  const auto body = []() -> Task<> { co_await offload([] { std::this_thread::yield(); }); };
  EXPECT_TRUE(run(body).ok());
  EXPECT_GT(metrics().offload_wait_ns, 0u);
  EXPECT_GT(metrics().offload_run_ns, 0u);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, OffloadTest, ::testing::ValuesIn(kBackends), backend_name);

TEST(OffloadLimitsTest, AreCheckedWhenAPoolIsMade) {
  OffloadLimits limits;
  limits.threads_max = 0;
  EXPECT_EQ(OffloadPool::make(limits).error().to_string(),
            "start: invalid argument: got \"0\", expected offload.threads_max of 1 .. 1024");
}

TEST(OffloadMisuse, WithoutALoopOrTwiceAtOnceAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto twice = [] {
    auto loop = Loop::make({.backend = "epoll"}).value();
    Gate gate;
    OffloadCall call(*loop);
    for (int i = 0; i < 2; ++i) {
      static_cast<void>(call.start(
          Work::cpu, [&] { gate.pass(); }, [](Result<void>) {}));
    }
  };
  EXPECT_DEATH(twice(), "record_ == nullptr");
  const auto without = [] { static_cast<void>(detail::begin_offload(nullptr, {}, nullptr)); };
  EXPECT_DEATH(without(), "offload\\(\\) without a loop");
}

}  // namespace
}  // namespace weir::test
