// The sentences R1 … of docs/internals/turn.md: how a loop is run, kept alive, stopped and stepped. R5 and R6, which need a
// real backend, are in io_order_test.cc; those that need no script are in running_on_each_test.cc.
#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class Running : public ScriptedTest {};

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
