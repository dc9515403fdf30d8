// From an op to an entry of the queue, and what happens when there is no room: ops wait in a list of their own, in
// order, and cancels pass them. Nothing is refused, nothing is lost; poll() hands over what waits.
#include <cerrno>

#include "backends/io_uring/io_uring.h"
#include "src/os/linux/sockaddr.h"
#include "src/os/os.h"

namespace weir::inline v0::uring {

// What most sends are: one piece, copied.
//
// A reply that fits into the socket's buffer is sent while the kernel takes the entry. Its completion would end the
// wait that carries it, and a closed loop would enter twice a request. Where the owner does not care when it hears
// (SendOp::lazy), the entry is quiet: it does not wait for room, and does not report success. If the kernel took it
// and nothing came, all was sent (end_quiet_sends). A part, or no room, is reported, and ends the wait.
[[gnu::always_inline]] inline bool IoUring::prepare_send(SendOp& op, const Socket& to) {
  if (!op.is_piece) return prepare_gather(op, to);
  io_uring_sqe& entry = entry_for(op);
  io_uring_prep_send(&entry, to.fd, op.piece, op.bytes_max, send_flags_);
  to.aim(entry);
  ++ring_.counters().opcodes[IORING_OP_SEND];
  if (may_be_quiet(op)) be_quiet(op, entry, op.bytes_max);
  return true;
}

Submitted IoUring::submit(Op& op) {
  if (op.kind != OpKind::send) return submit_other(op);
  auto& send = static_cast<SendOp&>(op);
  WEIR_CHECK(send.is_piece ? send.bytes_max != 0
                           : send.chain->front() != nullptr);  // nothing to send
  Socket& to = socket(op.handle);
  WEIR_CHECK_GE(to.fd, 0);  // a handle that was closed
  ++to.in_flight;
  ++to.sends;
  if (!overflow_.empty() || !ring_.has_room() || !prepare_send(send, to)) put_off(op);
  return {};
}

Submitted IoUring::submit_other(Op& op) {
  if (op.kind == OpKind::nop) return start(op);
  Socket& target = socket(op.handle);
  WEIR_CHECK_GE(target.fd, 0);  // a handle that was closed
  switch (op.kind) {
    case OpKind::shutdown: return submit_shutdown(static_cast<ShutdownOp&>(op), target);
    case OpKind::close: return submit_close(static_cast<CloseOp&>(op), target);
    case OpKind::sendmsg: ++target.sends; break;
    case OpKind::recv: {
      const auto& recv = static_cast<const RecvOp&>(op);
      WEIR_CHECK((recv.target == nullptr) !=
                 (recv.group == kNoGroup));  // lent memory or a group: one of them
      WEIR_CHECK(recv.target != nullptr ||
                 target.step == Step::none);  // one group receive a socket
      WEIR_CHECK(recv.target == nullptr || (recv.bytes_max > 0 && !recv.multishot));
      break;
    }
    default: break;
  }
  ++target.in_flight;
  return start(op);
}

Submitted IoUring::start(Op& op) {
  again(op);
  return {};
}

void IoUring::again(Op& op) {
  if (!overflow_.empty() || !prepare(op)) put_off(op);
}

void IoUring::put_off(Op& op) {
  ++ring_.counters().full_queues;
  op.backend_bits |= kListed;
  overflow_.push(op);
  has_chores_ = true;
}

Submitted IoUring::done(Op& op, std::int32_t result) {
  op.backend_bits = kEnded;
  return {.done = true, .completion = {.id = op.id, .result = result}};
}

// Behind sends that are on their way.
Submitted IoUring::submit_shutdown(ShutdownOp& op, Socket& target) {
  if (target.sends == 0 && !target.is_direct()) {
    return done(op, static_cast<std::int32_t>(os::shutdown_write(target.fd)));
  }
  ++target.in_flight;
  target.sends == 0 ? half_close(op) : hold(op);
  return {};
}

// shutdown(2) where there is a descriptor: an entry would be given to a worker thread of the kernel.
void IoUring::half_close(Op& op) {
  const Socket& target = socket(op.handle);
  if (target.is_direct()) return again(op);
  end(op, static_cast<std::int32_t>(os::shutdown_write(target.fd)));
}

Submitted IoUring::submit_close(CloseOp& op, Socket& target) {
  WEIR_CHECK_EQ(target.in_flight,
                0);  // close comes last: whatever else is in flight would outlive the handle
  if (!target.is_owned) {
    release_socket(op.handle);
    return done(op, 0);
  }
  ++target.in_flight;
  return start(op);
}

bool IoUring::prepare(Op& op) {
  if (!ring_.has_room()) return false;
  if (op.kind == OpKind::nop) {
    io_uring_prep_nop(&entry_for(op));
    ++ring_.counters().opcodes[IORING_OP_NOP];
    return true;
  }
  Socket& target = socket(op.handle);
  switch (op.kind) {
    case OpKind::recv: return prepare_recv(static_cast<RecvOp&>(op), target);
    case OpKind::send: return prepare_send(static_cast<SendOp&>(op), target);
    case OpKind::recvmsg:
    case OpKind::sendmsg: return prepare_message(static_cast<MsgOp&>(op), target);
    default: return prepare_simple(op, target);
  }
}

bool IoUring::prepare_simple(Op& op, const Socket& target) {
  Counters& counters = ring_.counters();
  io_uring_sqe& entry = entry_for(op);
  switch (op.kind) {
    case OpKind::accept:
      if (op.multishot && ring_.features().has(Use::accept_multishot)) {
        io_uring_prep_multishot_accept(&entry, target.fd, nullptr, nullptr, SOCK_CLOEXEC);
        counters.count(Use::accept_multishot);
      } else {
        io_uring_prep_accept(&entry, target.fd, nullptr, nullptr, SOCK_CLOEXEC);
      }
      if (has_direct_accepts_) accept_into_table(entry);
      break;
    case OpKind::connect: {
      sockaddr_storage& name = scratch_.places[ring_.last_place()].name;
      const socklen_t length = os::sockaddr_from_address(static_cast<ConnectOp&>(op).peer, name);
      io_uring_prep_connect(&entry, target.fd, reinterpret_cast<const sockaddr*>(&name), length);
      break;
    }
    case OpKind::poll: {
      const std::uint32_t events = static_cast<PollOp&>(op).events;
      if (op.multishot && ring_.features().has(Use::poll_multishot)) {
        io_uring_prep_poll_multishot(&entry, target.fd, events);
        counters.count(Use::poll_multishot);
      } else {
        io_uring_prep_poll_add(&entry, target.fd, events);
      }
      break;
    }
    case OpKind::shutdown: io_uring_prep_shutdown(&entry, target.fd, SHUT_WR); break;
    case OpKind::close:
      if (target.is_direct()) {
        io_uring_prep_close_direct(&entry, static_cast<unsigned>(target.fd));
        ring_.count(entry);
        return true;
      }
      io_uring_prep_close(&entry, target.fd);
      break;
    default: WEIR_UNREACHABLE("io_uring: an op that nobody submits", op.kind);
  }
  target.aim(entry);
  ring_.count(entry);
  return true;
}

// The kernel picks the place. A direct descriptor is closed by exec anyway, and the flag is refused.
void IoUring::accept_into_table(io_uring_sqe& entry) {
  entry.file_index = IORING_FILE_INDEX_ALLOC;
  entry.accept_flags = 0;
  ring_.counters().count(Use::direct_descriptors);
}

// ---- cancel

std::uint64_t IoUring::user_data_of(const Op& op) {
  const bool is_zero_copy = op.kind == OpKind::send && (op.backend_bits & kZeroCopySend) != 0;
  return is_zero_copy ? zero_copy_id(records_.of(op)).value : op.id.value;
}

void IoUring::cancel(OpId id) {
  Op* const op = context_.ops.find(id);
  if (op == nullptr || op->kind == OpKind::close) return;
  if ((op->backend_bits & (kEnded | kCancelAsked)) != 0) return;
  op->backend_bits |= kCancelAsked;
  op->state = OpState::cancelling;
  if ((op->backend_bits & kListed) != 0) {
    needs_sweep_ = has_chores_ = true;
  } else {
    queue_cancel(*op, kUserCancel);
  }
}

void IoUring::queue_cancel(const Op& op, Internal kind) {
  const PendingCancel cancel{user_data_of(op),
                             internal_id(op.id.slot(), op.id.generation(), kind).value};
  if (cancels_.empty() && prepare_cancel(cancel)) return;
  cancels_.push_back(cancel);
  has_chores_ = true;
}

bool IoUring::prepare_cancel(const PendingCancel& cancel) {
  if (!ring_.has_room()) return false;
  io_uring_sqe& entry = ring_.next();
  io_uring_prep_cancel64(&entry, cancel.target, 0);
  entry.user_data = cancel.user_data;
  ring_.count(entry);
  return true;
}

// Cancelled before the kernel saw them: they end here.
void IoUring::sweep_cancelled() {
  needs_sweep_ = false;
  const auto is_cancelled = [](const Op& op) { return (op.backend_bits & kCancelAsked) != 0; };
  const auto finish = [this](Op& op) { end_cancelled(op); };
  overflow_.sweep(is_cancelled, finish);
  waiting_.sweep(is_cancelled, finish);
  for (ReceiveGroup* group : active_groups_) group->starved.sweep(is_cancelled, finish);
}

// ---- what found no room

// Hands over everything that waits for a place: cancels first, since they free memory, then ops in order.
void IoUring::flush() {
  for (;;) {
    std::size_t done_count = 0;
    while (done_count < cancels_.size() && prepare_cancel(cancels_[done_count])) ++done_count;
    cancels_.erase(cancels_.begin(), cancels_.begin() + static_cast<std::ptrdiff_t>(done_count));
    if (!is_wake_armed_) is_wake_armed_ = prepare_wake();
    while (!overflow_.empty()) {
      Op& op = overflow_.pop();
      op.backend_bits &= static_cast<std::uint8_t>(~kListed);
      if (prepare(op)) continue;
      op.backend_bits |= kListed;
      overflow_.push_front(op);
      break;
    }
    if (cancels_.empty() && is_wake_armed_ && overflow_.empty()) return;
    const unsigned before = ring_.unsubmitted();
    enter(0, kNever);
    if (ring_.unsubmitted() == before)
      return;  // the kernel takes nothing now; the next poll tries again
  }
}

void IoUring::hold(Op& op) {
  op.backend_bits |= kListed;
  waiting_.push(op);
  has_chores_ = true;
}

// Half-closes behind sends, and receives and accepts whose results were not all delivered.
void IoUring::run_waiting() {
  const auto is_due = [this](const Op& op) {
    return op.kind == OpKind::shutdown ? socket(op.handle).sends == 0 : op.undelivered == 0;
  };
  waiting_.sweep(is_due, [this](Op& op) {
    op.backend_bits &= static_cast<std::uint8_t>(~kListed);
    op.kind == OpKind::shutdown ? half_close(op) : again(op);
  });
}

}  // namespace weir::inline v0::uring
