// The sentences R1 … of docs/internals/turn.md that need no script, on each backend and on the scripted one.
#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class RunningOnEach : public EachBackendTest {};

TEST_P(RunningOnEach, R1_ALoopWithNothingToDoRunsNoTurn) {
  EXPECT_FALSE(loop().is_alive());
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(loop().metrics().turns, 0u);
}

TEST_P(RunningOnEach, R1_JobsKeepItAlive) {
  int left = 5;
  std::function<void()> again = [&] {
    if (--left > 0) loop().immediate([&] { again(); });
  };
  loop().immediate([&] { again(); });
  EXPECT_TRUE(loop().is_alive());
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(left, 0);
}

TEST_P(RunningOnEach, R1_APostedCallbackKeepsItAlive) {
  EXPECT_EQ(loop().post(noting("post")), Posted::queued);
  EXPECT_TRUE(loop().is_alive());
  loop().run();
  EXPECT_EQ(log(), "post");
}

TEST_P(RunningOnEach, R1_AnArmedTimerKeepsItAliveUnlessUnreferenced) {
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

TEST_P(RunningOnEach, R1_ACancelledTimerDoesNot) {
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

TEST_P(RunningOnEach, R1_ATaskThatSleepsKeepsItAlive) {
  const auto task = [&]() -> Task<> {
    co_await sleep_for(1ms);
    co_await yield();
    note("task");
  };
  loop().spawn(task(), "sleeps");
  EXPECT_FALSE(loop().run());
  EXPECT_EQ(log(), "task");
}

TEST_P(RunningOnEach, R3_StopLetsTheTurnEnd) {
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

TEST_P(RunningOnEach, R3_TheNextRunWorksAgain) {
  loop().immediate([&] { loop().stop(); });
  loop().run();
  loop().immediate(noting("again"));
  loop().run();
  EXPECT_EQ(log(), "again");
}

TEST_P(RunningOnEach, R3_StopBeforeRunMakesThatRunReturnAtOnce) {
  loop().immediate(noting("immediate"));
  loop().stop();
  EXPECT_TRUE(loop().run());
  EXPECT_EQ(loop().metrics().turns, 0u);
  EXPECT_EQ(log(), "");
  loop().run();
  EXPECT_EQ(log(), "immediate");
}

TEST_P(RunningOnEach, R3_StopSoonBeforeRunIsThatRunsTooAndNoOtherOnes) {
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

INSTANTIATE_TEST_SUITE_P(AllBackends, RunningOnEach, ::testing::ValuesIn(kOrderBackends),
                         backend_name);

}  // namespace
}  // namespace weir::test
