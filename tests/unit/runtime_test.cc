// Runtimes: N loops, one port, an orderly stop. Clients run on a thread and a loop of their own.
#include <atomic>
#include <csignal>
#include <thread>

#include "tests/rig/peer.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

Task<> echo(Stream peer) {
  while (Buf bytes = co_await peer.read()) co_await peer.write(std::move(bytes));
  co_await peer.finish();
}

class RuntimeTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    const LoopRig rig({.backend = GetParam()});
    if (!rig.is_available()) GTEST_SKIP() << GetParam() << ": " << rig.reason();
  }
  RuntimeOptions options(std::uint32_t loops = 1) {
    RuntimeOptions options;
    options.loop_count = loops;
    options.loop.backend = GetParam();
    options.stops_on_signals = false;
    return options;
  }
  template <typename Body>
  static void run_beside(
      Runtime& runtime, Body body, const std::function<void()>& after = [] {}) {
    run_with_client(runtime, GetParam(), body, after);
  }
  /// Runs the runtime, beside it `count` clients one after another, then stops it.
  static void run_with_clients(Runtime& runtime, const Address& where, int count) {
    const auto all = [&]() -> Task<> {
      for (int i = 0; i < count; ++i) {
        Stream stream = co_await connect(where, {.timeout = 5s});
        const std::string text = pattern(1000, static_cast<std::uint32_t>(i));
        co_await stream.write(text);
        Buf back = co_await stream.read_exact(1000, {5s});
        EXPECT_TRUE(back.text() == text);
        co_await stream.finish();
        Buf end = co_await stream.read({5s});
        EXPECT_TRUE(end.empty());
      }
    };
    run_beside(runtime, all, [&] { runtime.stop(); });
  }
};

TEST_P(RuntimeTest, ServesUntilItIsStoppedFromAnotherThread) {
  Runtime runtime(options());
  Result<Address> where = runtime.serve(Address::loopback(0), echo);
  ASSERT_TRUE(where.ok()) << where.error().to_string();
  EXPECT_NE(where->port, 0);
  EXPECT_THAT(runtime.backend(), ::testing::StartsWith(std::string(GetParam())));
  run_with_clients(runtime, *where, 10);
  EXPECT_TRUE(runtime.is_stopping());
  EXPECT_EQ(runtime.metrics().accepted, 10u);
  EXPECT_EQ(runtime.metrics().connections, 0u);
}

TEST_P(RuntimeTest, ServesOnSeveralLoopsAndOnePort) {
  Runtime runtime(options(3));
  std::atomic<int> sessions = 0;
  const Address where = runtime
                            .serve(Address::loopback(0),
                                   [&](Stream peer) -> Task<> {
                                     ++sessions;
                                     return echo(std::move(peer));
                                   })
                            .value();
  EXPECT_EQ(runtime.loop_count(), 3u);
  run_with_clients(runtime, where, 30);
  EXPECT_EQ(sessions, 30);
  EXPECT_EQ(runtime.metrics().accepted, 30u);
}

TEST_P(RuntimeTest, ServesHandlersThatAcceptByThemselves) {
  struct Service final : ListenerHandler {
    struct Session final : StreamHandler {
      Stream stream;
      void on_read(Buf bytes) override { EXPECT_NE(stream.try_write(bytes), Write::refused); }
      void on_end() override { stream.end_writing(); }
      void on_close(const Error&) override { stream = {}; }
    };
    std::vector<std::unique_ptr<Session>> sessions;
    void on_accept(Stream stream) override {
      sessions.push_back(std::make_unique<Session>());
      sessions.back()->stream = std::move(stream);
      sessions.back()->stream.start(*sessions.back());
    }
    void on_error(const Error& error) override { ADD_FAILURE() << error.to_string(); }
  };
  std::vector<std::unique_ptr<Service>> services;
  Runtime runtime(options(2));
  const Address where =
      runtime
          .serve_with(Address::loopback(0),
                      [&](Loop&, Listener& listener) {
                        services.push_back(std::make_unique<Service>());  // one loop after another
                        listener.start(*services.back());
                      })
          .value();
  EXPECT_EQ(services.size(), 2u);
  run_with_clients(runtime, where, 10);
}

TEST_P(RuntimeTest, AStopEndsIdleSessionsCleanlyAtOnce) {
  Runtime runtime(options());
  std::atomic<int> ended = 0;
  const Address where = runtime
                            .serve(Address::loopback(0),
                                   [&](Stream peer) -> Task<> {
                                     co_await echo(std::move(peer));
                                     ++ended;
                                   })
                            .value();
  const auto idle = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write("hello");
    Buf back = co_await stream.read_exact(5, {5s});
    EXPECT_EQ(back.text(), "hello");
    runtime.stop();
    runtime.stop();
    Buf end = co_await stream.read({5s});  // a clean end, not a reset
    EXPECT_TRUE(end.empty());
  };
  run_beside(runtime, idle);
  EXPECT_EQ(ended, 1);
}

TEST_P(RuntimeTest, AStopLetsABusySessionFinish) {
  Runtime runtime(options());
  std::atomic<bool> is_finished = false;
  const Address where = runtime
                            .serve(Address::loopback(0),
                                   [&](Stream peer) -> Task<> {
                                     Buf request = co_await peer.read();
                                     runtime.stop();
                                     co_await sleep_for(20ms);
                                     co_await peer.write(std::move(request));
                                     co_await peer.finish();
                                     is_finished = true;
                                   })
                            .value();
  const auto ask = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write("request");
    Buf answer = co_await stream.read_exact(7, {5s});
    EXPECT_EQ(answer.text(), "request");
  };
  run_beside(runtime, ask);
  EXPECT_TRUE(is_finished);
}

TEST_P(RuntimeTest, TheDrainIsBounded) {
  RuntimeOptions bounded = options();
  bounded.drain = 10ms;
  Runtime runtime(bounded);
  std::atomic<int> destroyed = 0;
  const Address where = runtime
                            .serve(Address::loopback(0),
                                   [&](Stream peer) -> Task<> {
                                     struct Guard {
                                       std::atomic<int>& count;
                                       ~Guard() { ++count; }
                                     } guard{destroyed};
                                     Buf request = co_await peer.read();
                                     runtime.stop();
                                     co_await sleep_for(1h);
                                   })
                            .value();
  const auto ask = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write("request");
    Result<Buf> got = co_await result(stream.read({5s}));  // closed, one way or the other
    EXPECT_FALSE(got.ok() && !got->empty());
  };
  run_beside(runtime, ask);
  EXPECT_EQ(destroyed, 1);
}

TEST_P(RuntimeTest, ASignalStopsItAndASecondEndsTheDrain) {
  RuntimeOptions with_signals = options(2);
  with_signals.stops_on_signals = true;
  with_signals.drain = std::chrono::hours(1);
  Runtime runtime(with_signals);
  std::atomic<int> destroyed = 0;
  const Address where = runtime
                            .serve(Address::loopback(0),
                                   [&](Stream peer) -> Task<> {
                                     struct Guard {
                                       std::atomic<int>& count;
                                       ~Guard() { ++count; }
                                     } guard{destroyed};
                                     Buf request = co_await peer.read();
                                     ::kill(::getpid(), SIGTERM);
                                     while (!runtime.is_stopping()) co_await sleep_for(1ms);
                                     ::kill(::getpid(), SIGINT);
                                     co_await sleep_for(1h);
                                   })
                            .value();
  const auto ask = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write("request");
    Result<Buf> got = co_await result(stream.read({5s}));
    EXPECT_FALSE(got.ok() && !got->empty());
  };
  run_beside(runtime, ask);
  EXPECT_EQ(destroyed, 1);
}

TEST_P(RuntimeTest, ItsSessionsAreBounded) {
  Runtime runtime(options());
  std::atomic<int> running = 0, most = 0;
  ScopeOptions scope;
  scope.max_count = 2;
  const Address where = runtime
                            .serve(
                                Address::loopback(0),
                                [&](Stream peer) -> Task<> {
                                  most = std::max(most.load(), ++running);
                                  co_await echo(std::move(peer));
                                  --running;
                                },
                                {}, scope)
                            .value();
  const auto one = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write("x");
    Buf back = co_await stream.read_exact(1, {5s});
    co_await stream.finish();
  };
  const auto all = [&]() -> Task<> { co_await when_all(one(), one(), one(), one(), one()); };
  run_beside(runtime, all, [&] { runtime.stop(); });
  EXPECT_EQ(most, 2);
}

TEST_P(RuntimeTest, AFailedSessionEndsAlone) {
  Runtime runtime(options());
  struct Heard {
    std::atomic<int> count = 0;
  } heard;
  ScopeOptions scope;
  scope.context = &heard;
  scope.on_error = [](const Failure& failure, void* context) {
    EXPECT_STREQ(failure.tag, "session");
    ++static_cast<Heard*>(context)->count;
  };
  const Address where = runtime
                            .serve(
                                Address::loopback(0),
                                [](Stream peer) -> Task<> {
                                  Buf request = co_await peer.read_exact(4);
                                  if (request.text() == "fail")
                                    co_await Result<void>(Error::of(Errc::busy, Operation::read));
                                  co_await peer.write(std::move(request));
                                  co_await peer.finish();
                                },
                                {}, scope)
                            .value();
  const auto ask = [&](std::string text) -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write(text);
    Result<Buf> got = co_await result(stream.read({5s}));
    EXPECT_EQ(got.ok() && !got->empty(), text == "good");
  };
  const auto all = [&]() -> Task<> {
    co_await ask("fail");
    co_await ask("good");
  };
  run_beside(runtime, all, [&] { runtime.stop(); });
  EXPECT_EQ(heard.count, 1);
}

TEST_P(RuntimeTest, APortInUseIsAnErrorAndLeavesNothingRunning) {
  LoopRig rig({.backend = GetParam()});
  Listener listener = Listener::listen(rig.loop(), Address::loopback(0)).value();
  Runtime runtime(options(2));
  const Result<Address> where = runtime.serve(listener.local_address(), echo);
  ASSERT_FALSE(where.ok());
  EXPECT_EQ(where.error(), Errc::address_in_use);
}

TEST_P(RuntimeTest, MayBeDestroyedWithoutARun) {
  Runtime runtime(options(2));
  EXPECT_TRUE(runtime.serve(Address::loopback(0), echo).ok());
}

TEST_P(RuntimeTest, AStopBeforeTheRunEndsIt) {
  Runtime runtime(options(2));
  EXPECT_TRUE(runtime.serve(Address::loopback(0), echo).ok());
  runtime.stop();
  runtime.run();
}

TEST_P(RuntimeTest, AStopBeforeTheStartEndsTheRun) {
  Runtime runtime(options(2));
  runtime.stop();
  EXPECT_TRUE(runtime.is_stopping());
  EXPECT_TRUE(runtime.start().ok());
  EXPECT_TRUE(runtime.serve(Address::loopback(0), echo).ok());
  runtime.run();
}

// The loops of other threads wait for the run: a service may be added until then.
TEST_P(RuntimeTest, AfterAStopBeforeTheRunServicesCanStillBeAdded) {
  Runtime runtime(options(3));
  EXPECT_TRUE(runtime.start().ok());
  runtime.stop();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(runtime.serve(Address::loopback(0), echo).ok());
  runtime.run();
}

TEST_P(RuntimeTest, AStopFromAnotherThreadWhileItStartsIsNotLost) {
  for (int i = 0; i < 20; ++i) {
    Runtime runtime(options(2));
    std::thread stops([&] { runtime.stop(); });
    EXPECT_TRUE(runtime.serve(Address::loopback(0), echo).ok());
    runtime.run();
    stops.join();
  }
}

// "refusing:NAME" is NAME for so many loops; the next ones cannot be made.
std::atomic<int> loops_left = 0;
Result<std::unique_ptr<Backend>> make_while_any_are_left(std::string_view name,
                                                         const BackendContext& context) {
  if (--loops_left < 0) return Error::of(Errc::no_buffers, Operation::start);
  Result<ChosenBackend> made = make_backend(name, context);
  if (!made.ok()) return made.error();
  return std::move(made->backend);
}

TEST_P(RuntimeTest, AStartThatFailsHalfWayLeavesNothingAndMayBeTriedAgain) {
  register_backend("refusing", make_while_any_are_left);
  const std::string name = "refusing:" + std::string(GetParam());
  RuntimeOptions late = options(3);
  late.loop.backend = name;
  late.stops_on_signals = true;
  const std::size_t descriptors = open_descriptor_count();
  {
    Runtime runtime(late);
    for (int made = 0; made < 3; ++made) {
      loops_left = made;
      EXPECT_EQ(runtime.start().error(), Errc::no_buffers) << made;
      EXPECT_EQ(runtime.serve(Address::loopback(0), echo).error(), Errc::no_buffers) << made;
      EXPECT_EQ(open_descriptor_count(), descriptors) << made;
    }
    loops_left = 3;
    Result<Address> where = runtime.serve(Address::loopback(0), echo);
    ASSERT_TRUE(where.ok()) << where.error().to_string();
    run_with_clients(runtime, *where, 10);
    EXPECT_EQ(runtime.metrics().accepted, 10u);
  }
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, RuntimeTest, ::testing::ValuesIn(kBackends), backend_name);

TEST(RuntimeStart, SaysWhyALoopCannotBeMade) {
  RuntimeOptions options;
  options.loop_count = 2;
  options.loop.backend = "nonsense";
  Runtime runtime(options);
  const Result<void> started = runtime.start();
  EXPECT_EQ(started.error(), Errc::invalid_argument);
  EXPECT_EQ(runtime.serve(Address::loopback(0), echo).error(), Errc::invalid_argument);
}

}  // namespace
}  // namespace weir::test
