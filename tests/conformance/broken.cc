// One small class per defect over a right backend; broken_table.cc says which rows must notice it. Defects must not
// corrupt the right one underneath: what they do wrong, they do to the results, or by themselves.
#include "tests/conformance/broken.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <set>
#include <string>
#include <utility>

#include "tests/rig/decorator.h"

namespace weir::test {
namespace {

/// What the defects share: every result comes by way of on_result(), those of submit() too.
class Broken : public Decorator {
 public:
  Broken(std::unique_ptr<Backend> inner, const BackendContext& context)
      : Decorator(std::move(inner), context, "broken") {}
  ~Broken() override {
    for (const Completion& completion : late_) drop(completion);
  }

  Submitted submit(Op& op) override {
    const Submitted submitted = inner_->submit(op);
    if (submitted.done) late_.push_back(submitted.completion);
    return {};
  }
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    sink_ = &sink;
    const std::vector<Completion> late = std::exchange(late_, {});
    for (const Completion& completion : late) on_result(completion, sink);
    Decorator::poll(late.empty() ? deadline_ns : 0, sink);
  }
  void provide(Pool& group) override {
    group_ = &group;
    Decorator::provide(group);
  }
  bool pending_hint() const override { return !late_.empty() || Decorator::pending_hint(); }

 protected:
  void on_results(std::vector<Completion> results, Sink& sink) override {
    for (const Completion& completion : results) on_result(completion, sink);
  }
  virtual void on_result(const Completion& completion, Sink& sink) { sink.push(completion); }

  static bool is_received(const Completion& completion) {
    return completion.id.kind() == OpKind::recv && completion.result > 0;
  }
  /// A completion that is not passed on gives its block back, so that nothing but the defect shows.
  void drop(const Completion& completion) {
    if (completion.has(kBuf) && !completion.has(kBufMore)) {
      group_->loan(&group_->at(completion.buffer), completion.offset, completion.length, nullptr)
          .reset();
    }
  }
  Completion cancelled(OpId id) const { return {.id = id, .result = -ECANCELED}; }

  Sink* sink_ = nullptr;  // of the last poll: a backend has no business with it outside
  Pool* group_ = nullptr;
  std::vector<Completion> late_;
};

// ---- 1: exactly one terminal

class LosesATerminal final : public Broken {
  using Broken::Broken;
  void on_result(const Completion& completion, Sink& sink) override {
    const bool is_lost = completion.is_terminal() && completion.id.kind() != OpKind::close;
    is_lost ? drop(completion) : sink.push(completion);
  }
};

class DeliversTwice final : public Broken {
  using Broken::Broken;
  void on_result(const Completion& completion, Sink& sink) override {
    sink.push(completion);
    if (completion.is_terminal()) sink.push(completion);
  }
};

class EndsWithMore final : public Broken {
  using Broken::Broken;
  void on_result(const Completion& completion, Sink& sink) override {
    const Op* op = context_.ops.find(completion.id);
    Completion changed = completion;
    if (op != nullptr && op->multishot) changed.flags |= kMore;
    sink.push(changed);
  }
};

class EndsAndGoesOn final : public Broken {
  using Broken::Broken;
  void on_result(const Completion& completion, Sink& sink) override {
    Completion changed = completion;
    changed.flags &= static_cast<std::uint16_t>(~kMore);
    sink.push(changed);
    if (completion.has(kMore))
      inner_->cancel(completion.id);  // what comes of it goes on behind the "terminal"
  }
};

// ---- 2: nobody is called outside poll()

class PushesInSubmit final : public Broken {
  using Broken::Broken;
  Submitted submit(Op& op) override {
    const Submitted submitted = inner_->submit(op);
    if (!submitted.done && sink_ != nullptr) {
      for (const Completion& completion : poll_inner(0, 256)) sink_->push(completion);
    }
    if (submitted.done && sink_ != nullptr) sink_->push(submitted.completion);
    if (submitted.done && sink_ == nullptr) return submitted;
    return {};
  }
};

class PushesInCancel final : public Broken {
  using Broken::Broken;
  void cancel(OpId id) override {
    inner_->cancel(id);
    if (sink_ == nullptr) return;
    for (const Completion& completion : poll_inner(0, 256)) sink_->push(completion);
  }
};

class AnswersDoneForAMultishot final : public Broken {
  using Broken::Broken;
  Submitted submit(Op& op) override {
    const Submitted submitted = Broken::submit(op);
    if (!op.multishot) return submitted;
    for (const Completion& completion : poll_inner(0, 256)) late_.push_back(completion);
    if (late_.empty() || late_.front().id != op.id) return submitted;
    const Completion first = late_.front();
    late_.erase(late_.begin());
    return {.done = true, .completion = first};
  }
};

// ---- 3: cancel

class DropsCancels final : public Broken {
  using Broken::Broken;
  void cancel(OpId) override {}
};

class CancelsBySlot final : public Broken {
  using Broken::Broken;
  void cancel(OpId id) override {
    if (id.slot() >= context_.ops.size()) return;
    const Op* op = context_.ops.at(id.slot());
    if (op != nullptr && op->state != OpState::idle) inner_->cancel(op->id);
  }
};

class AnswersEveryCancel final : public Broken {
  using Broken::Broken;
  void cancel(OpId id) override {
    inner_->cancel(id);
    if (context_.ops.find(id) == nullptr) late_.push_back(cancelled(id));
  }
};

class AnswersEachCancelOfAnOp final : public Broken {
  using Broken::Broken;
  void cancel(OpId id) override {
    inner_->cancel(id);
    if (!asked_.insert(id.value).second) late_.push_back(cancelled(id));
  }
  std::set<std::uint64_t> asked_;
};

/// Says that nothing moved once a cancel was asked for, though bytes have.
class ForgetsBytesAtCancel final : public Broken {
  using Broken::Broken;
  void cancel(OpId id) override {
    asked_.insert(id.value);
    inner_->cancel(id);
  }
  void on_result(const Completion& completion, Sink& sink) override {
    if (!completion.is_terminal() || completion.result <= 0 ||
        !asked_.contains(completion.id.value)) {
      return sink.push(completion);
    }
    drop(completion);
    sink.push(cancelled(completion.id));
  }
  std::set<std::uint64_t> asked_;
};

// ---- 4: memory

/// Ends a receive at its cancel, and lets its "kernel" write into the memory afterwards.
class WritesAfterTheTerminal final : public Broken {
  using Broken::Broken;
  void on_result(const Completion& completion, Sink& sink) override {
    const Op* op = context_.ops.find(completion.id);
    if (op != nullptr && op->kind == OpKind::recv)
      targets_.push_back(static_cast<const RecvOp*>(op)->target);
    sink.push(completion);
  }
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    for (std::byte* target : std::exchange(targets_, {})) {
      if (target != nullptr) std::fill_n(target, 16, std::byte{0});
    }
    Broken::poll(deadline_ns, sink);
  }
  std::vector<std::byte*> targets_;
};

/// Reports a send as taken, and reads its memory only at the next poll.
class ReadsAfterTheResult final : public Broken {
  using Broken::Broken;
  Submitted submit(Op& op) override {
    if (op.kind != OpKind::send) return Broken::submit(op);
    const auto& send = static_cast<const SendOp&>(op);
    if (send.is_piece) return Broken::submit(op);
    for (const BufChain::Node* node = send.chain->front(); node != nullptr; node = node->next) {
      unsent_.emplace_back(op.handle, node->buf.share());
    }
    return {.done = true,
            .completion = {.id = op.id, .result = static_cast<std::int32_t>(send.chain->bytes())}};
  }
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    for (const auto& [handle, buf] : std::exchange(unsent_, {})) {
      static_cast<void>(::send(static_cast<int>(inner_->native(handle)), buf.data(), buf.size(),
                               MSG_DONTWAIT | MSG_NOSIGNAL));
    }
    Broken::poll(deadline_ns, sink);
  }
  std::vector<std::pair<Handle, Buf>> unsent_;
};

/// Claims zero-copy and gives the memory back before the result.
class NotifiesEarly final : public Broken {
 public:
  NotifiesEarly(std::unique_ptr<Backend> inner, const BackendContext& context)
      : Broken(std::move(inner), context) {
    caps_.zero_copy_send = true;
  }

 private:
  Submitted submit(Op& op) override {
    if (op.kind != OpKind::send || !static_cast<SendOp&>(op).zero_copy) return Broken::submit(op);
    static_cast<SendOp&>(op).zero_copy = false;
    late_.push_back({.id = op.id, .flags = kNotif});
    return Broken::submit(op);
  }
};

// ---- 5: close

/// Reports the close, and does it a poll later.
class ReportsTheCloseEarly final : public Broken {
 public:
  using Broken::Broken;
  ~ReportsTheCloseEarly() override {
    inner_.reset();
    for (CloseOp& op : closes_) {
      op.state = OpState::idle;
      context_.ops.abandon(op);
    }
  }

 private:
  Submitted submit(Op& op) override {
    if (op.kind != OpKind::close) return Broken::submit(op);
    CloseOp& own = closes_.emplace_back();
    own.kind = OpKind::close;
    own.handle = op.handle;
    context_.ops.adopt(own);
    late_.push_back({.id = op.id});
    return {};
  }
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    for (CloseOp& op : closes_) {
      if (op.state != OpState::idle || op.handle.value == kDone) continue;
      if (wait_++ % 3 != 2) continue;
      context_.ops.begin(op);
      if (inner_->submit(op).done) end(op);
    }
    Broken::poll(deadline_ns, sink);
  }
  void on_result(const Completion& completion, Sink& sink) override {
    for (CloseOp& op : closes_) {
      if (op.id == completion.id) return end(op);
    }
    sink.push(completion);
  }
  static void end(CloseOp& op) {
    op.state = OpState::idle;
    op.handle.value = kDone;
  }
  static constexpr std::uint32_t kDone = 0xfffffff0;
  std::list<CloseOp> closes_;
  int wait_ = 0;
};

class GoesOnAfterTheClose final : public Broken {
  using Broken::Broken;
  void on_result(const Completion& completion, Sink& sink) override {
    sink.push(completion);
    if (completion.id.kind() == OpKind::recv && completion.is_terminal()) last_ = completion;
    if (completion.id.kind() == OpKind::close && last_.id.value != 0)
      sink.push(cancelled(last_.id));
  }
  Completion last_;
};

class ResetsAtClose final : public Broken {
  using Broken::Broken;
  Submitted submit(Op& op) override {
    if (op.kind == OpKind::close) {
      static_cast<void>(inner_->set_option(op.handle, SocketOption::linger_s, 0));
    }
    return Broken::submit(op);
  }
};

// ---- 6: an empty group

class LosesBytesWhenEmpty final : public Broken {
  using Broken::Broken;
  void on_result(const Completion& completion, Sink& sink) override {
    const bool is_empty = group_->in_use() == group_->blocks_max();
    if (completion.has(kBuf) && completion.has(kMore) && is_empty && !was_empty_) {
      was_empty_ = true;
      return drop(completion);
    }
    sink.push(completion);
  }
  bool was_empty_ = false;
};

/// Once the group was empty, no receive that is submitted comes to anything.
class StaysStarved final : public Broken {
  using Broken::Broken;
  Submitted submit(Op& op) override {
    was_empty_ = was_empty_ || group_->in_use() == group_->blocks_max();
    if (!was_empty_ || op.kind != OpKind::recv) return Broken::submit(op);
    starved_.insert(op.id.value);
    return {};
  }
  void cancel(OpId id) override {
    starved_.erase(id.value) != 0 ? late_.push_back(cancelled(id)) : inner_->cancel(id);
  }
  bool was_empty_ = false;
  std::set<std::uint64_t> starved_;
};

// ---- 7: order

/// The results of one poll come last first.
class TheEndOvertakes final : public Broken {
  using Broken::Broken;
  void on_results(std::vector<Completion> results, Sink& sink) override {
    std::reverse(results.begin(), results.end());
    for (const Completion& completion : results) sink.push(completion);
  }
};

/// What was taken before a cancel, and not yet told, is dropped by it.
class DropsWhatWasTaken final : public Broken {
  using Broken::Broken;
  void cancel(OpId id) override {
    std::erase_if(taken_, [&](const Completion& completion) {
      const bool is_dropped = completion.id == id && is_received(completion);
      if (is_dropped) drop(completion);
      return is_dropped;
    });
    inner_->cancel(id);
  }
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    for (const Completion& completion : std::exchange(taken_, {})) sink.push(completion);
    Broken::poll(deadline_ns == 0 ? 0 : std::min(deadline_ns, now() + 1'000'000), sink);
  }
  void on_result(const Completion& completion, Sink&) override { taken_.push_back(completion); }
  std::vector<Completion> taken_;
};

/// An error comes instead of the bytes that were received before it.
class TheErrorOvertakes final : public Broken {
  using Broken::Broken;
  void on_results(std::vector<Completion> results, Sink& sink) override {
    for (const Completion& completion : results) {
      const bool fails_later = std::any_of(
          results.begin(), results.end(),
          [&](const Completion& other) { return other.id == completion.id && other.result < 0; });
      is_received(completion) && fails_later ? drop(completion) : sink.push(completion);
    }
  }
};

// ---- 8: deadlines

/// Tells a poll later what it received; a cancel that comes meanwhile, as the loop makes at a deadline, turns it into a
/// timeout.
class TimesOutOverBytes final : public Broken {
  using Broken::Broken;
  void cancel(OpId id) override {
    for (Completion& completion : taken_) {
      if (completion.id != id || !is_received(completion) || !completion.is_terminal()) continue;
      drop(completion);
      completion = {.id = id, .result = -ETIMEDOUT};
    }
    inner_->cancel(id);
  }
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    for (const Completion& completion : std::exchange(taken_, {})) sink.push(completion);
    Broken::poll(deadline_ns == 0 ? 0 : std::min(deadline_ns, now() + 1'000'000), sink);
  }
  void on_result(const Completion& completion, Sink&) override { taken_.push_back(completion); }
  std::vector<Completion> taken_;
};

// ---- what the calls promise

class LosesWakes final : public Broken {
  using Broken::Broken;
  void wake() override {}
};

class NeverWaits final : public Broken {
  using Broken::Broken;
  void poll(std::uint64_t, Sink& sink) override { Broken::poll(0, sink); }
};

class IgnoresTheRoom final : public Broken {
  using Broken::Broken;
  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    for (const Completion& completion : std::exchange(late_, {})) sink.push(completion);
    on_results(poll_inner(deadline_ns, 1 << 20), sink);
  }
};

template <typename T>
std::unique_ptr<Backend> make(std::unique_ptr<Backend> inner, const BackendContext& context) {
  return std::make_unique<T>(std::move(inner), context);
}

struct Maker {
  std::string_view name;
  std::unique_ptr<Backend> (*make)(std::unique_ptr<Backend> inner, const BackendContext& context);
};

const Maker kMakers[] = {
    {"loses-a-terminal", make<LosesATerminal>},
    {"delivers-twice", make<DeliversTwice>},
    {"ends-with-more", make<EndsWithMore>},
    {"ends-and-goes-on", make<EndsAndGoesOn>},
    {"pushes-in-submit", make<PushesInSubmit>},
    {"pushes-in-cancel", make<PushesInCancel>},
    {"answers-done-for-a-multishot", make<AnswersDoneForAMultishot>},
    {"drops-cancels", make<DropsCancels>},
    {"cancels-by-slot", make<CancelsBySlot>},
    {"answers-every-cancel", make<AnswersEveryCancel>},
    {"answers-each-cancel-of-an-op", make<AnswersEachCancelOfAnOp>},
    {"forgets-bytes-at-cancel", make<ForgetsBytesAtCancel>},
    {"writes-after-the-terminal", make<WritesAfterTheTerminal>},
    {"reads-after-the-result", make<ReadsAfterTheResult>},
    {"notifies-early", make<NotifiesEarly>},
    {"reports-the-close-early", make<ReportsTheCloseEarly>},
    {"goes-on-after-the-close", make<GoesOnAfterTheClose>},
    {"resets-at-close", make<ResetsAtClose>},
    {"loses-bytes-when-empty", make<LosesBytesWhenEmpty>},
    {"stays-starved", make<StaysStarved>},
    {"the-end-overtakes", make<TheEndOvertakes>},
    {"the-error-overtakes", make<TheErrorOvertakes>},
    {"drops-what-was-taken", make<DropsWhatWasTaken>},
    {"times-out-over-bytes", make<TimesOutOverBytes>},
    {"loses-wakes", make<LosesWakes>},
    {"never-waits", make<NeverWaits>},
    {"ignores-the-room", make<IgnoresTheRoom>},
    {"none", make<Broken>},
};

Result<std::unique_ptr<Backend>> make_broken(std::string_view variant,
                                             const BackendContext& context) {
  const auto [name, inner_name] = split_name(variant);
  for (const Maker& maker : kMakers) {
    if (maker.name != name) continue;
    Result<ChosenBackend> inner = make_backend(inner_name, context);
    if (!inner.ok()) return inner.error();
    return maker.make(std::move(inner.value().backend), context);
  }
  return Error::of_value(Errc::invalid_argument, Operation::start, variant,
                         "broken:<defect>:<backend>");
}

}  // namespace

void register_broken() { register_backend("broken", make_broken); }

}  // namespace weir::test
