// Listeners: accepting for tasks and handlers, pausing, limits, exhausted descriptors, dual stack.
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class ListenerTest : public LoopTest {
 protected:
  Listener listen(const Address& at = Address::loopback(0), const ListenOptions& options = {}) {
    return Listener::listen(loop(), at, options).value();
  }
  /// Connects `count` streams, which stay open in `clients`.
  static Error connect_many(LoopRig& rig, const Address& where, std::size_t count,
                            std::vector<Stream>& clients) {
    const auto connects = [&]() -> Task<> {
      for (std::size_t i = 0; i < count; ++i)
        clients.push_back(co_await connect(where, {.timeout = 5s}));
    };
    return rig.run(connects);
  }
  Error connect_many(const Address& where, std::size_t count, std::vector<Stream>& clients) {
    return connect_many(*rig_, where, count, clients);
  }
};

TEST_P(ListenerTest, GivesStreamsToAHandler) {
  Acceptor acceptor;
  Listener listener = listen();
  listener.start(acceptor);
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(listener.local_address(), 5, clients).ok());
  until([&] { return acceptor.streams.size() == 5; });
  EXPECT_EQ(metrics().accepted, 5u);
}

TEST_P(ListenerTest, GivesStreamsToATaskInTheOrderOfTheirArrival) {
  Listener listener = listen();
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(listener.local_address(), 3, clients).ok());
  const auto accepts = [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) {
      Stream stream = co_await listener.accept();
      EXPECT_EQ(stream.peer_address(), clients[static_cast<std::size_t>(i)].local_address());
    }
  };
  EXPECT_TRUE(run(accepts).ok());
}

TEST_P(ListenerTest, AcceptsAheadOfATaskOnlySoMany) {
  Limits limits;
  limits.accepts_per_turn = 4;
  make_loop(limits);
  Listener listener = listen();
  const auto first = [&]() -> Task<> { Stream stream = co_await listener.accept(); };
  std::vector<Stream> clients;
  const auto both = [&]() -> Task<> {
    const auto connects = [&]() -> Task<> {
      for (int i = 0; i < 20; ++i) clients.push_back(co_await connect(listener.local_address()));
    };
    co_await when_all(first(), connects());
  };
  EXPECT_TRUE(run(both).ok());
  rig_->turns(10);
  EXPECT_LE(metrics().accepted, 1u + 4 + 4);  // the rest waits in the kernel
  const auto others = [&]() -> Task<> {
    for (int i = 0; i < 19; ++i) Stream stream = co_await listener.accept();
  };
  EXPECT_TRUE(run(others).ok());
  EXPECT_EQ(metrics().accepted, 20u);
}

TEST_P(ListenerTest, StreamsThatNobodyTookAreResetWhenItCloses) {
  Listener listener = listen();
  const auto first = [&]() -> Task<> { Stream stream = co_await listener.accept(); };
  std::vector<Stream> clients;
  const auto connects = [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) clients.push_back(co_await connect(listener.local_address()));
  };
  const auto both = [&]() -> Task<> { co_await when_all(first(), connects()); };
  EXPECT_TRUE(run(both).ok());
  rig_->turns(3);
  listener.close();
  const auto reads = [&]() -> Task<> {
    Result<Buf> got = co_await result(clients.back().read({5s}));
    EXPECT_EQ(got.error(), Errc::connection_reset);
  };
  EXPECT_TRUE(run(reads).ok());
}

TEST_P(ListenerTest, PausedItTakesNoneAndResumedAll) {
  Acceptor acceptor;
  Listener listener = listen();
  listener.start(acceptor);
  rig_->turns(2);
  listener.pause();
  rig_->turns(3);
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(listener.local_address(), 3, clients).ok());  // into the kernel's queue
  rig_->turns(5);
  EXPECT_EQ(acceptor.streams.size(), 0u);
  listener.resume();
  until([&] { return acceptor.streams.size() == 3; });
}

TEST_P(ListenerTest, APauseInsideOnAcceptDeliversWhatTheKernelHadGiven) {
  Acceptor acceptor;
  Listener listener = listen();
  acceptor.on_stream = [&] { listener.pause(); };
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(listener.local_address(), 4, clients).ok());
  listener.start(acceptor);
  for (std::size_t resumes = 0; resumes < 10 && acceptor.streams.size() < 4; ++resumes) {
    rig_->turns(5);
    listener.resume();
  }
  until([&] { return acceptor.streams.size() == 4; });
}

TEST_P(ListenerTest, ItsHandlerMayCloseIt) {
  Acceptor acceptor;
  Listener listener = listen();
  acceptor.on_stream = [&] { listener.close(); };
  const Address where = listener.local_address();
  listener.start(acceptor);
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(where, 1, clients).ok());
  until([&] { return acceptor.streams.size() == 1; });
  EXPECT_FALSE(listener.valid());
}

TEST_P(ListenerTest, ClosingTellsATaskThatWaits) {
  Listener listener = listen();
  const auto accepts = [&]() -> Task<> {
    Result<Stream> got = co_await result(listener.accept());
    EXPECT_EQ(got.error(), Errc::closed);
  };
  const auto closes = [&]() -> Task<> {
    co_await yield();
    listener.close();
  };
  const auto both = [&]() -> Task<> { co_await when_all(accepts(), closes()); };
  EXPECT_TRUE(run(both).ok());
}

TEST_P(ListenerTest, AnEndedAcceptLosesNoConnection) {
  Listener listener = listen();
  const auto accepts = [&]() -> Task<> { Stream stream = co_await listener.accept(); };
  {
    Scope scope;
    scope.spawn(accepts(), "accepts");
    rig_->turns(2);
  }
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(listener.local_address(), 1, clients).ok());
  EXPECT_TRUE(run(accepts).ok());
}

TEST_P(ListenerTest, AtTheLimitOfConnectionsItWaits) {
  Limits limits;
  limits.connections_max = 2;
  make_loop(limits);
  Acceptor acceptor;
  Listener listener = listen();
  listener.start(acceptor);
  LoopRig outside({.backend = GetParam()});  // its connections do not count here
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(outside, listener.local_address(), 4, clients).ok());
  until([&] { return acceptor.streams.size() == 2; });
  rig_->turns(10);
  EXPECT_EQ(acceptor.streams.size(), 2u);
  EXPECT_EQ(metrics().connections, 2u);
  EXPECT_EQ(metrics().connections_refused, 0u);
  acceptor.streams.clear();
  until([&] { return acceptor.streams.size() == 2; });
  clients.clear();
}

TEST_P(ListenerTest, AtTheLimitOfConnectionsItMayReset) {
  Limits limits;
  limits.connections_max = 2;
  make_loop(limits);
  Acceptor acceptor;
  ListenOptions options;
  options.at_connection_limit = Overload::reset;
  Listener listener = listen(Address::loopback(0), options);
  listener.start(acceptor);
  LoopRig outside({.backend = GetParam()});
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(outside, listener.local_address(), 2, clients).ok());
  until([&] { return acceptor.streams.size() == 2; });
  EXPECT_TRUE(connect_many(outside, listener.local_address(), 1, clients).ok());
  until([&] { return metrics().connections_refused == 1; });
  rig_->turns(5);
  const auto reads = [&]() -> Task<> {
    Result<Buf> got = co_await result(clients.back().read({5s}));
    EXPECT_EQ(got.error(), Errc::connection_reset);
  };
  EXPECT_TRUE(outside.run(reads).ok());
  EXPECT_EQ(acceptor.streams.size(), 2u);
  clients.clear();
}

TEST_P(ListenerTest, TwoListenersShareTheRoomThatComesFree) {
  Limits limits;
  limits.connections_max = 2;
  make_loop(limits);
  Acceptor first, second;
  Listener one = listen(), other = listen();
  one.start(first);
  other.start(second);
  LoopRig outside({.backend = GetParam()});
  std::vector<Stream> clients;
  const auto connects = [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) {
      clients.push_back(co_await connect(one.local_address()));
      clients.push_back(co_await connect(other.local_address()));
    }
  };
  EXPECT_TRUE(outside.run(connects).ok());
  std::size_t served = 0;
  EXPECT_TRUE(rig_->until([&] {
    EXPECT_LE(metrics().connections, 2u + 1u);  // each may have asked when there was one place
    served += first.streams.size() + second.streams.size();
    first.streams.clear();
    second.streams.clear();
    return served == 6;
  }));
  clients.clear();
}

TEST_P(ListenerTest, TakesBothFamiliesOnTheUnspecifiedAddress) {
  Listener listener = listen(Address::parse(":0").value());
  const std::uint16_t port = listener.local_address().port;
  Acceptor acceptor;
  listener.start(acceptor);
  std::vector<Stream> clients;
  EXPECT_TRUE(connect_many(Address::loopback(port), 1, clients).ok());
  EXPECT_TRUE(
      connect_many(Address::parse("[::1]:" + std::to_string(port)).value(), 1, clients).ok());
  until([&] { return acceptor.streams.size() == 2; });
}

TEST_P(ListenerTest, TakesIpv6OnlyWhenAskedTo) {
  ListenOptions options;
  options.ipv6_only = true;
  Listener listener = listen(Address::parse("[::]:0").value(), options);
  const std::uint16_t port = listener.local_address().port;
  std::vector<Stream> clients;
  EXPECT_EQ(connect_many(Address::loopback(port), 1, clients), Errc::connection_refused);
  EXPECT_TRUE(
      connect_many(Address::parse("[::1]:" + std::to_string(port)).value(), 1, clients).ok());
}

TEST_P(ListenerTest, APortInUseIsAnErrorThatNamesIt) {
  Listener listener = listen();
  const Address where = listener.local_address();
  Result<Listener> other = Listener::listen(loop(), where);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error(), Errc::address_in_use);
  EXPECT_THAT(other.error().to_string(), ::testing::HasSubstr(where.to_string()));
}

TEST_P(ListenerTest, SeveralMayShareAPortWhenAllAskedTo) {
  ListenOptions options;
  options.reuse_port = true;
  Listener one = listen(Address::loopback(0), options);
  Result<Listener> other = Listener::listen(loop(), one.local_address(), options);
  EXPECT_TRUE(other.ok()) << other.error().to_string();
}

TEST_P(ListenerTest, OptionsOutOfRangeAreErrors) {
  ListenOptions options;
  options.backlog = 0;
  const Error error = Listener::listen(loop(), Address::loopback(0), options).error();
  EXPECT_EQ(error, Errc::invalid_argument);
  EXPECT_THAT(error.to_string(), ::testing::HasSubstr("backlog"));
  EXPECT_EQ(Listener::listen(loop(), Address()).error(), Errc::invalid_argument);
  EXPECT_EQ(Listener::listen(loop(), Address::ipv4(192, 0, 2, 1, 0)).error(),
            Errc::address_not_available);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, ListenerTest, ::testing::ValuesIn(kBackends), backend_name);

// ---- Exhausted descriptors: in a child process, whose limit is lowered.

class DescriptorsDeathTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  /// Ends a child process: with 7 when `holds`, and no expectation failed.
  static void end_child(bool holds) { std::_Exit(holds && !::testing::Test::HasFailure() ? 7 : 1); }
};

/// From now on so many descriptors can be had, above the lowest free one.
void leave_descriptors(rlim_t count) {
  const int next = ::dup(0);
  if (next >= 0) ::close(next);
  static rlim_t lowest;
  if (next >= 0) lowest = static_cast<rlim_t>(next);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = lowest + count;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// A connection waits in the kernel when there is no descriptor left to accept it with. True: it was reset, or accepted
/// later, as `overload` says; and accepting goes on afterwards.
bool is_overload_handled(std::string_view backend, Overload overload) {
  ::alarm(30);
  LoopRig& server = *new LoopRig({.backend = backend});  // the process ends before they could
  LoopRig& client = *new LoopRig({.backend = backend});
  Acceptor acceptor;
  ListenOptions options;
  options.at_descriptor_limit = overload;
  Listener listener = Listener::listen(server.loop(), Address::loopback(0), options).value();
  listener.start(acceptor);
  const Address where = listener.local_address();
  std::vector<Stream> clients;
  const auto connect_one = [&] {
    return client.run([&]() -> Task<> { clients.push_back(co_await connect(where)); }).ok();
  };
  // One that comes and goes: sanitizers need descriptors for what they see for the first time.
  bool holds = connect_one() && server.until([&] { return acceptor.streams.size() == 1; });
  acceptor.streams[0].reset();
  acceptor.streams.clear();
  clients.clear();
  holds &= connect_one() && server.until([&] { return acceptor.streams.size() == 1; });
  listener.pause();
  server.turns(5);
  holds &= connect_one();
  leave_descriptors(0);
  listener.resume();
  holds &= server.until([&] { return server.metrics().descriptors_exhausted >= 1; });
  server.turns(10);
  holds &= acceptor.streams.size() == 1;
  leave_descriptors(100);
  if (overload == Overload::reset) {
    Errc told = Errc::ok;
    holds &= client
                 .run([&]() -> Task<> {
                   Result<Buf> got = co_await result(clients.back().read({5s}));
                   told = got.error().code;
                 })
                 .ok();
    holds &= told == Errc::connection_reset;
  } else {
    holds &= server.until([&] { return acceptor.streams.size() == 2; });
  }
  const std::size_t before = acceptor.streams.size();
  holds &= connect_one() && server.until([&] { return acceptor.streams.size() == before + 1; });
  return holds;
}

TEST_P(DescriptorsDeathTest, WithTheReserveAConnectionIsAcceptedAndReset) {
  EXPECT_EXIT(end_child(is_overload_handled(GetParam(), Overload::reset)),
              ::testing::ExitedWithCode(7), "");
}

TEST_P(DescriptorsDeathTest, OrItWaitsUntilThereIsOneAgain) {
  EXPECT_EXIT(end_child(is_overload_handled(GetParam(), Overload::wait)),
              ::testing::ExitedWithCode(7), "");
}

INSTANTIATE_TEST_SUITE_P(AllBackends, DescriptorsDeathTest, ::testing::ValuesIn(kBackends),
                         backend_name);

}  // namespace
}  // namespace weir::test
