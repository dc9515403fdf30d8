// The sentences R1 … of docs/internals/turn.md: how a loop is run, kept alive, stopped and stepped. R6 and most of R5,
// which need a real backend, are in io_order_test.cc; those that need no script are in running_on_each_test.cc.
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

// What a foreign loop may sleep for: 0 only where something is really due.
TEST_F(Running, R5_TheNextDeadlineIsZeroOnlyWhenSomethingIsDue) {
  EXPECT_EQ(loop().next_deadline_ns(), Backend::kNever);
  Timer timer(loop());
  timer.unref();
  timer.arm(5ms, [] {});
  const std::uint64_t due_ns = backend().clock_ns + 5'000'000;
  turn();
  EXPECT_FALSE(loop().is_alive());
  EXPECT_EQ(loop().next_deadline_ns(), due_ns);
  struct Row {
    const char* name;
    std::function<void()> queue;
  };
  const Row rows[] = {
      {"tick", [&] { loop().tick([] {}); }},
      {"microtask", [&] { loop().microtask([] {}); }},
      {"immediate", [&] { loop().immediate([] {}); }},
      {"post", [&] { EXPECT_EQ(loop().post([] {}), Posted::queued); }},
      {"stop", [&] { loop().stop(); }},
  };
  for (const Row& row : rows) {
    row.queue();
    EXPECT_EQ(loop().next_deadline_ns(), 0u) << row.name;
    turn();
    EXPECT_EQ(loop().next_deadline_ns(), due_ns) << row.name;
  }
  backend().clock_ns = due_ns;
  EXPECT_LE(loop().next_deadline_ns(), due_ns);
  turn();
  EXPECT_EQ(loop().next_deadline_ns(), Backend::kNever);
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
