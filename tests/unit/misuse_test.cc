// Misuse has a defined answer: an error that names the value and what was expected, or an abort that does.
#include <thread>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

TEST(Misuse, AnUnknownBackendIsAnErrorThatListsThoseThereAre) {
  const Error error = Loop::make({.backend = "kqueue"}).error();
  EXPECT_EQ(error, Errc::invalid_argument);
  for (const char* part : {"kqueue", "auto", "epoll", "io_uring"}) {
    EXPECT_THAT(error.to_string(), ::testing::HasSubstr(part));
  }
  EXPECT_EQ(Loop::make({.backend = "epoll:variant"}).error(), Errc::invalid_argument);
  EXPECT_EQ(Loop::make({.backend = "io_uring:9.9"}).error(), Errc::invalid_argument);
  EXPECT_EQ(Loop::make({.backend = ""}).error(), Errc::invalid_argument);
}

TEST(Misuse, ALimitOutOfRangeIsAnErrorThatNamesItAndItsRange) {
  struct Row {
    const char* field;
    void (*set)(Limits& limits);
  };
  const Row rows[] = {
      {"completions_per_turn", [](Limits& limits) { limits.completions_per_turn = 0; }},
      {"deliver_time_ns", [](Limits& limits) { limits.deliver_time_ns = 0; }},
      {"block_bytes", [](Limits& limits) { limits.block_bytes = 1000; }},
      {"write_low_bytes", [](Limits& limits) { limits.write_low_bytes = limits.write_high_bytes; }},
      {"write_cap_bytes", [](Limits& limits) { limits.write_cap_bytes = 1; }},
      {"posts_max", [](Limits& limits) { limits.posts_max = 0; }},
      {"connections_max", [](Limits& limits) { limits.connections_max = 0; }},
      {"group_bytes", [](Limits& limits) { limits.group_bytes = 5; }},
  };
  for (const Row& row : rows) {
    LoopOptions options;
    row.set(options.limits);
    const Error error = Loop::make(options).error();
    EXPECT_EQ(error, Errc::invalid_argument) << row.field;
    EXPECT_THAT(error.to_string(), ::testing::HasSubstr(row.field));
  }
}

TEST(Misuse, AMalformedAddressIsAnErrorThatQuotesIt) {
  for (const char* text :
       {"", "localhost:80", "127.0.0.1", "1.2.3.4:99999", "[::1:80", "1.2.3:80", "[::1]:x"}) {
    const Error error = Address::parse(text).error();
    EXPECT_EQ(error, Errc::invalid_argument) << text;
    EXPECT_THAT(error.to_string(), ::testing::HasSubstr("\"" + std::string(text) + "\""));
    EXPECT_THAT(error.to_string(), ::testing::HasSubstr("expected"));
  }
}

/// Each of these ends the process, saying why.
class MisuseDeathTest : public ::testing::Test {
 protected:
  MisuseDeathTest() : rig_({.backend = "epoll"}) {
    std::tie(near_, far_) = make_stream_pair(loop());
  }
  ~MisuseDeathTest() override {
    near_ = {};
    far_ = {};
    rig_.finish();
  }
  Loop& loop() { return rig_.loop(); }
  void run(Task<> task) {
    loop().spawn(std::move(task), "misuse");
    rig_.turns(3);
  }

  LoopRig rig_;
  Stream near_, far_;
};

TEST_F(MisuseDeathTest, ASecondReadWhileOneIsPending) {
  const auto reads = [&]() -> Task<> { static_cast<void>(co_await near_.read()); };
  const auto both = [&]() -> Task<> { co_await when_all(reads(), reads()); };
  EXPECT_DEATH(run(both()), "stream_core.cc.*check failed");
}

TEST_F(MisuseDeathTest, ASecondWriterWhileOneIsPending) {
  const auto writes = [&]() -> Task<> { co_await near_.write(pattern(2 << 20)); };
  const auto flushes = [&]() -> Task<> { co_await near_.flush(); };
  const auto both = [&]() -> Task<> { co_await when_all(writes(), flushes()); };
  EXPECT_DEATH(run(both()), "stream_write.cc.*check failed");
}

TEST_F(MisuseDeathTest, AReadOfZeroBytes) {
  const auto reads = [&]() -> Task<> { static_cast<void>(co_await near_.read_exact(0)); };
  EXPECT_DEATH(run(reads()), "size_bytes");
  const auto reads_until = [&]() -> Task<> {
    static_cast<void>(co_await near_.read_until("\n", 0));
  };
  EXPECT_DEATH(run(reads_until()), "size_bytes");
  const auto no_delimiter = [&]() -> Task<> {
    static_cast<void>(co_await near_.read_until("", 10));
  };
  EXPECT_DEATH(run(no_delimiter()), "delimiter");
}

TEST_F(MisuseDeathTest, AHandlerAndATaskOnOneStream) {
  Recorder handler;
  near_.start(handler);
  const auto reads = [&]() -> Task<> { static_cast<void>(co_await near_.read()); };
  EXPECT_DEATH(run(reads()), "check failed");
  EXPECT_DEATH(near_.start(handler), "check failed");
}

TEST_F(MisuseDeathTest, TwoWhoAcceptAtOnce) {
  Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
  const auto accepts = [&]() -> Task<> { Stream stream = co_await listener.accept(); };
  const auto both = [&]() -> Task<> { co_await when_all(accepts(), accepts()); };
  EXPECT_DEATH(run(both()), "listener_core.cc.*check failed");
}

TEST_F(MisuseDeathTest, AStreamThatIsMovedFrom) {
  Stream taken = std::move(near_);
  constexpr const char* kText = "a Stream was used that is moved from";
  Recorder handler;
  Buf bytes = loop().copy_of("x");
  const auto reads = [&]() -> Task<> { static_cast<void>(co_await near_.read()); };
  EXPECT_DEATH(run(reads()), kText);
  EXPECT_DEATH(static_cast<void>(near_.read_exact(1)), kText);
  EXPECT_DEATH(static_cast<void>(near_.read_until("x", 1)), kText);
  EXPECT_DEATH(static_cast<void>(near_.write("x")), kText);
  EXPECT_DEATH(static_cast<void>(near_.write(std::move(bytes))), kText);
  EXPECT_DEATH(static_cast<void>(near_.flush()), kText);
  EXPECT_DEATH(static_cast<void>(near_.finish()), kText);
  EXPECT_DEATH(near_.start(handler), kText);
  EXPECT_DEATH(static_cast<void>(near_.try_write(bytes)), kText);
  EXPECT_DEATH(near_.end_writing(), kText);
  EXPECT_DEATH(near_.pause(), kText);
  EXPECT_DEATH(near_.resume(), kText);
  EXPECT_DEATH(near_.close(), kText);
  EXPECT_DEATH(near_.reset(), kText);
  EXPECT_DEATH(static_cast<void>(near_.peer_address()), kText);
  EXPECT_DEATH(static_cast<void>(near_.set_option(SocketOption::no_delay, 1)), kText);
  EXPECT_DEATH(static_cast<void>(near_.queued_bytes()), kText);
  EXPECT_DEATH(near_.unref(), kText);
  EXPECT_FALSE(near_.is_open());
}

TEST_F(MisuseDeathTest, AListenerThatIsClosedOrMovedFrom) {
  Listener closed = Listener::listen(loop(), Address::loopback(0)).value();
  Listener moved = Listener::listen(loop(), Address::loopback(0)).value();
  Listener taken = std::move(moved);
  closed.close();
  closed.close();  // again: nothing
  constexpr const char* kText = "a Listener was used that is closed, moved from";
  struct Nobody final : ListenerHandler {
    void on_accept(Stream) override {}
    void on_error(const Error&) override {}
  } handler;
  for (Listener* listener : {&closed, &moved}) {  // NOLINT(bugprone-use-after-move)
    EXPECT_FALSE(listener->valid());
    EXPECT_DEATH(listener->start(handler), kText);
    EXPECT_DEATH(listener->pause(), kText);
    EXPECT_DEATH(listener->resume(), kText);
    EXPECT_DEATH(listener->unref(), kText);
    EXPECT_DEATH(static_cast<void>(listener->local_address()), kText);
    const auto accepts = [&]() -> Task<> {
      Result<Stream> got = co_await result(listener->accept());
      EXPECT_EQ(got.error(), Errc::closed);
    };
    EXPECT_TRUE(rig_.run(accepts).ok());
  }
}

TEST_F(MisuseDeathTest, ATaskAwaitedTwice) {
  const auto nothing = []() -> Task<> { co_return; };
  const auto twice = [&]() -> Task<> {
    Task<> task = nothing();
    co_await std::move(task);
    co_await std::move(task);  // NOLINT(bugprone-use-after-move): what is tested
  };
  EXPECT_DEATH(run(twice()), "task.h.*check failed");
}

// Each of these is a call from another thread than the loop's.
TEST_F(MisuseDeathTest, UseFromAnotherThread) {
  Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
  struct Nobody final : ListenerHandler {
    void on_accept(Stream) override {}
    void on_error(const Error&) override {}
  } acceptor;
  Recorder handler;
  Timer timer(loop());
  timer.arm(1h, [] {});
  Signals signals(loop(), {Signal::user1});
  Scope scope;
  struct Row {
    const char* name;
    std::function<void()> use;
  };
  const Row rows[] = {
      {"Loop::run", [&] { loop().run(); }},
      {"Loop::stop", [&] { loop().stop(); }},
      {"Loop::immediate", [&] { loop().immediate([] {}); }},
      {"Loop::tick", [&] { loop().tick([] {}); }},
      {"Loop::is_running", [&] { static_cast<void>(loop().is_running()); }},
      {"Loop::is_alive", [&] { static_cast<void>(loop().is_alive()); }},
      {"Loop::now_ns", [&] { static_cast<void>(loop().now_ns()); }},
      {"Loop::should_yield", [&] { static_cast<void>(loop().should_yield()); }},
      {"Loop::metrics", [&] { static_cast<void>(loop().metrics()); }},
      {"Loop::report", [&] { static_cast<void>(loop().report()); }},
      {"Loop::wait_handle", [&] { static_cast<void>(loop().wait_handle()); }},
      {"Loop::next_deadline_ns", [&] { static_cast<void>(loop().next_deadline_ns()); }},
      {"Loop::allocate", [&] { static_cast<void>(loop().allocate(1)); }},
      {"Timer::arm", [&] { timer.arm(1s, [] {}); }},
      {"Timer::extend", [&] { timer.extend(1s); }},
      {"Timer::cancel", [&] { timer.cancel(); }},
      {"Timer::unref", [&] { timer.unref(); }},
      {"~Timer", [&] { timer.~Timer(); }},
      {"Stream::start", [&] { near_.start(handler); }},
      {"Stream::close", [&] { near_.close(); }},
      {"Stream::pause", [&] { near_.pause(); }},
      {"Stream::resume", [&] { near_.resume(); }},
      {"Stream::end_writing", [&] { near_.end_writing(); }},
      {"Stream::write", [&] { static_cast<void>(near_.write("x")); }},
      {"Stream::try_write",
       [&] {
         Buf bytes = Buf::make(1);
         static_cast<void>(near_.try_write(bytes));
       }},
      {"Stream::set_option",
       [&] { static_cast<void>(near_.set_option(SocketOption::no_delay, 1)); }},
      {"Stream::set_marks", [&] { near_.set_marks({}); }},
      {"Stream::unref", [&] { near_.unref(); }},
      {"Listener::listen",
       [&] { static_cast<void>(Listener::listen(loop(), Address::loopback(0))); }},
      {"Listener::start", [&] { listener.start(acceptor); }},
      {"Listener::pause", [&] { listener.pause(); }},
      {"Listener::resume", [&] { listener.resume(); }},
      {"Listener::unref", [&] { listener.unref(); }},
      {"Listener::close", [&] { listener.close(); }},
      {"Listener::local_address", [&] { static_cast<void>(listener.local_address()); }},
      {"Scope::cancel", [&] { scope.cancel(); }},
      {"~Signals", [&] { signals.~Signals(); }},
  };
  for (const Row& row : rows)
    EXPECT_DEATH(std::thread(row.use).join(), "another thread.*loop \"loop\"") << row.name;
}

TEST_F(MisuseDeathTest, RunInsideRun) {
  const auto run_inside_run = [&] {
    loop().immediate([&] { loop().run(RunMode::no_wait); });
    loop().run(RunMode::no_wait);
  };
  EXPECT_DEATH(run_inside_run(), "inside run");
}

// On a socket too: its handle means nothing any more.
TEST(Misuse, AClosedStreamAnswersClosed) {
  for (const std::string_view backend : kBackends) {
    LoopRig rig({.backend = backend});
    if (!rig.is_available()) continue;
    auto [near, far] = connect_streams(rig);
    near.close();
    rig.turns(5);
    const auto uses = [&stream = near]() -> Task<> {
      EXPECT_EQ((co_await result(stream.read())).error(), Errc::closed);
      EXPECT_EQ((co_await result(stream.write("x"))).error(), Errc::closed);
      EXPECT_EQ((co_await result(stream.flush())).error(), Errc::closed);
    };
    EXPECT_TRUE(rig.run(uses).ok());
    EXPECT_EQ(near.set_option(SocketOption::no_delay, 1).error(), Errc::closed);
    EXPECT_EQ(near.get_option(SocketOption::no_delay).error(), Errc::closed);
    EXPECT_EQ(near.local_address().family, Family::none);
    EXPECT_EQ(near.peer_address().family, Family::none);
    EXPECT_TRUE(near.valid());
    EXPECT_FALSE(near.is_open());
  }
}

TEST(MisuseWithoutALoop, ConnectAborts) {
  std::thread([] {
    EXPECT_DEATH(static_cast<void>(connect(Address::loopback(1))), "make a Loop");
    EXPECT_DEATH(Scope scope, "make a Loop");
  }).join();
}

}  // namespace
}  // namespace weir::test
