// Reading and writing, seen from the application: waiters, handlers, marks.
// Path in:  transport -> received() -> waiter or handler, else the inbox. Path out: write() -> outbox -> after_callback()
// -> send_outbox() -> sent(). Copies only slices that would pin a block for long (copy-break), and counts them.
#include "src/net/stream_core.h"

#include <algorithm>
#include <exception>

#include "src/net/net_state.h"

namespace weir::inline v0 {

namespace {
Error error_of(Errc code, Operation operation) { return Error::of(code, operation); }
}  // namespace

// ---- Reading.

bool StreamCore::wants_bytes() const {
  if ((flags_ & (kEndReceived | kClosing | kHeldByLoan | kReadBroken)) != 0) return false;
  if (has(kHandled)) return !has(kPaused);
  return reader_.op != nullptr;
}

void StreamCore::continue_reading() {
  if (!is_read_armed() && wants_bytes()) arm_read();
}

bool Stream::ReadOp::suspend() { return used(core_).begin_read(*this); }

// Mostly nothing is here yet, and the transport will bring it.
inline bool StreamCore::begin_read(Stream::ReadOp& op) {
  loop_.check_thread();
  WEIR_CHECK(reader_.op == nullptr);  // One read at a time, and none beside a handler.
  constexpr std::uint32_t kUnusual =
      kHandled | kClosing | kEndReceived | kReadBroken | kHeldByLoan | kHasInbox | kReadArmed;
  if ((flags_ & kUnusual) != kReadArmed || !op.is_plain() || op.limit_.timeout_ns != 0)
      [[unlikely]] {
    return begin_rare_read(op);
  }
  reader_.op = &op;
  return true;
}

bool StreamCore::begin_rare_read(Stream::ReadOp& op) {
  WEIR_CHECK(!has(kHandled));  // A handler reads this stream.
  if (op.goal() != nullptr) WEIR_CHECK_GT(op.goal()->size_bytes, 0u);
  const bool may_be_here = (flags_ & (kHasInbox | kClosing | kEndReceived | kReadBroken)) != 0;
  if (may_be_here && try_satisfy(op)) return finish_inline(op);
  reader_.op = &op;
  if (has(kHeldByLoan) && op.goal() != nullptr) [[unlikely]] {
    collect(*op.goal());
    resume_below_bytes = 0;
    clear(kHeldByLoan);
  }
  if (has(kHeldByLoan)) [[unlikely]] {
    count_hold();
  } else if (!is_read_armed()) {
    arm_read();
  }
  if (op.limit_.timeout_ns == 0) return true;
  const std::uint64_t deadline_ns = loop_.deadline_after(Duration(op.limit_.timeout_ns));
  op.limit_.deadline = &loop_.make_deadline(deadline_ns, this, [](TimerNode& node) {
    auto& core = *static_cast<StreamCore*>(static_cast<OpDeadline&>(node).owner);
    // What came in time but waits for its turn counts: the next steps of this turn deliver it, or ask the kernel.
    auto& deadline = static_cast<OpDeadline&>(node);
    const bool may_come = !deadline.has_fired && core.loop_.backend().pending_hint();
    deadline.has_fired = true;
    if (may_come || core.has_undelivered()) return core.loop_.postpone(deadline);
    Stream::ReadOp* const late = core.reader_.op;
    core.end_read_wait(*late);
    core.disarm_read();
    late->fail_with(error_of(Errc::timed_out, Operation::read));
    late->wake();
  });
  op.set_bit(Stream::ReadOp::kTimed);
  return true;
}

// The result is here already. Within the budget the task goes on at once, else it takes its turn among the jobs.
bool StreamCore::finish_inline(Waiter& op) {
  const bool goes_on = !op.has_failed() || op.catches();  // else the task ends, which takes a job
  if (goes_on && op.task()->may_go_on_inline(loop_.turn(), loop_.limits.inline_awaits)) {
    ++loop_.metrics.inline_awaits;
    op.stop_waiting();
    return false;
  }
  op.wake_soon(loop_);
  return true;
}

// Fills `op` from what is known: bytes in the inbox, the end, an error.
bool StreamCore::try_satisfy(Stream::ReadOp& op) {
  if (has(kHasInbox) && !has(kClosing)) {
    if (op.goal() != nullptr) {
      if (try_goal(op)) return true;
    } else {
      op.bytes_ = inbox().pop_front();
      if (inbox().empty()) drop_inbox();
      return true;
    }
  }
  if (has(kClosing)) {
    op.fail_with(error_of(Errc::closed, Operation::read));
  } else if (has(kReadBroken)) {
    op.fail_with(error_of(read_error(), Operation::read));
  } else if (has(kEndReceived)) {
    set(kEndDelivered);
    if (op.goal() != nullptr) op.fail_with(error_of(Errc::end_of_stream, Operation::read));
  } else {
    return false;
  }
  return true;
}

void StreamCore::end_read_wait(Stream::ReadOp& op) {
  reader_.op = nullptr;
  if (has(kHoldCounted)) [[unlikely]]
    count_hold();
  if (!op.has_bit(Stream::ReadOp::kTimed)) return;
  op.clear_bit(Stream::ReadOp::kTimed);
  loop_.drop_deadline(*op.limit_.deadline);
}

void StreamCore::abandon_read(Stream::ReadOp& op) {
  if (reader_.op != &op) return;
  end_read_wait(op);
  disarm_read();  // the peer's next byte stays in the kernel
}

void StreamCore::give_to_reader(Buf&& bytes) {
  Stream::ReadOp& op = *reader_.op;
  if (op.goal() != nullptr) {
    keep(std::move(bytes));
    if (!try_goal(op)) return;
  } else {
    op.bytes_ = std::move(bytes);
  }
  end_read_wait(op);
  op.wake();
}

// An exception ends the stream of the handler that it escaped from.
[[gnu::cold]] void StreamCore::threw() {
  loop_.on_escape(std::current_exception());
  if (has(kHandled)) close(error_of(Errc::exception, Operation::read), false);
}

template <typename Call>
void StreamCore::call_handler(Call&& call) {
  guarded([&] { call(*reader_.handler); }, [&] { threw(); });
}

void StreamCore::received(Buf&& bytes) {
  guarded([&] { receive(bytes.size(), std::move(bytes)); }, [&] { threw(); });
}

// Bytes that nobody takes now, or that complete what a reader has collected.
void StreamCore::received_otherwise(Buf&& bytes) {
  if ((flags_ & (kClosing | kEndReceived)) != 0) return bytes.reset();  // kEndReceived: by a stop
  if (!has(kHandled) && reader_.op != nullptr &&
      (!has(kHasInbox) || reader_.op->goal() != nullptr)) {
    give_to_reader(std::move(bytes));
  } else {
    keep(std::move(bytes));
  }
}

// Memory is short: short slices leave their blocks at once, and who holds a block is read from no more.
void StreamCore::received_while_short(Buf&& got) {
  Buf bytes = copy_break(std::move(got), *loop_.small_pool, loop_.metrics);
  constexpr std::uint32_t kWay = kHandled | kPaused | kClosing | kEndReceived | kHasInbox;
  if ((flags_ & kWay) == kHandled) {
    reader_.handler->on_read(std::move(bytes));
  } else {
    received_otherwise(std::move(bytes));
  }
  hold_if_over_cap();
  if (!is_read_armed()) continue_reading();
}

void StreamCore::ended() {
  if (has(kClosing) || has(kEndReceived)) return;
  set(kEndReceived);
  count_hold();
  if (has(kHasInbox) && (has(kHandled) || reader_.op == nullptr))
    return;  // delivered behind the bytes
  if (has(kHandled)) {
    if (has(kPaused)) return;
    return deliver_end();
  }
  if (Stream::ReadOp* const op = reader_.op; op != nullptr && try_satisfy(*op)) {
    end_read_wait(*op);
    op->wake();
  }
}

void StreamCore::end_if_idle(std::uint16_t turns) {
  if (has(kHasInbox) || !wants_bytes() || has_undelivered() || !was_quiet_for(turns)) return;
  disarm_read();
  ended();
}

void StreamCore::read_failed(std::int32_t result) {
  if (has(kClosing)) return;
  read_error_ = static_cast<std::int16_t>(-result);
  set(kReadBroken);
  count_hold();
  if (has(kHandled)) {
    if (has(kHasInbox) || has(kPaused)) return;  // delivered behind the bytes
    return close(error_of(read_error(), Operation::read), false);
  }
  if (Stream::ReadOp* const op = reader_.op; op != nullptr && try_satisfy(*op)) {
    end_read_wait(*op);
    op->wake();
  }
}

StreamCore::Aside& StreamCore::aside() {
  if (aside_ == nullptr) aside_ = &NetExtension::of(loop_).asides.make();
  return *aside_;
}

void StreamCore::drop_inbox() {
  if (!has(kHasInbox)) return;
  clear(kHasInbox);
  aside_->inbox.clear();
}

// Nobody takes the bytes now: they wait, short ones out of their block, and a stream that holds much stops reading.
void StreamCore::keep(Buf bytes) {
  const bool is_short = bytes.size() < loop_.limits.copy_break_bytes;
  const bool may_follow = has(kHasInbox) && (is_short || is_collecting());
  if (may_follow && inbox().absorb(bytes, *loop_.small_pool)) {
    loop_.metrics.copy_breaks += is_short;
  } else {
    aside().inbox.append(copy_break(std::move(bytes), *loop_.small_pool, loop_.metrics));
    set(kHasInbox);
  }
  if (inbox().bytes() >= loop_.limits.bytes_per_socket_turn && !has(kHeldByLoan) &&
      !(reader_.op != nullptr && !has(kHandled))) {
    disarm_read();
  }
  hold_if_over_cap();
}

std::uint32_t StreamCore::loan_cap() const {
  if (loop_.group->is_short()) return loop_.limits.block_bytes;
  const auto live =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(1, loop_.metrics.connections));
  const std::uint32_t least = std::min(2 * loop_.limits.block_bytes, loop_.limits.loan_bytes_max);
  return std::clamp(loop_.limits.group_bytes / live, least, loop_.limits.loan_bytes_max);
}

// Not while a read waits for more than the cap: it would wait for ever.
void StreamCore::hold_if_over_cap() {
  if (has(kHeldByLoan)) return;
  const std::uint32_t cap = loan_cap();
  if (loaned_bytes < cap) return;
  if (is_collecting()) return collect(*reader_.op->goal());
  set(kHeldByLoan);
  ++loop_.metrics.read_pauses;
  resume_below_bytes = cap / 2 + 1;
  disarm_read();
  count_hold();
}

// A receive that is not armed keeps no loop alive; yet whoever waits for its bytes waits for memory to come home, which
// may be with the kernel only (a zero-copy send).
void StreamCore::count_hold() {
  const bool is_waiting = has(kHandled) ? !has(kPaused) : reader_.op != nullptr;
  const bool counts = has(kHeldByLoan) && is_waiting && !has(kReadBroken) &&
                      (flags_ & (kEndReceived | kClosing | kUnref)) == 0;
  if (counts == has(kHoldCounted)) return;
  counts ? set(kHoldCounted) : clear(kHoldCounted);
  loop_.add_active(counts ? 1 : -1);
}

void StreamCore::on_loan_return() {
  clear(kHeldByLoan);
  count_hold();
  continue_reading();
}

// ---- Handlers.

void StreamCore::start(StreamHandler& handler) {
  loop_.check_thread();
  WEIR_CHECK(!has(kHandled));
  WEIR_CHECK(reader_.op == nullptr);  // A task reads this stream.
  set(kHandled);
  reader_.handler = &handler;
  if (has(kHasInbox) || has(kEndReceived) || has(kReadBroken)) queue_delivery();
  continue_reading();
}

void StreamCore::pause() {
  loop_.check_thread();
  if (has(kPaused)) return;
  set(kPaused);
  count_hold();
  disarm_read();
}

void StreamCore::resume() {
  loop_.check_thread();
  if (!has(kPaused)) return;
  clear(kPaused);
  count_hold();
  const bool has_end = has(kEndReceived) && !has(kEndDelivered);
  if (has(kHasInbox) || has_end || has(kReadBroken)) queue_delivery();
  continue_reading();
}

void StreamCore::queue_delivery() {
  if (has(kDeliveryQueued) || !has(kHandled)) return;
  set(kDeliveryQueued);
  loop_.immediate(Job([this, seen = generation] {
    if (seen == generation) deliver_inbox();
  }));
}

void StreamCore::deliver_inbox() {
  clear(kDeliveryQueued);
  while (has(kHasInbox) && !has(kPaused) && !has(kClosing)) {
    Buf bytes = inbox().pop_front();
    if (inbox().empty()) drop_inbox();
    call_handler([&](StreamHandler& handler) { handler.on_read(std::move(bytes)); });
  }
  if (has(kPaused) || has(kClosing)) return;
  if (has(kReadBroken)) return close(error_of(read_error(), Operation::read), false);
  if (has(kEndReceived) && !has(kEndDelivered)) deliver_end();
  continue_reading();
}

void StreamCore::deliver_end() {
  set(kEndDelivered);
  call_handler([](StreamHandler& handler) { handler.on_end(); });
  close_if_finished();
}

// A task closes its stream by letting go of it; a handler has no other moment to learn that its last bytes left.
void StreamCore::close_if_finished() {
  if (has(kHandled) && has(kEndDelivered) && has(kFinDone)) close({}, false);
}

void StreamCore::call_writable() {
  call_handler([](StreamHandler& handler) { handler.on_writable(); });
}

// ---- Ending.

void StreamCore::set_ref(bool is_ref) {
  if (is_ref == !has(kUnref)) return;
  is_ref ? clear(kUnref) : set(kUnref);
  count_hold();
  on_ref_changed(is_ref);
}

void StreamCore::close(const Error& error, bool with_reset) {
  if (has(kClosing)) return;
  loop_.check_thread();
  set(kClosing);
  count_hold();
  if (with_reset) set(kResetOnClose);
  if (!error.ok()) aside().close_error = error;
  drop_inbox();
  if (!has(kHandled) && reader_.op != nullptr) {
    Stream::ReadOp& op = *reader_.op;
    end_read_wait(op);
    op.fail_with(error_of(Errc::closed, Operation::read));
    op.wake_soon(loop_);
  }
  wake_writer(error_of(Errc::closed, Operation::write));
  if (!is_send_busy()) {
    queue_slice();
    outbox().clear();
    set_queued_pinned(0);
  }
  set(kCloseStarted);
  start_close();
}

void StreamCore::release() {
  if (has(kHandled)) reader_.handler = nullptr;
  set(kReleased);
  if (has(kClosed)) return free_record();
  close({}, false);
}

void StreamCore::closed() {
  queue_slice();
  outbox().clear();
  set_queued_pinned(0);
  loop_.notify_close(*this);
}

void StreamCore::close_notification() {
  set(kClosed);
  ++loop_.metrics.closed;
  if (!has(kUncounted)) NetExtension::of(loop_).connection_closed();
  const Error error = aside_ != nullptr ? aside_->close_error : Error{};
  if (aside_ != nullptr) NetExtension::of(loop_).asides.destroy(*std::exchange(aside_, nullptr));
  if (has(kHandled) && reader_.handler != nullptr) {
    StreamHandler& handler = *reader_.handler;
    reader_.handler = nullptr;
    handler.on_close(error);  // may release() this stream, which then frees the record
    return;
  }
  if (has(kReleased)) free_record();
}

Result<void> StreamCore::set_option(SocketOption, std::int32_t) {
  return Error::of(Errc::not_supported, Operation::option);
}
Result<std::int32_t> StreamCore::get_option(SocketOption) const {
  return Error::of(Errc::not_supported, Operation::option);
}

}  // namespace weir::inline v0
