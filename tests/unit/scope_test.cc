// Scopes: starting, limits, waiting, cancelling, and whom an error or exception reaches.
#include <stdexcept>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class ScopeTest : public ::testing::Test {
 public:
  ScopeTest() : rig_({.backend = "epoll"}) {}
  ~ScopeTest() override { rig_.finish(); }
  Loop& loop() { return rig_.loop(); }
  template <typename Body>
  Error run(Body body) {
    return rig_.run(std::move(body));
  }
  void note(std::string what) { log_.push_back(std::move(what)); }
  std::string log() {
    std::string text;
    for (const std::string& what : std::exchange(log_, {}))
      text += (text.empty() ? "" : " ") + what;
    return text;
  }
  struct Guard {
    ScopeTest& test;
    std::string name;
    ~Guard() { test.note(name); }
  };
  Task<> waits(std::string name) {
    Guard guard{*this, std::move(name)};
    co_await sleep_for(1h);
  }
  Task<> notes(std::string name) {
    note(std::move(name));
    co_return;
  }
  Task<> fails(Errc code) {
    co_await yield();
    co_await Result<void>(Error::of(code, Operation::read));
  }
  /// Options whose on_error notes code, tag and line.
  ScopeOptions noting() {
    ScopeOptions options;
    options.context = this;
    options.on_error = [](const Failure& failure, void* context) {
      static_cast<ScopeTest*>(context)->failures_.push_back(failure);
    };
    return options;
  }

  LoopRig rig_;
  std::vector<std::string> log_;
  std::vector<Failure> failures_;
};

TEST_F(ScopeTest, RunsItsChildrenInTheOrderInWhichTheyWereSpawned) {
  Scope scope;
  for (const char* name : {"a", "b", "c"}) scope.spawn(notes(name), name);
  EXPECT_EQ(scope.count(), 3u);
  EXPECT_EQ(log(), "");
  rig_.turns(1);
  EXPECT_EQ(log(), "a b c");
  EXPECT_EQ(scope.count(), 0u);
}

TEST_F(ScopeTest, HasALimit) {
  ScopeOptions options;
  options.max_count = 2;
  Scope scope(options);
  Task<> first = waits("first"), second = waits("second"), third = waits("third");
  EXPECT_TRUE(scope.try_spawn(first, "first"));
  EXPECT_TRUE(scope.try_spawn(second, "second"));
  EXPECT_FALSE(first.valid());
  EXPECT_FALSE(scope.try_spawn(third, "third"));
  EXPECT_TRUE(third.valid());  // untouched
  EXPECT_EQ(scope.count(), 2u);
}

TEST_F(ScopeTest, JoinWaitsForTheLastChild) {
  const auto child = [&](Duration delay) -> Task<> {
    co_await sleep_for(delay);
    note("child");
  };
  const auto body = [&]() -> Task<> {
    Scope scope;
    co_await scope.join();  // nobody there
    scope.spawn(child(1ms), "short");
    scope.spawn(child(3ms), "long");
    co_await scope.join();
    note("joined");
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "child child joined");
}

TEST_F(ScopeTest, HasRoomWaitsForAPlace) {
  ScopeOptions options;
  options.max_count = 2;
  int running = 0, most = 0, total = 0;
  const auto child = [&]() -> Task<> {
    most = std::max(most, ++running);
    co_await sleep_for(100us);
    --running;
    ++total;
  };
  const auto body = [&]() -> Task<> {
    Scope scope(options);
    for (int i = 0; i < 10; ++i) {
      co_await scope.has_room();
      scope.spawn(child(), "child");
    }
    co_await scope.join();
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(total, 10);
  EXPECT_EQ(most, 2);
}

TEST_F(ScopeTest, APlaceGoesToOneOfThoseThatWaitForItInOrder) {
  ScopeOptions options;
  options.max_count = 1;
  const auto body = [&]() -> Task<> {
    Scope scope(options);
    const auto child = [&](std::string name) -> Task<> {
      note(std::move(name));
      co_await yield();
    };
    const auto spawner = [&](std::string name) -> Task<> {
      for (int i = 0; i < 3; ++i) {
        co_await scope.has_room();
        scope.spawn(child(name), "child");
      }
    };
    co_await when_all(spawner("a"), spawner("b"), spawner("c"));
    co_await scope.join();
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "a a b c a b c b c");
}

TEST_F(ScopeTest, AWaiterForRoomThatTakesNoPlaceLeavesItToTheNext) {
  ScopeOptions options = noting();
  options.max_count = 1;
  const auto body = [&]() -> Task<> {
    Scope scope(options);
    Scope others;
    const auto asks_only = [&]() -> Task<> {
      co_await scope.has_room();
      note("asked");
    };
    scope.spawn(fails(Errc::busy), "fails");
    others.spawn(asks_only(), "first");
    others.spawn(asks_only(), "second");
    co_await others.join();
    co_await scope.join();
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "asked asked");
}

TEST_F(ScopeTest, CancelEndsEveryChildAndRefusesNewOnes) {
  Scope scope;
  scope.spawn(waits("a"), "a");
  scope.spawn(waits("b"), "b");
  rig_.turns(1);
  scope.cancel();
  EXPECT_EQ(scope.count(), 0u);
  EXPECT_TRUE(scope.is_cancelled());
  EXPECT_THAT(log(), ::testing::AnyOf("a b", "b a"));
  Task<> late = waits("late");
  EXPECT_FALSE(scope.try_spawn(late, "late"));
  EXPECT_TRUE(late.valid());
  scope.spawn(std::move(late), "late");
  EXPECT_EQ(scope.count(), 0u);
  EXPECT_FALSE(loop().is_alive());
}

TEST_F(ScopeTest, CancelWakesWhoJoins) {
  const auto body = [&]() -> Task<> {
    Scope scope;
    scope.spawn(waits("child"), "child");
    Timer timer(loop());
    timer.arm(1ms, [&] { scope.cancel(); });
    co_await scope.join();
    note("joined");
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "child joined");
}

TEST_F(ScopeTest, AChildMayCancelItsOwnScope) {
  Scope scope;
  const auto suicidal = [&](bool awaits_first) -> Task<> {
    Guard guard{*this, "ended"};
    const auto inner = [&]() -> Task<> {
      co_await yield();  // resumed here, so the inner task is what the loop resumed
    };
    if (awaits_first) co_await inner();
    scope.cancel();
    note("goes on to its next suspension");
    co_await yield();
    note("not reached");
  };
  scope.spawn(waits("sibling"), "sibling");
  scope.spawn(suicidal(true), "suicidal");
  rig_.turns(5);
  EXPECT_EQ(log(), "sibling goes on to its next suspension ended");
  EXPECT_EQ(scope.count(), 0u);
}

TEST_F(ScopeTest, AChildThatCancelsItsScopeMayEndThere) {
  Scope scope(noting());
  const auto suicidal = [&]() -> Task<> {
    scope.cancel();
    co_return;
  };
  scope.spawn(suicidal(), "suicidal");
  rig_.turns(3);
  EXPECT_EQ(scope.count(), 0u);
  EXPECT_TRUE(failures_.empty());
}

TEST_F(ScopeTest, MayBeDestroyedWhileItsChildRuns) {
  auto scope = std::make_unique<Scope>();
  const auto destroys = [&]() -> Task<> {
    Guard guard{*this, "ended"};
    co_await yield();
    scope.reset();
    note("goes on");
    co_await yield();
    note("not reached");
  };
  scope->spawn(destroys(), "destroys");
  scope->spawn(waits("sibling"), "sibling");
  rig_.turns(5);
  EXPECT_EQ(log(), "sibling goes on ended");
}

TEST_F(ScopeTest, MayBeDestroyedWhileItsChildRunsToItsEnd) {
  auto scope = std::make_unique<Scope>();
  const auto destroys = [&]() -> Task<> {
    scope.reset();
    note("end");
    co_return;
  };
  scope->spawn(destroys(), "destroys");
  rig_.turns(3);
  EXPECT_EQ(log(), "end");
}

TEST_F(ScopeTest, AnEndedChildsDestructorsMayUseTheScope) {
  Scope scope;
  struct Respawn {
    ScopeTest& test;
    Scope& scope;
    ~Respawn() { scope.spawn(test.notes("respawned"), "respawned"); }
  };
  const auto child = [&]() -> Task<> {
    Respawn respawn{*this, scope};
    co_await yield();
  };
  scope.spawn(child(), "child");
  rig_.turns(3);
  EXPECT_EQ(log(), "respawned");
}

TEST_F(ScopeTest, NestedScopesEndWithTheTaskThatOwnsThem) {
  const auto parent = [&]() -> Task<> {
    Guard guard{*this, "parent"};
    Scope inner;
    inner.spawn(waits("child"), "child");
    inner.spawn(waits("other child"), "other child");
    co_await sleep_for(1h);
  };
  {
    Scope outer;
    outer.spawn(parent(), "parent");
    rig_.turns(2);
    EXPECT_EQ(log(), "");
  }
  EXPECT_THAT(log(), ::testing::AnyOf("child other child parent", "other child child parent"));
  EXPECT_FALSE(loop().is_alive());
}

TEST_F(ScopeTest, OnErrorHearsErrorTagAndLine) {
  Scope scope(noting());
  scope.spawn(waits("sibling"), "sibling");
  scope.spawn(fails(Errc::busy), "the tag");
  const std::uint32_t line = SourceLocation::current().line() - 1;
  rig_.turns(3);
  ASSERT_EQ(failures_.size(), 1u);
  EXPECT_EQ(failures_[0].error, Errc::busy);
  EXPECT_EQ(failures_[0].exception, nullptr);
  EXPECT_STREQ(failures_[0].tag, "the tag");
  EXPECT_EQ(failures_[0].where.line(), line);
  EXPECT_THAT(failures_[0].where.file_name(), ::testing::HasSubstr("scope_test.cc"));
  EXPECT_EQ(scope.count(), 1u);  // the sibling goes on
  EXPECT_EQ(rig_.metrics().scopes_failed, 1u);
}

TEST_F(ScopeTest, WithoutOnErrorTheParentHears) {
  Scope outer(noting());
  Scope inner(loop().core(), &outer, {}, SourceLocation::current());
  inner.spawn(fails(Errc::busy), "inner");
  rig_.turns(3);
  ASSERT_EQ(failures_.size(), 1u);
  EXPECT_STREQ(failures_[0].tag, "inner");
}

TEST_F(ScopeTest, AScopeMadeInATaskReportsToTheScopeOfThatTask) {
  Scope outer(noting());
  const auto parent = [&]() -> Task<> {
    Scope inner;
    inner.spawn(fails(Errc::busy), "grandchild");
    co_await inner.join();
  };
  outer.spawn(parent(), "parent");
  rig_.turns(4);
  ASSERT_EQ(failures_.size(), 1u);
  EXPECT_STREQ(failures_[0].tag, "grandchild");
}

TEST_F(ScopeTest, OneThatOutlivesItsParentReportsToTheNext) {
  Scope outer(noting());
  auto middle =
      std::make_unique<Scope>(loop().core(), &outer, ScopeOptions{}, SourceLocation::current());
  Scope inner(loop().core(), middle.get(), {}, SourceLocation::current());
  Scope other(loop().core(), middle.get(), {}, SourceLocation::current());
  middle.reset();
  inner.spawn(fails(Errc::busy), "inner");
  other.spawn(fails(Errc::busy), "other");
  rig_.turns(3);
  EXPECT_EQ(failures_.size(), 2u);
}

TEST_F(ScopeTest, AtTheRootItIsPrinted) {
  ::testing::internal::CaptureStderr();
  loop().spawn(fails(Errc::busy), "the tag");
  rig_.turns(3);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, ::testing::HasSubstr("the tag"));
  EXPECT_THAT(text, ::testing::HasSubstr("scope_test.cc"));
  EXPECT_THAT(text, ::testing::HasSubstr(Error::of(Errc::busy, Operation::read).to_string()));
}

TEST_F(ScopeTest, OnErrorMaySpawnAndCancel) {
  struct Context {
    ScopeTest* test;
    Scope* scope;
  } context{this, nullptr};
  ScopeOptions options;
  options.context = &context;
  options.on_error = [](const Failure&, void* raw) {
    auto& [test, scope] = *static_cast<Context*>(raw);
    scope->spawn(test->notes("again"), "again");
    if (test->log_.empty()) return;
    scope->cancel();
  };
  Scope scope(options);
  context.scope = &scope;
  scope.spawn(fails(Errc::busy), "first");
  rig_.turns(3);
  EXPECT_EQ(log_.size(), 1u);
  scope.spawn(fails(Errc::busy), "second");
  rig_.turns(3);
  EXPECT_TRUE(scope.is_cancelled());
  EXPECT_EQ(scope.count(), 0u);
}

TEST_F(ScopeTest, PolicyStopLoopStopsTheRun) {
  ScopeOptions options = noting();
  options.policy = ScopePolicy::stop_loop;
  Scope scope(options);
  scope.spawn(fails(Errc::busy), "fails");
  scope.spawn(waits("sibling"), "sibling");
  EXPECT_TRUE(loop().run());
  EXPECT_EQ(failures_.size(), 1u);
}

using ScopeDeathTest = ScopeTest;
TEST_F(ScopeDeathTest, PolicyAbortAborts) {
  ScopeOptions options;
  options.policy = ScopePolicy::abort;
  Scope scope(options);
  scope.spawn(fails(Errc::busy), "fatal");
  EXPECT_DEATH(rig_.turns(3), "fatal.*busy");
  scope.cancel();
}

TEST_F(ScopeDeathTest, SpawningBeyondTheLimitAborts) {
  ScopeOptions options;
  options.max_count = 1;
  Scope scope(options);
  scope.spawn(waits("one"), "one");
  EXPECT_DEATH(scope.spawn(waits("two"), "two"), "max_count");
}

#if defined(__cpp_exceptions)
TEST_F(ScopeTest, AnExceptionEndsItsChildOnly) {
  const auto throws = [&](bool waits) -> Task<> {
    if (waits) co_await yield();
    throw std::runtime_error("thrown");
  };
  Scope scope(noting());
  scope.spawn(throws(false), "at once");
  scope.spawn(throws(true), "later");
  scope.spawn(waits("sibling"), "sibling");
  rig_.turns(3);
  ASSERT_EQ(failures_.size(), 2u);
  for (const Failure& failure : failures_) {
    EXPECT_EQ(failure.error, Errc::exception);
    ASSERT_NE(failure.exception, nullptr);
    try {
      std::rethrow_exception(failure.exception);
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "thrown");
    }
  }
  EXPECT_EQ(scope.count(), 1u);
  EXPECT_EQ(rig_.metrics().exceptions, 2u);
}

TEST_F(ScopeTest, AnExceptionInOnErrorEndsNobodyElse) {
  ScopeOptions options;
  options.on_error = [](const Failure&, void*) { throw std::runtime_error("in on_error"); };
  Scope scope(options);
  scope.spawn(fails(Errc::busy), "fails");
  scope.spawn(waits("sibling"), "sibling");
  ::testing::internal::CaptureStderr();
  rig_.turns(4);
  EXPECT_NE(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(scope.count(), 1u);
}

TEST_F(ScopeTest, AnExceptionInACallbackReachesTheRootScope) {
  ::testing::internal::CaptureStderr();
  loop().immediate([] { throw std::runtime_error("in a callback"); });
  loop().immediate([&] { note("next"); });
  rig_.turns(2);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), ::testing::HasSubstr("scope_test.cc"));
  EXPECT_EQ(log(), "next");
}
#endif

TEST_F(ScopeTest, DestroyingItTellsThoseWhoWaitForIt) {
  ScopeOptions options;
  options.max_count = 1;
  auto scope = std::make_unique<Scope>(options);
  scope->spawn(waits("child"), "child");
  const auto joins = [&]() -> Task<> { co_await scope->join(); };
  const auto asks = [&]() -> Task<> { co_await scope->has_room(); };
  Scope others(noting());
  others.spawn(joins(), "joins");
  others.spawn(asks(), "asks");
  rig_.turns(2);
  EXPECT_EQ(others.count(), 2u);
  scope.reset();
  rig_.turns(2);
  EXPECT_EQ(others.count(), 0u);
  EXPECT_EQ(log(), "child");
}

TEST_F(ScopeTest, ReportNamesTheChildrenOfTheRoot) {
  loop().spawn(waits("child"), "named child");
  rig_.turns(1);
  EXPECT_THAT(loop().report(), ::testing::HasSubstr("named child"));
  loop().scope().cancel();
}

}  // namespace
}  // namespace weir::test
