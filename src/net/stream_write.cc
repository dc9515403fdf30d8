// The write half of a stream: the queue, its marks in pinned memory, and what waits for it to shrink.
#include <algorithm>

#include "src/net/net_state.h"
#include "src/net/stream_core.h"

namespace weir::inline v0 {

namespace {
// Neighbouring slices of one block pin it once.
std::uint32_t pinned_behind(const Block* tail, const Buf& next) {
  return tail == next.block() ? 0 : static_cast<std::uint32_t>(next.pinned_bytes());
}
}  // namespace

Error StreamCore::write_error() const {
  if (has(kClosing)) return Error::of(Errc::closed, Operation::write);
  if (has(kWriteBroken)) return Error::of(write_errc(), Operation::write);
  if (has(kFinWanted)) return Error::of(Errc::broken_pipe, Operation::write);
  return {};
}

void StreamCore::set_marks(const WriteMarks& marks) {
  if (has(kClosing)) return;
  aside().marks = marks;
  set(kOwnMarks);
}

std::uint32_t StreamCore::mark(std::uint32_t WriteMarks::*which, std::uint32_t of_loop) const {
  const std::uint32_t own = aside_ != nullptr ? aside_->marks.*which : 0;
  return own != 0 ? own : of_loop;
}

// A write that will wait for the pressure to go may put any size on a queue that is not under pressure; one that
// does not wait stays under the cap. At the cap of the loop each stream still has its first `write_high_bytes`, or one write
// of up to its own cap on an empty queue: slow readers elsewhere stop nobody, and who is refused has something queued,
// whose end brings on_writable.
bool StreamCore::may_queue(std::size_t pinned_bytes, bool waits) const {
  if (loop_.metrics.write_queue_bytes + pinned_bytes > loop_.limits.write_loop_cap_bytes &&
      queued_pinned_ + pinned_bytes > loop_.limits.write_high_bytes) {
    return queued_pinned_ == 0 && pinned_bytes <= cap_bytes();
  }
  if (waits && queued_pinned_ <= high_bytes()) return true;
  return queued_pinned_ + pinned_bytes <= cap_bytes();
}

Write StreamCore::write_more(Buf& bytes, bool waits) {
  if (bytes.empty()) return has(kPressured) ? Write::pressured : Write::flowing;
  queue_slice();
  const Block* const tail = outbox().empty() ? nullptr : outbox().back().block();
  if (is_send_busy() && tail != bytes.block()) {  // it will stay a while
    bytes = copy_break(std::move(bytes), *loop_.small_pool, loop_.metrics);
  }
  const std::uint32_t pinned = pinned_behind(tail, bytes);
  if (!may_queue(pinned, waits)) {
    ++loop_.metrics.writes_refused;
    set(kPressured);
    return Write::refused;
  }
  outbox().append(std::move(bytes));
  queued(pinned);
  return has(kPressured) ? Write::pressured : Write::flowing;
}

Write StreamCore::write(BufChain& bytes, bool waits) {
  if (bytes.empty()) return has(kPressured) ? Write::pressured : Write::flowing;
  if (bytes.front()->next == nullptr) {
    Buf only = bytes.pop_front();
    const Write answer = write(only, waits);
    if (answer == Write::refused) bytes.append(std::move(only));
    return answer;
  }
  queue_slice();
  std::uint32_t pinned = 0;
  const Block* tail = outbox().empty() ? nullptr : outbox().back().block();
  for (const BufChain::Node* node = bytes.front(); node != nullptr; node = node->next) {
    pinned += pinned_behind(tail, node->buf);
    tail = node->buf.block();
  }
  if (!may_queue(pinned, waits)) {
    ++loop_.metrics.writes_refused;
    set(kPressured);
    return Write::refused;
  }
  outbox().append(std::move(bytes));
  queued(pinned);
  return has(kPressured) ? Write::pressured : Write::flowing;
}

void StreamCore::queued(std::uint32_t pinned_bytes) {
  set_queued_pinned(queued_pinned_ + pinned_bytes);
  if (queued_pinned_ > high_bytes() && !has(kPressured)) {
    set(kPressured);
    ++loop_.metrics.writes_pressured;
  }
  if (is_send_busy()) {
    hurry_send();
  } else if (!outbox().empty()) {
    queue_flush();
  }
}

void StreamCore::set_queued_pinned(std::uint32_t bytes) {
  loop_.metrics.write_queue_bytes += bytes;
  loop_.metrics.write_queue_bytes -= queued_pinned_;
  queued_pinned_ = bytes;
}

// Gathered writes leave here, after the callback that queued them and its jobs.
void StreamCore::after_callback() {
  clear(kFlushQueued);
  flush_now();
}

void StreamCore::flush_now() {
  if ((flags_ & (kClosing | kWriteBroken)) != 0) return;
  queue_slice();
  if (!outbox().empty()) {
    if (!is_send_busy()) send_outbox();
  } else if (has(kFinWanted) && !has(kFinStarted) && !is_send_busy()) {
    set(kFinStarted);
    send_fin();
  }
}

// Takes off what left, block by block, so that the pinned count follows. Mostly everything left.
void StreamCore::sent(std::size_t count) {
  ++loop_.metrics.sends;
  loop_.metrics.bytes_sent += count;
  if (count == outbox().bytes()) {
    outbox().clear();
    loop_.metrics.write_queue_bytes -= queued_pinned_;
    queued_pinned_ = 0;
    if (writer_ != nullptr || (flags_ & (kPressured | kFinWanted)) != 0) after_sent(0);
    return;
  }
  std::uint32_t pinned = queued_pinned_;
  while (count > 0) {
    const BufChain::Node* const front = outbox().front();
    const std::size_t size = front->buf.size();
    if (count < size) {
      outbox().trim_front(count);
      break;
    }
    count -= size;
    const BufChain::Node* const behind = front->next;
    if (behind == nullptr || behind->buf.block() != front->buf.block()) {
      pinned -= static_cast<std::uint32_t>(front->buf.pinned_bytes());
    }
    outbox().pop_front().reset();
  }
  after_sent(pinned);
}

// The same for a transport that moves the blocks themselves.
BufChain StreamCore::take_outbox(std::size_t count_max) {
  BufChain taken = outbox().split_front(std::min(count_max, outbox().bytes()));
  ++loop_.metrics.sends;
  loop_.metrics.bytes_sent += taken.bytes();
  std::uint32_t pinned = 0;
  const Block* tail = nullptr;
  for (const BufChain::Node* node = outbox().front(); node != nullptr; node = node->next) {
    pinned += pinned_behind(tail, node->buf);
    tail = node->buf.block();
  }
  after_sent(pinned);
  return taken;
}

void StreamCore::after_sent(std::uint32_t pinned_bytes) {
  set_queued_pinned(pinned_bytes);
  update_pressure();
  if (outbox().empty() && has(kFinWanted)) queue_flush();
  if (writer_ != nullptr) wake_writer_if_done();
}

void StreamCore::send_failed(std::int32_t result) {
  if (has(kClosing)) return;
  set_write_error(result);
  queue_slice();
  outbox().clear();
  set_queued_pinned(0);
  if (has(kHandled)) return close(Error::of(write_errc(), Operation::write), false);
  wake_writer(Error::of(write_errc(), Operation::write));
}

void StreamCore::fin_sent(std::int32_t result) {
  if (has(kClosing)) return;
  set(kFinDone);
  if (result < 0) {
    set_write_error(result);
    if (has(kHandled)) return close(Error::of(write_errc(), Operation::shutdown), false);
    return wake_writer(Error::of(write_errc(), Operation::shutdown));
  }
  if (writer_ != nullptr) wake_writer_if_done();
  close_if_finished();
}

void StreamCore::update_pressure() {
  if (!has(kPressured) || queued_pinned_ > low_bytes()) return;
  clear(kPressured);
  if (!has(kHandled) || has(kClosing)) return;
  loop_.microtask(Job([this, seen = generation] {
    if (seen != generation || has(kClosing) || has(kPressured)) return;
    call_writable();
  }));
}

bool StreamCore::is_write_wait_over() const {
  if (has(kWaitsForFin)) return has(kFinDone);
  if (has(kWaitsForFlush)) return queued_bytes() == 0;
  return !has(kPressured);
}

void StreamCore::wake_writer_if_done() {
  if (is_write_wait_over()) wake_writer({});
}

void StreamCore::wake_writer(const Error& error) {
  if (writer_ == nullptr) return;
  Waiter* const waiter = std::exchange(writer_, nullptr);
  clear(kWaitsForFin);
  clear(kWaitsForFlush);
  if (!error.ok()) waiter->fail_with(error);
  waiter->wake_soon(loop_);
}

// The bytes were taken or refused by write(); an error is told here.
bool StreamCore::begin_write_wait(Stream::WriteOp& op) {
  if (op.has_failed() || !has(kPressured)) return finish_inline(op);
  WEIR_CHECK(writer_ == nullptr);  // One write, flush or finish at a time.
  writer_ = &op;
  return true;
}

bool StreamCore::begin_finish(Stream::FinishOp& op, bool with_fin) {
  loop_.check_thread();
  WEIR_CHECK(writer_ == nullptr);  // One write, flush or finish at a time.
  if (has(kClosing)) {
    op.fail_with(Error::of(Errc::closed, Operation::write));
  } else if (has(kWriteBroken)) {
    op.fail_with(Error::of(write_errc(), Operation::write));
  } else {
    if (with_fin) set(kFinWanted);
    flush_now();  // the transport may take all of it at once
    if (has(kWriteBroken)) op.fail_with(Error::of(write_errc(), Operation::write));
  }
  if (op.has_failed()) return finish_inline(op);
  set(with_fin ? kWaitsForFin : kWaitsForFlush);
  if (with_fin && outbox().empty() && !has(kFinStarted)) flush_now();
  if (is_write_wait_over()) {
    clear(kWaitsForFin);
    clear(kWaitsForFlush);
    return finish_inline(op);
  }
  writer_ = &op;
  if (is_send_busy()) hurry_send();
  return true;
}

void StreamCore::abandon_write(Waiter& waiter) {
  if (writer_ != &waiter) return;
  writer_ = nullptr;
  clear(kWaitsForFin);
  clear(kWaitsForFlush);
}

void StreamCore::end_writing() {
  loop_.check_thread();
  if (has(kFinWanted) || has(kClosing)) return;
  set(kFinWanted);
  if (is_send_busy()) hurry_send();
  queue_flush();
}

// What could not be sent now will stay a while: short slices leave their big blocks.
void StreamCore::shrink_leftovers() {
  const std::uint32_t limit = loop_.limits.copy_break_bytes;
  const BufChain::Node* node = outbox().front();
  bool is_worth_it = false;
  for (; node != nullptr && !is_worth_it; node = node->next) {
    is_worth_it = node->buf.size() < limit && node->buf.pinned_bytes() > limit;
  }
  if (!is_worth_it) return;
  BufChain kept = std::move(outbox());
  std::uint32_t pinned = 0;
  const Block* tail = nullptr;
  while (!kept.empty()) {
    Buf piece = copy_break(kept.pop_front(), *loop_.small_pool, loop_.metrics);
    pinned += pinned_behind(tail, piece);
    tail = piece.block();
    outbox().append(std::move(piece));
  }
  set_queued_pinned(pinned);
}

}  // namespace weir::inline v0
