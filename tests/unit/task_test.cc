// Tasks: values, the error rule, exceptions, cancelling, frames. Streams in memory stand for what a task waits for.
#include <stdexcept>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

/// Notes when it goes.
struct Guard {
  std::vector<std::string>& log;
  std::string name;
  ~Guard() { log.push_back(name); }
};

class TaskTest : public ::testing::Test {
 protected:
  TaskTest() : rig_({.backend = "epoll"}) { std::tie(near_, far_) = make_stream_pair(loop()); }
  ~TaskTest() override {
    near_ = {};
    far_ = {};
    rig_.finish();
  }
  Loop& loop() { return rig_.loop(); }
  std::string log() {
    std::string text;
    for (const std::string& what : std::exchange(log_, {}))
      text += (text.empty() ? "" : " ") + what;
    return text;
  }
  void note(std::string what) { log_.push_back(std::move(what)); }
  void send(std::string_view text) {
    Buf bytes = loop().copy_of(text);
    EXPECT_NE(near_.try_write(bytes), Write::refused);
  }
  template <typename Body>
  Error run(Body body) {
    return rig_.run(std::move(body));
  }

  std::vector<std::string> log_;
  LoopRig rig_;
  Stream near_, far_;
};

Task<int> give(int value) { co_return value; }
Task<std::unique_ptr<int>> give_owned(int value) { co_return std::make_unique<int>(value); }
Task<> nothing() { co_return; }

TEST_F(TaskTest, GivesItsValueToWhoeverAwaits) {
  const auto body = [&]() -> Task<> {
    const int first = co_await give(1);
    Task<int> kept = give(2);
    const int second = co_await std::move(kept);
    std::unique_ptr<int> third = co_await give_owned(3);
    co_await nothing();
    note(std::to_string(first) + std::to_string(second) + std::to_string(*third));
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "123");
}

TEST_F(TaskTest, IsLazy) {
  bool is_started = false;
  const auto body = [&]() -> Task<> {
    is_started = true;
    co_return;
  };
  Task<> task = body();
  rig_.turns(2);
  EXPECT_FALSE(is_started);
  EXPECT_TRUE(run([&] { return std::move(task); }).ok());
  EXPECT_TRUE(is_started);
}

TEST_F(TaskTest, ALongChainOfReadyTasksTakesNoStack) {
  const auto body = [&]() -> Task<> {
    int sum = 0;
    for (int i = 0; i < 200'000; ++i) sum += co_await give(1);
    note(std::to_string(sum));
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "200000");
}

TEST_F(TaskTest, AFailingOperationEndsTheWholeChainAndItsLocals) {
  const auto inner = [&]() -> Task<> {
    Guard guard{log_, "inner"};
    Buf bytes = co_await far_.read_exact(10);
    note("not reached");
  };
  const auto middle = [&]() -> Task<int> {
    Guard guard{log_, "middle"};
    co_await inner();
    note("not reached");
    co_return 1;
  };
  const auto outer = [&]() -> Task<> {
    Guard guard{log_, "outer"};
    const int value = co_await middle();
    note("not reached " + std::to_string(value));
  };
  send("short");
  near_.end_writing();
  const Error error = run(outer);
  EXPECT_EQ(error, Errc::end_of_stream);
  EXPECT_EQ(error.operation, Operation::read);
  EXPECT_EQ(log(), "inner middle outer");
}

TEST_F(TaskTest, AnErrorKnownAtOnceEndsItLaterFromAJob) {
  const auto body = [&]() -> Task<> {
    Guard guard{log_, "ended"};
    loop().microtask([&] { note("job"); });
    note("reads");
    static_cast<void>(co_await far_.read());
    note("not reached");
  };
  far_.close();
  EXPECT_EQ(run(body), Errc::closed);
  EXPECT_EQ(log(), "reads job ended");
}

TEST_F(TaskTest, ResultGivesAnOperationsErrorAsAValue) {
  far_.close();
  const auto body = [&]() -> Task<> {
    Result<Buf> got = co_await result(far_.read());
    note(got.error() == Errc::closed ? "closed" : "something else");
    Result<void> wrote = co_await result(far_.write("x"));
    note(wrote.error() == Errc::closed ? "closed" : "something else");
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "closed closed");
}

TEST_F(TaskTest, ResultGivesAnOperationsValue) {
  send("bytes");
  const auto body = [&]() -> Task<> {
    Result<Buf> got = co_await result(far_.read());
    note(got.ok() ? std::string(got->text()) : "error");
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "bytes");
}

TEST_F(TaskTest, ResultOfATaskStopsItsErrorThere) {
  const auto inner = [&]() -> Task<int> {
    Guard guard{log_, "inner"};
    static_cast<void>(co_await far_.read_exact(10));
    co_return 1;
  };
  const auto middle = [&]() -> Task<int> {
    Guard guard{log_, "middle"};
    co_return co_await inner();
  };
  const auto body = [&]() -> Task<> {
    Result<int> got = co_await result(middle());
    note(got.error() == Errc::end_of_stream ? "end" : "something else");
    Result<int> fine = co_await result(give(5));
    note(std::to_string(fine.value()));
    Result<void> none = co_await result(nothing());
    note(none.ok() ? "ok" : "error");
  };
  near_.end_writing();
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "inner middle end 5 ok");
}

TEST_F(TaskTest, AwaitingAResultTakesItsValueOrEndsTheTask) {
  const auto body = [&]() -> Task<> {
    Guard guard{log_, "ended"};
    Result<int> good(7);
    const int value = co_await std::move(good);
    note(std::to_string(value));
    co_await Result<void>();
    Result<int> bad(Error::of(Errc::message_too_long, Operation::parse));
    co_await std::move(bad);
    note("not reached");
  };
  const Error error = run(body);
  EXPECT_EQ(error, Errc::message_too_long);
  EXPECT_EQ(error.operation, Operation::parse);
  EXPECT_EQ(log(), "7 ended");
}

TEST_F(TaskTest, TheErrorOfAnAwaitedResultKeepsItsText) {
  const auto body = [&]() -> Task<> {
    const Address address = co_await Address::parse("nonsense");
    note(address.to_string());
  };
  EXPECT_THAT(run(body).to_string(), ::testing::HasSubstr("nonsense"));
}

#if defined(__cpp_exceptions)
TEST_F(TaskTest, ThrowingGivesAnOperationsErrorAsAnException) {
  near_.end_writing();
  const auto body = [&]() -> Task<> {
    try {
      static_cast<void>(co_await throwing(far_.read_exact(1)));
    } catch (const Failed& failed) {
      note(failed.error == Errc::end_of_stream ? "end" : failed.what());
    }
    try {
      co_await throwing(nothing());
      const int value = co_await throwing(give(4));
      note(std::to_string(value));
      co_await throwing(far_.write("fine"));
      far_.close();
      static_cast<void>(co_await throwing(far_.read()));
    } catch (const Failed& failed) {
      note(failed.error == Errc::closed ? "closed" : failed.what());
    }
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "end 4 closed");
}

TEST_F(TaskTest, ExceptionsPassThroughNestedTasks) {
  const auto inner = [&](bool waits) -> Task<int> {
    Guard guard{log_, "inner"};
    if (waits) co_await yield();
    throw std::runtime_error("thrown");
    co_return 1;
  };
  const auto middle = [&](bool waits) -> Task<int> {
    Guard guard{log_, "middle"};
    co_return co_await inner(waits);
  };
  const auto body = [&]() -> Task<> {
    for (const bool waits : {false, true}) {
      try {
        co_await middle(waits);
      } catch (const std::runtime_error& error) {
        note(error.what());
      }
    }
    try {
      const Result<int> got = co_await result(middle(true));  // an exception is not an Error
      note("not reached " + got.error().to_string());
    } catch (const std::runtime_error& error) {
      note(error.what());
    }
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "inner middle thrown inner middle thrown inner middle thrown");
}

TEST_F(TaskTest, AnExceptionThatEscapesEndsTheTaskOnly) {
  const auto body = [&]() -> Task<> {
    Guard guard{log_, "ended"};
    co_await yield();
    throw std::runtime_error("escaped");
  };
  EXPECT_EQ(run(body), Errc::exception);
  EXPECT_EQ(log(), "ended");
  EXPECT_EQ(rig_.metrics().exceptions, 1u);
}
#endif

TEST_F(TaskTest, OneThatNobodyStartsGoesWithItsArguments) {
  const auto body = [](std::shared_ptr<int>) -> Task<> { co_return; };
  const auto shared = std::make_shared<int>(1);
  {
    Task<> task = body(shared);
    EXPECT_EQ(shared.use_count(), 2);
    Task<> moved = std::move(task);
    EXPECT_FALSE(task.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
    EXPECT_TRUE(moved.valid());
  }
  EXPECT_EQ(shared.use_count(), 1);
}

TEST_F(TaskTest, DestroyingAScopeEndsItsTasksWhereverTheyWait) {
  const auto inner = [&](std::string name, auto operation) -> Task<> {
    Guard guard{log_, std::move(name)};
    static_cast<void>(co_await operation());
  };
  const auto outer = [&](std::string name, auto operation) -> Task<> {
    co_await inner(std::move(name), operation);
  };
  auto pair = make_stream_pair(loop());
  Stream& blocked = pair.first;
  {
    Scope scope;
    Scope full({.max_count = 0});
    const auto spawn = [&](std::string name, auto operation) {
      scope.spawn(outer(std::move(name), operation), "waits");
    };
    spawn("read", [&] { return far_.read({1h}); });
    spawn("write", [&] { return blocked.write(pattern(1 << 20)); });
    spawn("sleep", [] { return sleep_for(1h); });
    spawn("yield", [] { return yield(); });
    spawn("room", [&] { return full.has_room(); });
    loop().run(RunMode::no_wait);
    scope.spawn(outer("not started", [] { return yield(); }), "not started");
    EXPECT_EQ(scope.count(), 5u);  // yield has gone on
  }
  const std::string order = log();
  for (const char* name : {"read", "write", "sleep", "room"}) {
    EXPECT_THAT(order, ::testing::HasSubstr(name));
  }
  send("still there");  // and the streams can be used on
  const auto body = [&]() -> Task<> {
    Buf bytes = co_await far_.read();
    note(std::string(bytes.text()));
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "still there");
}

TEST_F(TaskTest, FramesAreUsedAgain) {
  const auto inner = [&](int depth, auto self) -> Task<int> {
    char locals[1000] = {};
    if (depth == 0) {
      co_await yield();
      co_return locals[0] + 1;
    }
    co_return co_await self(depth - 1, self) + 1;
  };
  const auto body = [&]() -> Task<> {
    co_await inner(10, inner);
    const std::uint64_t before = loop().metrics().heap_allocations;
    for (int i = 0; i < 100; ++i) co_await inner(10, inner);
    note(std::to_string(loop().metrics().heap_allocations - before));
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "0");
}

TEST_F(TaskTest, SpawningInTheSteadyStateAllocatesNothing) {
  const auto child = [&]() -> Task<> {
    co_await yield();
    co_await sleep_for(0ns);
  };
  const auto body = [&]() -> Task<> {
    Scope scope;
    std::uint64_t before = 0;
    for (int i = 0; i < 200; ++i) {
      if (i == 50) before = loop().metrics().heap_allocations;
      for (int count = 0; count < 10; ++count) scope.spawn(child(), "child");
      co_await scope.join();
    }
    note(std::to_string(loop().metrics().heap_allocations - before));
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "0");
}

TEST_F(TaskTest, ALargeFrameIsFine) {
  const auto body = [&]() -> Task<> {
    char locals[10'000];
    for (char& local : locals) local = 'x';
    co_await yield();
    note(std::string(locals, 3));
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "xxx");
}

TEST_F(TaskTest, AwaitsReadyAtOnceAreBoundedATurn) {
  send("0123456789abcdef");
  ASSERT_EQ(loop().limits().inline_awaits, 8u);
  const auto body = [&]() -> Task<> {
    Buf first = co_await far_.read_exact(1);  // waits; the rest lies there
    loop().microtask([&] { note("job"); });
    for (int i = 0; i < 12; ++i) {
      Buf next = co_await far_.read_exact(1);
      note(std::string(next.text()));
    }
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(log(), "1 2 3 4 5 6 7 8 job 9 a b c");
}

TEST_F(TaskTest, ATaskCancelledBeforeItsFirstStepNeverRuns) {
  bool is_started = false;
  const auto body = [&](std::shared_ptr<int>) -> Task<> {
    is_started = true;
    co_return;
  };
  const auto shared = std::make_shared<int>(1);
  Scope scope;
  scope.spawn(body(shared), "cancelled");
  scope.cancel();
  EXPECT_EQ(shared.use_count(), 1);
  rig_.turns(2);
  EXPECT_FALSE(is_started);
}

TEST_F(TaskTest, TemporariesOfAnAwaitLiveUntilItIsOver) {
  // Compilers had bugs here: what is made in the awaiting expression must be destroyed once, and late.
  struct Counted {
    explicit Counted(int& alive) : count(&alive) { ++*count; }
    Counted(const Counted& other) : count(other.count) { ++*count; }
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --*count; }
    int* count;
  };
  int alive = 0;
  const auto inner = [&](Counted, Buf bytes) -> Task<std::size_t> {
    co_await yield();
    EXPECT_GE(alive, 1);
    co_return bytes.size();
  };
  const auto failing = [&](Counted, Buf) -> Task<> {
    static_cast<void>(co_await far_.read_exact(1));
  };
  const auto body = [&]() -> Task<> {
    const std::size_t size = co_await inner(Counted(alive), loop().copy_of("five!"));
    note(std::to_string(size));
    EXPECT_EQ(alive, 0);
    co_await far_.write(loop().copy_of("bytes"));
    near_.end_writing();
    co_await failing(Counted(alive), loop().copy_of("more"));
  };
  EXPECT_EQ(run(body), Errc::end_of_stream);
  EXPECT_EQ(log(), "5");
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace weir::test
