// Several tasks as one, and waiting for time.
#include <stdexcept>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class CombineTest : public ::testing::Test {
 protected:
  CombineTest() : rig_({.backend = "epoll"}) { std::tie(near_, far_) = make_stream_pair(loop()); }
  ~CombineTest() override {
    near_ = {};
    far_ = {};
    rig_.finish();
  }
  struct Guard {
    int& count;
    ~Guard() { ++count; }
  };
  Task<int> after(Duration delay, int value) {
    Guard guard{ended_count_};
    co_await sleep_for(delay);
    co_return value;
  }
  Task<> forever() {
    Guard guard{ended_count_};
    co_await sleep_for(1h);
  }
  static Task<int> at_once(int value) { co_return value; }
  static Task<> fails_at_once(Errc code) {
    co_await Result<void>(Error::of(code, Operation::wait));
  }
  Task<> fails_after(Duration delay, Errc code) {
    Guard guard{ended_count_};
    co_await sleep_for(delay);
    co_await Result<void>(Error::of(code, Operation::wait));
  }
#if defined(__cpp_exceptions)
  static Task<int> throws_after(Duration delay) {
    if (delay > 0ns) co_await sleep_for(delay);
    throw std::runtime_error("thrown");
    co_return 1;
  }
#endif
  Loop& loop() { return rig_.loop(); }
  template <typename Body>
  Error run(Body body) {
    return rig_.run(std::move(body));
  }
  void expect_nothing_left() {
    EXPECT_FALSE(loop().is_alive()) << loop().report();  // no timer of a task that was ended
  }

  LoopRig rig_;
  Stream near_, far_;
  int ended_count_ = 0;
};

TEST_F(CombineTest, WhenAllGivesEveryValueInOrder) {
  std::tuple<int, int, int> values;
  const auto body = [&]() -> Task<> {
    values = co_await when_all(after(2ms, 1), at_once(2), after(1ms, 3));
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(values, std::make_tuple(1, 2, 3));
}

TEST_F(CombineTest, WhenAllOfTasksThatAreDoneAtOnceDoesNotWait) {
  int sum = 0;
  const auto body = [&]() -> Task<> {
    const std::uint64_t turn = loop().metrics().turns;
    const auto [one, two] = co_await when_all(at_once(1), at_once(2));
    EXPECT_EQ(loop().metrics().turns, turn);
    sum = one + two;
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(sum, 3);
}

TEST_F(CombineTest, WhenAllOfVoidsGivesNothing) {
  const auto wait = [&](Duration delay) -> Task<> { co_await sleep_for(delay); };
  const auto body = [&]() -> Task<> {
    static_assert(std::is_void_v<decltype(when_all(wait(1ms), wait(2ms)).await_resume())>);
    co_await when_all(wait(1ms), wait(2ms));
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_F(CombineTest, WhenAllEndsTheOthersAtTheFirstError) {
  for (const Duration delay : {Duration(0), Duration(1ms)}) {
    ended_count_ = 0;
    const auto body = [&]() -> Task<> {
      co_await when_all(forever(), fails_after(delay, Errc::message_too_long), forever());
      ADD_FAILURE() << "not reached";
    };
    EXPECT_EQ(run(body), Errc::message_too_long);
    EXPECT_EQ(ended_count_, 3);
    expect_nothing_left();
  }
}

TEST_F(CombineTest, WhenAllsErrorCanBeCaught) {
  Error error;
  const auto body = [&]() -> Task<> {
    Result<void> got = co_await result(when_all(forever(), fails_at_once(Errc::busy)));
    error = got.error();
    co_await yield();
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(error, Errc::busy);
  expect_nothing_left();
}

TEST_F(CombineTest, TwoErrorsAtOnceGiveTheFirst) {
  const auto body = [&]() -> Task<> {
    co_await when_all(fails_at_once(Errc::busy), fails_at_once(Errc::no_space));
  };
  EXPECT_EQ(run(body), Errc::busy);
}

#if defined(__cpp_exceptions)
TEST_F(CombineTest, WhenAllEndsTheOthersAtTheFirstException) {
  for (const Duration delay : {Duration(0), Duration(1ms)}) {
    ended_count_ = 0;
    std::string text;
    const auto body = [&]() -> Task<> {
      try {
        co_await when_all(forever(), throws_after(delay), forever());
      } catch (const std::runtime_error& error) {
        text = error.what();
      }
    };
    EXPECT_TRUE(run(body).ok());
    EXPECT_EQ(text, "thrown");
    EXPECT_LE(ended_count_, 2);  // one that was not started has nothing to end
    expect_nothing_left();
  }
}

TEST_F(CombineTest, WhenAnyPassesOnAnException) {
  std::string text;
  const auto body = [&]() -> Task<> {
    try {
      co_await when_any(forever(), throws_after(1ms));
    } catch (const std::runtime_error& error) {
      text = error.what();
    }
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(text, "thrown");
  expect_nothing_left();
}
#endif

TEST_F(CombineTest, WhenAnyTellsWhichWasFirstAndEndsTheOthers) {
  std::size_t first = 9;
  const auto body = [&]() -> Task<> {
    first = co_await when_any(forever(), after(1ms, 7), forever());
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(first, 1u);
  EXPECT_EQ(ended_count_, 3);
  expect_nothing_left();
}

TEST_F(CombineTest, WhenAnyStartsNoMoreOnceOneIsDone) {
  std::size_t first = 9;
  const auto body = [&]() -> Task<> { first = co_await when_any(at_once(1), forever()); };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(first, 0u);
  EXPECT_EQ(ended_count_, 0);
}

TEST_F(CombineTest, WhenAnyFailsWithTheFirstThatFails) {
  const auto body = [&]() -> Task<> { co_await when_any(forever(), fails_after(1ms, Errc::busy)); };
  EXPECT_EQ(run(body), Errc::busy);
  EXPECT_EQ(ended_count_, 2);
  expect_nothing_left();
}

TEST_F(CombineTest, WithDeadlineGivesTheValueInTime) {
  int value = 0;
  const auto body = [&]() -> Task<> { value = co_await with_deadline(after(1ms, 5), 1h); };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(value, 5);
  expect_nothing_left();
}

TEST_F(CombineTest, WithDeadlineEndsWhatIsLate) {
  const auto body = [&]() -> Task<> { co_await with_deadline(forever(), 2ms); };
  EXPECT_EQ(run(body), Errc::timed_out);
  EXPECT_EQ(ended_count_, 1);
  expect_nothing_left();
}

TEST_F(CombineTest, WithDeadlinePassesOnAnError) {
  const auto body = [&]() -> Task<> { co_await with_deadline(fails_after(1ms, Errc::busy), 1h); };
  EXPECT_EQ(run(body), Errc::busy);
  expect_nothing_left();
}

TEST_F(CombineTest, ADeadlineInADeadlineCountsTheShorterOne) {
  const auto inner = [&]() -> Task<> { co_await with_deadline(forever(), 1h); };
  const auto body = [&]() -> Task<> {
    Result<void> got = co_await result(with_deadline(inner(), 2ms));
    EXPECT_EQ(got.error(), Errc::timed_out);
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(ended_count_, 1);
  expect_nothing_left();
}

TEST_F(CombineTest, TheyNest) {
  int sum = 0;
  const auto pair_of = [&](int one, int two) -> Task<int> {
    const auto [first, second] = co_await when_all(after(1ms, one), at_once(two));
    co_return first + second;
  };
  const auto body = [&]() -> Task<> {
    const auto [left, right] = co_await when_all(pair_of(1, 2), pair_of(3, 4));
    const std::size_t which = co_await when_any(pair_of(1, 1), forever());
    sum = left + right + static_cast<int>(which);
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(sum, 10);
}

TEST_F(CombineTest, DestroyedWhileTheyWaitTheyEndTheirTasks) {
  const auto all = [&]() -> Task<> { co_await when_all(forever(), forever()); };
  const auto any = [&]() -> Task<> { co_await when_any(forever(), forever()); };
  const auto late = [&]() -> Task<> { co_await with_deadline(forever(), 1h); };
  {
    Scope scope;
    scope.spawn(all(), "all");
    scope.spawn(any(), "any");
    scope.spawn(late(), "late");
    rig_.turns(2);
    EXPECT_EQ(ended_count_, 0);
  }
  EXPECT_EQ(ended_count_, 5);
  expect_nothing_left();
}

TEST_F(CombineTest, AnEndedReaderTakesNoByte) {
  const auto read = [&]() -> Task<> { static_cast<void>(co_await far_.read()); };
  const auto body = [&]() -> Task<> {
    co_await when_any(read(), after(1ms, 1));
    co_await near_.write("for the next reader");
    Buf bytes = co_await far_.read();
    EXPECT_EQ(bytes.text(), "for the next reader");
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_F(CombineTest, SleepIsNeverEarly) {
  const auto body = [&]() -> Task<> {
    for (const Duration delay :
         {Duration(0), Duration(1), Duration(100us), Duration(3ms), Duration(-5)}) {
      const std::uint64_t start = loop().now_ns();
      co_await sleep_for(delay);
      EXPECT_GE(loop().now_ns(),
                start + static_cast<std::uint64_t>(std::max(delay, Duration(0)).count()));
    }
    const std::uint64_t deadline = loop().now_ns() + 2'000'000;
    co_await sleep_until(deadline);
    EXPECT_GE(loop().now_ns(), deadline);
    EXPECT_GE(loop().backend().now(), deadline);
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_F(CombineTest, YieldLetsInputIn) {
  const auto echo = [&]() -> Task<> {
    Buf bytes = co_await far_.read();
    co_await far_.write(std::move(bytes));
  };
  const auto spin = [&]() -> Task<> {
    co_await near_.write("x");
    while (near_.queued_bytes() > 0 || !far_.has_ended()) {
      co_await yield();
      if (ended_count_ > 0) co_return;
    }
  };
  const auto body = [&]() -> Task<> {
    Scope scope;
    scope.spawn(spin(), "spin");
    co_await echo();
    Buf back = co_await near_.read();
    EXPECT_EQ(back.text(), "x");
    ended_count_ = 1;
    co_await scope.join();
  };
  EXPECT_TRUE(run(body).ok());
}

}  // namespace
}  // namespace weir::test
