// Handles, the ready list and cancellation: what is neither reading nor writing.
#include "backends/readiness/readiness.h"

#include <cerrno>

#include "backends/readiness/op_bits.h"

namespace weir::inline v0 {

ReadinessBackend::ReadinessBackend(const BackendContext& context, Caps caps)
    : context_(context), caps_(std::move(caps)) {}

// What the loop did not close is closed here; its ops were cancelled and pumped before, or are leaked and reported.
ReadinessBackend::~ReadinessBackend() {
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_.at(i);
    if (slot.native >= 0 && slot.has(kOwned)) os::close(slot.native);
  }
  for (const Group& group : groups_) {
    if (group.pool != nullptr) group.pool->wait_for_refill(nullptr);
  }
}

Slot& ReadinessBackend::adopt(os::Native native, std::uint16_t bits) {
  Slot& slot = slots_.take();
  slot.native = native;
  slot.set(bits);
  return slot;
}

void ReadinessBackend::release(Slot& slot) {
  WEIR_CHECK(slot.reads.head == nullptr);  // An op in flight would name the next user's descriptor.
  WEIR_CHECK(slot.writes.head == nullptr);
  slot.native = -1;
  slots_.release(slot);
}

// Nothing is registered here: the first op that has to wait does that, for the direction it waits for, so a socket that
// never waits to write is never reported writable. A fresh stream is tried for writing, not for reading.
Result<Handle> ReadinessBackend::open(const SocketSpec& spec) {
  const std::int64_t native = os::open_socket(spec, /*non_blocking=*/true);
  if (native < 0) return os::error_from_open(native, spec);
  std::uint16_t bits = kOwned | kWriteReady;
  if (spec.type == SocketSpec::Type::stream)
    bits = spec.backlog > 0 ? kOwned | kListener : bits | kStream;
  return Handle{adopt(native, bits).handle};
}

Result<Handle> ReadinessBackend::attach(std::intptr_t native, bool owned) {
  os::NativeKind kind = os::NativeKind::other;
  std::int64_t result = os::find_kind(native, kind);
  if (result >= 0 && owned) result = os::set_non_blocking(native, true);
  if (result < 0) return Error::from_native(static_cast<std::int32_t>(-result), Operation::open);
  std::uint16_t bits = kWriteReady;
  if (owned) bits |= kOwned;
  if (kind == os::NativeKind::stream) bits |= kStream;
  if (kind == os::NativeKind::listener) bits |= kListener;
  return Handle{adopt(native, bits).handle};
}

std::intptr_t ReadinessBackend::detach(Handle handle) {
  Slot& slot = slots_.of(handle);
  const os::Native native = slot.native;
  if (slot.has(kRegistered)) unwatch(slot);
  release(slot);
  return native;
}

Result<Address> ReadinessBackend::local_address(Handle handle) const {
  Address address;
  const std::int64_t result = os::local_address(slots_.of(handle).native, address);
  if (result < 0) return Error::from_native(static_cast<std::int32_t>(-result), Operation::option);
  return address;
}

Result<Address> ReadinessBackend::peer_address(Handle handle) const {
  Address address;
  const std::int64_t result = os::peer_address(slots_.of(handle).native, address);
  if (result < 0) return Error::from_native(static_cast<std::int32_t>(-result), Operation::option);
  return address;
}

Result<void> ReadinessBackend::set_option(Handle handle, SocketOption option, std::int32_t value) {
  const std::int64_t result = os::set_option(slots_.of(handle).native, option, value);
  if (result < 0) return Error::from_native(static_cast<std::int32_t>(-result), Operation::option);
  return {};
}

Result<std::int32_t> ReadinessBackend::get_option(Handle handle, SocketOption option) const {
  std::int32_t value = 0;
  const std::int64_t result = os::get_option(slots_.of(handle).native, option, value);
  if (result < 0) return Error::from_native(static_cast<std::int32_t>(-result), Operation::option);
  return value;
}

Submitted ReadinessBackend::submit(Op& op) {
  if (op.kind == OpKind::nop) {
    end_later(op, 0);
    return {};
  }
  Slot& slot = slots_.of(op.handle);
  if (slot.has(kPolled) && op.kind != OpKind::poll && op.kind != OpKind::close) [[unlikely]]
    leave_polled(slot);
  switch (op.kind) {
    case OpKind::recv:
    case OpKind::recvmsg:
    case OpKind::accept: return submit_read(slot, op);
    case OpKind::send:
    case OpKind::sendmsg: return submit_write(slot, op);
    case OpKind::connect: return submit_connect(slot, static_cast<ConnectOp&>(op));
    case OpKind::shutdown: return submit_shutdown(slot, op);
    case OpKind::close: return submit_close(slot, static_cast<CloseOp&>(op));
    case OpKind::poll: return submit_poll(slot, static_cast<PollOp&>(op));
    case OpKind::none:
    case OpKind::nop:
    case OpKind::wake: break;
  }
  WEIR_UNREACHABLE("submit: an op of no kind that a backend takes", op.kind);
}

// Whatever moved was reported when it moved, so a cancelled op has nothing more to say. An op that no longer waits is on
// its way to the sink already.
void ReadinessBackend::cancel(OpId id) {
  Op* op = context_.ops.find(id);
  if (op == nullptr || (op->backend_bits & kWaiting) == 0) return;
  Slot& slot = slots_.of(op->handle);
  if (slot.has(kStarved) && slot.reads.head == op) {
    groups_[static_cast<RecvOp*>(op)->group].starved.remove(slot);
    slot.clear(kStarved);
  }
  WEIR_CHECK(slot.reads.remove(*op) || slot.writes.remove(*op));
  op->backend_bits = 0;
  end_later(*op, -ECANCELED);
  queue_ready(slot);  // The op behind it may have waited for nothing else.
}

void ReadinessBackend::end_later(const Op& op, std::int64_t result) {
  ended_.push_back({.id = op.id, .result = static_cast<std::int32_t>(result)});
}

void ReadinessBackend::provide(Pool& group) {
  while (groups_.size() <= group.group())
    groups_.push_back({nullptr, SlotList<&Slot::next_other>(slots_)});
  groups_[group.group()].pool = &group;
}

void ReadinessBackend::starve(Slot& slot, Pool& group) {
  ++context_.metrics.no_buffers;
  slot.set(kStarved);
  groups_[group.group()].starved.push(slot);
  group.wait_for_refill(this);
}

// As many as there are free blocks, in the order in which they ran dry.
void ReadinessBackend::refilled(Pool& group) {
  Group& waiting = groups_[group.group()];
  std::uint32_t free_count =
      group.blocks_max() > group.in_use() ? group.blocks_max() - group.in_use() : 0;
  for (; free_count > 0 && !waiting.starved.empty(); --free_count) {
    Slot& slot = waiting.starved.pop();
    slot.clear(kStarved);
    queue_ready(slot);
  }
  if (!waiting.starved.empty()) group.wait_for_refill(this);
}

bool ReadinessBackend::start_turn(Sink& sink) {
  ++turn_;
  const bool may_sleep = !has_work();
  if (!rearm_.empty()) rearm(sink);
  if (!ended_.empty()) {
    for (const Completion& completion : ended_) sink.push(completion);
    ended_.clear();
  }
  return may_sleep;
}

void ReadinessBackend::on_event(std::uint32_t handle, std::uint32_t events, bool behind_leftovers,
                                Sink& sink) {
  Slot& slot = slots_.at(SlotTable::index_of(handle));
  if (slot.handle != handle) [[unlikely]]
    return;  // of a descriptor that is closed here but open elsewhere (a fork)
  if (slot.has(kPolled)) [[unlikely]]
    return serve_polls(slot, events, sink);
  std::uint32_t bits = events & (kReadReady | kWriteReady);
  if ((events & kPeerFinished) != 0) bits |= kReadReady | kHangup;
  if ((events & (kPollError | kPollHangup)) != 0) bits |= kReadReady | kWriteReady | kHangup;
  slot.set(static_cast<std::uint16_t>(bits));
  if (behind_leftovers) {
    queue_ready(slot);
  } else {
    serve(slot, sink);
  }
}

void ReadinessBackend::serve_ready(std::uint32_t count, Sink& sink) {
  for (; count > 0; --count) {
    Slot& slot = ready_.pop();
    slot.clear(kQueued);
    serve(slot, sink);
  }
}

void ReadinessBackend::queue_ready(Slot& slot) {
  if (slot.has(kQueued)) return;
  slot.set(kQueued);
  ready_.push(slot);
}

bool ReadinessBackend::is_servable(const Slot& slot) const {
  const bool reads =
      slot.reads.head != nullptr && (slot.bits & (kReadReady | kStarved)) == kReadReady;
  const bool writes = slot.writes.head != nullptr && slot.has(kWriteReady);
  return reads || writes;
}

// Writes first: they give memory back. Whatever is left over when the socket or the turn has used up its share keeps
// its place in the ready list, for no edge will tell of it again.
void ReadinessBackend::serve(Slot& slot, Sink& sink) {
  if (slot.has(kPolled)) return;
  if (slot.writes.head != nullptr) serve_writes(slot, sink);
  if (slot.reads.head != nullptr && (slot.bits & (kReadReady | kStarved)) == kReadReady)
    serve_reads(slot, sink);
  if (is_servable(slot)) queue_ready(slot);
}

}  // namespace weir::inline v0
