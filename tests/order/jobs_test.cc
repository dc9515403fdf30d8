// The sentences J1 … of docs/internals/turn.md: ticks and microtasks, on each backend and on the scripted one.
#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class Jobs : public EachBackendTest {
 protected:
  void make_bounded(std::uint32_t descendants) {
    Limits limits;
    limits.descendants_per_drain = descendants;
    make_loop(limits);
  }
  /// A callback that notes `name` and queues a tick and a microtask that do so too.
  auto queueing(std::string name) {
    return [this, name = std::move(name)] {
      note(name);
      loop().microtask(noting(name + "-micro"));
      loop().tick(noting(name + "-tick"));
    };
  }
};

TEST_P(Jobs, J1_AfterEveryCallbackAllTicksThenAllMicrotasksRun) {
  Timer first(loop()), second(loop());
  first.arm(0ns, queueing("timer1"));
  second.arm(0ns, queueing("timer2"));
  turn();
  EXPECT_EQ(log(), "timer1 timer1-tick timer1-micro timer2 timer2-tick timer2-micro");

  loop().immediate(queueing("immediate1"));
  loop().immediate(queueing("immediate2"));
  turn();
  EXPECT_EQ(log(),
            "immediate1 immediate1-tick immediate1-micro "
            "immediate2 immediate2-tick immediate2-micro");

  EXPECT_EQ(loop().post(queueing("post1")), Posted::queued);
  EXPECT_EQ(loop().post(queueing("post2")), Posted::queued);
  turn();
  EXPECT_EQ(log(), "post1 post1-tick post1-micro post2 post2-tick post2-micro");

  PrepareHook hook1, hook2;
  loop().prepare(hook2, queueing("hook2"));
  loop().prepare(hook1, queueing("hook1"));
  turn();
  EXPECT_EQ(log(), "hook1 hook1-tick hook1-micro hook2 hook2-tick hook2-micro");
  hook1.unhook();
  hook2.unhook();

  SeenOp<Op> nop1(loop(), OpKind::nop, [&](const Completion&) { queueing("op1")(); });
  SeenOp<Op> nop2(loop(), OpKind::nop, [&](const Completion&) { queueing("op2")(); });
  loop().submit(nop1);
  loop().submit(nop2);
  turn();
  EXPECT_EQ(log(), "op1 op1-tick op1-micro op2 op2-tick op2-micro");

  auto [one, other] = make_stream_pair(loop());
  auto [third, fourth] = make_stream_pair(loop());
  Recorder handler1, handler2;
  handler1.on_closed = queueing("close1");
  handler2.on_closed = queueing("close2");
  one.start(handler1);
  third.start(handler2);
  one.close();
  third.close();
  turn();
  EXPECT_EQ(log(), "close1 close1-tick close1-micro close2 close2-tick close2-micro");
}

TEST_P(Jobs, J1_JobsQueuedOutsideARunRunBeforeItsFirstTurn) {
  Timer timer(loop());
  timer.arm(0ns, noting("timer"));
  loop().microtask(noting("micro"));
  loop().tick(noting("tick"));
  turn();
  EXPECT_EQ(log(), "tick micro timer");
}

TEST_P(Jobs, J1_AndAgainWhileThereAreAny) {
  loop().immediate([this] {
    loop().microtask([this] {
      note("micro");
      loop().tick([this] {
        note("tick");
        loop().microtask(noting("last"));
      });
    });
  });
  loop().immediate(noting("next-callback"));
  turn();
  EXPECT_EQ(log(), "micro tick last next-callback");
}

TEST_P(Jobs, J2_ATickOfATickRunsBeforeAnyMicrotask) {
  loop().immediate([this] {
    loop().microtask(noting("micro"));
    loop().tick([this] {
      note("tick");
      loop().tick(noting("tick-of-tick"));
    });
  });
  turn();
  EXPECT_EQ(log(), "tick tick-of-tick micro");
}

TEST_P(Jobs, J2_ATickOfAMicrotaskRunsAfterTheLastMicrotask) {
  loop().immediate([this] {
    loop().microtask([this] {
      note("micro1");
      loop().tick(noting("tick"));
      loop().microtask(noting("micro-of-micro"));
    });
    loop().microtask(noting("micro2"));
  });
  turn();
  EXPECT_EQ(log(), "micro1 micro2 micro-of-micro tick");
}

TEST_P(Jobs, J3_GatheredWritesLeaveAfterTheJobsOfTheCallbackThatWrote) {
  auto [near, far] = make_stream_pair(loop());
  Recorder handler;
  far.start(handler);
  std::size_t queued = 0;
  const auto write = [&, &from = near](std::string_view text) {
    Buf bytes = loop().copy_of(text);
    EXPECT_EQ(from.try_write(bytes), Write::flowing);
    EXPECT_EQ(from.queued_bytes(), queued += text.size());
  };
  loop().immediate([&] {
    write("callback ");
    loop().microtask([&] {
      write("microtask ");
      loop().tick([&] { write("late-tick"); });
    });
    loop().tick([&] { write("tick "); });
  });
  turn();
  turn();
  EXPECT_EQ(handler.bytes, "callback tick microtask late-tick");
  EXPECT_EQ(loop().metrics().sends, 1u);
}

TEST_P(Jobs, J4_WhatACallbackItselfQueuedAlwaysRunsInItsOwnDrain) {
  make_bounded(1);
  int count = 0;
  loop().immediate([&] {
    for (int i = 0; i < 5000; ++i) {
      loop().microtask([&] { ++count; });
      loop().tick([&] { ++count; });
    }
  });
  loop().immediate([&] { EXPECT_EQ(count, 10'000); });
  turn();
  EXPECT_EQ(count, 10'000);
  EXPECT_EQ(loop().metrics().demoted_jobs, 0u);
}

TEST_P(Jobs, J5_OfWhatJobsQueueInTurnSoManyRunAndTheRestIsDemotedInOrder) {
  make_bounded(3);
  loop().immediate([this] {
    for (const char* name : {"a", "b", "c", "d", "e"}) {
      loop().microtask([this, name] {
        note(name);
        loop().microtask(noting(std::string(name) + "2"));
      });
    }
  });
  turn();
  EXPECT_EQ(log(), "a b c d e a2 b2 c2");
  EXPECT_EQ(loop().metrics().demoted_jobs, 2u);
  turn();
  EXPECT_EQ(log(), "d2 e2");
}

TEST_P(Jobs, J5_TicksAndMicrotasksShareTheCount) {
  make_bounded(2);
  loop().immediate([this] {
    loop().tick([this] {
      for (const char* name : {"t1", "t2", "t3"}) loop().tick(noting(name));
      loop().microtask(noting("m1"));
    });
  });
  turn();
  EXPECT_EQ(log(), "t1 t2");
  turn();
  EXPECT_EQ(log(), "t3 m1");
}

TEST_P(Jobs, J5_TheReportNamesTheLineThatQueuedTheLastDemotedJob) {
  make_bounded(1);
  EXPECT_THAT(loop().report(), ::testing::Not(::testing::HasSubstr("demoted")));
  int line = 0;
  loop().immediate([&] {
    loop().microtask([&] {
      loop().microtask([] {});
      loop().microtask([] {});
      loop().tick([] {}), line = __LINE__;
      loop().tick([] {}), line = __LINE__;
    });
  });
  turn();
  EXPECT_THAT(loop().report(),
              ::testing::HasSubstr("jobs demoted: 3, the last queued at " + std::string(__FILE__) +
                                   ":" + std::to_string(line) + "\n"));
}

TEST_P(Jobs, J5_EndlessJobsStarveNobody) {
  make_bounded(100);
  bool is_over = false;
  std::function<void()> endless = [&] {
    if (!is_over) loop().microtask([&] { endless(); });
  };
  endless();
  Timer timer(loop());
  timer.arm(0ns, noting("timer"));
  loop().immediate(noting("immediate"));
  SeenOp<Op> nop(loop(), OpKind::nop, [this](const Completion&) { note("input"); });
  loop().submit(nop);
  turn();
  EXPECT_EQ(log(), "timer input immediate");
  EXPECT_GE(loop().metrics().demoted_jobs, 1u);
  is_over = true;
  turn();
}

TEST_P(Jobs, J6_StrictDemotesNothing) {
  Limits limits;
  limits.descendants_per_drain = 1;
  make_loop(limits, OrderPolicy::strict);
  int left = 10'000;
  std::function<void()> again = [&] {
    if (--left > 0) loop().microtask([&] { again(); });
  };
  loop().immediate([&] { loop().microtask([&] { again(); }); });
  loop().immediate([&] { EXPECT_EQ(left, 0); });
  turn();
  EXPECT_EQ(left, 0);
  EXPECT_EQ(loop().metrics().demoted_jobs, 0u);
}

#if defined(__cpp_exceptions)
TEST_P(Jobs, J7_AnEscapedExceptionEndsThatOneCallbackAndTheDrainGoesOn) {
  const auto throwing_after = [this](std::string name) {
    return [this, name = std::move(name)] {
      note(name);
      throw std::runtime_error(name);
    };
  };
  Timer timer(loop()), other_timer(loop());
  timer.arm(0ns, throwing_after("timer1"));
  other_timer.arm(0ns, noting("timer2"));
  PrepareHook hook, other_hook;
  loop().prepare(other_hook, noting("hook2"));
  loop().prepare(hook, throwing_after("hook1"));
  SeenOp<Op> nop(loop(), OpKind::nop, [&](const Completion&) { throwing_after("op1")(); });
  SeenOp<Op> other_nop(loop(), OpKind::nop, [&](const Completion&) { note("op2"); });
  loop().submit(nop);
  loop().submit(other_nop);
  EXPECT_EQ(loop().post(throwing_after("post1")), Posted::queued);
  EXPECT_EQ(loop().post(noting("post2")), Posted::queued);
  loop().immediate([&] {
    loop().tick(throwing_after("tick1"));
    loop().tick(noting("tick2"));
    loop().microtask(throwing_after("micro1"));
    loop().microtask(noting("micro2"));
    throwing_after("immediate1")();
  });
  loop().immediate(noting("immediate2"));
  ::testing::internal::CaptureStderr();
  turn();
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(log(),
            "timer1 timer2 hook1 hook2 op1 op2 post1 post2 "
            "immediate1 tick1 tick2 micro1 micro2 immediate2");
  EXPECT_EQ(loop().metrics().exceptions, 7u);
  EXPECT_THAT(text, ::testing::HasSubstr("jobs_test.cc"));  // where the job was queued
}
#endif

TEST_P(Jobs, J8_ATaskIsResumedWhereItsOperationsCallbackWouldRun) {
  auto [near, far] = make_stream_pair(loop());
  const auto reader = [&, &from = far]() -> Task<> {
    while (Buf bytes = co_await from.read()) note("read");
  };
  loop().spawn(reader(), "reader");
  turn();
  Buf bytes = loop().copy_of("x");
  EXPECT_EQ(near.try_write(bytes), Write::flowing);
  SeenOp<Op> nop(loop(), OpKind::nop, [this](const Completion&) { note("op"); });
  loop().submit(nop);
  EXPECT_EQ(loop().post(noting("post")), Posted::queued);
  turn();
  EXPECT_EQ(log(), "op read post");  // the write left after what was queued before it ran
  near.close();
  turn();
  turn();
}

TEST_P(Jobs, J8_OneThatYieldsIsResumedAsAnImmediate) {
  const auto task = [&]() -> Task<> {
    note("start");
    co_await yield();
    note("resumed");
    loop().immediate(noting("later"));
    co_await yield();
    note("again");
  };
  loop().immediate(noting("before"));
  loop().spawn(task(), "yields");
  loop().microtask([&] { loop().immediate(noting("after")); });
  turn();
  EXPECT_EQ(log(), "start before resumed after");
  turn();
  EXPECT_EQ(log(), "later again");
}

TEST_P(Jobs, J9_ASpawnedTaskStartsAsAMicrotask) {
  const auto task = [&]() -> Task<> {
    note("task");
    co_return;
  };
  loop().immediate([&] {
    loop().microtask(noting("micro1"));
    loop().spawn(task(), "task");
    loop().microtask(noting("micro2"));
    loop().tick(noting("tick"));
    note("callback");
  });
  loop().immediate(noting("next"));
  turn();
  EXPECT_EQ(log(), "callback tick micro1 task micro2 next");
}

TEST_P(Jobs, J10_NoCallbackStartsInsideACallIntoTheLoop) {
  bool is_inside = false;
  const auto outside = [&](std::string name) {
    return [&, name = std::move(name)] {
      EXPECT_FALSE(is_inside) << name;
      note(name);
    };
  };
  SeenOp<Op> nop(loop(), OpKind::nop, [&](const Completion&) { outside("nop")(); });
  SeenOp<Op> op(loop(), OpKind::poll, [&](const Completion&) { outside("cancelled")(); });
  Timer timer(loop());
  PrepareHook hook;
  loop().immediate([&] {
    is_inside = true;
    loop().tick(outside("tick"));
    loop().microtask(outside("micro"));
    loop().immediate(outside("immediate"));
    loop().prepare(hook, outside("hook"));
    timer.arm(0ns, outside("timer"));
    loop().submit(nop);
    loop().submit(op);
    loop().cancel(op);
    EXPECT_EQ(loop().post(outside("post")), Posted::queued);
    is_inside = false;
  });
  turn();
  turn();
  EXPECT_THAT(
      log(),  // a socket that was never connected may have been ready before it was cancelled
      ::testing::AnyOf("tick micro timer hook nop cancelled post immediate",
                       "tick micro timer hook nop post cancelled immediate"));
}

INSTANTIATE_TEST_SUITE_P(AllBackends, Jobs, ::testing::ValuesIn(kOrderBackends), backend_name);

}  // namespace
}  // namespace weir::test
