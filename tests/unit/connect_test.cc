// Connecting, addresses, options, and sockets that were opened elsewhere.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class Connect : public LoopTest {
 protected:
  /// A port of this machine that nobody listens on.
  Address free_port() {
    Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
    const Address where = listener.local_address();
    listener.close();
    until([&] { return rig_->what_is_left().empty(); });
    return where;
  }
  /// A listener whose queue is full: a further connect stays unanswered.
  Listener full_listener(std::vector<Stream>& fillers) {
    ListenOptions options;
    options.backlog = 1;
    Listener listener = Listener::listen(loop(), Address::loopback(0), options).value();
    const Address where = listener.local_address();
    bool is_full = false;
    const auto fill = [&]() -> Task<> {
      while (!is_full && fillers.size() < 10) {
        Result<Stream> got = co_await result(connect(where, {.timeout = 50ms}));
        is_full = !got.ok();
        if (got.ok()) fillers.push_back(std::move(got).value());
      }
    };
    EXPECT_TRUE(run(fill).ok());
    EXPECT_TRUE(is_full);
    return listener;
  }
};

TEST_P(Connect, GivesAStreamWithItsAddresses) {
  auto [near, far] = connect_streams(*rig_);
  EXPECT_EQ(near.peer_address(), far.local_address());
  EXPECT_EQ(far.peer_address(), near.local_address());
  EXPECT_EQ(near.local_address().family, Family::ipv4);
  EXPECT_EQ(metrics().connected, 1u);
  EXPECT_EQ(metrics().accepted, 1u);
  EXPECT_EQ(metrics().connections, 2u);
  EXPECT_EQ(&near.loop(), &loop());
}

TEST_P(Connect, IsRefusedWhereNobodyListens) {
  const Address where = free_port();
  const auto body = [&]() -> Task<> {
    Result<Stream> got = co_await result(connect(where));
    EXPECT_EQ(got.error(), Errc::connection_refused);
    EXPECT_EQ(got.error().operation, Operation::connect);
    EXPECT_THAT(got.error().to_string(), ::testing::HasSubstr(where.to_string()));
    co_await connect(where);
    ADD_FAILURE() << "connected";
  };
  EXPECT_EQ(run(body), Errc::connection_refused);
}

TEST_P(Connect, TimesOut) {
  std::vector<Stream> fillers;
  Listener listener = full_listener(fillers);
  const auto body = [&]() -> Task<> {
    const std::uint64_t start = loop().now_ns();
    Result<Stream> got = co_await result(connect(listener.local_address(), {.timeout = 5ms}));
    EXPECT_EQ(got.error(), Errc::timed_out);
    EXPECT_GE(loop().now_ns(), start + 5'000'000);
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(Connect, CanBeCancelled) {
  std::vector<Stream> fillers;
  Listener listener = full_listener(fillers);
  const auto connects = [&]() -> Task<> {
    Stream never = co_await connect(listener.local_address());
  };
  Scope scope;
  scope.spawn(connects(), "connects");
  rig_->turns(3);
  EXPECT_EQ(scope.count(), 1u);
  scope.cancel();
  fillers.clear();
}

TEST_P(Connect, CancelledWhenItIsThroughItClosesTheStream) {
  for (int turns = 0; turns < 4; ++turns) {
    Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
    const auto connects = [&]() -> Task<> {
      Stream stream = co_await connect(listener.local_address());
      co_await sleep_for(1h);
    };
    Scope scope;
    scope.spawn(connects(), "connects");
    rig_->turns(turns);
  }
  until([&] { return metrics().connections == 0; });
}

TEST_P(Connect, SaysWhatIsWrongWithItsAddress) {
  const auto none = [&]() -> Task<> { Stream stream = co_await connect(Address()); };
  EXPECT_EQ(run(none), Errc::invalid_argument);
  const auto elsewhere = [&]() -> Task<> {
    // An address to come from that this machine does not have.
    Stream stream =
        co_await connect(Address::loopback(1), {.bind = Address::ipv4(192, 0, 2, 1, 0)});
  };
  const Error error = run(elsewhere);
  EXPECT_EQ(error, Errc::address_not_available);
  EXPECT_THAT(error.to_string(), ::testing::HasSubstr("192.0.2.1"));
}

TEST_P(Connect, BindsToTheAddressThatIsWanted) {
  ConnectOptions options;
  options.bind = Address::ipv4(127, 0, 0, 2, 0);
  auto [near, far] = connect_streams(*rig_, Address::loopback(0), options);
  EXPECT_THAT(far.peer_address().to_string(), ::testing::StartsWith("127.0.0.2:"));
}

TEST_P(Connect, WorksOverIpv6) {
  auto [near, far] = connect_streams(*rig_, Address::parse("[::1]:0").value());
  EXPECT_EQ(near.peer_address().family, Family::ipv6);
  EXPECT_EQ(near.peer_address(), far.local_address());
  const auto body = [&, &from = near, &to = far]() -> Task<> {
    co_await from.write("six");
    Buf bytes = co_await to.read();
    EXPECT_EQ(bytes.text(), "six");
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(Connect, HasNoDelayUnlessToldOtherwise) {
  auto [near, far] = connect_streams(*rig_);
  EXPECT_NE(near.get_option(SocketOption::no_delay).value(), 0);
  EXPECT_NE(far.get_option(SocketOption::no_delay).value(), 0);
  ConnectOptions options;
  options.no_delay = false;
  options.keep_alive = true;
  options.receive_buffer_bytes = 64 << 10;
  auto [other_near, other_far] = connect_streams(*rig_, Address::loopback(0), options);
  EXPECT_EQ(other_near.get_option(SocketOption::no_delay).value(), 0);
  EXPECT_NE(other_near.get_option(SocketOption::keep_alive).value(), 0);
  EXPECT_GE(other_near.get_option(SocketOption::receive_buffer_bytes).value(), 64 << 10);
}

TEST_P(Connect, OptionsCanBeSetAndAsked) {
  auto [near, far] = connect_streams(*rig_);
  EXPECT_TRUE(near.set_option(SocketOption::keep_alive, 1).ok());
  EXPECT_TRUE(near.set_option(SocketOption::keep_alive_idle_s, 77).ok());
  EXPECT_EQ(near.get_option(SocketOption::keep_alive_idle_s).value(), 77);
  EXPECT_TRUE(near.set_option(SocketOption::send_buffer_bytes, 100'000).ok());
  EXPECT_GE(near.get_option(SocketOption::send_buffer_bytes).value(), 100'000);
  EXPECT_FALSE(near.set_option(SocketOption::keep_alive_idle_s, -1).ok());
  auto [one, other] = make_stream_pair(loop());
  EXPECT_EQ(one.set_option(SocketOption::no_delay, 1).error(), Errc::not_supported);
  EXPECT_EQ(one.local_address().family, Family::none);
}

TEST_P(Connect, CountsAgainstTheLimitOfConnections) {
  Limits limits;
  limits.connections_max = 2;
  make_loop(limits);
  auto [near, far] = connect_streams(*rig_);
  const auto body = [&, where = far.local_address()]() -> Task<> {
    Result<Stream> got = co_await result(connect(where));
    EXPECT_EQ(got.error(), Errc::no_buffers);
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(Connect, TwoAtOnceToOneListener) {
  Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
  const auto connects = [&](std::string text) -> Task<> {
    Stream stream = co_await connect(listener.local_address());
    co_await stream.write(text);
    co_await stream.finish();
  };
  std::vector<std::string> texts;
  const auto accepts = [&]() -> Task<> {
    for (int i = 0; i < 2; ++i) {
      Stream stream = co_await listener.accept();
      std::string text = co_await read_all(stream);
      texts.push_back(text);
    }
  };
  const auto all = [&]() -> Task<> {
    co_await when_all(connects("one"), connects("two"), accepts());
  };
  EXPECT_TRUE(run(all).ok());
  EXPECT_THAT(texts, ::testing::UnorderedElementsAre("one", "two"));
}

TEST_P(Connect, ASocketOpenedElsewhereCanBeAdopted) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Stream stream = adopt_stream(loop(), ends[0]).value();
  ASSERT_EQ(::write(ends[1], "from outside", 12), 12);
  const auto body = [&]() -> Task<> {
    Buf bytes = co_await stream.read();
    EXPECT_EQ(bytes.text(), "from outside");
    co_await stream.write("from weir");
    co_await stream.finish();
  };
  EXPECT_TRUE(run(body).ok());
  char text[20] = {};
  EXPECT_EQ(::read(ends[1], text, sizeof text), 9);
  EXPECT_STREQ(text, "from weir");
  EXPECT_EQ(::read(ends[1], text, sizeof text), 0);
  stream = {};
  rig_->turns(5);
  EXPECT_EQ(::send(ends[1], "x", 1, MSG_NOSIGNAL), -1);  // it was closed
  ::close(ends[1]);
}

TEST_P(Connect, AdoptingNoSocketIsAnError) {
  EXPECT_FALSE(adopt_stream(loop(), 9999).ok());
  const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  Result<Stream> stream = adopt_stream(loop(), file);
  EXPECT_FALSE(stream.ok());
  EXPECT_EQ(::close(file), 0);  // still ours
}

TEST_P(Connect, ManyOneAfterAnotherLeaveNothing) {
  Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
  const auto serve = [&](Stream stream) -> Task<> {
    while (Buf bytes = co_await stream.read()) co_await stream.write(std::move(bytes));
    co_await stream.finish();
  };
  const auto accepts = [&]() -> Task<> {
    Scope sessions;
    for (;;) sessions.spawn(serve(co_await listener.accept()), "serve");
  };
  const auto connects = [&]() -> Task<> {
    for (int i = 0; i < 100; ++i) {
      Stream stream = co_await connect(listener.local_address());
      co_await stream.write("ping");
      Buf bytes = co_await stream.read_exact(4);
      EXPECT_EQ(bytes.text(), "ping");
      co_await stream.finish();
      Buf end = co_await stream.read();
      EXPECT_TRUE(end.empty());
    }
  };
  const auto both = [&]() -> Task<> { co_await when_any(accepts(), connects()); };
  const Error error = run(both);
  EXPECT_TRUE(error.ok()) << error.to_string();
  EXPECT_EQ(metrics().accepted, 100u);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, Connect, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
