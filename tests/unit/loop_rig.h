// A loop under test: drives it until a condition holds or a deadline passes, runs tasks in it and keeps what ended
// them, and checks at the end that nothing is left: no op pending, no connection, no block out of its pool.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "src/loop/loop_core.h"
#include "weir/weir.h"

namespace weir::inline v0 {
inline void PrintTo(const Error& error, std::ostream* out) { *out << error.to_string(); }
inline void PrintTo(Errc code, std::ostream* out) { *out << name_of(code); }
}  // namespace weir::inline v0

namespace weir::test {

using namespace std::chrono_literals;

inline constexpr std::string_view kBackends[] = {"epoll", "io_uring", "io_uring:6.1",
                                                 "io_uring:5.10"};

/// "io_uring:5.10" as a part of a test's name.
inline std::string plain_name(std::string_view text) {
  std::string name(text);
  for (char& letter : name) {
    if (letter == ':' || letter == '.') letter = '_';
  }
  return name;
}
inline std::string backend_name(const ::testing::TestParamInfo<std::string_view>& info) {
  return plain_name(info.param);
}

class LoopRig {
 public:
  static constexpr Duration kPatience = 10s;

  explicit LoopRig(LoopOptions options) {
    options.ledger = LedgerLevel::all;
    Result<std::unique_ptr<Loop>> made = Loop::make(options);
    if (made.ok()) {
      loop_ = std::move(*made);
    } else {
      reason_ = made.error().to_string();
    }
  }
  ~LoopRig() { finish(); }
  LoopRig(const LoopRig&) = delete;
  LoopRig& operator=(const LoopRig&) = delete;

  bool is_available() const { return loop_ != nullptr; }
  const std::string& reason() const { return reason_; }
  Loop& loop() { return *loop_; }
  /// The loop, to end it without the checks.
  std::unique_ptr<Loop> take() { return std::move(loop_); }
  const Metrics& metrics() { return loop_->metrics(); }

  /// Turns until `condition` holds; false when that took too long.
  template <typename Condition>
  bool until(Condition&& condition, Duration patience = kPatience) {
    bool is_late = false;
    Timer alarm(*loop_);
    alarm.arm(patience, [&] { is_late = true; });
    PrepareHook before_poll;  // a timer of this turn may have been what was waited for
    loop_->prepare(before_poll, [&] {
      if (is_late || condition()) loop_->stop();
    });
    while (!condition() && !is_late) loop_->run(RunMode::once);
    if (is_late) ADD_FAILURE() << "waited in vain; the loop has\n" << loop_->report();
    return !is_late;
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) loop_->run(RunMode::no_wait);
  }

  /// Runs `body()`, a task, until it has ended. What ended it, or an error that is ok.
  template <typename Body>
  Error run(Body body) {
    struct Outcome {
      Error error;
      bool has_ended = false;
    } outcome;
    ScopeOptions options;
    options.context = &outcome;
    options.on_error = [](const Failure& failure, void* context) {
      static_cast<Outcome*>(context)->error = failure.error;
    };
    Scope scope(loop_->core(), nullptr, options, SourceLocation::current());
    scope.spawn(body(), "test");
    until([&] { return scope.count() == 0; });
    return outcome.error;
  }

  /// Ops in flight, blocks held and connections open: none once all that the test made is gone.
  std::string what_is_left() {
    std::string left;
    OpTable& ops = loop_->ops();
    for (std::size_t slot = 0; slot < ops.size(); ++slot) {
      const Op* op = ops.at(slot);
      if (op == nullptr || op->state == OpState::idle) continue;
      left += "an op of kind " + std::to_string(static_cast<int>(op->kind)) + "\n";
    }
    for (const Ledger::Entry& entry : loop_->ledger().entries()) {
      if (entry.state == BlockState::posted) continue;  // the kernel's, to receive into
      left += "a block: " + loop_->ledger().describe(*entry.block) + "\n";
    }
    if (const Metrics& counts = loop_->metrics(); counts.connections != 0) {
      left += std::to_string(counts.connections) + " connections\n";
    } else if (counts.write_queue_bytes != 0) {
      left += std::to_string(counts.write_queue_bytes) + " bytes queued\n";
    }
    return left;
  }

  /// Ends the loop, after a while for closes and notifications. Called once.
  void finish() {
    if (loop_ == nullptr) return;
    const std::uint64_t end_ns = loop_->backend().now() + 5'000'000'000;
    while (!what_is_left().empty() && loop_->backend().now() < end_ns) {
      Timer pace(*loop_);
      pace.arm(1ms, [] {});
      loop_->run(RunMode::once);
    }
    EXPECT_EQ(what_is_left(), "") << loop_->report();
    ::testing::internal::CaptureStderr();  // where a loop says what it had to leave behind
    loop_.reset();
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  }

 private:
  std::unique_ptr<Loop> loop_;
  std::string reason_;
};

/// Accepts one connection and connects to it: the connecting end first.
inline std::pair<Stream, Stream> connect_streams(LoopRig& rig,
                                                 const Address& at = Address::loopback(0),
                                                 const ConnectOptions& options = {}) {
  std::pair<Stream, Stream> ends;
  Listener listener = Listener::listen(rig.loop(), at).value();
  const Address where = listener.local_address();
  const auto accept_one = [&]() -> Task<> { ends.second = co_await listener.accept(); };
  const auto connect_one = [&]() -> Task<> { ends.first = co_await connect(where, options); };
  const auto both = [&]() -> Task<> { co_await when_all(accept_one(), connect_one()); };
  const Error error = rig.run(both);
  EXPECT_TRUE(error.ok()) << error.to_string();
  return ends;
}

/// A loop on one backend. Tests that want other limits make it anew.
class LoopTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override { make_loop({}); }
  void make_loop(const Limits& limits, OrderPolicy order = OrderPolicy::bounded) {
    rig_.reset();
    rig_ = std::make_unique<LoopRig>(
        LoopOptions{.backend = GetParam(), .order = order, .limits = limits});
    if (!rig_->is_available()) GTEST_SKIP() << GetParam() << ": " << rig_->reason();
  }
  Loop& loop() { return rig_->loop(); }
  const Metrics& metrics() { return rig_->metrics(); }
  template <typename Condition>
  bool until(Condition&& condition) {
    return rig_->until(std::forward<Condition>(condition));
  }
  template <typename Body>
  Error run(Body body) {
    return rig_->run(std::move(body));
  }

  std::unique_ptr<LoopRig> rig_;
};

/// What a stream lies on: sockets of a backend, or memory.
struct Medium {
  std::string_view backend;
  bool is_pair = false;
};
inline constexpr Medium kSockets[] = {{"epoll"}, {"io_uring"}, {"io_uring:6.1"}, {"io_uring:5.10"}};
inline constexpr Medium kMemory[] = {{"epoll", true}, {"io_uring", true}};
inline constexpr Medium kMedia[] = {{"epoll"},         {"io_uring"},    {"io_uring:6.1"},
                                    {"io_uring:5.10"}, {"epoll", true}, {"io_uring", true}};
inline std::string medium_name(const ::testing::TestParamInfo<Medium>& info) {
  return (info.param.is_pair ? "pair_on_" : "") + plain_name(info.param.backend);
}
inline void PrintTo(const Medium& medium, std::ostream* out) {
  *out << (medium.is_pair ? "a pair on " : "") << medium.backend;
}

/// A loop and two joined streams, over each medium: what the one writes the other reads.
class StreamTest : public ::testing::TestWithParam<Medium> {
 protected:
  void SetUp() override { make_streams({}); }
  void TearDown() override {
    one_ = {};
    other_ = {};
    rig_.reset();
  }
  void make_streams(const Limits& limits, const ConnectOptions& options = {}) {
    one_ = {};
    other_ = {};
    rig_.reset();
    rig_ = std::make_unique<LoopRig>(LoopOptions{.backend = GetParam().backend, .limits = limits});
    if (!rig_->is_available()) GTEST_SKIP() << GetParam().backend << ": " << rig_->reason();
    std::tie(one_, other_) = GetParam().is_pair
                                 ? make_stream_pair(loop())
                                 : connect_streams(*rig_, Address::loopback(0), options);
  }
  Loop& loop() { return rig_->loop(); }
  const Metrics& metrics() { return rig_->metrics(); }
  template <typename Condition>
  bool until(Condition&& condition) {
    return rig_->until(std::forward<Condition>(condition));
  }
  template <typename Body>
  Error run(Body body) {
    return rig_->run(std::move(body));
  }
  /// Both at once, until both have ended; the first error.
  template <typename One, typename Other>
  Error run_both(One one, Other other) {
    const auto both = [&]() -> Task<> { co_await when_all(one(), other()); };
    return rig_->run(both);
  }

  std::unique_ptr<LoopRig> rig_;
  Stream one_;
  Stream other_;
};

/// Everything up to the end of the stream, as text.
inline Task<std::string> read_all(Stream& from) {
  std::string text;
  while (Buf bytes = co_await from.read()) text += bytes.text();
  co_return text;
}

/// Runs the runtime, and beside it `body()`, a client's task, on a thread and a loop of its own; then `after()` there.
template <typename Body>
void run_with_client(Runtime& runtime, std::string_view backend, Body body,
                     const std::function<void()>& after) {
  std::thread client([&] {
    LoopRig rig({.backend = backend});
    const Error error = rig.run(body);
    EXPECT_TRUE(error.ok()) << error.to_string();
    after();
  });
  runtime.run();
  client.join();
}

/// A listener's handler that keeps the streams.
struct Acceptor final : ListenerHandler {
  std::vector<Stream> streams;
  Error error;
  std::function<void()> on_stream;
  void on_accept(Stream stream) override {
    streams.push_back(std::move(stream));
    if (on_stream) on_stream();
  }
  void on_error(const Error& got) override { error = got; }
};

/// A handler that keeps what it is told, in order.
struct Recorder final : StreamHandler {
  std::string bytes;
  std::vector<std::string> calls;  // "read" only once for a run of them
  Error close_error;
  int end_count = 0;
  int writable_count = 0;
  int close_count = 0;
  std::function<void()> on_bytes, on_ended, on_unblocked, on_closed;

  void on_read(Buf got) override {
    bytes += got.text();
    if (calls.empty() || calls.back() != "read") calls.emplace_back("read");
    if (on_bytes) on_bytes();
  }
  void on_end() override {
    calls.emplace_back("end");
    ++end_count;
    if (on_ended) on_ended();
  }
  void on_writable() override {
    calls.emplace_back("writable");
    ++writable_count;
    if (on_unblocked) on_unblocked();
  }
  void on_close(const Error& error) override {
    calls.emplace_back("close");
    close_error = error;
    ++close_count;
    if (on_closed) on_closed();
  }
};

/// `size_bytes` that are the same for the same seed, and differ from their neighbours.
inline std::string pattern(std::size_t size_bytes, std::uint32_t seed = 1) {
  std::string text(size_bytes, '\0');
  std::uint32_t state = seed * 2654435761u + 1;
  for (char& letter : text) {
    state = state * 1664525u + 1013904223u;
    letter = static_cast<char>(state >> 24);
  }
  return text;
}

}  // namespace weir::test
