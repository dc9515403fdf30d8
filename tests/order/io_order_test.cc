// The sentences of docs/internals/turn.md that concern I/O, with sockets, on each backend.
#include <poll.h>

#include <thread>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class IoOrder : public LoopTest {
 protected:
  void note(std::string what) { log_.push_back(std::move(what)); }
  std::string log() {
    std::string text;
    for (const std::string& what : std::exchange(log_, {}))
      text += (text.empty() ? "" : " ") + what;
    return text;
  }
  std::pair<Stream, Stream> connect_pair() { return connect_streams(*rig_); }
  void write(Stream& to, std::string_view text) {
    Buf bytes = loop().copy_of(text);
    ASSERT_NE(to.try_write(bytes), Write::refused);
  }
  /// Lets what was written arrive in the kernel of the far end, without delivering it.
  void settle() { rig_->turns(3); }

  std::vector<std::string> log_;
};

TEST_P(IoOrder, T1_StepsOfATurnAroundInput) {
  auto [near, far] = connect_pair();
  Recorder handler;
  handler.on_bytes = [this] { note("data"); };
  far.start(handler);
  settle();
  Timer timer(loop());
  PrepareHook hook;
  loop().immediate([&, &to = near] {
    write(to, "x");  // leaves when this callback is over, so it is there when the next turn polls
    timer.arm(0ns, [this] { note("timer"); });
    loop().prepare(hook, [this] { note("prepare"); });
    EXPECT_EQ(loop().post([this] { note("post"); }), Posted::queued);
    loop().immediate([this] { note("immediate"); });
  });
  until([&] { return handler.bytes == "x"; });
  hook.unhook();
  const std::string order = log();  // the byte may come a turn later than the rest
  EXPECT_THAT(order,
              ::testing::AnyOf("timer prepare post data immediate",
                               ::testing::StartsWith("timer prepare post immediate prepare")));
}

TEST_P(IoOrder, T11_PostsComeBeforeData) {
  auto [near, far] = connect_pair();
  Recorder handler;
  handler.on_bytes = [this] { note("data"); };
  far.start(handler);
  settle();
  write(near, "x");
  std::thread([&] { EXPECT_EQ(loop().post([this] { note("post"); }), Posted::queued); }).join();
  until([&] { return log_.size() == 2; });
  EXPECT_EQ(log(), "post data");
}

TEST_P(IoOrder, T12_EachThreadsPostsRunInItsOrder) {
  constexpr int kThreads = 4, kPosts = 200;
  int next[kThreads] = {};
  int out_of_order = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kPosts; ++i) {
        EXPECT_EQ(loop().post([&, thread, i] { out_of_order += next[thread]++ != i; }),
                  Posted::queued);
      }
    });
  }
  until([&] { return next[0] + next[1] + next[2] + next[3] == kThreads * kPosts; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(out_of_order, 0);
}

TEST_P(IoOrder, T13_ATurnDeliversAtMostCompletionsPerTurn) {
  Limits limits;
  limits.completions_per_turn = 4;
  make_loop(limits);
  std::vector<std::pair<Stream, Stream>> pairs;
  std::vector<std::unique_ptr<Recorder>> handlers;
  std::uint64_t turn = 0;
  int in_this_turn = 0, most = 0, total = 0;
  for (int i = 0; i < 10; ++i) {
    pairs.push_back(connect_pair());
    handlers.push_back(std::make_unique<Recorder>());
    handlers.back()->on_bytes = [&] {
      in_this_turn = std::exchange(turn, metrics().turns) == metrics().turns ? in_this_turn + 1 : 1;
      most = std::max(most, in_this_turn);
      ++total;
    };
    pairs.back().second.start(*handlers.back());
  }
  settle();
  for (auto& [near, far] : pairs) write(near, "x");
  until([&] { return total == 10; });
  EXPECT_LE(most, 4);
}

TEST_P(IoOrder, T14_AGreedySocketGetsItsShareATurnAndItsEndComesLast) {
  Limits limits;
  limits.bytes_per_socket_turn = 32 << 10;
  make_loop(limits);
  auto [greedy, greedy_end] = connect_pair();
  auto [polite, polite_end] = connect_pair();
  const std::string flood = pattern(1 << 20);
  Recorder flooded, other;
  std::uint64_t turn = 0;
  std::size_t at_start = 0, most = 0;
  flooded.on_bytes = [&] {
    if (std::exchange(turn, metrics().turns) != metrics().turns) at_start = flooded.bytes.size();
    most = std::max(most, flooded.bytes.size() - at_start);
  };
  greedy_end.start(flooded);
  polite_end.start(other);
  settle();
  Buf bytes = loop().copy_of(flood);
  EXPECT_NE(greedy.try_write(bytes), Write::refused);
  greedy.end_writing();
  write(polite, "polite");
  until([&] { return flooded.end_count == 1; });
  EXPECT_EQ(flooded.bytes, flood);
  EXPECT_EQ(flooded.calls, (std::vector<std::string>{"read", "end"}));
  EXPECT_EQ(other.bytes, "polite");
  EXPECT_LE(most, (32u << 10) + loop().limits().block_bytes);
}

TEST_P(IoOrder, T15_AnImmediateOfAnImmediateWaitsBehindInput) {
  auto [near, far] = connect_pair();
  Recorder handler;
  handler.on_bytes = [this] { note("data"); };
  far.start(handler);
  settle();
  // Immediates that queue themselves again let input through: without that this would never end.
  int rounds = 0;
  std::function<void()> again = [&] {
    ++rounds;
    if (handler.bytes.empty()) loop().immediate([&] { again(); });
  };
  loop().immediate([&, &to = near] {
    write(to, "x");
    loop().immediate([&] { again(); });
  });
  until([&] { return !handler.bytes.empty(); });
  EXPECT_GE(rounds, 1);
  EXPECT_EQ(log(), "data");
}

TEST_P(IoOrder, T16_CloseNotificationsRunLast) {
  auto [one, one_far] = connect_pair();
  auto [other, other_far] = connect_pair();
  Recorder first, second;
  std::uint64_t closing_turn = 0;
  first.on_closed = [&] {
    note("first");
    closing_turn = metrics().turns;
    loop().immediate([&] { note("immediate-of-a-later-turn"); });
  };
  second.on_closed = [this] { note("second"); };
  one.start(first);
  other.start(second);
  settle();
  one.close();
  other.close();
  until([&] { return log_.size() == 3; });
  const std::string order = log();
  EXPECT_TRUE(order == "first second immediate-of-a-later-turn" ||
              order == "first immediate-of-a-later-turn second")
      << order;
}

TEST_P(IoOrder, T18_OutcomesOfOffloadedWorkComeBeforeTimersInTheOrderOfTheirEnds) {
  Limits limits;
  limits.posts_per_turn = 2;
  make_loop(limits);
  if (IsSkipped()) return;
  OffloadLimits one_thread;
  one_thread.threads_max = 1;
  auto pool = OffloadPool::make(one_thread).value();
  OffloadCall calls[3] = {OffloadCall(loop()), OffloadCall(loop()), OffloadCall(loop())};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(calls[i].start(
                  *pool, Work::cpu, [] {}, [this, i](Result<void>) { note(std::to_string(i)); }),
              Posted::queued);
  }
  Timer timer(loop());
  timer.arm(0ns, [this] { note("timer"); });
  const auto busy_count = [&] {
    const OffloadStats stats = pool->stats();
    return stats.running_count[0] + stats.waiting_count[0];
  };
  while (busy_count() != 0) std::this_thread::yield();
  rig_->turns(1);
  EXPECT_EQ(log(), "0 1 timer");
  rig_->turns(1);
  EXPECT_EQ(log(), "2");
}

TEST_P(IoOrder, J1_JobsRunBetweenTwoDeliveries) {
  auto [near, far] = connect_pair();
  auto [near2, far2] = connect_pair();
  Recorder first, second;
  const auto queueing = [this](const std::string& name) {
    return [this, name] {
      note(name);
      loop().microtask([this, name] { note(name + "-micro"); });
      loop().tick([this, name] { note(name + "-tick"); });
    };
  };
  first.on_bytes = queueing("one");
  second.on_bytes = queueing("two");
  far.start(first);
  far2.start(second);
  settle();
  write(near, "x");
  write(near2, "y");
  until([&] { return log_.size() == 6; });
  const std::string order = log();
  EXPECT_TRUE(order == "one one-tick one-micro two two-tick two-micro" ||
              order == "two two-tick two-micro one one-tick one-micro")
      << order;
}

TEST_P(IoOrder, J3_WritesOfACallbackAndItsJobsLeaveAsOneSend) {
  auto [near, far] = connect_pair();
  Recorder handler;
  far.start(handler);
  settle();
  const std::uint64_t sends = metrics().sends;
  loop().immediate([&, &to = near] {
    write(to, "callback ");
    loop().microtask([&] { write(to, "microtask"); });
    loop().tick([&] { write(to, "tick "); });
  });
  until([&] { return handler.bytes.size() == 23; });
  EXPECT_EQ(handler.bytes, "callback tick microtask");
  EXPECT_EQ(metrics().sends - sends, 1u);
}

TEST_P(IoOrder, J8_AReadReadyAtOnceBeyondTheBudgetIsResumedAsAMicrotask) {
  Limits limits;
  limits.inline_awaits = 3;
  make_loop(limits);
  auto [near, far] = connect_pair();
  write(near, pattern(64));
  int reads = 0, most_in_a_row = 0, in_a_row = 0;
  const auto reader = [&, &from = far]() -> Task<> {
    Buf first = co_await from.read_exact(1);
    for (; reads < 63; ++reads) {
      most_in_a_row = std::max(most_in_a_row, ++in_a_row);
      if (in_a_row == 1) loop().microtask([&] { in_a_row = 0; });
      Buf next = co_await from.read_exact(1);
    }
  };
  EXPECT_TRUE(run(reader).ok());
  EXPECT_EQ(reads, 63);
  EXPECT_EQ(most_in_a_row, 1 + 3);
  EXPECT_GT(metrics().inline_awaits, 0u);
}

TEST_P(IoOrder, J10_NoCallbackStartsInsideACallIntoWeir) {
  auto [near, far] = connect_pair();
  auto [other, other_far] = connect_pair();
  Recorder handler, far_handler, late;
  bool is_inside = false;
  int calls = 0;
  for (Recorder* seen : {&handler, &far_handler, &late}) {
    seen->on_bytes = seen->on_ended = seen->on_unblocked = seen->on_closed = [&] {
      EXPECT_FALSE(is_inside);
      ++calls;
    };
  }
  near.start(handler);
  far.start(far_handler);
  write(other, "waiting");
  settle();
  Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
  loop().immediate([&, &one = near, &two = far, &three = other_far] {
    is_inside = true;
    write(one, "bytes");
    write(two, pattern(200'000));  // above the high mark: sent at once
    three.start(late);
    three.pause();
    three.resume();
    one.pause();
    one.resume();
    one.end_writing();
    write(two, "more");
    three.close();
    listener.close();
    is_inside = false;
  });
  until([&] { return late.close_count == 1 && far_handler.end_count == 1; });
  loop().immediate([&, &one = near, &two = far] {
    is_inside = true;
    one.reset();
    two = {};
    is_inside = false;
  });
  until([&] { return handler.close_count == 1; });
  EXPECT_GE(calls, 3);
}

TEST_P(IoOrder, R1_AReadThatWaitsKeepsTheLoopAliveUnlessUnreferenced) {
  auto [near, far] = connect_pair();
  Recorder handler;
  far.start(handler);
  settle();
  EXPECT_TRUE(loop().is_alive());
  far.unref();
  EXPECT_FALSE(loop().is_alive());
  EXPECT_FALSE(loop().run());
  far.ref();
  EXPECT_TRUE(loop().is_alive());
  far.unref();
  write(near, "x");
  until([&] { return handler.bytes == "x"; });
  EXPECT_FALSE(loop().is_alive());
}

TEST_P(IoOrder, R1_AListenerKeepsTheLoopAliveUnlessUnreferenced) {
  Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
  struct Handler final : ListenerHandler {
    void on_accept(Stream) override {}
    void on_error(const Error&) override {}
  } handler;
  EXPECT_FALSE(loop().is_alive());  // it accepts when somebody takes streams
  listener.start(handler);
  EXPECT_TRUE(loop().is_alive());
  listener.unref();
  EXPECT_FALSE(loop().run());
  listener.ref();
  EXPECT_TRUE(loop().is_alive());
  listener.close();
  EXPECT_FALSE(loop().run());
}

TEST_P(IoOrder, R3_StopSoonFromAnotherThreadEndsASleepingRun) {
  Timer never(loop());
  never.arm(1h, [] {});
  std::thread stopper;
  loop().immediate([&] { stopper = std::thread([&] { loop().stop_soon(); }); });
  EXPECT_TRUE(loop().run());
  stopper.join();
}

TEST_P(IoOrder, R4_SeveralLoopsRunInTurnsOnOneThread) {
  LoopRig other({.backend = GetParam()});
  auto [near, far] = connect_pair();
  auto [other_near, other_far] = connect_streams(other);
  Recorder handler, other_handler;
  far.start(handler);
  other_far.start(other_handler);
  write(near, "one");
  Buf bytes = other.loop().copy_of("two");
  EXPECT_EQ(other_near.try_write(bytes), Write::flowing);
  until([&] {
    other.loop().run(RunMode::no_wait);
    loop().immediate([] {});
    return handler.bytes == "one" && other_handler.bytes == "two";
  });
}

TEST_P(IoOrder, R5_AForeignLoopStepsItByItsHandleAndDeadline) {
  const std::intptr_t handle = loop().wait_handle();
  if (handle < 0) GTEST_SKIP() << GetParam() << " has no handle to wait for";
  auto [near, far] = connect_pair();
  Recorder handler;
  far.start(handler);
  bool is_due = false;
  Timer timer(loop());
  timer.arm(20ms, [&] { is_due = true; });
  std::thread poster;
  bool is_posted = false;
  int steps = 0;
  write(near, "x");
  for (; steps < 1000; ++steps) {
    loop().run(RunMode::no_wait);
    if (!handler.bytes.empty() && !poster.joinable()) {
      poster =
          std::thread([&] { EXPECT_EQ(loop().post([&] { is_posted = true; }), Posted::queued); });
    }
    if (is_due && is_posted && !handler.bytes.empty()) break;
    const std::uint64_t now = loop().backend().now(), due = loop().next_deadline_ns();
    const std::uint64_t wait_ms =
        due <= now ? 0 : std::min<std::uint64_t>((due - now) / 1'000'000 + 1, 9000);
    pollfd watched{static_cast<int>(handle), POLLIN, 0};
    ::poll(&watched, 1, static_cast<int>(wait_ms));
  }
  if (poster.joinable()) poster.join();
  EXPECT_TRUE(is_due);
  EXPECT_TRUE(is_posted);
  EXPECT_EQ(handler.bytes, "x");
  EXPECT_LT(steps, 100);  // it slept between
}

// What keeps no loop alive is waited for all the same by whoever steps it, and does not keep him busy.
TEST_P(IoOrder, R5_WhatIsUnreferencedIsWaitedForToo) {
  const std::intptr_t handle = loop().wait_handle();
  if (handle < 0) GTEST_SKIP() << GetParam() << " has no handle to wait for";
  auto [near, far] = connect_pair();
  Recorder handler;
  far.start(handler);
  far.unref();
  near.unref();
  bool is_due = false;
  Timer timer(loop());
  timer.unref();
  timer.arm(20ms, [&] { is_due = true; });
  const auto step_until = [&](auto&& condition) {
    int steps = 0;
    for (; steps < 1000 && !condition(); ++steps) {
      const std::uint64_t now = loop().backend().now(), due = loop().next_deadline_ns();
      const std::uint64_t wait_ms =
          due <= now ? 0 : std::min<std::uint64_t>((due - now) / 1'000'000 + 1, 9000);
      pollfd watched{static_cast<int>(handle), POLLIN, 0};
      ::poll(&watched, 1, static_cast<int>(wait_ms));
      loop().run(RunMode::no_wait);
    }
    EXPECT_LT(steps, 100);  // it slept between
  };
  step_until([&] { return is_due; });
  EXPECT_FALSE(loop().is_alive());
  write(near, "x");
  step_until([&] { return handler.bytes == "x"; });
  far.ref();
  near.ref();
}

TEST_P(IoOrder, R6_PostWakesTheLoopOnlyWhenItSleeps) {
  // Awake: kept so by an immediate that queues itself.
  int ran = 0;
  std::function<void()> again = [&] {
    if (ran < 100) loop().immediate([&] { again(); });
  };
  loop().immediate([&] { again(); });
  std::thread busy_poster;
  loop().immediate([&] {
    busy_poster = std::thread([&] {
      for (int i = 0; i < 100; ++i) EXPECT_EQ(loop().post([&] { ++ran; }), Posted::queued);
    });
  });
  until([&] { return ran == 100; });
  busy_poster.join();
  EXPECT_EQ(metrics().wakes, 0u);

  // Asleep: one thing to wait for, far away. The poster waits until the loop has polled.
  std::atomic<bool> is_done = false;
  std::thread poster([&] {
    while (!is_done.load()) {
      EXPECT_NE(loop().post([&] { is_done = true; }), Posted::ended);
      std::this_thread::yield();
    }
  });
  until([&] { return is_done.load(); });
  poster.join();
}

TEST_P(IoOrder, R6_FullAndEndedLeaveTheJobWithTheCaller) {
  Limits limits;
  limits.posts_max = 2;
  make_loop(limits);
  int ran = 0;
  EXPECT_EQ(loop().post([&] { ++ran; }), Posted::queued);
  EXPECT_EQ(loop().post([&] { ++ran; }), Posted::queued);
  Job job([&] { ran += 10; });
  EXPECT_EQ(loop().post(std::move(job)), Posted::full);
  ASSERT_TRUE(static_cast<bool>(job));  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(metrics().posts_refused, 1u);
  rig_->turns(1);
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(loop().post(std::move(job)), Posted::queued);
  rig_->turns(1);
  EXPECT_EQ(ran, 12);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, IoOrder, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
