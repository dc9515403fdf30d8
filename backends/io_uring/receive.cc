// Receiving. Into lent memory: one request a receive. From a group: a multishot over the group's buffer ring, which
// costs nothing between messages. But the kernel hands a busy socket every buffer that there is, so a socket that takes more
// than its share of a turn has its multishot cancelled and is *paced*: it polls, and takes at most its share into
// blocks of our choice, until it has drained a few times in a row. The owner sees one multishot op all the while.
// Where the kernel has no buffer rings, every socket is paced, and an idle one pins no memory there either.
#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "backends/io_uring/io_uring.h"

namespace weir::inline v0::uring {
namespace {

constexpr std::uint8_t kShortTakesToReturn = 4;

bool is_try_again(std::int32_t result) { return result == -EAGAIN || result == -EINTR; }

}  // namespace

ReceiveGroup& IoUring::group_of(const RecvOp& op) {
  WEIR_CHECK(op.group < groups_.size() &&
             groups_[op.group] != nullptr);  // provide() comes before receives
  return *groups_[op.group];
}

bool IoUring::prepare_recv(RecvOp& op, Socket& from) {
  if (op.target == nullptr) return prepare_group_recv(op, from);
  io_uring_sqe& entry = entry_for(op);
  io_uring_prep_recv(&entry, from.fd, op.target, op.bytes_max, 0);
  from.aim(entry);
  if (from.is_drained && ring_.features().has(Use::poll_first)) {
    entry.ioprio |=
        IORING_RECVSEND_POLL_FIRST;  // nothing was left, so an attempt now would be in vain
    ring_.counters().count(Use::poll_first);
  }
  ring_.count(entry);
  return true;
}

bool IoUring::prepare_group_recv(RecvOp& op, Socket& from) {
  const bool has_ring = group_of(op).has_ring();
  if (has_ring && !op.multishot) {
    prepare_select(op, from, false);
    return true;
  }
  if (has_ring && !from.is_paced && ring_.features().has(Use::recv_multishot)) {
    prepare_select(op, from, true);
    return true;
  }
  if (from.is_ready) return prepare_take(op, from);
  from.step = Step::polling;
  io_uring_sqe& entry = entry_for(op);
  io_uring_prep_poll_add(&entry, from.fd, POLLIN);
  from.aim(entry);
  ring_.count(entry);
  return true;
}

void IoUring::prepare_select(RecvOp& op, Socket& from, bool is_multishot) {
  io_uring_sqe& entry = entry_for(op);
  if (is_multishot) {
    io_uring_prep_recv_multishot(&entry, from.fd, nullptr, 0, 0);
    ring_.counters().count(Use::recv_multishot);
    from.step = Step::multishot;
  } else {
    const std::uint32_t block_bytes = group_of(op).pool().block_bytes();
    const std::uint32_t bytes =
        op.bytes_max == 0 ? block_bytes : std::min(op.bytes_max, block_bytes);
    io_uring_prep_recv(&entry, from.fd, nullptr, bytes, 0);
    from.step = Step::selecting;
  }
  from.aim(entry);
  entry.flags |= IOSQE_BUFFER_SELECT;
  entry.buf_group = op.group;
  ring_.counters().count(Use::buffer_ring);
  ring_.count(entry);
}

// What is there now, into one block, or into a whole share's worth when the last time filled what it had.
bool IoUring::prepare_take(RecvOp& op, Socket& from) {
  ReceiveGroup& group = group_of(op);
  const std::uint32_t block_bytes = group.pool().block_bytes();
  std::uint32_t left = from.was_full && op.multishot && !group.pool().is_short()
                           ? std::max(context_.limits.bytes_per_socket_turn, 1u)
                           : block_bytes;
  if (!op.multishot && op.bytes_max != 0) left = std::min(left, op.bytes_max);
  const std::uint32_t index = records_.takes.take();
  TakeRecord& record = records_.takes[index];
  record.count = record.capacity_bytes = 0;
  while (left > 0 && record.count < kTakeBlocksMax) {
    Block* const block = group.pool().take_for_backend(BlockState::lent);
    if (block == nullptr) break;
    if (group.pool().fill_bytes_max() < block_bytes) {
      left = std::min(left, group.pool().fill_bytes_max());
    }
    const std::uint32_t bytes = std::min(left, block_bytes);
    record.segments[record.count] = {block->base, bytes};
    record.blocks[record.count++] = block;
    record.capacity_bytes += bytes;
    left -= bytes;
  }
  if (record.count == 0) {
    records_.takes.free(index);
    if (group.posted() > 0) {
      prepare_select(op, from, false);
    } else {
      starve(op);
    }
    return true;
  }
  records_.of(op) = index;
  from.step = Step::taking;
  io_uring_sqe& entry = entry_for(op);
  if (record.count == 1) {
    io_uring_prep_recv(&entry, from.fd, record.segments[0].iov_base, record.segments[0].iov_len,
                       MSG_DONTWAIT);
  } else {
    record.header = {};
    record.header.msg_iov = record.segments.data();
    record.header.msg_iovlen = record.count;
    io_uring_prep_recvmsg(&entry, from.fd, &record.header, MSG_DONTWAIT);
  }
  from.aim(entry);
  ring_.count(entry);
  return true;
}

// ---- completions

void IoUring::complete_recv(RecvOp& op, const io_uring_cqe& cqe) {
  Socket& from = socket(op.handle);
  from.is_drained = (cqe.flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;
  if (op.target != nullptr) return complete_target_recv(op, cqe);
  switch (from.step) {
    case Step::taking: return complete_take(op, from, cqe.res);
    case Step::polling: {
      const bool is_cancelled = (op.backend_bits & kCancelAsked) != 0;
      if (cqe.res < 0 && (is_cancelled || (cqe.res != -ECANCELED && !is_try_again(cqe.res)))) {
        return end(op, cqe.res);
      }
      from.is_ready = cqe.res > 0;
      return go_on_receiving(op, from);
    }
    default: return complete_select(op, from, cqe);
  }
}

void IoUring::complete_target_recv(RecvOp& op, const io_uring_cqe& cqe) {
  if (cqe.res > 0) return end(op, cqe.res, hint_of(cqe));
  if (cqe.res == 0) return end(op, 0, kEof);
  const bool is_cancelled = (op.backend_bits & kCancelAsked) != 0;
  if (!is_try_again(cqe.res)) return end(op, cqe.res);
  if (is_cancelled) return end_cancelled(op);
  again(op);
}

// It took more than its share: the multishot goes, and from now on it asks.
void IoUring::pace(RecvOp& op, Socket& from) {
  if (from.step != Step::multishot || (op.backend_bits & kCancelAsked) != 0) return;
  ++ring_.counters().bulk_switches;
  ++context_.metrics.socket_budget_hits;
  from.step = Step::stopping;
  from.is_paced = from.is_ready = from.was_full = true;
  from.short_count = 0;
  queue_cancel(op, kOwnCancel);
}

// A buffer that the kernel chose, by a multishot or by a single receive.
void IoUring::complete_select(RecvOp& op, Socket& from, const io_uring_cqe& cqe) {
  ReceiveGroup& group = group_of(op);
  const bool has_block = (cqe.flags & IORING_CQE_F_BUFFER) != 0;
  Block* const block =
      has_block ? group.take(static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT))
                : nullptr;
  if (cqe.res > 0) {
    const auto bytes = static_cast<std::uint32_t>(cqe.res);
    Completion completion{.id = op.id,
                          .result = cqe.res,
                          .flags = static_cast<std::uint16_t>(kBuf | hint_of(cqe)),
                          .group = op.group,
                          .buffer = block->index,
                          .length = bytes};
    if (!op.multishot) return end(op, completion);
    completion.flags |= kMore;
    push(op, completion);
    from.is_ready = !from.is_drained;
    if (is_over_share(op, from, bytes)) from.is_paced = true;
    return go_on_receiving(op, from);
  }
  if (block != nullptr) group.pool().give_back(block);
  if (cqe.res == 0) return end(op, 0, kEof);
  switch (-cqe.res) {
    case ENOBUFS:
      group.grow();
      if ((op.backend_bits & kCancelAsked) != 0) return end_cancelled(op);
      if (group.pool().is_short() && op.multishot) {  // it gets a block now and then, by itself
        from.is_paced = from.is_ready = true;
        from.was_full = false;
        from.short_count = 0;
      }
      return starve(op);
    case ECANCELED:
    case EAGAIN:
    case EINTR: return go_on_receiving(op, from);
    default: return end(op, cqe.res);
  }
}

void IoUring::complete_take(RecvOp& op, Socket& from, std::int32_t result) {
  const std::uint32_t index = records_.of(op);
  const TakeRecord& record = records_.takes[index];
  Pool& pool = group_of(op).pool();
  auto left = static_cast<std::uint32_t>(std::max(result, 0));
  Completion completion{.id = op.id, .flags = kBuf, .group = op.group};
  if (op.multishot) completion.flags |= kMore;
  for (std::uint32_t i = 0; i < record.count; ++i) {
    Block* const block = record.blocks[i];
    if (left == 0) {
      pool.give_back(block);
      continue;
    }
    completion.length = std::min(left, static_cast<std::uint32_t>(record.segments[i].iov_len));
    completion.result = static_cast<std::int32_t>(completion.length);
    completion.buffer = block->index;
    left -= completion.length;
    if (op.multishot) push(op, completion);
  }
  records_.takes.free(index);
  if (result == 0) return end(op, 0, kEof);
  if (result < 0) {
    from.is_ready = from.was_full = false;
    if (is_try_again(result) || result == -ECANCELED) return go_on_receiving(op, from);
    return end(op, result);
  }
  if (!op.multishot) return end(op, completion);
  from.was_full = from.is_ready = static_cast<std::uint32_t>(result) == record.capacity_bytes;
  from.short_count =
      from.was_full ? std::uint8_t{0} : static_cast<std::uint8_t>(from.short_count + 1);
  go_on_receiving(op, from);
}

// The request ended, the op did not.
void IoUring::go_on_receiving(RecvOp& op, Socket& from) {
  if ((op.backend_bits & kCancelAsked) != 0) return end_cancelled(op);
  if (from.is_paced && from.short_count >= kShortTakesToReturn &&
      ring_.features().has(Use::recv_multishot) && !group_of(op).pool().is_short()) {
    ++ring_.counters().multishot_returns;
    from.is_paced = from.was_full = from.is_ready = false;
    from.short_count = 0;
  }
  if (from.is_paced && from.is_ready && op.undelivered != 0) return hold(op);
  again(op);
}

// ---- empty groups

void IoUring::starve(RecvOp& op) {
  ++context_.metrics.no_buffers;
  op.backend_bits |= kListed;
  group_of(op).starved.push(op);
  has_chores_ = true;
}

// As many as there are blocks for, in order; the others keep their places.
void IoUring::feed_starved(ReceiveGroup& group) {
  OpList all = group.starved;
  group.starved = {};
  for (std::uint32_t blocks = group.available(); !all.empty() && blocks > 0; --blocks) {
    Op& op = all.pop();
    op.backend_bits &= static_cast<std::uint8_t>(~kListed);
    again(op);
  }
  while (!all.empty()) group.starved.push(all.pop());
}

}  // namespace weir::inline v0::uring
