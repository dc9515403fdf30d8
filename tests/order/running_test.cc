// The sentences R1 … of docs/internals/turn.md: how a loop is run, kept alive, stopped and stepped. R5 and R6, which need a
// real backend, are in io_order_test.cc.
#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class Running : public ScriptedTest {};

TEST_F(Running, R1_ALoopWithNothingToDoRunsNoTurn) {
  EXPECT_FALSE(loop().is_alive());
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(loop().metrics().turns, 0u);
}

TEST_F(Running, R1_JobsKeepItAlive) {
  int left = 5;
  std::function<void()> again = [&] {
    if (--left > 0) loop().immediate([&] { again(); });
  };
  loop().immediate([&] { again(); });
  EXPECT_TRUE(loop().is_alive());
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(left, 0);
}

TEST_F(Running, R1_APostedCallbackKeepsItAlive) {
  EXPECT_EQ(loop().post(noting("post")), Posted::queued);
  EXPECT_TRUE(loop().is_alive());
  loop().run();
  EXPECT_EQ(log(), "post");
}

TEST_F(Running, R1_AnArmedTimerKeepsItAliveUnlessUnreferenced) {
  Timer timer(loop()), unref(loop());
  timer.arm(5ms, noting("timer"));
  unref.unref();
  unref.arm(10ms, noting("unref"));
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(log(), "timer");
  EXPECT_TRUE(unref.is_armed());
  unref.ref();
  EXPECT_TRUE(loop().is_alive());
  unref.unref();
  EXPECT_FALSE(loop().is_alive());
  unref.ref();
  loop().run();
  EXPECT_EQ(log(), "unref");
  EXPECT_FALSE(loop().is_alive());
}

TEST_F(Running, R1_ACancelledTimerDoesNot) {
  Timer timer(loop());
  timer.arm(5ms, noting("timer"));
  timer.extend(10ms);
  EXPECT_TRUE(timer.cancel());
  EXPECT_FALSE(timer.cancel());
  EXPECT_FALSE(loop().is_alive());
  timer.unref();
  timer.arm(5ms, noting("timer"));
  EXPECT_TRUE(timer.cancel());
  EXPECT_FALSE(loop().is_alive());
}

TEST_F(Running, R1_APendingOpKeepsItAliveUnlessItDoesNot) {
  SeenOp<Op> op(loop(), OpKind::poll, [this](const Completion&) { note("op"); });
  loop().submit(op);
  EXPECT_TRUE(loop().is_alive());
  backend().end(op, 1);
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(log(), "op");
  op.keeps_alive = false;
  loop().submit(op);
  EXPECT_FALSE(loop().is_alive());
  backend().end(op, 1);
  turn();
  EXPECT_EQ(log(), "op");
}

TEST_F(Running, R1_ATaskThatSleepsKeepsItAlive) {
  const auto task = [&]() -> Task<> {
    co_await sleep_for(1ms);
    co_await yield();
    note("task");
  };
  loop().spawn(task(), "sleeps");
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(log(), "task");
}

TEST_F(Running, R2_OnceDoesOneTurn) {
  Timer timer(loop());
  timer.arm(5ms, noting("timer"));
  EXPECT_TRUE(loop().run(RunMode::once));
  EXPECT_EQ(loop().metrics().turns, 1u);
  EXPECT_NE(backend().poll_deadlines.back(), 0u);
  EXPECT_FALSE(loop().run(RunMode::once));
  EXPECT_EQ(log(), "timer");
}

TEST_F(Running, R2_OnceDoesNotWaitForNothing) {
  EXPECT_FALSE(loop().run(RunMode::once));
  EXPECT_EQ(loop().metrics().turns, 1u);
  EXPECT_EQ(backend().poll_deadlines.back(), 0u);
}

TEST_F(Running, R2_NoWaitDoesOneTurnThatDoesNotWait) {
  Timer timer(loop());
  timer.arm(5ms, noting("timer"));
  EXPECT_TRUE(loop().run(RunMode::no_wait));
  EXPECT_EQ(loop().metrics().turns, 1u);
  EXPECT_EQ(backend().poll_deadlines.back(), 0u);
  EXPECT_EQ(log(), "");
}

TEST_F(Running, R3_StopLetsTheTurnEnd) {
  Timer timer(loop()), never(loop());
  never.arm(1h, noting("never"));
  timer.arm(0ns, [&] {
    loop().stop();
    loop().microtask(noting("micro"));
    loop().immediate(noting("immediate"));
  });
  EXPECT_TRUE(loop().run());
  EXPECT_EQ(log(), "micro immediate");
  EXPECT_EQ(loop().metrics().turns, 1u);
}

TEST_F(Running, R3_TheNextRunWorksAgain) {
  loop().immediate([&] { loop().stop(); });
  loop().run();
  loop().immediate(noting("again"));
  loop().run();
  EXPECT_EQ(log(), "again");
}

TEST_F(Running, R3_StopBeforeRunMakesThatRunReturnAtOnce) {
  loop().immediate(noting("immediate"));
  loop().stop();
  EXPECT_TRUE(loop().run());
  EXPECT_EQ(loop().metrics().turns, 0u);
  EXPECT_EQ(log(), "");
  loop().run();
  EXPECT_EQ(log(), "immediate");
}

TEST_F(Running, R3_StopSoonBeforeRunIsThatRunsTooAndNoOtherOnes) {
  loop().immediate(noting("immediate"));
  loop().stop_soon();
  EXPECT_TRUE(loop().run());
  EXPECT_EQ(log(), "");
  loop().run();
  EXPECT_EQ(log(), "immediate");
  loop().stop_soon();
  EXPECT_FALSE(loop().run());  // there was nothing to stop
  Timer timer(loop());
  timer.arm(1ms, noting("timer"));
  loop().run();
  EXPECT_EQ(log(), "timer");
}

TEST_F(Running, R4_OneLoopMayRunInTheCallbackOfAnother) {
  auto other = Loop::make({.backend = Scripted::kName}).value();
  EXPECT_EQ(Loop::current(), other.get());  // the one made last, as none runs
  other->immediate([&] {
    EXPECT_EQ(Loop::current(), other.get());
    note("inner");
  });
  loop().immediate([&] {
    EXPECT_EQ(Loop::current(), &loop());
    note("before");
    other->run();
    EXPECT_EQ(Loop::current(), &loop());
    note("after");
  });
  loop().run();
  EXPECT_EQ(log(), "before inner after");
}

using RunningDeathTest = Running;
TEST_F(RunningDeathTest, R4_RunInsideRunOfTheSameLoopAborts) {
  EXPECT_DEATH(
      {
        loop().immediate([this] { loop().run(RunMode::no_wait); });
        loop().run();
      },
      "inside run of the same loop");
}

}  // namespace
}  // namespace weir::test
