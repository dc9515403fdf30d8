// Handles, the ready list and cancellation: what is neither reading nor writing.
#include "backends/readiness/readiness.h"

#include <algorithm>
#include <cerrno>

#include "backends/readiness/op_bits.h"

namespace weir::inline v0 {

ReadinessBackend::ReadinessBackend(const BackendContext& context, Caps caps)
    : context_(context), caps_(std::move(caps)) {}

// What the loop did not close is closed here; its ops were cancelled and pumped before, or are leaked and reported.
ReadinessBackend::~ReadinessBackend() {
  for (std::uint32_t i = 1; i < slots_.size(); ++i) {
    Slot& slot = slots_.at(i);
    if (slot.native >= 0 && slot.has(kOwned)) os::close(slot.native);
  }
  for (Pool* pool : pools_) {
    if (pool != nullptr) pool->wait_for_refill(nullptr);
  }
}

// A table that is full is the backend's own EMFILE.
Result<Handle> ReadinessBackend::adopt(os::Native native, std::uint32_t bits) {
  Slot* slot = slots_.take();
  if (slot == nullptr) {
    if ((bits & kOwned) != 0) os::close(native);
    return Error::of(Errc::too_many_open_files, Operation::open);
  }
  slot->native = static_cast<std::int32_t>(native);
  slot->set(bits);
  return Handle{slot->handle};
}

void ReadinessBackend::release(Slot& slot) {
  WEIR_CHECK(slot.reads.head == nullptr);  // An op in flight would name the next user's descriptor.
  WEIR_CHECK(slot.writes.head == nullptr);
  slots_.release(slot);
}

// Nothing is registered here: the first op that has to wait does that, for the direction it waits for, so a socket that
// never waits to write is never reported writable. A fresh stream is tried for writing, not for reading.
Result<Handle> ReadinessBackend::open(const SocketSpec& spec) {
  const std::int64_t native = os::open_socket(spec, /*non_blocking=*/true);
  if (native < 0) return os::error_from_open(native, spec);
  const bool is_stream = spec.type == SocketSpec::Type::stream && spec.backlog == 0;
  const std::uint32_t bits = kOwned | kWriteReady;
  return adopt(native, is_stream ? bits | kStream : bits);
}

Result<Handle> ReadinessBackend::attach(std::intptr_t native, bool owned) {
  os::NativeKind kind = os::NativeKind::other;
  std::int64_t result = os::find_kind(native, kind);
  if (result >= 0 && owned) result = os::set_non_blocking(native, true);
  if (result < 0) return Error::from_native(static_cast<std::int32_t>(-result), Operation::open);
  std::uint32_t bits = kWriteReady;
  if (owned) bits |= kOwned;
  if (kind == os::NativeKind::stream) bits |= kStream;
  return adopt(native, bits);
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

// One piece that the kernel takes whole is nearly every send.
std::int64_t ReadinessBackend::send_now(Handle handle, const std::byte* data, std::size_t size) {
  Slot& slot = slots_.of(handle);
  if ((slot.bits & (kWriteReady | kWriteDoubt | kPolled | kWriting)) != kWriteReady) [[unlikely]] {
    return 0;
  }
  const std::int64_t sent = os::send(slot.native, data, size);
  if (sent != static_cast<std::int64_t>(size)) [[unlikely]]
    return end_send_now(slot, size, sent);
  slot.write_tries = 0;
  return sent;
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
    case OpKind::recvmsg: return submit_read(slot, op);
    case OpKind::accept: return submit_accept(slot, static_cast<AcceptOp&>(op));
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
    starved_[static_cast<RecvOp*>(op)->group].remove(slot);
    slot.clear(kStarved);
  }
  WEIR_CHECK(slot.remove_read(*op) || slot.remove_write(*op));
  op->backend_bits = 0;
  end_later(*op, -ECANCELED);
  queue_ready(slot);  // The op behind it may have waited for nothing else.
}

void ReadinessBackend::end_later(const Op& op, std::int64_t result) {
  ended_.push_back({.id = op.id, .result = static_cast<std::int32_t>(result)});
  has_news_ = true;
}

void ReadinessBackend::tell_news(Sink& sink) {
  if (!rearm_.empty()) rearm();
  for (const Completion& completion : ended_) sink.push(completion);
  ended_.clear();
  has_news_ = !rearm_.empty();
}

void ReadinessBackend::provide(Pool& group) {
  const std::size_t count = std::max<std::size_t>(pools_.size(), std::size_t{group.group()} + 1);
  pools_.resize(count);
  starved_.resize(count, SlotList<&Slot::next_other>(slots_));
  pools_[group.group()] = &group;
}

void ReadinessBackend::starve(Slot& slot, Pool& group) {
  ++context_.metrics.no_buffers;
  slot.set(kStarved);
  starved_[group.group()].push(slot);
  group.wait_for_refill(this);
}

// As many as there are free blocks, in the order in which they ran dry.
void ReadinessBackend::refilled(Pool& group) {
  SlotList<& Slot::next_other>& starved = starved_[group.group()];
  std::uint32_t free_count =
      group.blocks_max() > group.in_use() ? group.blocks_max() - group.in_use() : 0;
  for (; free_count > 0 && !starved.empty(); --free_count) {
    Slot& slot = starved.pop();
    slot.clear(kStarved);
    queue_ready(slot);
  }
  if (!starved.empty()) group.wait_for_refill(this);
}

// An error or a hang-up is a reason to try both directions.
void ReadinessBackend::on_rare_event(Slot& slot, std::uint32_t events, Sink& sink) {
  if (slot.has(kPolled)) return serve_polls(slot, events, sink);
  if ((events & (kPollError | kPollHangup)) != 0) slot.set(kReadReady | kWriteReady);
  serve(slot, sink);
}

void ReadinessBackend::queue_event(std::uint32_t handle, std::uint32_t events, Sink& sink) {
  Slot& slot = slots_.at(handle);
  if (slot.handle != handle) return;
  slot.set(events);
  if (slot.has(kPolled)) return serve_polls(slot, events, sink);
  if ((events & (kPollError | kPollHangup)) != 0) slot.set(kReadReady | kWriteReady);
  queue_ready(slot);
}

void ReadinessBackend::serve_queued(Sink& sink) {
  for (std::uint32_t count = ready_.size(); count > 0; --count) {
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

// EAGAIN: an edge will come. Only after an injected one, or a signal, none will, and the slot tries again by itself.
bool ReadinessBackend::not_ready(Slot& slot, std::uint32_t bit, std::int64_t native) {
  if (os::last_call_was_faulted() || native == -EINTR) {
    queue_ready(slot);
  } else {
    slot.clear(bit == kReadReady ? bit | kEnding : bit);
  }
  return false;
}

// Has the socket received less than its share in this turn?
bool ReadinessBackend::has_share(Slot& slot) {
  if (slot.turn != turn_) {
    slot.turn = turn_;
    slot.turn_bytes = 0;
  }
  return slot.turn_bytes < context_.limits.bytes_per_socket_turn;
}

// Writes first: they give memory back. Whatever is left over when the socket or the turn has used up its share keeps
// its place in the ready list, for no edge will tell of it again.
void ReadinessBackend::serve(Slot& slot, Sink& sink) {
  if (slot.has(kPolled)) return;
  if ((slot.bits & (kListener | kReading | kReadReady)) == (kListener | kReadReady))
    return rest_listener(slot);
  constexpr std::uint32_t kReads = kReading | kReadReady;
  constexpr std::uint32_t kWrites = kWriting | kWriteReady;
  if (slot.has(kWriting)) serve_writes(slot, sink);
  if ((slot.bits & (kReads | kStarved)) == kReads) serve_reads(slot, sink);
  // An owner who was told of his bytes may have closed the socket: then the slot is nobody's, or has just begun anew.
  if ((slot.bits & (kReads | kStarved)) == kReads || (slot.bits & kWrites) == kWrites)
    queue_ready(slot);
}

}  // namespace weir::inline v0
