// Writing: connect, send, sendmsg, shutdown and close.
#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "backends/readiness/op_bits.h"
#include "backends/readiness/readiness.h"

namespace weir::inline v0 {
namespace {

// Where each errno of a send goes: not now (nullopt), report, or impossible (abort).
std::optional<std::int32_t> result_from_send(std::int64_t native) {
  switch (-native) {
    case EAGAIN:
    case EINTR: return std::nullopt;
    case EBADF:
    case EFAULT:
    case ENOTSOCK: WEIR_UNREACHABLE("send: a bug, or a descriptor closed by others", native);
    default: return static_cast<std::int32_t>(native);
  }
}

struct Gathered {
  std::array<os::Segment, os::kSegmentsMax> segments;
  std::size_t count = 0;
  std::size_t bytes = 0;

  // The first `bytes_max` bytes of `chain`, as far as one call takes them.
  Gathered(const BufChain& chain, std::size_t bytes_max) {
    for (const BufChain::Node* node = chain.front();
         node != nullptr && count < os::kSegmentsMax && bytes < bytes_max; node = node->next) {
      const std::size_t size = std::min(node->buf.size(), bytes_max - bytes);
      segments[count++] = {const_cast<std::byte*>(node->buf.data()), size};
      bytes += size;
    }
  }
};

}  // namespace

bool ReadinessBackend::transmit(Slot& slot, const SendOp& op, Completion& out) {
  if (op.is_piece) {
    return complete_send(slot, op.bytes_max, os::send(slot.native, op.piece, op.bytes_max), out);
  }
  const Gathered gathered(*op.chain, op.bytes_max != 0 ? op.bytes_max : op.chain->bytes());
  if (gathered.count == 0) return true;
  const os::Segment* segments = gathered.segments.data();
  const std::int64_t sent = gathered.count == 1
                                ? os::send(slot.native, segments->data, segments->size)
                                : os::send_segments(slot.native, segments, gathered.count);
  return complete_send(slot, gathered.bytes, sent, out);
}

// False: no room in the kernel; the op waits on. A short count on a stream says that room ran out, and the system will
// tell when there is some again: no call for EAGAIN.
bool ReadinessBackend::complete_send(Slot& slot, std::size_t asked, std::int64_t sent,
                                     Completion& out) {
  if (sent < 0) {
    const std::optional<std::int32_t> result = result_from_send(sent);
    if (!result.has_value()) return not_ready(slot, kWriteReady, sent);
    out.result = *result;
    return true;
  }
  const bool is_short = static_cast<std::size_t>(sent) < asked;
  if (is_short && slot.has(kStream) && !os::last_call_was_faulted()) slot.clear(kWriteReady);
  out.result = static_cast<std::int32_t>(sent);
  return true;
}

// What send_now() leaves of a send that it tried.
std::int64_t ReadinessBackend::end_send_now(Slot& slot, std::size_t asked, std::int64_t sent) {
  Completion completion;
  const bool is_done = complete_send(slot, asked, sent, completion);
  note_try(slot, kWriteDoubt, slot.write_tries, is_done);
  return is_done ? completion.result : 0;
}

Submitted ReadinessBackend::submit_write(Slot& slot, Op& op) {
  if ((slot.bits & (kWriting | kWriteReady)) == kWriteReady) {
    if (slot.has(kWriteDoubt)) {
      op.backend_bits |= kDoubted;
    } else {
      Submitted submitted{.done = true, .completion = {.id = op.id}};
      const bool sent = op.kind == OpKind::send
                            ? transmit(slot, static_cast<SendOp&>(op), submitted.completion)
                            : transmit_message(slot, static_cast<MsgOp&>(op), submitted.completion);
      note_try(slot, kWriteDoubt, slot.write_tries, sent);
      if (sent) return submitted;
    }
  }
  wait_writable(slot, op);
  return {};
}

void ReadinessBackend::wait_writable(Slot& slot, Op& op) {
  op.backend_bits |= kWaiting;
  slot.push_write(op);
  if (!slot.has(kWriteWatched)) {
    if (const std::int64_t result = watch(slot, kReadable | kWritable, Watch::edge); result < 0) {
      slot.remove_write(op);
      op.backend_bits = 0;
      return end_later(op, result);
    }
    slot.set(kRegistered | kReadWatched | kWriteWatched);
  }
  if (slot.has(kWriteReady) && slot.writes.head == &op) queue_ready(slot);
}

void ReadinessBackend::serve_writes(Slot& slot, Sink& sink) {
  while (Op* op = slot.writes.head) {
    if (sink.room() == 0) return;
    if (op->kind != OpKind::shutdown && !slot.has(kWriteReady)) return;
    Completion completion{.id = op->id};
    bool is_done = true;
    switch (op->kind) {
      case OpKind::send: is_done = transmit(slot, static_cast<SendOp&>(*op), completion); break;
      case OpKind::sendmsg:
        is_done = transmit_message(slot, static_cast<MsgOp&>(*op), completion);
        break;
      case OpKind::connect:
        completion.result = static_cast<std::int32_t>(os::connect_result(slot.native));
        break;
      default:
        completion.result = static_cast<std::int32_t>(os::shutdown_write(slot.native));
        break;
    }
    if ((op->backend_bits & kDoubted) != 0) {
      note_try(slot, kWriteDoubt, slot.write_tries, is_done);
      op->backend_bits = kWaiting;
    }
    if (!is_done) return;
    slot.pop_write();
    op->backend_bits = 0;
    sink.push(*op, completion);
  }
}

bool ReadinessBackend::transmit_message(Slot& slot, const MsgOp& op, Completion& out) {
  const Gathered gathered(*op.chain, op.chain->bytes());
  if (gathered.bytes < op.chain->bytes()) {  // a datagram goes in one call or not at all
    out.result = -EMSGSIZE;
    return true;
  }
  const std::int64_t sent =
      os::send_message(slot.native, op, gathered.segments.data(), gathered.count);
  const std::optional<std::int32_t> result =
      sent >= 0 ? static_cast<std::int32_t>(sent) : result_from_send(sent);
  if (!result.has_value()) return not_ready(slot, kWriteReady, sent);
  out.result = *result;
  return true;
}

// The watch begins after connect(), for a socket that is not connected reports itself writable and hung up.
Submitted ReadinessBackend::submit_connect(Slot& slot, ConnectOp& op) {
  WEIR_CHECK(slot.writes.head == nullptr);  // Bytes sent before the connection would go nowhere.
  const std::int64_t result = os::connect(slot.native, op.peer);
  if (result != -EINPROGRESS) {
    return {.done = true, .completion = {.id = op.id, .result = static_cast<std::int32_t>(result)}};
  }
  slot.clear(kReadReady | kWriteReady | kEnding);
  wait_writable(slot, op);
  return {};
}

Submitted ReadinessBackend::submit_shutdown(Slot& slot, Op& op) {
  if (slot.writes.head == nullptr) {
    const std::int64_t result = os::shutdown_write(slot.native);
    return {.done = true, .completion = {.id = op.id, .result = static_cast<std::int32_t>(result)}};
  }
  op.backend_bits |= kWaiting;  // behind the bytes submitted before it
  slot.push_write(op);
  return {};
}

// Closing an owned descriptor ends its registration too; if a fork keeps the socket open elsewhere, an edge of it names
// a handle that is gone, and does no harm. A listener's level would end every wait from then on, and a foreign descriptor
// lives on: their registration is removed first.
Submitted ReadinessBackend::submit_close(Slot& slot, CloseOp& op) {
  std::int64_t result = 0;
  if (slot.has(kRegistered) && (slot.has(kListener) || !slot.has(kOwned))) unwatch(slot);
  if (slot.has(kOwned)) {
    result = os::close(slot.native);
    WEIR_CHECK_NE(result,
                  -EBADF);  // Closed behind our back: it could have been somebody else's by now.
  }
  release(slot);
  end_later(op, result);
  return {};
}

}  // namespace weir::inline v0
