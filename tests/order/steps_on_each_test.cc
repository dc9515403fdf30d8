// The sentences T1 … of docs/internals/turn.md that need no script: on each backend and on the scripted one, or, where the
// clock must go on by itself or bytes come from sockets, on each backend.
#include <sys/socket.h>
#include <unistd.h>

#include <map>

#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

using Nop = SeenOp<Op>;

class TurnOnEach : public EachBackendTest {};

TEST_P(TurnOnEach, T4_ATimerArmedByATimersCallbackWaitsForTheNextTurn) {
  Timer timer(loop()), other(loop());
  timer.arm(0ns, [&] {
    note("first");
    timer.arm(0ns, noting("again"));
    other.arm_at(0, noting("other"));  // long past
  });
  turn();
  EXPECT_EQ(log(), "first");
  turn();
  EXPECT_EQ(log(), "other again");
}

TEST_P(TurnOnEach, T4_ATimerExtendedByATimersCallbackWaitsForTheNextTurn) {
  Timer first(loop()), second(loop());
  first.arm(0ns, [&] {
    note("first");
    second.extend(0ns);
  });
  second.arm(0ns, noting("second"));
  turn();
  EXPECT_EQ(log(), "first");
  turn();
  EXPECT_EQ(log(), "second");
}

TEST_P(TurnOnEach, T5_ATimerCancelledByAnEarlierCallbackOfTheTurnDoesNotRun) {
  Timer first(loop()), second(loop()), third(loop());
  first.arm(0ns, [&] {
    note("first");
    EXPECT_TRUE(second.cancel());
  });
  second.arm(0ns, noting("second"));
  third.arm(0ns, noting("third"));
  turn();
  turn();
  EXPECT_EQ(log(), "first third");
}

TEST_P(TurnOnEach, T6_AtMostTimersPerTurnRunInATurn) {
  Limits limits;
  limits.timers_per_turn = 2;
  make_loop(limits);
  Timer a(loop()), b(loop()), c(loop()), d(loop()), e(loop());
  char name = 'a';
  for (Timer* timer : {&a, &b, &c, &d, &e}) timer->arm(0ns, noting(std::string(1, name++)));
  turn();
  EXPECT_EQ(log(), "a b");
  turn();
  EXPECT_EQ(log(), "c d");
  turn();
  EXPECT_EQ(log(), "e");
  EXPECT_EQ(loop().metrics().timers_fired, 5u);
  EXPECT_EQ(loop().metrics().timer_budget_hits, 2u);
}

TEST_P(TurnOnEach, T8_DemotedJobsRunInOrderAtMostSoManyATurn) {
  Limits limits;
  limits.descendants_per_drain = 1;
  limits.demoted_per_turn = 2;
  make_loop(limits);
  demote({"a", "b", "c"});
  turn();
  EXPECT_EQ(log(), "a b");
  turn();
  EXPECT_EQ(log(), "c");
}

TEST_P(TurnOnEach, T8_AJobDemotedInThisStepWaitsForTheNextTurn) {
  Limits limits;
  limits.descendants_per_drain = 1;
  make_loop(limits);
  loop().microtask([this] {
    loop().microtask([] {});
    loop().microtask([this] {
      note("first");
      demote({"second"});
    });
  });
  turn();
  EXPECT_EQ(log(), "first");
  turn();
  EXPECT_EQ(log(), "second");
}

TEST_P(TurnOnEach, T9_PrepareHooksRunInEachTurnNewestFirst) {
  PrepareHook old, young;
  loop().prepare(old, noting("old"));
  loop().prepare(young, noting("young"));
  turn();
  turn();
  EXPECT_EQ(log(), "young old young old");
  EXPECT_FALSE(loop().is_alive());  // a hook alone does not keep the loop alive
}

TEST_P(TurnOnEach, T9_AHookMayUnhookItselfOrAnyOther) {
  PrepareHook a, b, c, d;
  loop().prepare(a, noting("a"));
  loop().prepare(b, noting("b"));
  loop().prepare(c, [&] {
    note("c");
    c.unhook();
    b.unhook();  // the next
    d.unhook();  // the one before
  });
  loop().prepare(d, noting("d"));
  turn();
  EXPECT_EQ(log(), "d c a");
  turn();
  EXPECT_EQ(log(), "a");
}

TEST_P(TurnOnEach, T9_AHookMayOutliveItsLoop) {
  PrepareHook hook;
  loop().prepare(hook, noting("hook"));
  loop_.reset();
  hook.unhook();
  EXPECT_EQ(log(), "");
}

TEST_P(TurnOnEach, T12_PostedCallbacksRunInOrderAtMostSoManyATurn) {
  Limits limits;
  limits.posts_per_turn = 2;
  make_loop(limits);
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(loop().post(noting(name)), Posted::queued);
  }
  turn();
  EXPECT_EQ(log(), "a b");
  turn();
  EXPECT_EQ(log(), "c");
  EXPECT_EQ(loop().metrics().posts_run, 3u);
  EXPECT_EQ(loop().metrics().post_budget_hits, 1u);
}

TEST_P(TurnOnEach, T12_WhatAPostedCallbackPostsRunsBehindTheOthersInTheSameStep) {
  Limits limits;
  limits.posts_per_turn = 4;
  make_loop(limits);
  EXPECT_EQ(loop().post([&] {
    note("a");
    for (const char* name : {"c", "d", "e"}) EXPECT_EQ(loop().post(noting(name)), Posted::queued);
  }),
            Posted::queued);
  EXPECT_EQ(loop().post(noting("b")), Posted::queued);
  loop().immediate(noting("immediate"));
  turn();
  EXPECT_EQ(log(), "a b c d immediate");
  turn();
  EXPECT_EQ(log(), "e");
}

TEST_P(TurnOnEach, T15_ImmediatesQueuedByThisTurnsInputRunInThisTurn) {
  Nop nop(loop(), OpKind::nop, [&](const Completion&) { loop().immediate(noting("immediate")); });
  loop().submit(nop);
  turn();
  EXPECT_EQ(log(), "immediate");
}

TEST_P(TurnOnEach, T16_CloseNotificationsRunLastInTheOrderInWhichTheClosesEnded) {
  Stream streams[6];
  Recorder handlers[6];
  for (int i = 0; i < 6; i += 2) std::tie(streams[i], streams[i + 1]) = make_stream_pair(loop());
  for (int i = 0; i < 6; i += 2) {
    handlers[i].on_closed = noting("close" + std::to_string(i));
    streams[i].start(handlers[i]);
  }
  loop().immediate(noting("immediate"));
  streams[2].close();
  streams[0].close();
  handlers[2].on_closed = [&] {
    note("close2");
    loop().microtask(noting("its-job"));
    streams[4].close();
  };
  turn();
  EXPECT_EQ(log(), "immediate close2 its-job close0");
  turn();
  EXPECT_EQ(log(), "close4");
  for (Stream& stream : streams) stream = {};
  turn();
  turn();
}

INSTANTIATE_TEST_SUITE_P(AllBackends, TurnOnEach, ::testing::ValuesIn(kOrderBackends),
                         backend_name);

class RealTurn : public LoopTest {
 protected:
  void turn() { loop().run(RunMode::no_wait); }
  std::uint64_t clock_ns() { return loop().backend().now(); }
  void pass(Duration time) {
    const std::uint64_t end_ns = clock_ns() + static_cast<std::uint64_t>(time.count());
    while (clock_ns() < end_ns) {
    }
  }
  auto noting(std::string what) {
    return [this, what = std::move(what)] { log_ += (log_.empty() ? "" : " ") + what; };
  }
  std::string log() { return std::exchange(log_, {}); }
  std::string log_;
};

TEST_P(RealTurn, T2_TheTimeStandsStillInAStepAndGoesOnBehindThePoll) {
  std::vector<std::uint64_t> before, after;
  const auto look = [&](std::vector<std::uint64_t>& times) {
    times.push_back(loop().now_ns());
    pass(1ms);
    times.push_back(loop().now_ns());
  };
  Timer timer(loop());
  PrepareHook hook;
  timer.arm(0ns, [&] { look(before); });
  loop().prepare(hook, [&] { look(before); });
  EXPECT_EQ(loop().post([&] { look(after); }), Posted::queued);
  loop().immediate([&] { look(after); });
  turn();
  EXPECT_EQ(before, std::vector<std::uint64_t>(4, before.at(0)));
  EXPECT_EQ(after, std::vector<std::uint64_t>(4, after.at(0)));
  EXPECT_GE(after.at(0), before.at(0) + 2'000'000);
}

TEST_P(RealTurn, T3_TimersRunByDeadlineThenInOrderOfArmingAndNoneEarly) {
  const std::uint64_t start_ns = clock_ns();
  Timer third(loop()), first(loop()), second(loop()), late(loop());
  third.arm_at(start_ns + 300'000, noting("third"));
  first.arm_at(start_ns + 100'000, noting("first"));
  second.arm_at(start_ns + 100'000, noting("second"));
  late.arm_at(start_ns + 20'000'000, [&] {
    EXPECT_GE(clock_ns(), start_ns + 20'000'000);
    noting("late")();
  });
  pass(1ms);
  until([&] { return log_.ends_with("late"); });
  EXPECT_EQ(log(), "first second third late");
}

TEST_P(RealTurn, T7_LeftoversComeBeforeThePoll) {
  constexpr int kSockets = 8;
  Limits limits;
  limits.completions_per_turn = 2;
  make_loop(limits);
  Stream streams[kSockets];
  Recorder handlers[kSockets];
  int fars[kSockets];
  int served = 0, served_before_poll = 0;
  for (int i = 0; i < kSockets; ++i) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    fars[i] = ends[1];
    streams[i] = adopt_stream(loop(), ends[0]).value();
    handlers[i].on_bytes = [&] { ++served; };
    streams[i].start(handlers[i]);
  }
  turn();
  for (const int far : fars) ASSERT_EQ(::write(far, "x", 1), 1);
  PrepareHook before_poll;
  int served_in_last_turn = 0;
  loop().prepare(before_poll, [&] { served_before_poll += served - served_in_last_turn; });
  while (served < kSockets) {
    served_in_last_turn = served;
    turn();
    EXPECT_LE(served - served_in_last_turn, 2);
  }
  // A backend of readiness leaves bytes with the kernel when there is no room for them: then nothing is left over.
  EXPECT_EQ(served_before_poll > 0, metrics().deliver_budget_hits > 0);
  EXPECT_EQ(served_before_poll > 0, loop().caps().completion);
  for (const int far : fars) ::close(far);
}

TEST_P(RealTurn, T10_ThereIsOnePollATurnAndItWaitsOnlyWhenNothingIsLeftToDo) {
  Timer late(loop());
  late.arm(1h, [] {});
  const std::uint64_t turns = metrics().turns, polls = metrics().polls;
  std::uint64_t waited_ns = clock_ns();
  loop().immediate([] {});
  loop().run(RunMode::once);
  EXPECT_EQ(loop().post([] {}), Posted::queued);
  loop().run(RunMode::once);
  late.arm(0ns, [] {});
  loop().run(RunMode::once);
  EXPECT_LT(clock_ns() - waited_ns, 3'000'000'000u);
  waited_ns = clock_ns();
  late.arm(5ms, noting("late"));
  while (log_.empty()) loop().run(RunMode::once);
  EXPECT_GE(clock_ns() - waited_ns, 5'000'000u);
  EXPECT_LT(metrics().turns - turns, 20u);
  EXPECT_EQ(metrics().turns - turns, metrics().polls - polls);
}

TEST_P(RealTurn, T17_AListenerGivesItsShareATurn) {
  constexpr std::uint64_t kClients = 7;
  Limits limits;
  limits.accepts_per_turn = 2;
  make_loop(limits);
  Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
  std::map<std::uint64_t, int> accepted_in_turn;
  std::vector<Stream> clients;
  Acceptor acceptor;
  acceptor.on_stream = [&] { ++accepted_in_turn[metrics().turns]; };
  const auto connect_one = [&]() -> Task<> {
    clients.push_back(co_await connect(listener.local_address()));
  };
  for (std::uint64_t i = 0; i < kClients; ++i) loop().spawn(connect_one(), "client");
  until([&] { return clients.size() == kClients; });  // all wait in the listener's queue
  listener.start(acceptor);
  until([&] { return acceptor.streams.size() == kClients; });
  for (const auto& [turn, count] : accepted_in_turn) EXPECT_LE(count, 2) << "in turn " << turn;
  acceptor.streams.clear();
  clients.clear();
}

TEST_P(RealTurn, R2_OnceDoesOneTurnThatMayWaitAndNoWaitOneThatDoesNot) {
  Timer timer(loop());
  timer.arm(1h, noting("timer"));
  const std::uint64_t turns = metrics().turns;
  EXPECT_TRUE(loop().run(RunMode::no_wait));
  EXPECT_EQ(metrics().turns, turns + 1);
  timer.arm(3ms, noting("timer"));
  const std::uint64_t start_ns = clock_ns();
  bool is_alive = true;
  int runs = 0;
  for (; log_.empty(); ++runs) is_alive = loop().run(RunMode::once);
  EXPECT_FALSE(is_alive);
  EXPECT_GE(clock_ns() - start_ns, 3'000'000u);
  EXPECT_EQ(metrics().turns, turns + 1 + static_cast<std::uint64_t>(runs));
  EXPECT_LT(runs, 10);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, RealTurn, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
