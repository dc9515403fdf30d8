// Signals as something a task waits for.
#include <csignal>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

using Seen = std::vector<Signal>;

class SignalTest : public LoopTest {
 protected:
  static void raise(Signal signal) { ::raise(static_cast<int>(signal)); }
  Task<> watch(Signals& signals, Seen& seen) {
    for (;;) seen.push_back(co_await signals.next());
  }
};

TEST_P(SignalTest, AreGivenToWhoWaits) {
  Signals signals(loop(), {Signal::user1, Signal::user2});
  Seen seen;
  Scope scope;
  scope.spawn(watch(signals, seen), "watch");
  rig_->turns(2);
  raise(Signal::user2);
  until([&] { return seen.size() == 1; });
  raise(Signal::user1);
  until([&] { return seen.size() == 2; });
  EXPECT_EQ(seen, (Seen{Signal::user2, Signal::user1}));
}

TEST_P(SignalTest, ThatComeBeforeAnybodyWaitsAreKeptAndGivenByNumber) {
  Signals signals(loop(), {Signal::user1, Signal::user2, Signal::hangup});
  raise(Signal::user2);
  raise(Signal::user1);
  raise(Signal::hangup);
  rig_->turns(3);
  Seen seen;
  Scope scope;
  scope.spawn(watch(signals, seen), "watch");
  until([&] { return seen.size() == 3; });
  EXPECT_EQ(seen, (Seen{Signal::hangup, Signal::user1, Signal::user2}));
}

TEST_P(SignalTest, EachWatchHearsOfThem) {
  Signals one(loop(), {Signal::user1}), other(loop(), {Signal::user1, Signal::user2});
  Seen first, second;
  Scope scope;
  scope.spawn(watch(one, first), "one");
  scope.spawn(watch(other, second), "other");
  rig_->turns(2);
  raise(Signal::user1);
  until([&] { return first.size() == 1 && second.size() == 1; });
  raise(Signal::user2);
  until([&] { return second.size() == 2; });
  EXPECT_EQ(first.size(), 1u);
}

TEST_P(SignalTest, KeepTheLoopAliveOnlyWhileSomebodyWaits) {
  Signals signals(loop(), {Signal::user1});
  EXPECT_FALSE(loop().run());
  Seen seen;
  Scope scope;
  scope.spawn(watch(signals, seen), "watch");
  rig_->turns(2);
  EXPECT_TRUE(loop().is_alive());
  scope.cancel();
  EXPECT_FALSE(loop().run());
}

TEST_P(SignalTest, UnreferencedTheyDoNotKeepItAlive) {
  Signals signals(loop(), {Signal::user1});
  signals.unref();
  Seen seen;
  Scope scope;
  scope.spawn(watch(signals, seen), "watch");
  rig_->turns(2);
  EXPECT_FALSE(loop().run());
  raise(Signal::user1);
  until([&] { return seen.size() == 1; });
}

TEST_P(SignalTest, AreReleasedWithTheWatch) {
  static volatile std::sig_atomic_t count;
  count = 0;
  struct sigaction action {
  }, former{};
  action.sa_handler = [](int) { count = count + 1; };
  sigaction(SIGUSR1, &action, &former);
  {
    Signals signals(loop(), {Signal::user1});
    raise(Signal::user1);
    EXPECT_EQ(count, 0);
  }
  rig_->turns(5);
  raise(Signal::user1);
  EXPECT_EQ(count, 1);
  sigaction(SIGUSR1, &former, nullptr);
}

TEST_P(SignalTest, DestroyedTheyTellWhoWaits) {
  auto signals = std::make_unique<Signals>(loop(), std::initializer_list<Signal>{Signal::user1});
  Error told;
  const auto waits = [&]() -> Task<> {
    Result<Signal> got = co_await result(signals->next());
    told = got.error();
  };
  const auto destroys = [&]() -> Task<> {
    co_await yield();
    signals.reset();
  };
  const auto both = [&]() -> Task<> { co_await when_all(waits(), destroys()); };
  EXPECT_TRUE(run(both).ok());
  EXPECT_EQ(told, Errc::closed);
  EXPECT_FALSE(loop().run());
}

// The watch is gone for good before the task that waited for it ends.
TEST_P(SignalTest, DestroyedTheyLeaveAWaiterThatEndsBeforeItIsTold) {
  auto signals = std::make_unique<Signals>(loop(), std::initializer_list<Signal>{Signal::user1});
  const auto waits = [&]() -> Task<> { static_cast<void>(co_await signals->next()); };
  Scope scope;
  scope.spawn(waits(), "waits");
  rig_->turns(2);
  signals.reset();
  scope.cancel();
  rig_->turns(3);
  EXPECT_FALSE(loop().run());
}

TEST_P(SignalTest, ManyWatchesOneAfterAnother) {
  for (int i = 0; i < 200; ++i) {
    Signals signals(loop(), {Signal::user1});
    rig_->turns(1);
  }
  rig_->turns(5);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, SignalTest, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
