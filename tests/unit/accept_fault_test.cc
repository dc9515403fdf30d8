// What errors of accept do to a listener, on every backend: the errors are put in by a backend around it, for the kernel
// gives few of them on demand.
#include <cerrno>
#include <deque>
#include <future>
#include <stdexcept>
#include <thread>

#include "tests/rig/decorator.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

// What the next accepts that are submitted end in.
std::deque<std::int32_t> accept_errors;

class FailingAccepts final : public Decorator {
 public:
  using Decorator::Decorator;

 private:
  Submitted submit(Op& op) override {
    if (op.kind != OpKind::accept || accept_errors.empty()) return inner_->submit(op);
    failed_.push_back({.id = op.id, .result = -accept_errors.front()});
    accept_errors.pop_front();
    return {};
  }
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    const std::vector<Completion> failed = std::exchange(failed_, {});
    for (const Completion& completion : failed) sink.push(completion);
    Decorator::poll(failed.empty() ? deadline_ns : 0, sink);
  }
  bool pending_hint() const override { return !failed_.empty() || inner_->pending_hint(); }
  std::vector<Completion> failed_;
};

Result<std::unique_ptr<Backend>> make_failing(std::string_view inner,
                                              const BackendContext& context) {
  Result<ChosenBackend> made = make_backend(inner, context);
  if (!made.ok()) return made.error();
  return std::unique_ptr<Backend>(
      std::make_unique<FailingAccepts>(std::move(made->backend), context, "failing-accepts"));
}

class AcceptFaultTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  AcceptFaultTest() : name_("failing-accepts:" + std::string(GetParam())) {
    register_backend("failing-accepts", make_failing);
    rig_ = std::make_unique<LoopRig>(LoopOptions{.backend = name_});
  }
  ~AcceptFaultTest() override { accept_errors.clear(); }
  void SetUp() override {
    if (!rig_->is_available()) GTEST_SKIP() << GetParam() << ": " << rig_->reason();
  }
  Listener listen(const ListenOptions& options = {}) {
    return Listener::listen(rig_->loop(), Address::loopback(0), options).value();
  }
  Error connect_to(const Address& where) {
    return rig_->run([&]() -> Task<> { clients_.push_back(co_await connect(where)); });
  }

  const std::string name_;
  std::unique_ptr<LoopRig> rig_;
  std::vector<Stream> clients_;
};

// The next connection is accepted, although each of these came before it.
TEST_P(AcceptFaultTest, PassingErrorsDoNotEndAccepting) {
  for (const int error : {ENOMEM, ENOBUFS, EPERM, ECONNABORTED, EMFILE, ENFILE}) {
    accept_errors = {error};
    Acceptor acceptor;
    Listener listener = listen({.at_descriptor_limit = Overload::wait});
    listener.start(acceptor);
    ASSERT_TRUE(connect_to(listener.local_address()).ok());
    EXPECT_TRUE(rig_->until([&] { return acceptor.streams.size() == 1 || !acceptor.error.ok(); }));
    EXPECT_TRUE(acceptor.error.ok()) << acceptor.error.to_string();
    clients_.clear();
  }
}

TEST_P(AcceptFaultTest, WithoutMemoryItRestsInsteadOfTryingAgainAtOnce) {
  accept_errors = {ENOMEM, ENOBUFS};
  Acceptor acceptor;
  Listener listener = listen();
  listener.start(acceptor);
  rig_->turns(5);
  EXPECT_EQ(accept_errors.size(), 1u);
  EXPECT_TRUE(rig_->until([&] { return rig_->metrics().accept_rests == 2; }));
}

TEST_P(AcceptFaultTest, RestingItKeepsTheLoopAlive) {
  accept_errors = {EMFILE, ENOMEM};
  Acceptor acceptor;
  Listener listener = listen({.at_descriptor_limit = Overload::wait});
  listener.start(acceptor);
  rig_->turns(5);
  EXPECT_EQ(rig_->metrics().accept_rests, 1u);
  EXPECT_TRUE(rig_->loop().is_alive());
  Timer stops(rig_->loop());
  stops.unref();  // the listener alone is what the loop runs for, through a second rest too
  stops.arm(300ms, [&] { rig_->loop().stop(); });
  EXPECT_TRUE(rig_->loop().run());
  EXPECT_EQ(rig_->metrics().accept_rests, 2u);
}

TEST_P(AcceptFaultTest, RestingUnreferencedOrPausedItDoesNot) {
  for (const bool is_paused : {false, true}) {
    accept_errors = {EMFILE};
    Acceptor acceptor;
    Listener listener = listen({.at_descriptor_limit = Overload::wait});
    listener.start(acceptor);
    rig_->turns(5);
    is_paused ? listener.pause() : listener.unref();
    EXPECT_FALSE(rig_->loop().is_alive());
    is_paused ? listener.resume() : listener.ref();
    EXPECT_TRUE(rig_->loop().is_alive());
    ASSERT_TRUE(connect_to(listener.local_address()).ok());
    EXPECT_TRUE(rig_->until([&] { return acceptor.streams.size() == 1; }));
    clients_.clear();
    acceptor.streams.clear();
    listener.close();
    EXPECT_FALSE(rig_->loop().run());  // until all of it has closed
  }
}

TEST_P(AcceptFaultTest, ClosedWhileItRestsItKeepsNothingAlive) {
  accept_errors = {EMFILE};
  Acceptor acceptor;
  Listener listener = listen({.at_descriptor_limit = Overload::wait});
  listener.start(acceptor);
  rig_->turns(5);
  listener.close();
  EXPECT_FALSE(rig_->loop().run());
}

TEST_P(AcceptFaultTest, OthersEndItAndAreTold) {
  accept_errors = {EINVAL};
  Acceptor acceptor;
  Listener listener = listen();
  listener.start(acceptor);
  EXPECT_TRUE(rig_->until([&] { return !acceptor.error.ok(); }));
  EXPECT_EQ(acceptor.error, Errc::invalid_argument);
}

#if defined(__cpp_exceptions)
TEST_P(AcceptFaultTest, AHandlerThatThrowsLosesThatStreamOnly) {
  accept_errors = {ECONNABORTED};
  Acceptor acceptor;
  acceptor.on_stream = [&] {
    if (acceptor.streams.size() == 1) throw std::runtime_error("of a handler");
  };
  Listener listener = listen();
  listener.start(acceptor);
  rig_->turns(2);
  ::testing::internal::CaptureStderr();  // where the root scope tells of it
  ASSERT_TRUE(connect_to(listener.local_address()).ok());
  EXPECT_TRUE(rig_->until([&] { return acceptor.streams.size() == 1; }));
  ASSERT_TRUE(connect_to(listener.local_address()).ok());
  EXPECT_TRUE(rig_->until([&] { return acceptor.streams.size() == 2; }));
  ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(rig_->metrics().exceptions, 1u);
  clients_.clear();
}

// Near the limit of connections each accept is armed anew by the completion whose handler throws.
TEST_P(AcceptFaultTest, AHandlerThatThrowsDoesNotKeepTheNextAcceptFromBeingArmed) {
  Limits limits;
  limits.connections_max = 8;
  rig_ = std::make_unique<LoopRig>(LoopOptions{.backend = name_, .limits = limits});
  LoopRig outside({.backend = GetParam()});
  Acceptor acceptor;
  acceptor.on_stream = [] { throw std::runtime_error("of a handler"); };
  Listener listener = listen();
  listener.start(acceptor);
  ::testing::internal::CaptureStderr();
  for (std::size_t i = 1; i <= 3; ++i) {
    const auto connects = [&]() -> Task<> {
      clients_.push_back(co_await connect(listener.local_address()));
    };
    ASSERT_TRUE(outside.run(connects).ok());
    EXPECT_TRUE(rig_->until([&] { return acceptor.streams.size() == i; }));
  }
  ::testing::internal::GetCapturedStderr();
  clients_.clear();
}
#endif

// ---- Runtimes: an accept loop that ends is told to the service's on_error.

class RuntimeAcceptTest : public AcceptFaultTest {
 protected:
  struct Heard {
    std::atomic<int> count = 0;
    std::string tag;
    Error error;
    std::promise<void> once;
    void wait(Duration patience) { once.get_future().wait_for(patience); }
  };
  RuntimeOptions options() {
    RuntimeOptions options;
    options.loop.backend = name_;
    options.stops_on_signals = false;
    return options;
  }
  static ScopeOptions tell(Heard& heard) {
    ScopeOptions scope;
    scope.context = &heard;
    scope.policy = ScopePolicy::stop_loop;
    scope.on_error = [](const Failure& failure, void* context) {
      auto& told = *static_cast<Heard*>(context);
      told.tag = failure.tag;
      told.error = failure.error;
      if (++told.count == 1) told.once.set_value();
    };
    return scope;
  }
};

TEST_P(RuntimeAcceptTest, AnAcceptLoopThatEndsIsTold) {
  Heard heard;
  Runtime runtime(options());
  accept_errors = {EINVAL};
  ASSERT_TRUE(runtime
                  .serve(
                      Address::loopback(0), [](Stream) -> Task<> { co_return; }, {}, tell(heard))
                  .ok());
  std::thread late([&] {  // ends a run that nobody told
    heard.wait(2s);
    runtime.stop();
  });
  runtime.run();
  late.join();
  EXPECT_EQ(heard.count, 1);
  EXPECT_EQ(heard.tag, "accept");
  EXPECT_EQ(heard.error, Errc::invalid_argument);
}

TEST_P(RuntimeAcceptTest, AStopTellsNothing) {
  Heard heard;
  Runtime runtime(options());
  ASSERT_TRUE(runtime
                  .serve(
                      Address::loopback(0), [](Stream) -> Task<> { co_return; }, {}, tell(heard))
                  .ok());
  std::thread stops([&] { runtime.stop(); });
  runtime.run();
  stops.join();
  EXPECT_EQ(heard.count, 0);
}

#if defined(__cpp_exceptions)
TEST_P(RuntimeAcceptTest, ASessionFunctionThatThrowsLosesThatConnectionOnly) {
  Runtime runtime(options());
  std::atomic<int> calls = 0;
  const Address where = runtime
                            .serve(Address::loopback(0),
                                   [&](Stream peer) -> Task<> {
                                     if (++calls == 1) throw std::runtime_error("of a session");
                                     return [](Stream stream) -> Task<> {
                                       co_await stream.write("x");
                                       co_await stream.finish();
                                     }(std::move(peer));
                                   })
                            .value();
  const auto ask = [&]() -> Task<> {
    Stream first = co_await connect(where);
    Result<Buf> lost = co_await result(first.read({5s}));
    EXPECT_TRUE(!lost.ok() || lost->empty());
    Stream second = co_await connect(where);
    Result<Buf> got = co_await result(second.read({5s}));
    EXPECT_TRUE(got.ok() && !got->empty());
  };
  run_with_client(runtime, GetParam(), ask, [&] { runtime.stop(); });
  EXPECT_EQ(calls, 2);
}
#endif

INSTANTIATE_TEST_SUITE_P(AllBackends, AcceptFaultTest, ::testing::ValuesIn(kBackends),
                         backend_name);
INSTANTIATE_TEST_SUITE_P(AllBackends, RuntimeAcceptTest, ::testing::ValuesIn(kBackends),
                         backend_name);

}  // namespace
}  // namespace weir::test
