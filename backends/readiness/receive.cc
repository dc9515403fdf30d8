// Reading: accept, recv and recvmsg.
#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "backends/readiness/op_bits.h"
#include "backends/readiness/readiness.h"

namespace weir::inline v0 {
namespace {

constexpr std::size_t kBulkBlocksMax = 4;

// Where each errno of a receive goes: not now (nullopt), report, or impossible (abort).
std::optional<std::int32_t> result_from_recv(std::int64_t native) {
  switch (-native) {
    case EAGAIN: return std::nullopt;
    case EBADF:
    case EFAULT:
    case ENOTSOCK: WEIR_UNREACHABLE("recv: a bug, or a descriptor closed by others", native);
    default: return static_cast<std::int32_t>(native);
  }
}

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
    case ENONET: return Accepted::retry;
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

bool is_last(const Op& op, const Completion& completion) {
  return !op.multishot || completion.result < 0 || completion.has(kEof);
}

}  // namespace

Submitted ReadinessBackend::submit_read(Slot& slot, Op& op) {
  if (slot.reads.head == nullptr && slot.has(kReadReady) && !op.multishot &&
      op.kind != OpKind::accept) {
    start_slot_turn(slot);
    const bool has_share = slot.turn_bytes < context_.limits.bytes_per_socket_turn;
    const bool is_bulk = op.kind == OpKind::recv && wants_bulk(slot, static_cast<RecvOp&>(op));
    if (!slot.read_speculation.is_on()) {
      op.backend_bits |= kTrying;
    } else if (has_share && !is_bulk) {
      Submitted submitted{.done = true, .completion = {.id = op.id}};
      const bool got = op.kind == OpKind::recv
                           ? receive(slot, static_cast<RecvOp&>(op), submitted.completion)
                           : receive_message(slot, static_cast<MsgOp&>(op), submitted.completion);
      if (got) {
        slot.read_speculation.hit();
        return submitted;
      }
      if (!slot.has(kStarved)) slot.read_speculation.miss();
    }
  }
  wait_readable(slot, op);
  return {};
}

void ReadinessBackend::wait_readable(Slot& slot, Op& op) {
  op.backend_bits |= kWaiting;
  slot.reads.push(op);
  if (!slot.has(kReadWatched)) [[unlikely]] {
    const std::uint32_t events = kReadable | (slot.has(kWriteWatched) ? kWritable : 0u);
    if (const std::int64_t result = watch(slot, events, /*once=*/false); result < 0) {
      slot.reads.remove(op);
      op.backend_bits = 0;
      return end_later(op, result);
    }
    slot.set(kRegistered | kReadWatched);
  }
  if ((slot.bits & (kReadReady | kStarved)) == kReadReady && slot.reads.head == &op)
    queue_ready(slot);
}

void ReadinessBackend::serve_reads(Slot& slot, Sink& sink) {
  start_slot_turn(slot);
  while (Op* op = slot.reads.head) {
    if ((slot.bits & (kReadReady | kStarved)) != kReadReady || sink.room() == 0) return;
    if (op->kind == OpKind::accept) return serve_accepts(slot, static_cast<AcceptOp&>(*op), sink);
    if (slot.turn_bytes >= context_.limits.bytes_per_socket_turn) {
      ++context_.metrics.socket_budget_hits;
      return;
    }
    if (op->kind == OpKind::recv && wants_bulk(slot, static_cast<RecvOp&>(*op))) {
      if (!receive_bulk(slot, static_cast<RecvOp&>(*op), sink)) return;
      continue;
    }
    Completion completion{.id = op->id};
    const bool got = op->kind == OpKind::recv
                         ? receive(slot, static_cast<RecvOp&>(*op), completion)
                         : receive_message(slot, static_cast<MsgOp&>(*op), completion);
    if ((op->backend_bits & kTrying) != 0) [[unlikely]] {
      got ? slot.read_speculation.hit() : slot.read_speculation.miss();
      op->backend_bits = kWaiting;
    }
    if (!got) return;
    if (is_last(*op, completion)) {
      slot.reads.pop();
      op->backend_bits = 0;
    } else {
      completion.flags |= kMore;
    }
    sink.push(*op, completion);
  }
}

// False: nothing came, or there is no memory for it; the op waits on.
bool ReadinessBackend::receive(Slot& slot, RecvOp& op, Completion& out) {
  std::byte* data = op.target;
  std::size_t size = op.bytes_max;
  Pool* pool = nullptr;
  Block* block = nullptr;
  if (op.group != kNoGroup) {  // memory only now, when something is there to fill it
    pool = groups_[op.group].pool;
    block = pool->take_for_backend(BlockState::lent);
    if (block == nullptr) [[unlikely]] {
      starve(slot, *pool);
      return false;
    }
    data = block->base;
    size = size == 0 ? block->capacity : std::min<std::size_t>(size, block->capacity);
  }
  const std::int64_t got = os::recv(slot.native, data, size);
  if (got > 0) [[likely]] {
    out.result = static_cast<std::int32_t>(got);
    if (block != nullptr) {
      out.flags = kBuf;
      out.group = op.group;
      out.buffer = block->index;
      out.length = static_cast<std::uint32_t>(got);
    }
    after_receive(slot, static_cast<std::size_t>(got), size, out);
    return true;
  }
  if (block != nullptr) pool->give_back(block);
  if (got == 0) {
    if (slot.has(kStream)) out.flags = kEof;  // else an empty datagram
    return true;
  }
  const std::optional<std::int32_t> result = result_from_recv(got);
  if (!result.has_value()) return not_ready(slot, kReadReady);
  out.result = *result;
  return true;
}

// A short count on a byte stream says that nothing is left, and the next byte makes a new edge: that saves the call
// that would answer EAGAIN. Not once the end was seen, for data and FIN share an edge; not for datagrams.
void ReadinessBackend::after_receive(Slot& slot, std::size_t got, std::size_t asked,
                                     Completion& out) {
  slot.turn_bytes += static_cast<std::uint32_t>(got);
  if (got < asked) {
    slot.clear(kBulk);
    if ((slot.bits & (kStream | kHangup)) == kStream && !os::last_call_was_faulted())
      slot.clear(kReadReady);
  } else {
    slot.set(kBulk);
    out.flags |= kNonEmpty;
  }
}

// EAGAIN: an edge will come. Only an injected one brings no edge, so that slot tries again by itself.
bool ReadinessBackend::not_ready(Slot& slot, std::uint16_t bit) {
  if (os::last_call_was_faulted()) {
    queue_ready(slot);
    return false;
  }
  slot.clear(bit);
  if (bit == kReadReady) slot.clear(kHangup);
  return false;
}

bool ReadinessBackend::receive_message(Slot& slot, MsgOp& op, Completion& out) {
  bool is_truncated = false;
  const std::int64_t got = os::recv_message(slot.native, op, is_truncated);
  const std::optional<std::int32_t> result =
      got >= 0 ? static_cast<std::int32_t>(got) : result_from_recv(got);
  if (!result.has_value()) return not_ready(slot, kReadReady);
  out.result = *result;
  if (got < 0) return true;
  if (is_truncated) out.flags |= kTrunc;
  if (got == 0 && slot.has(kStream)) out.flags |= kEof;
  slot.turn_bytes += static_cast<std::uint32_t>(got);
  return true;
}

bool ReadinessBackend::wants_bulk(const Slot& slot, const RecvOp& op) const {
  return slot.has(kBulk) && op.group != kNoGroup &&
         op.bytes_max > groups_[op.group].pool->block_bytes();
}

// Several blocks in one call, a completion each. False: the op waits on.
bool ReadinessBackend::receive_bulk(Slot& slot, RecvOp& op, Sink& sink) {
  Pool& pool = *groups_[op.group].pool;
  const std::size_t share = context_.limits.bytes_per_socket_turn - slot.turn_bytes;
  std::size_t wanted = std::min<std::size_t>(op.bytes_max, share);
  std::array<Block*, kBulkBlocksMax> blocks;
  std::array<os::Segment, kBulkBlocksMax> segments;
  std::size_t count = 0;
  std::size_t asked = 0;
  while (wanted > 0 && count < std::min<std::size_t>(kBulkBlocksMax, sink.room())) {
    Block* block = pool.take_for_backend(BlockState::lent);
    if (block == nullptr) break;
    const std::size_t size = std::min<std::size_t>(wanted, block->capacity);
    blocks[count] = block;
    segments[count++] = {block->base, size};
    asked += size;
    wanted -= size;
  }
  if (count == 0) {
    starve(slot, pool);
    return false;
  }
  const std::int64_t got = os::recv_segments(slot.native, segments.data(), count);
  std::size_t left = got > 0 ? static_cast<std::size_t>(got) : 0;
  const std::size_t used = (left + pool.block_bytes() - 1) / pool.block_bytes();
  for (std::size_t i = used; i < count; ++i) pool.give_back(blocks[i]);
  Completion completion{.id = op.id};
  if (got <= 0) {
    slot.clear(kBulk);
    const std::optional<std::int32_t> result = got == 0 ? 0 : result_from_recv(got);
    if (!result.has_value()) return not_ready(slot, kReadReady);
    completion.result = *result;
    if (got == 0) completion.flags = kEof;
    slot.reads.pop();
    op.backend_bits = 0;
    sink.push(op, completion);
    return true;
  }
  Completion hints;
  after_receive(slot, left, asked, hints);
  for (std::size_t i = 0; i < used; ++i) {
    const std::size_t size = std::min(left, segments[i].size);
    left -= size;
    completion.result = static_cast<std::int32_t>(size);
    completion.flags = kBuf | hints.flags;
    completion.group = op.group;
    completion.buffer = blocks[i]->index;
    completion.length = static_cast<std::uint32_t>(size);
    if (op.multishot || left > 0) {
      completion.flags |= kMore;
    } else {
      slot.reads.pop();
      op.backend_bits = 0;
    }
    sink.push(op, completion);
  }
  return true;
}

// EMFILE and its like end the op: the bit stays set, so the next accept tries the connection that waits in the kernel.
void ReadinessBackend::serve_accepts(Slot& slot, AcceptOp& op, Sink& sink) {
  std::uint32_t budget = op.accepts_max != 0 ? op.accepts_max : context_.limits.accepts_per_turn;
  for (; budget > 0 && sink.room() > 0; --budget) {
    const std::int64_t native = os::accept(slot.native, /*non_blocking=*/true);
    Completion completion{.id = op.id};
    switch (sort_accept(native)) {
      case Accepted::retry: continue;
      case Accepted::nothing: not_ready(slot, kReadReady); return;
      case Accepted::error: completion.result = static_cast<std::int32_t>(native); break;
      case Accepted::connection:
        completion.flags = kHandle;
        completion.buffer = adopt(native, kOwned | kStream | kWriteReady).handle;
        break;
    }
    if (op.multishot && completion.result >= 0) {
      completion.flags |= kMore;
      sink.push(op, completion);
      continue;
    }
    slot.reads.pop();
    op.backend_bits = 0;
    sink.push(op, completion);
    return;
  }
}

}  // namespace weir::inline v0
