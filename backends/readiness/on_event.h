// The hot path from an event to a completion, in a header so that a poller's loop has it in one piece: one group receive
// waits on a byte stream with nothing unusual about it, the bytes fit a block, and the short count says that they are all.
#pragma once
#include <algorithm>

#include "backends/readiness/op_bits.h"
#include "backends/readiness/readiness.h"

namespace weir::inline v0 {

[[gnu::always_inline]] inline void ReadinessBackend::receive_plain(Slot& slot, RecvOp& op,
                                                                   Sink& sink) {
  Pool& pool = *pools_[op.group];
  Block* block =
      pool.take_for_backend(BlockState::lent);  // only now, when something is there to fill it
  if (block == nullptr) [[unlikely]]
    return starve(slot, pool);
  const std::uint32_t size = pool.fill_bytes_max();
  const std::int64_t got = os::recv(slot.native, block->base, size);
  if (got <= 0 || got == size) [[unlikely]]
    return receive_rest(slot, op, {block->base, size, block}, got, sink);
  slot.clear(kReadReady);  // a short count: nothing is left, and the next byte makes a new edge
  sink.received(op, *block, static_cast<std::uint32_t>(got));
}

[[gnu::always_inline]] inline void ReadinessBackend::on_event(std::uint32_t handle,
                                                              std::uint32_t events, Sink& sink) {
  Slot& slot = slots_.at(handle);
  if (slot.handle != handle) [[unlikely]]
    return;  // of a descriptor that is closed here but open elsewhere (a fork)
  const std::uint32_t bits = slot.bits | events;
  slot.bits = bits;
  constexpr std::uint32_t kPlain = kReceiving | kStream | kReadReady;
  constexpr std::uint32_t kUnusual =
      kWriting | kEnding | kPolled | kStarved | kBulk | kReadDoubt | kQueued;
  if ((bits & (kPlain | kUnusual)) == kPlain && sink.room() != 0) [[likely]] {
    receive_plain(slot, static_cast<RecvOp&>(*slot.reads.head), sink);
  } else {
    on_rare_event(slot, events, sink);
  }
}

}  // namespace weir::inline v0
