// A backend that does what a test says: its clock moves only when told, an op ends when the test scripts its
// completion, and every poll is written down. So a test can state one turn exactly.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/weir.h"

namespace weir::test {

class Scripted final : public Backend {
 public:
  static constexpr const char* kName = "scripted";
  static Scripted*& newest() {
    thread_local Scripted* backend = nullptr;
    return backend;
  }
  static Result<std::unique_ptr<Backend>> make(std::string_view, const BackendContext& context) {
    return std::unique_ptr<Backend>(new Scripted(context));
  }

  // What a test scripts.
  std::uint64_t clock_ns = 1'000'000'000;
  std::uint64_t clock_step_ns = 0;            ///< the clock moves so much at each look
  std::uint64_t busy_poll_ns = 0;             ///< … and so much in a poll that does not wait
  std::deque<Completion> script;              ///< what the next poll finds
  std::vector<std::uint64_t> poll_deadlines;  ///< one a poll; 0: it did not wait
  int clock_looks = 0;
  int wakes = 0;
  std::function<void()> on_poll;  ///< runs at the start of each poll
  bool ignores_cancel = false;

  void end(const Op& op, std::int32_t result, std::uint16_t flags = 0) {
    script.push_back({.id = op.id, .result = result, .flags = flags});
  }
  /// Received bytes for a receive from the loop's group.
  void bring(const Op& op, std::uint32_t size_bytes, char letter, bool more = true) {
    Block* block = group_->take_for_backend(BlockState::posted);
    unpoison(block->base, size_bytes);
    std::memset(block->base, letter, size_bytes);
    script.push_back({.id = op.id,
                      .result = static_cast<std::int32_t>(size_bytes),
                      .flags = static_cast<std::uint16_t>(more ? kBuf | kMore : kBuf),
                      .group = group_->group(),
                      .buffer = block->index,
                      .length = size_bytes});
  }

  // The seam.
  ~Scripted() override { newest() = nullptr; }
  const Caps& caps() const override { return caps_; }
  Result<Handle> open(const SocketSpec&) override { return Handle{next_handle_++}; }
  Result<Handle> attach(std::intptr_t, bool) override { return Handle{next_handle_++}; }
  std::intptr_t detach(Handle) override { return -1; }
  std::intptr_t native(Handle) const override { return -1; }
  Result<Address> local_address(Handle) const override { return Address::loopback(1); }
  Result<Address> peer_address(Handle) const override { return Address::loopback(2); }
  Result<void> set_option(Handle, SocketOption, std::int32_t) override { return {}; }
  Result<std::int32_t> get_option(Handle, SocketOption) const override { return 0; }
  Submitted submit(Op& op) override {
    if (op.kind == OpKind::nop || op.kind == OpKind::close) end(op, 0);
    return {};
  }
  void cancel(OpId id) override {
    const Op* op = context_.ops.find(id);
    if (op != nullptr && !ignores_cancel) end(*op, -kCancelled);
  }
  void provide(Pool& group) override { group_ = &group; }
  void refilled(Pool&) override {}
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    if (on_poll) on_poll();
    const bool is_empty = script.empty() && wakes == 0;
    poll_deadlines.push_back(deadline_ns);
    const bool waits = is_empty && deadline_ns > clock_ns;
    if (!waits) clock_ns += busy_poll_ns;
    if (waits && deadline_ns != kNever) clock_ns = deadline_ns;
    EXPECT_FALSE(is_empty && deadline_ns == kNever) << "this poll would wait for ever";
    wakes = 0;
    for (; !script.empty(); script.pop_front()) sink.push(script.front());
  }
  std::uint64_t now() const override {
    auto& self = const_cast<Scripted&>(*this);
    ++self.clock_looks;
    return self.clock_ns += clock_step_ns;
  }
  bool pending_hint() const override { return !script.empty(); }
  void wake() override { ++wakes; }

  static constexpr std::int32_t kCancelled = static_cast<std::int32_t>(Errc::cancelled);

 private:
  explicit Scripted(const BackendContext& context) : context_(context) {
    caps_.name = kName;
    newest() = this;
  }
  BackendContext context_;
  Caps caps_;
  Pool* group_ = nullptr;
  std::uint32_t next_handle_ = 0;
};

/// A loop on the scripted backend, and what happened in it, in order.
class ScriptedTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { register_backend(Scripted::kName, Scripted::make); }
  void SetUp() override { make_loop({}); }
  void TearDown() override { loop_.reset(); }
  void make_loop(const Limits& limits, OrderPolicy order = OrderPolicy::bounded) {
    loop_.reset();
    auto made = Loop::make({.backend = backend_name(), .order = order, .limits = limits});
    if (!made.ok()) GTEST_SKIP() << backend_name() << ": " << made.error().to_string();
    loop_ = std::move(*made);
    backend_ = Scripted::newest();
  }
  virtual std::string_view backend_name() const { return Scripted::kName; }

  Loop& loop() { return *loop_; }
  Scripted& backend() { return *backend_; }  ///< only there on the scripted backend
  void turn() { loop_->run(RunMode::no_wait); }
  void note(std::string what) { log_.push_back(std::move(what)); }
  /// A job that notes `what`.
  auto noting(std::string what) {
    return [this, what = std::move(what)] { note(what); };
  }
  /// What was noted since the last call, with spaces between.
  std::string log() {
    std::string text;
    for (const std::string& what : std::exchange(log_, {}))
      text += (text.empty() ? "" : " ") + what;
    return text;
  }

  /// Queues jobs that will have to be demoted, when descendants_per_drain is 1.
  void demote(const std::vector<std::string>& names) {
    loop().microtask([this, names] {
      loop().microtask([] {});
      for (const std::string& name : names) loop().microtask(noting(name));
    });
  }

  std::unique_ptr<Loop> loop_;
  Scripted* backend_ = nullptr;
  std::vector<std::string> log_;
};

inline constexpr std::string_view kOrderBackends[] = {Scripted::kName, "epoll", "io_uring",
                                                      "io_uring:6.1", "io_uring:5.10"};

/// The same for what needs no script: on every backend, and on the scripted one.
class EachBackendTest : public ScriptedTest,
                        public ::testing::WithParamInterface<std::string_view> {
 protected:
  std::string_view backend_name() const override { return GetParam(); }
};

/// An op whose completions a test sees; received bytes go home at once. It must be idle when it ends.
template <typename Kind>
struct SeenOp : Kind {
  SeenOp(Loop& of, OpKind op_kind, std::function<void(const Completion&)> on_seen)
      : loop(of), seen(std::move(on_seen)) {
    this->kind = op_kind;
    this->handle = of.backend().open({}).value();
    this->multishot = op_kind == OpKind::recv;
    this->on_complete = [](Op& op, const Completion& completion) {
      auto& self = static_cast<SeenOp&>(static_cast<Kind&>(op));
      if (completion.has(kBuf)) {
        Pool& pool = self.loop.receive_group();
        pool.loan(&pool.at(completion.buffer), completion.offset, completion.length, nullptr)
            .reset();
      }
      self.seen(completion);
    };
    of.ops().adopt(*this);
  }
  ~SeenOp() { loop.ops().abandon(*this); }
  Loop& loop;
  std::function<void(const Completion&)> seen;
};

}  // namespace weir::test
