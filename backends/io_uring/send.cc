// Sending: one piece, or a gather; by copy, or out of the sender's own memory. A zero-copy send has two ends: its
// result, and later the kernel's notification that it reads the memory no more. Only the second lets the blocks go,
// and both carry the id of a record of ours, so that the op can be submitted again in between.
#include <algorithm>
#include <cerrno>

#include "backends/io_uring/io_uring.h"
#include "src/os/linux/sockaddr.h"
#include "weir/pool.h"

namespace weir::inline v0::uring {
namespace {

constexpr std::size_t kSendBytesMax = 1 << 30;  // a result is an int

bool is_try_again(std::int32_t result) { return result == -EAGAIN || result == -EINTR; }

// The kernel would not, for want of locked memory or because this socket cannot: then it copies.
bool is_zero_copy_refused(std::int32_t result) {
  return result == -ENOMEM || result == -ENOBUFS || result == -EOPNOTSUPP || result == -EINVAL;
}

}  // namespace

IoUring::Pieces IoUring::gather(const BufChain& chain, std::uint32_t bytes_max) {
  Pieces pieces{.segments = &scratch_.segments[scratch_.used]};
  std::size_t left = bytes_max == 0 ? kSendBytesMax : bytes_max;
  for (const BufChain::Node* node = chain.front();
       node != nullptr && left > 0 && pieces.count < kPiecesMax; node = node->next) {
    const std::size_t bytes = std::min(left, node->buf.size());
    pieces.segments[pieces.count++] = {const_cast<std::byte*>(node->buf.data()), bytes};
    pieces.bytes += static_cast<std::uint32_t>(bytes);
    left -= bytes;
  }
  return pieces;
}

// Any number of pieces, with or without copying them.
bool IoUring::prepare_gather(SendOp& op, const Socket& to) {
  if (!scratch_.has_room()) return false;
  const Pieces pieces = gather(*op.chain, op.bytes_max);
  const bool is_zero_copy =
      op.zero_copy && (op.backend_bits & kPlainSend) == 0 && caps_.zero_copy_send &&
      (pieces.count == 1 || ring_.features().has_opcode(IORING_OP_SENDMSG_ZC));
  io_uring_sqe& entry = entry_for(op);
  if (pieces.count == 1) {
    const iovec piece = pieces.segments[0];
    if (is_zero_copy) {
      io_uring_prep_send_zc(&entry, to.fd, piece.iov_base, piece.iov_len, send_flags_, 0);
    } else {
      io_uring_prep_send(&entry, to.fd, piece.iov_base, piece.iov_len, send_flags_);
    }
  } else {
    msghdr& header = scratch_.places[ring_.last_place()].header;
    header = {};
    header.msg_iov = pieces.segments;
    header.msg_iovlen = pieces.count;
    scratch_.used += pieces.count;
    const auto flags = static_cast<unsigned>(send_flags_);
    if (is_zero_copy) {
      io_uring_prep_sendmsg_zc(&entry, to.fd, &header, flags);
    } else {
      io_uring_prep_sendmsg(&entry, to.fd, &header, flags);
    }
  }
  to.aim(entry);
  ring_.count(entry);
  if (is_zero_copy) {
    keep_until_notified(op, entry, pieces.count);
  } else if (pieces.bytes == op.chain->bytes() && may_be_quiet(op)) {
    be_quiet(op, entry, pieces.bytes);
  }
  return true;
}

void IoUring::complete_send(SendOp& op, const io_uring_cqe& cqe) {
  if ((op.backend_bits & kQuiet) != 0) forget_quiet(op);
  if (!is_try_again(cqe.res)) return end(op, cqe.res);
  if ((op.backend_bits & kCancelAsked) != 0) return end_cancelled(op);
  op.backend_bits |= kPlainSend;  // there is no room: wait for it
  again(op);
}

// Its end was reported after all, while the list still waits for the kernel to take the rest.
void IoUring::forget_quiet(SendOp& op) {
  op.backend_bits &= static_cast<std::uint8_t>(~kQuiet);
  for (std::uint32_t i = 0; i < quiet_count_; ++i) {
    if (quiet_sends_[i].op == &op) quiet_sends_[i] = quiet_sends_[--quiet_count_];
  }
}

// ---- zero copy

OpId IoUring::zero_copy_id(std::uint32_t index) {
  return internal_id(index, records_.zero_copies[index].generation, kZeroCopy);
}

void IoUring::keep_until_notified(SendOp& op, io_uring_sqe& entry, std::uint32_t piece_count) {
  const std::uint32_t index = records_.zero_copies.take();
  ZeroCopyRecord& record = records_.zero_copies[index];
  record.op = op.id;
  record.generation = (record.generation + 1) & 0xffffffu;
  record.is_live = true;
  record.is_silent = false;
  record.count = 0;
  for (const BufChain::Node* node = op.chain->front(); record.count < piece_count;
       node = node->next) {
    record.blocks[record.count++] = node->buf.block();
    hold_zero_copy(*node->buf.block());
  }
  records_.of(op) = index;
  op.backend_bits |= kZeroCopySend;
  entry.user_data = zero_copy_id(index).value;
  if (ring_.features().has(Use::zero_copy_report)) {
    entry.ioprio |= IORING_SEND_ZC_REPORT_USAGE;
    ring_.counters().count(Use::zero_copy_report);
  }
  ++context_.metrics.zero_copy_sends;
}

void IoUring::complete_zero_copy(OpId id, const io_uring_cqe& cqe) {
  if (id.slot() >= records_.zero_copies.size()) return drop_stale(id, cqe);
  ZeroCopyRecord& record = records_.zero_copies[id.slot()];
  if (!record.is_live || record.generation != id.generation()) return drop_stale(id, cqe);
  const OpId op_id = record.op;
  if ((cqe.flags & IORING_CQE_F_NOTIF) != 0) {
    const bool is_copied =
        (static_cast<std::uint32_t>(cqe.res) & IORING_NOTIF_USAGE_ZC_COPIED) != 0;
    const bool is_silent = record.is_silent;
    forget_zero_copy(id.slot());
    if (is_silent) return;
    ++pushed_count_;
    sink_->push(
        {.id = op_id, .flags = static_cast<std::uint16_t>(is_copied ? kNotif | kCopied : kNotif)});
    return;
  }
  const bool has_notification = (cqe.flags & IORING_CQE_F_MORE) != 0;
  Op* const op = context_.ops.find(op_id);
  const bool is_ours = op != nullptr && (op->backend_bits & kZeroCopySend) != 0;
  const bool is_refused = is_zero_copy_refused(cqe.res);
  record.is_silent = is_refused;
  if (!has_notification) forget_zero_copy(id.slot());
  if (!is_ours) return drop_stale(id, cqe);
  op->backend_bits &= static_cast<std::uint8_t>(~(kInKernel | kZeroCopySend));
  const bool is_cancelled = (op->backend_bits & kCancelAsked) != 0;
  if (!is_refused && !is_try_again(cqe.res)) return end(*op, cqe.res);
  if (is_cancelled) return end_cancelled(*op);
  op->backend_bits |= kPlainSend;
  again(*op);
}

void IoUring::forget_zero_copy(std::uint32_t index) {
  ZeroCopyRecord& record = records_.zero_copies[index];
  for (std::uint32_t i = 0; i < record.count; ++i) release_zero_copy(*record.blocks[i]);
  record.is_live = false;
  records_.zero_copies.free(index);
}

// ---- datagrams

bool IoUring::prepare_message(MsgOp& op, const Socket& socket) {
  if (op.kind == OpKind::recvmsg) {
    const std::uint32_t index = records_.messages.take();
    MessageRecord& record = records_.messages[index];
    records_.of(op) = index;
    record.segment = {op.target, op.bytes_max};
    record.header = {};
    record.header.msg_iov = &record.segment;
    record.header.msg_iovlen = 1;
    record.header.msg_name = &record.name;
    record.header.msg_namelen = sizeof(record.name);
    record.header.msg_control = op.control;
    record.header.msg_controllen = op.control_bytes;
    io_uring_sqe& entry = entry_for(op);
    io_uring_prep_recvmsg(&entry, socket.fd, &record.header, MSG_CMSG_CLOEXEC);
    socket.aim(entry);
    ring_.count(entry);
    return true;
  }
  if (!scratch_.has_room()) return false;
  io_uring_sqe& entry = entry_for(op);
  Scratch::Place& place = scratch_.places[ring_.last_place()];
  place.header = {};
  if (op.chain != nullptr) {
    const Pieces pieces = gather(*op.chain, 0);
    scratch_.used += pieces.count;
    place.header.msg_iov = pieces.segments;
    place.header.msg_iovlen = pieces.count;
  }
  place.header.msg_namelen = os::sockaddr_from_address(op.peer, place.name);
  place.header.msg_name = place.header.msg_namelen != 0 ? &place.name : nullptr;
  place.header.msg_control = op.control;
  place.header.msg_controllen = op.control_bytes;
  io_uring_prep_sendmsg(&entry, socket.fd, &place.header, MSG_NOSIGNAL);
  socket.aim(entry);
  ring_.count(entry);
  return true;
}

void IoUring::complete_message(MsgOp& op, const io_uring_cqe& cqe) {
  const bool is_cancelled = (op.backend_bits & kCancelAsked) != 0;
  std::uint16_t flags = 0;
  if (op.kind == OpKind::recvmsg) {
    const std::uint32_t index = records_.of(op);
    const MessageRecord& record = records_.messages[index];
    records_.messages.free(index);
    if (cqe.res >= 0) {
      op.peer = os::address_from_sockaddr(record.name, record.header.msg_namelen);
      op.control_bytes = static_cast<std::uint32_t>(record.header.msg_controllen);
      if ((record.header.msg_flags & MSG_TRUNC) != 0) flags = kTrunc;
    }
  }
  if (!is_try_again(cqe.res)) return end(op, cqe.res, flags);
  if (is_cancelled) return end_cancelled(op);
  again(op);
}

}  // namespace weir::inline v0::uring
