// The sentences T1 … of docs/internals/turn.md: the steps of a turn, on a backend whose every completion is scripted.
// steps_on_each_test.cc and io_order_test.cc say them again, without a script, on each backend.
#include <thread>

#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

using Nop = SeenOp<Op>;
using Recv = SeenOp<RecvOp>;

class Turn : public ScriptedTest {
 protected:
  /// A receive that notes `name` for bytes, and `name` with "-end" for its end.
  std::unique_ptr<Recv> make_recv(const std::string& name) {
    auto op = std::make_unique<Recv>(loop(), OpKind::recv, [this, name](const Completion& got) {
      note(got.has(kBuf) ? name : name + "-end");
    });
    op->group = loop().receive_group().group();
    loop().submit(*op);
    return op;
  }
  void end(Recv& op) {
    backend().end(op, 0, kEof);
    turn();
    ASSERT_EQ(op.state, OpState::idle);
  }
};

TEST_F(Turn, T1_ATurnRunsItsStepsInThisOrder) {
  Limits limits;
  limits.descendants_per_drain = 1;
  limits.bytes_per_socket_turn = 1024;
  make_loop(limits);
  {
    auto recv = make_recv("leftover");
    auto pair = make_stream_pair(loop());
    Stream& near = pair.first;
    Recorder handler;
    handler.on_closed = noting("close");
    near.start(handler);
    Nop control(loop(), OpKind::nop, [this](const Completion&) { note("control"); });
    Nop data(loop(), OpKind::poll, [this](const Completion&) { note("data"); });
    Timer timer(loop());
    PrepareHook hook;
    loop().submit(data);
    backend().bring(*recv, 1024, 'a');
    backend().bring(*recv, 1024, 'b');  // over the socket's share: left over
    loop().immediate([&] {
      loop().immediate(noting("immediate"));
      near.close();
      demote({"demoted"});
      loop().prepare(hook, noting("prepare"));
      timer.arm(0ns, noting("timer"));
      loop().submit(control);
      EXPECT_EQ(loop().post(noting("post")), Posted::queued);
      backend().end(data, 1);
    });
    turn();
    EXPECT_EQ(log(), "leftover");
    backend().on_poll = noting("poll");
    turn();
    EXPECT_EQ(log(), "timer leftover demoted prepare poll control post data immediate close");
    backend().on_poll = nullptr;
    end(*recv);
  }
}

TEST_F(Turn, T2_TheClockIsReadAtMostOnceBeforeThePollAndOnceAfterIt) {
  backend().clock_step_ns = 1000;
  std::vector<std::uint64_t> before, after;
  PrepareHook hook;
  loop().prepare(hook, [&] { before.push_back(loop().now_ns()); });
  Timer timer(loop());
  timer.arm(0ns, [&] {
    before.push_back(loop().now_ns());
    before.push_back(loop().now_ns());
  });
  EXPECT_EQ(loop().post([&] { after.push_back(loop().now_ns()); }), Posted::queued);
  loop().immediate([&] { after.push_back(loop().now_ns()); });
  const int looks = backend().clock_looks;
  turn();
  EXPECT_EQ(backend().clock_looks - looks, 2);
  ASSERT_EQ(before.size(), 3u);
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(before[0], before[1]);
  EXPECT_EQ(before[0], before[2]);
  EXPECT_EQ(after[0], after[1]);
  EXPECT_LT(before[0], after[0]);
}

TEST_F(Turn, T2_ATurnThatNeedsNoTimeReadsNoClock) {
  Nop control(loop(), OpKind::nop, [this](const Completion&) { note("control"); });
  loop().submit(control);
  const int looks = backend().clock_looks;
  turn();
  EXPECT_EQ(log(), "control");
  EXPECT_EQ(backend().clock_looks - looks, 0);
}

TEST_F(Turn, T3_TimersRunByDeadlineThenInOrderOfArming) {
  const std::uint64_t start_ns = backend().clock_ns;
  Timer third(loop()), first(loop()), second(loop()), fourth(loop());
  third.arm_at(start_ns + 30, noting("third"));
  first.arm_at(start_ns + 10, noting("first"));
  second.arm_at(start_ns + 10, noting("second"));
  fourth.arm_at(start_ns + 30, noting("fourth"));
  backend().clock_ns = start_ns + 100;
  turn();
  EXPECT_EQ(log(), "first second third fourth");
}

TEST_F(Turn, T3_NoTimerRunsEarly) {
  const std::uint64_t start_ns = backend().clock_ns;
  Timer timer(loop());
  timer.arm_at(start_ns + 1'000'000, noting("due"));
  backend().clock_ns = start_ns + 999'999;
  turn();
  EXPECT_EQ(log(), "");
  backend().clock_ns = start_ns + 1'000'000;
  turn();
  EXPECT_EQ(log(), "due");
}

TEST_F(Turn, T7_LeftoversComeBeforeThePollThoseOverTheirShareFirst) {
  Limits limits;
  limits.completions_per_turn = 2;
  limits.bytes_per_socket_turn = 1024;
  make_loop(limits);
  auto a = make_recv("a"), b = make_recv("b"), c = make_recv("c");
  backend().bring(*a, 1024, '1');
  backend().bring(*a, 1024, '2');
  backend().bring(*b, 10, '1');
  backend().bring(*c, 10, '1');
  turn();
  EXPECT_EQ(log(), "a");
  backend().on_poll = noting("poll");
  turn();
  EXPECT_EQ(log(), "a b poll");
  turn();
  EXPECT_EQ(log(), "c poll");
  backend().on_poll = nullptr;
  for (auto* op : {&a, &b, &c}) end(**op);
}

TEST_F(Turn, T10_ThereIsOnePollATurn) {
  loop().immediate([this] { loop().immediate(noting("second")); });
  loop().run(RunMode::once);
  EXPECT_EQ(backend().poll_deadlines.size(), 1u);
  loop().run(RunMode::once);
  EXPECT_EQ(backend().poll_deadlines.size(), 2u);
  EXPECT_EQ(log(), "second");
}

TEST_F(Turn, T10_ThePollWaitsUntilTheNextTimer) {
  Timer timer(loop());
  timer.arm(5ms, noting("due"));
  const std::uint64_t due_ns = backend().clock_ns + 5'000'000;
  loop().run(RunMode::once);
  EXPECT_EQ(backend().poll_deadlines.back(), due_ns);
  loop().run(RunMode::once);
  EXPECT_EQ(log(), "due");
}

TEST_F(Turn, T10_ItDoesNotWaitForWhatIsLeftToDo) {
  Limits limits;
  limits.descendants_per_drain = limits.demoted_per_turn = limits.timers_per_turn = 1;
  limits.bytes_per_socket_turn = 1024;
  make_loop(limits);
  Timer late(loop());
  const auto polled_without_waiting = [&] {
    late.arm(1h, [] {});
    const std::uint64_t start_ns = backend().clock_ns;
    loop().run(RunMode::once);
    return backend().poll_deadlines.back() <= start_ns;
  };
  EXPECT_FALSE(polled_without_waiting());

  loop().immediate([] {});
  EXPECT_TRUE(polled_without_waiting()) << "an immediate";

  demote({"a", "b"});
  EXPECT_TRUE(polled_without_waiting()) << "a demoted job over the budget";
  turn();

  Timer one(loop()), other(loop());
  one.arm(0ns, [] {});
  other.arm(0ns, [] {});
  EXPECT_TRUE(polled_without_waiting()) << "a due timer over the budget";
  turn();

  auto recv = make_recv("recv");
  for (int i = 0; i < 3; ++i) backend().bring(*recv, 1024, 'x');
  turn();
  EXPECT_TRUE(polled_without_waiting()) << "a leftover";
  turn();
  end(*recv);

  EXPECT_FALSE(polled_without_waiting());
  loop().run(RunMode::no_wait);
  EXPECT_EQ(backend().poll_deadlines.back(), 0u) << "no_wait";
}

TEST_F(Turn, T11_ControlComesBeforePostsAndPostsBeforeData) {
  auto cancelled = make_recv("cancelled");
  Nop data(loop(), OpKind::poll, [this](const Completion&) { note("data"); });
  Nop nop(loop(), OpKind::nop, [this](const Completion&) { note("nop"); });
  Nop close(loop(), OpKind::close, [this](const Completion&) { note("close"); });
  loop().submit(data);
  backend().end(data, 1);
  loop().cancel(*cancelled);
  loop().submit(nop);
  loop().submit(close);
  EXPECT_EQ(loop().post(noting("post")), Posted::queued);
  turn();
  EXPECT_EQ(log(), "cancelled-end nop close post data");
}

TEST_F(Turn, T11_ACancelledOpWithBytesBeforeItsEndIsNoControl) {
  auto recv = make_recv("recv");
  backend().bring(*recv, 10, 'x');
  loop().cancel(*recv);
  EXPECT_EQ(loop().post(noting("post")), Posted::queued);
  turn();
  EXPECT_EQ(log(), "post recv recv-end");
}

TEST_F(Turn, T13_DataComesInTheOrderInWhichItWasReapedToTheBudget) {
  Limits limits;
  limits.completions_per_turn = 3;
  make_loop(limits);
  auto a = make_recv("a"), b = make_recv("b");
  for (int i = 0; i < 2; ++i) {
    backend().bring(*b, 10, 'x');
    backend().bring(*a, 10, 'x');
  }
  turn();
  EXPECT_EQ(log(), "b a b");
  EXPECT_EQ(loop().metrics().deliver_budget_hits, 1u);
  turn();
  EXPECT_EQ(log(), "a");
  for (auto* op : {&a, &b}) end(**op);
}

TEST_F(Turn, T13_DeliveryEndsWhenItsTimeIsOver) {
  Limits limits;
  limits.deliver_time_ns = 1000;
  make_loop(limits);
  auto recv = make_recv("x");
  for (int i = 0; i < 200; ++i) backend().bring(*recv, 1, 'x');
  backend().clock_step_ns = 1000;
  turn();
  const std::size_t first_count = std::exchange(log_, {}).size();
  EXPECT_GE(first_count, 1u);
  EXPECT_LT(first_count, 200u);
  for (int i = 0; i < 10; ++i) turn();
  EXPECT_EQ(first_count + std::exchange(log_, {}).size(), 200u);
  end(*recv);
}

TEST_F(Turn, T14_ASocketThatHadItsBytesGetsTheNextOnesInTheNextTurn) {
  Limits limits;
  limits.bytes_per_socket_turn = 1024;
  make_loop(limits);
  auto greedy = make_recv("greedy"), polite = make_recv("polite");
  backend().bring(*greedy, 1024, '1');
  backend().bring(*greedy, 10, '2');
  backend().bring(*greedy, 10, '3');
  backend().end(*greedy, 0, kEof);
  backend().bring(*polite, 10, '1');
  backend().end(*polite, 0, kEof);
  turn();
  EXPECT_EQ(log(), "greedy polite polite-end");
  EXPECT_GE(loop().metrics().socket_budget_hits, 1u);
  turn();
  EXPECT_EQ(log(), "greedy greedy greedy-end");
}

TEST_F(Turn, T15_ImmediatesQueuedInStepSixWaitBehindTheNextTurnsInput) {
  auto recv = make_recv("data");
  loop().immediate([&] {
    note("first");
    loop().immediate(noting("third"));
    backend().bring(*recv, 10, 'x');
  });
  loop().immediate(noting("second"));
  turn();
  EXPECT_EQ(log(), "first second");
  turn();
  EXPECT_EQ(log(), "data third");
  end(*recv);
}

TEST_F(Turn, T17_AListenerGivesItsShareATurnAndItsEndComesLast) {
  SeenOp<AcceptOp> op(loop(), OpKind::accept, [this](const Completion& got) {
    note(got.has(kHandle) ? std::to_string(got.buffer) : "end");
  });
  op.multishot = true;
  op.accepts_max = 2;
  loop().submit(op);
  for (std::uint32_t i = 1; i <= 5; ++i)
    backend().script.push_back({.id = op.id, .flags = kHandle | kMore, .buffer = i});
  backend().end(op, -ENOMEM);
  for (const char* wanted : {"1 2", "3 4", "5 end"}) {
    turn();
    EXPECT_EQ(log(), wanted);
  }
  EXPECT_EQ(loop().metrics().accept_budget_hits, 2u);
}

}  // namespace
}  // namespace weir::test
