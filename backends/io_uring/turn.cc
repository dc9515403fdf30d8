// The path of every turn: hand over what was submitted, wait, and put what came into the sink. What is rare lies in
// the other files; here are the bytes of an armed receive, and the ends of quiet sends.
#include "backends/io_uring/io_uring.h"

namespace weir::inline v0::uring {

namespace {
constexpr std::uint32_t kArmed = IORING_CQE_F_MORE | IORING_CQE_F_BUFFER;
}

// The usual case, a multishot that goes on: hand the block over, and see to the socket's share.
[[gnu::always_inline]] inline void IoUring::complete_armed(RecvOp& op, const io_uring_cqe& cqe) {
  ReceiveGroup& group = *groups_.data()[op.group];
  Block* const block = group.take(static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT));
  const auto bytes = static_cast<std::uint32_t>(cqe.res);
  Socket& from = sockets_.data()[index_of(op.handle)];
  if (is_over_share(op, from, bytes)) [[unlikely]]
    pace(op, from);
  if (tells_at_once_ && op.is_direct) [[likely]]
    return sink_->received(op, *block, bytes);
  sink_->add_data(op) = {.id = op.id,
                         .result = cqe.res,
                         .flags = static_cast<std::uint16_t>(kBuf | kMore | hint_of(cqe)),
                         .group = op.group,
                         .buffer = block->index,
                         .length = bytes};
}

[[gnu::always_inline]] inline void IoUring::complete(const io_uring_cqe& cqe) {
  const OpId id{cqe.user_data};
  Op* const op = context_.ops.find(id);
  if (op == nullptr || (op->backend_bits & kInKernel) == 0) [[unlikely]]
    return complete_other(id, cqe);
  if ((cqe.flags & kArmed) == kArmed && cqe.res > 0) [[likely]]
    return complete_armed(static_cast<RecvOp&>(*op), cqe);
  complete_op(*op, cqe);
}

// Looks at all that came before any of it is told. When it is bytes of armed receives alone, their owners are told
// while it is reaped; else it goes through the sink, which puts control first. And a send that was to be quiet, but was
// reported, is so no more.
[[gnu::always_inline]] inline void IoUring::look_ahead() {
  std::uint32_t armed = kArmed;
  ring_.look([&](const io_uring_cqe& cqe) {
    armed &= cqe.flags;
    const OpId id{cqe.user_data};
    if (id.kind() != OpKind::send) return;
    Op* const op = context_.ops.find(id);
    if (op != nullptr) op->backend_bits &= static_cast<std::uint8_t>(~kQuiet);
  });
  tells_at_once_ = armed == kArmed;
}

// Taken by the kernel, and no completion: all was sent. They end before what came is told, so that an owner who gets
// bytes now finds his send free.
[[gnu::always_inline]] inline void IoUring::end_quiet_sends() {
  for (std::uint32_t i = 0; i < quiet_count_; ++i) {
    const QuietSend sent = quiet_sends_[i];
    SendOp& op = *sent.op;
    if ((op.backend_bits & kQuiet) == 0) continue;  // it failed, or sent a part: that is reported
    op.backend_bits = kEnded;
    Socket& to = sockets_.data()[index_of(op.handle)];
    --to.in_flight;
    --to.sends;
    if (op.is_direct) {
      sink_->sent(op, sent.bytes);
    } else {
      sink_->queue_sent(op, sent.bytes);
    }
  }
  quiet_count_ = 0;
}

void IoUring::enter(unsigned wait_count, std::uint64_t deadline_ns) {
  const int result = ring_.enter(wait_count, deadline_ns);
  if (result <= 0) return;
  context_.metrics.submissions += static_cast<std::uint32_t>(result);
  if (scratch_.used != 0 && ring_.unsubmitted() == 0) scratch_.used = 0;
}

// Hands over what was submitted, and sleeps.
[[gnu::always_inline]] inline void IoUring::wait(std::uint64_t deadline_ns) {
  if (deadline_ns != kNever && !ring_.features().has(Use::wait_timeout)) [[unlikely]] {
    if (!prepare_timeout(deadline_ns)) return enter(0, kNever);
    deadline_ns = kNever;
  }
  if (!gate_.enter()) [[unlikely]] {
    gate_.leave();
    return enter(0, kNever);
  }
  enter(1, deadline_ns);
  if (gate_.leave()) [[unlikely]]
    ++context_.metrics.wakes;
}

// Not if an owner has changed his mind since, or something of ours waits for sends to end or for their memory.
[[gnu::always_inline]] inline bool IoUring::may_stay_quiet() const {
  if (quiet_count_ != 0 && has_chores_) return false;
  for (std::uint32_t i = 0; i < quiet_count_; ++i) {
    if (!quiet_sends_[i].op->lazy) return false;
  }
  return true;
}

void IoUring::poll(std::uint64_t deadline_ns, Sink& sink) {
  sink_ = &sink;
  ++turn_;
  bool waits = deadline_ns != 0;
  if (has_chores_) [[unlikely]]
    waits = do_chores() && waits;
  for (ReceiveGroup* group : active_groups_) group->refill();
  if (gate_.take_wake()) [[unlikely]]
    waits = false;
  if (waits && ring_.ready() == 0 && may_stay_quiet()) {
    wait(deadline_ns);
  } else if (ring_.unsubmitted() != 0 || ring_.has_kernel_work()) {
    enter(0, kNever);
  }
  const bool has_overflow = ring_.has_overflow();
  look_ahead();
  if (quiet_count_ != 0 && ring_.unsubmitted() == 0 && !has_overflow) end_quiet_sends();
  ring_.reap([this](const io_uring_cqe& cqe) { complete(cqe); });
  if (has_overflow) [[unlikely]] {
    reap_overflow();
    look_ahead();
    if (quiet_count_ != 0 && ring_.unsubmitted() == 0) end_quiet_sends();
  }
  if (is_foreign_) [[unlikely]]
    gate_.rest();
  sink_ = nullptr;
}

// The kernel kept what found no room in the queue; entering moves it there.
void IoUring::reap_overflow() {
  do {
    ++context_.metrics.completion_overflows;
    enter(0, kNever);
  } while (ring_.reap([this](const io_uring_cqe& cqe) { complete(cqe); }) != 0 &&
           ring_.has_overflow());
}

// All that is rare: what was left to this poll, and what found the queue full. False: do not wait, there are results
// or something is left.
bool IoUring::do_chores() {
  has_chores_ = false;
  pushed_count_ = 0;
  free_sockets_.insert(free_sockets_.end(), closed_sockets_.begin(), closed_sockets_.end());
  closed_sockets_.clear();
  if (needs_sweep_) sweep_cancelled();
  if (!waiting_.empty()) run_waiting();
  bool has_starved = false;
  for (ReceiveGroup* group : active_groups_) {
    if (group->starved.empty()) continue;
    group->refill();
    feed_starved(*group);
    has_starved |= !group->starved.empty();
  }
  flush();
  const bool is_behind = !cancels_.empty() || !overflow_.empty();
  has_chores_ = !waiting_.empty() || has_starved || is_behind || !is_wake_armed_;
  return pushed_count_ == 0 && !is_behind;
}

}  // namespace weir::inline v0::uring
