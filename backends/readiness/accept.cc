// Accepting. A listener is watched by level, not by edge: after the last connection an edge would have to be looked for
// with one more accept, which makes and throws away a whole socket before it answers EAGAIN. How many are taken at once
// grows while each turn finds more.
#include <algorithm>
#include <cerrno>

#include "backends/readiness/op_bits.h"
#include "backends/readiness/readiness.h"

namespace weir::inline v0 {
namespace {

enum class Accepted { connection, nothing, retry, error };

// A connection that died in the queue, or that a filter refused, says nothing about the listener.
Accepted sort_accept(std::int64_t native) {
  if (native >= 0) return Accepted::connection;
  switch (-native) {
    case EAGAIN: return Accepted::nothing;
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
#if defined(ENONET)
    case ENONET:
#endif
      return Accepted::retry;
    case EBADF:
    case EFAULT:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP: WEIR_UNREACHABLE("accept: not a listener, or closed by others", native);
    default:
      return Accepted::
          error;  // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays queued in the kernel
  }
}

}  // namespace

// Never tried at once: the level tells of what waits.
Submitted ReadinessBackend::submit_accept(Slot& slot, AcceptOp& op) {
  if (!slot.has(kListener)) {
    slot.set(kListener);
    slot.clear(kStream | kReadWatched | kReadReady);
  }
  op.backend_bits |= kWaiting;
  slot.push_read(op);
  if (slot.has(kReadWatched)) return {};
  if (const std::int64_t result = watch(slot, kReadable, Watch::level); result < 0) {
    slot.remove_read(op);
    op.backend_bits = 0;
    end_later(op, result);
  } else {
    slot.set(kRegistered | kReadWatched);
  }
  return {};
}

// A listener that nobody accepts from must not end each wait.
void ReadinessBackend::rest_listener(Slot& slot) {
  slot.clear(kReadReady | kReadWatched);
  watch(slot, 0, Watch::level);
}

// How many to take now: twice as many as last time when that left some over, as this turn's event shows.
std::uint32_t ReadinessBackend::batch_of(Slot& slot, const AcceptOp& op) const {
  const std::uint32_t budget =
      op.accepts_max != 0 ? op.accepts_max : context_.limits.accepts_per_turn;
  const bool left_some = slot.turn + 1 == turn_ && slot.batch != 0;
  context_.metrics.accept_budget_hits += left_some && slot.batch == budget;
  slot.batch = static_cast<std::uint16_t>(left_some ? std::min(slot.batch * 2u, budget) : 1u);
  slot.turn = turn_;
  return slot.batch;
}

// EMFILE and its like end the op; the level brings the connection that waits in the kernel to the next accept.
void ReadinessBackend::serve_accepts(Slot& slot, AcceptOp& op, Sink& sink) {
  std::uint32_t budget = batch_of(slot, op);
  for (; budget > 0 && sink.room() > 0; --budget) {
    Completion completion{.id = op.id};
    const std::int64_t native = os::accept(slot.native, /*non_blocking=*/true);
    switch (sort_accept(native)) {
      case Accepted::retry: continue;
      case Accepted::nothing: slot.batch = 0; break;
      case Accepted::error: completion.result = static_cast<std::int32_t>(native); break;
      case Accepted::connection:
        tell_handle(adopt(native, kOwned | kStream | kWriteReady), completion);
        break;
    }
    if (slot.batch == 0) break;
    push_read(slot, op, completion, sink);
    if (op.backend_bits == 0) break;  // that was its terminal
  }
  slot.clear(kReadReady);
}

// A full table is the backend's own EMFILE, but that connection is gone.
void ReadinessBackend::tell_handle(const Result<Handle>& handle, Completion& out) {
  if (handle.ok()) {
    out.flags = kHandle;
    out.buffer = handle.value().value;
  } else {
    out.result = -EMFILE;
  }
}

}  // namespace weir::inline v0
