// Poll ops: the readiness of a descriptor that somebody else reads and writes. He may leave bytes unread, which makes
// no new edge, so the descriptor is armed once and by level, and armed again for whoever still waits.
#include <cerrno>

#include "backends/readiness/op_bits.h"
#include "backends/readiness/readiness.h"

namespace weir::inline v0 {

Submitted ReadinessBackend::submit_poll(Slot& slot, PollOp& op) {
  if (!slot.has(kPolled)) {
    WEIR_CHECK(slot.reads.head == nullptr &&
               slot.writes.head == nullptr);  // Polled, or read and written by weir.
    slot.clear(kReadWatched | kWriteWatched);
    slot.set(kPolled);
  }
  op.backend_bits |= kWaiting;
  slot.push_read(op);
  arm_polls(slot);
  return {};
}

// Arms for what the waiting ops want together. A watch that fails ends them all.
void ReadinessBackend::arm_polls(Slot& slot) {
  std::uint32_t events = 0;
  for (const Op* op = slot.reads.head; op != nullptr; op = op->next)
    events |= static_cast<const PollOp*>(op)->events;
  if (slot.reads.head == nullptr) return;
  const std::int64_t result = watch(slot, events, Watch::once);
  if (result >= 0) {
    slot.set(kRegistered);
    return;
  }
  while (Op* op = slot.reads.head) {
    slot.pop_read();
    op->backend_bits = 0;
    end_later(*op, result);
  }
}

void ReadinessBackend::serve_polls(Slot& slot, std::uint32_t events, Sink& sink) {
  bool has_told = false;
  for (Op *op = slot.reads.head, *next = nullptr; op != nullptr; op = next) {
    next = op->next;
    const std::uint32_t wanted = static_cast<PollOp*>(op)->events | kPollError | kPollHangup;
    if ((events & wanted) == 0) continue;
    Completion completion{.id = op->id, .result = static_cast<std::int32_t>(events & wanted)};
    if (op->multishot) {
      completion.flags = kMore;
      has_told = true;
    } else {
      slot.remove_read(*op);
      op->backend_bits = 0;
    }
    sink.push(*op, completion);
  }
  if (has_told) {
    has_news_ = true;
    rearm_.push_back(
        Handle{slot.handle});  // when its owner has seen it: the level would tell it again
  } else {
    arm_polls(slot);
  }
}

void ReadinessBackend::rearm() {
  std::size_t kept = 0;
  for (const Handle handle : rearm_) {
    Slot& slot = slots_.at(handle.value);
    if (slot.handle != handle.value || !slot.has(kPolled)) continue;
    bool is_undelivered = false;
    for (const Op* op = slot.reads.head; op != nullptr; op = op->next)
      is_undelivered |= op->undelivered != 0;
    if (is_undelivered) {
      rearm_[kept++] = handle;
    } else {
      arm_polls(slot);
    }
  }
  rearm_.resize(kept);
}

// weir reads and writes it itself from here on: by edges again, and tried first, for what was ready makes no edge.
void ReadinessBackend::leave_polled(Slot& slot) {
  WEIR_CHECK(slot.reads.head == nullptr);  // Polled, or read and written by weir: not both at once.
  slot.clear(kPolled);
  slot.set(kReadReady | kWriteReady);
}

}  // namespace weir::inline v0
