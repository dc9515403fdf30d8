// From a completion of the kernel to one in the sink. An id that finds no op with a request in the kernel is counted
// and dropped; what it brought along (a descriptor, a buffer) goes home.
#include <poll.h>

#include <cerrno>

#include "backends/io_uring/io_uring.h"
#include "src/os/os.h"

namespace weir::inline v0::uring {
namespace {

bool is_try_again(std::int32_t result) { return result == -EAGAIN || result == -EINTR; }

// accept(2): errors of the connection that was to be accepted, not of the listener; the next one may be fine.
bool is_of_the_connection(std::int32_t result) {
  switch (-result) {
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH: return true;
    default: return false;
  }
}

}  // namespace

// An id of ours, or of nobody.
void IoUring::complete_other(OpId id, const io_uring_cqe& cqe) {
  if (static_cast<std::uint8_t>(id.kind()) >= kFirstInternal) return complete_internal(id, cqe);
  drop_stale(id, cqe);
}

void IoUring::complete_op(Op& op, const io_uring_cqe& cqe) {
  if ((cqe.flags & IORING_CQE_F_MORE) == 0)
    op.backend_bits &= static_cast<std::uint8_t>(~kInKernel);
  switch (op.kind) {
    case OpKind::recv: return complete_recv(static_cast<RecvOp&>(op), cqe);
    case OpKind::send: return complete_send(static_cast<SendOp&>(op), cqe);
    case OpKind::accept: return complete_accept(static_cast<AcceptOp&>(op), cqe);
    case OpKind::poll: return complete_poll(static_cast<PollOp&>(op), cqe);
    case OpKind::recvmsg:
    case OpKind::sendmsg: return complete_message(static_cast<MsgOp&>(op), cqe);
    default: return end(op, cqe.res);
  }
}

void IoUring::complete_internal(OpId id, const io_uring_cqe& cqe) {
  switch (static_cast<std::uint8_t>(id.kind())) {
    case kWakeEvent: return complete_wake(cqe);
    case kUserCancel: return complete_cancel(id, cqe.res);
    case kZeroCopy: return complete_zero_copy(id, cqe);
    case kTimeout:
      if (id.generation() == (timeout_count_ & 0xffffffu)) timeout_ns_ = Ring::kNever;
      return;
    case kOwnCancel: return;
    default: return drop_stale(id, cqe);
  }
}

// The result of a cancel is nobody's business but ours: the op has its own terminal. Some kernels do not find a request
// that is being moved at this moment, so a live one is looked for once more.
void IoUring::complete_cancel(OpId id, std::int32_t result) {
  if (result != -ENOENT) return;
  Op* const op = op_at(id);
  if (op == nullptr || (op->backend_bits & kInKernel) == 0 ||
      (op->backend_bits & kCancelRetried) != 0)
    return;
  op->backend_bits |= kCancelRetried;
  queue_cancel(*op, kUserCancel);
}

Op* IoUring::op_at(OpId id) const {
  if (id.slot() >= context_.ops.size()) return nullptr;
  Op* const op = context_.ops.at(id.slot());
  return op != nullptr && op->id.generation() == id.generation() ? op : nullptr;
}

void IoUring::drop_stale(OpId id, const io_uring_cqe& cqe) {
  ++context_.metrics.stale_completions;
  if (id.kind() == OpKind::accept && cqe.res >= 0) close_accepted(cqe.res);
  if ((cqe.flags & IORING_CQE_F_BUFFER) == 0 || active_groups_.empty()) return;
  const Op* const op = context_.ops.find(id);
  ReceiveGroup& group = op != nullptr && id.kind() == OpKind::recv
                            ? group_of(static_cast<const RecvOp&>(*op))
                            : *active_groups_.front();
  group.pool().give_back(
      group.take(static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT)));
}

void IoUring::end(Op& op, std::int32_t result, std::uint16_t flags) {
  end(op, Completion{.id = op.id, .result = result, .flags = flags});
}

void IoUring::end(Op& op, const Completion& completion) {
  op.backend_bits = kEnded;
  if (op.kind != OpKind::nop) {
    Socket& target = socket(op.handle);
    --target.in_flight;
    switch (op.kind) {
      case OpKind::send:
      case OpKind::sendmsg: --target.sends; break;
      case OpKind::recv:
        if (static_cast<RecvOp&>(op).target == nullptr) target.step = Step::none;
        break;
      case OpKind::close: release_socket(op.handle); break;
      default: break;
    }
  }
  push(op, completion);
}

// ---- the kinds that need no more than this

void IoUring::complete_accept(AcceptOp& op, const io_uring_cqe& cqe) {
  const bool is_cancelled = (op.backend_bits & kCancelAsked) != 0;
  const bool goes_on = (cqe.flags & IORING_CQE_F_MORE) != 0;
  if (cqe.res >= 0) {
    const Handle handle = add_accepted(cqe.res);
    Completion completion{.id = op.id, .flags = kHandle, .buffer = handle.value};
    if (!op.multishot) return end(op, completion);
    completion.flags |= kMore;
    push(op, completion);
  } else if (!is_try_again(cqe.res) && !is_of_the_connection(cqe.res) &&
             (cqe.res != -ECANCELED || is_cancelled)) {
    return end(op, cqe.res);
  }
  const std::uint32_t accepts_max =
      op.accepts_max != 0 ? op.accepts_max : context_.limits.accepts_per_turn;
  const bool is_enough = op.undelivered >= 2 * accepts_max;
  if (goes_on) {
    if (is_enough && !is_cancelled && (op.backend_bits & kPausing) == 0) {
      op.backend_bits |= kPausing;
      queue_cancel(op, kOwnCancel);
    }
    return;
  }
  op.backend_bits &= static_cast<std::uint8_t>(~kPausing);
  if (is_cancelled) return end_cancelled(op);
  if (is_enough) return hold(op);
  again(op);
}

void IoUring::complete_poll(PollOp& op, const io_uring_cqe& cqe) {
  const bool is_cancelled = (op.backend_bits & kCancelAsked) != 0;
  if (cqe.res < 0) {
    if (is_cancelled || (cqe.res != -ECANCELED && !is_try_again(cqe.res))) return end(op, cqe.res);
    return again(op);
  }
  constexpr std::int32_t kKnown = kReadable | kWritable | kPollError | kPollHangup;
  static_assert(kReadable == POLLIN && kWritable == POLLOUT && kPollError == POLLERR &&
                kPollHangup == POLLHUP);
  if (!op.multishot) return end(op, cqe.res & kKnown);
  push(op, {.id = op.id, .result = cqe.res & kKnown, .flags = kMore});
  if ((cqe.flags & IORING_CQE_F_MORE) != 0) return;
  if (is_cancelled) return end_cancelled(op);
  hold(
      op);  // a level that stays would be reported for ever: not before the last report was delivered
}

}  // namespace weir::inline v0::uring
