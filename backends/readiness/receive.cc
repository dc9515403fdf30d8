// Reading: recv and recvmsg.
#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "backends/readiness/on_event.h"

namespace weir::inline v0 {
namespace {

constexpr std::uint16_t kBulkBlocksFirst = 4;  // then twice as many as the last receive filled
constexpr std::size_t kBulkBlocksMax = 16;

// Where each errno of a receive goes: not now (nullopt), report, or impossible (abort).
std::optional<std::int32_t> result_from_recv(std::int64_t native) {
  switch (-native) {
    case EAGAIN:
    case EINTR: return std::nullopt;
    case EBADF:
    case EFAULT:
    case ENOTSOCK: WEIR_UNREACHABLE("recv: a bug, or a descriptor closed by others", native);
    default: return static_cast<std::int32_t>(native);
  }
}

// Blocks of a pool for one receive: as many as are wanted, had, and can be told of.
struct Batch {
  std::array<Block*, kBulkBlocksMax> blocks;
  std::array<os::Segment, kBulkBlocksMax> segments;
  std::size_t count = 0;
  std::size_t bytes = 0;

  Batch(Pool& pool, std::size_t bytes_max, std::size_t count_max) {
    while (bytes < bytes_max && count < std::min(kBulkBlocksMax, count_max)) {
      Block* block = pool.take_for_backend(BlockState::lent);
      if (block == nullptr) break;
      blocks[count] = block;
      segments[count] = {block->base, std::min<std::size_t>(bytes_max - bytes, block->capacity)};
      bytes += segments[count++].size;
    }
  }
};

}  // namespace

Submitted ReadinessBackend::submit_read(Slot& slot, Op& op) {
  if (slot.reads.head == nullptr && slot.has(kReadReady) && !op.multishot) {
    if (slot.has(kReadDoubt)) {
      op.backend_bits |= kDoubted;
    } else if (has_share(slot)) {
      Submitted submitted{.done = true, .completion = {.id = op.id}};
      const bool got = receive(slot, op, submitted.completion);
      if (!slot.has(kStarved)) note_try(slot, kReadDoubt, slot.read_tries, got);
      if (got) return submitted;
    }
  }
  wait_readable(slot, op);
  return {};
}

void ReadinessBackend::wait_readable(Slot& slot, Op& op) {
  op.backend_bits |= kWaiting;
  slot.push_read(op);
  if (!slot.has(kReadWatched)) [[unlikely]] {
    const std::uint32_t events = kReadable | (slot.has(kWriteWatched) ? kWritable : 0u);
    if (const std::int64_t result = watch(slot, events, Watch::edge); result < 0) {
      slot.remove_read(op);
      op.backend_bits = 0;
      return end_later(op, result);
    }
    slot.set(kRegistered | kReadWatched);
  }
  if ((slot.bits & (kReadReady | kStarved)) == kReadReady && slot.reads.head == &op)
    queue_ready(slot);
}

void ReadinessBackend::serve_reads(Slot& slot, Sink& sink) {
  while (Op* op = slot.reads.head) {
    if ((slot.bits & (kReadReady | kStarved)) != kReadReady || sink.room() == 0) return;
    if (op->kind == OpKind::accept) return serve_accepts(slot, static_cast<AcceptOp&>(*op), sink);
    if (!has_share(slot) || (op->undelivered != 0 && is_short_for(*op))) {
      ++context_.metrics.socket_budget_hits;
      return;
    }
    if (op->kind == OpKind::recv && wants_bulk(slot, static_cast<RecvOp&>(*op))) {
      if (!receive_bulk(slot, static_cast<RecvOp&>(*op), sink)) return;
      continue;
    }
    Completion completion{.id = op->id};
    const bool got = receive(slot, *op, completion);
    if ((op->backend_bits & kDoubted) != 0) {
      note_try(slot, kReadDoubt, slot.read_tries, got);
      op->backend_bits = kWaiting;
    }
    if (!got) return;
    push_read(slot, *op, completion, sink);
  }
}

// Then an owner shall see what came before more memory is taken for him.
bool ReadinessBackend::is_short_for(const Op& op) const {
  const GroupId group = op.kind == OpKind::recv ? static_cast<const RecvOp&>(op).group : kNoGroup;
  return group != kNoGroup && pools_[group]->is_short();
}

// No data: the group is empty, and the slot waits for it.
ReadinessBackend::Memory ReadinessBackend::take_memory(Slot& slot, const RecvOp& op) {
  if (op.group == kNoGroup) return {op.target, op.bytes_max, nullptr};
  Pool& pool = *pools_[op.group];
  Block* block = pool.take_for_backend(BlockState::lent);
  if (block == nullptr) {
    starve(slot, pool);
    return {};
  }
  const std::uint32_t size = pool.fill_bytes_max();
  const bool is_less_wanted = op.bytes_max - 1 < size;  // 0 is no wish
  return {block->base, is_less_wanted ? op.bytes_max : size, block};
}

// False: nothing came, or there is no memory for it; the op waits on.
bool ReadinessBackend::receive(Slot& slot, Op& op, Completion& out) {
  if (op.kind == OpKind::recvmsg) return receive_message(slot, static_cast<MsgOp&>(op), out);
  const Memory memory =
      take_memory(slot, static_cast<RecvOp&>(op));  // only now, when something is there to fill it
  if (memory.data == nullptr) return false;
  const std::int64_t got = os::recv(slot.native, memory.data, memory.size);
  return complete_receive(slot, static_cast<RecvOp&>(op), memory, got, out);
}

// What receive_plain() leaves: full memory, the end, errors, nothing at all.
void ReadinessBackend::receive_rest(Slot& slot, RecvOp& op, Memory memory, std::int64_t got,
                                    Sink& sink) {
  Completion completion{.id = op.id};
  has_share(slot);
  if (!complete_receive(slot, op, memory, got, completion)) return;
  push_read(slot, op, completion, sink);
  serve(slot, sink);
}

void ReadinessBackend::push_read(Slot& slot, Op& op, Completion& completion, Sink& sink) {
  if (op.multishot && completion.result >= 0 && !completion.has(kEof)) {
    completion.flags |= kMore;
  } else {
    slot.pop_read();
    op.backend_bits = 0;
  }
  sink.push(op, completion);
}

bool ReadinessBackend::complete_receive(Slot& slot, const RecvOp& op, Memory memory,
                                        std::int64_t got, Completion& out) {
  if (got > 0) {
    out.result = static_cast<std::int32_t>(got);
    if (memory.block != nullptr) {
      out.flags = kBuf;
      out.group = op.group;
      out.buffer = memory.block->index;
      out.length = static_cast<std::uint32_t>(got);
    }
    after_receive(slot, static_cast<std::size_t>(got), memory.size, out);
    return true;
  }
  if (memory.block != nullptr) pools_[op.group]->give_back(memory.block);
  if (got == 0) {
    if (slot.has(kStream)) out.flags = kEof;  // else an empty datagram
    return true;
  }
  const std::optional<std::int32_t> result = result_from_recv(got);
  if (!result.has_value()) return not_ready(slot, kReadReady, got);
  out.result = *result;
  return true;
}

// A short count on a byte stream says that nothing is left, and the next byte makes a new edge: that saves the call
// that would answer EAGAIN. Not once the end was seen, for data and FIN share an edge; not for datagrams.
void ReadinessBackend::after_receive(Slot& slot, std::size_t got, std::size_t asked,
                                     Completion& out) {
  slot.turn_bytes += static_cast<std::uint32_t>(got);
  if (got == asked) {
    if (!slot.has(kBulk)) slot.batch = kBulkBlocksFirst;
    slot.set(kBulk);
    out.flags |= kNonEmpty;
  } else if (!os::last_call_was_faulted()) {
    slot.clear((slot.bits & (kStream | kEnding)) == kStream ? kBulk | kReadReady : kBulk);
  }
}

bool ReadinessBackend::receive_message(Slot& slot, MsgOp& op, Completion& out) {
  bool is_truncated = false;
  const std::int64_t got = os::recv_message(slot.native, op, is_truncated);
  const std::optional<std::int32_t> result =
      got >= 0 ? static_cast<std::int32_t>(got) : result_from_recv(got);
  if (!result.has_value()) return not_ready(slot, kReadReady, got);
  out.result = *result;
  if (got < 0) return true;
  if (is_truncated) out.flags |= kTrunc;
  if (got == 0 && slot.has(kStream)) out.flags |= kEof;
  slot.turn_bytes += static_cast<std::uint32_t>(got);
  return true;
}

bool ReadinessBackend::wants_bulk(const Slot& slot, const RecvOp& op) const {
  return (slot.bits & (kBulk | kStream)) == (kBulk | kStream) && op.multishot &&
         op.group != kNoGroup && !pools_[op.group]->is_short();
}

// Several blocks in one call. False: the op waits on.
bool ReadinessBackend::receive_bulk(Slot& slot, RecvOp& op, Sink& sink) {
  Pool& pool = *pools_[op.group];
  const std::size_t share = context_.limits.bytes_per_socket_turn - slot.turn_bytes;
  const Batch batch(pool, share, std::min<std::size_t>(sink.room(), slot.batch));
  if (batch.count == 0) {
    starve(slot, pool);
    return false;
  }
  const std::int64_t got = os::recv_segments(slot.native, batch.segments.data(), batch.count);
  const auto bytes = static_cast<std::uint32_t>(std::max<std::int64_t>(got, 0));
  const Sink::Run run{batch.blocks.data(), pool.block_bytes(), bytes};
  for (std::size_t i = run.count(); i < batch.count; ++i) pool.give_back(batch.blocks[i]);
  Completion completion{.id = op.id};
  if (bytes == 0) {
    if (!complete_receive(slot, op, {}, got, completion)) return false;
    push_read(slot, op, completion, sink);
    return true;
  }
  after_receive(slot, bytes, batch.bytes, completion);
  if (bytes >= pool.block_bytes()) slot.set(kBulk);
  slot.batch = static_cast<std::uint16_t>(2 * run.count());
  context_.metrics.socket_budget_hits += slot.has(kReadReady) && !has_share(slot);
  op.is_direct ? sink.received(op, run) : sink.queue_run(op, run);
  return false;
}

}  // namespace weir::inline v0
