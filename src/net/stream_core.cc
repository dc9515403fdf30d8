// Reading and writing, seen from the application: waiters, handlers, marks.
// Path in:  transport -> received() -> waiter or handler, else inbox_. Path out: write() -> outbox_ -> after_callback()
// -> send_outbox() -> sent(). Copies only slices that would pin a block for long (copy-break), and counts them.
#include "src/net/stream_core.h"

#include <algorithm>
#include <exception>

#include "src/net/net_state.h"

namespace weir::inline v0 {

namespace {
Error error_of(Errc code, Operation operation) { return Error::of(code, operation); }
Errc errc_of(std::int32_t result) { return static_cast<Errc>(-result); }
}  // namespace

// ---- Reading.

bool StreamCore::wants_bytes() const {
  if ((flags_ & (kEndReceived | kClosing | kHeldByLoan)) != 0 || read_error_ != Errc::ok)
    return false;
  if (has(kHandled)) return !has(kPaused);
  return reader_.op != nullptr;
}

void StreamCore::continue_reading() {
  if (!is_read_armed() && wants_bytes()) arm_read();
}

bool StreamCore::begin_read(Stream::ReadOp& op) {
  loop_.check_thread();
  WEIR_CHECK(!has(kHandled));         // A handler reads this stream.
  WEIR_CHECK(reader_.op == nullptr);  // One read at a time.
  if (op.goal_ != nullptr) WEIR_CHECK_GT(op.goal_->size_bytes, 0u);
  const bool may_be_here =
      inbox_ != nullptr || (flags_ & (kClosing | kEndReceived)) != 0 || read_error_ != Errc::ok;
  if (may_be_here && try_satisfy(op)) return finish_inline(op);
  reader_.op = &op;
  if (has(kHeldByLoan)) [[unlikely]] {
    count_hold();
  } else if (!is_read_armed()) {
    arm_read();
  }
  if (op.timeout_.count() == 0) return true;
  op.deadline_ = &loop_.make_deadline(loop_.deadline_after(op.timeout_), this, [](TimerNode& node) {
    auto& core = *static_cast<StreamCore*>(static_cast<OpDeadline&>(node).owner);
    Stream::ReadOp* const late = core.reader_.op;
    core.end_read_wait(*late);
    core.disarm_read();
    late->fail_with(error_of(Errc::timed_out, Operation::read));
    late->wake();
  });
  return true;
}

// The result is here already. Within the budget the task goes on at once, else it takes its turn among the jobs.
bool StreamCore::finish_inline(Stream::ReadOp& op) {
  const bool may_go_on =
      !op.has_failed() && op.task()->may_go_on_inline(loop_.turn(), loop_.limits.inline_awaits);
  if (may_go_on || op.catches()) {
    ++loop_.metrics.inline_awaits;
    op.stop_waiting();
    return false;
  }
  op.wake_soon(loop_);
  return true;
}

// Fills `op` from what is known: bytes in the inbox, the end, an error.
bool StreamCore::try_satisfy(Stream::ReadOp& op) {
  if (inbox_ != nullptr && !has(kClosing)) {
    if (op.goal_ != nullptr) {
      if (try_goal(op)) return true;
    } else {
      op.bytes_ = inbox_->pop_front();
      if (inbox_->empty()) drop_inbox();
      return true;
    }
  }
  if (has(kClosing)) {
    op.fail_with(error_of(Errc::closed, Operation::read));
  } else if (read_error_ != Errc::ok) {
    op.fail_with(error_of(read_error_, Operation::read));
  } else if (has(kEndReceived)) {
    set(kEndDelivered);
    if (op.goal_ != nullptr) op.fail_with(error_of(Errc::end_of_stream, Operation::read));
  } else {
    return false;
  }
  return true;
}

void StreamCore::end_read_wait(Stream::ReadOp& op) {
  reader_.op = nullptr;
  if (has(kHoldCounted)) [[unlikely]]
    count_hold();
  if (op.deadline_ == nullptr) return;
  loop_.drop_deadline(*op.deadline_);
  op.deadline_ = nullptr;
}

void StreamCore::abandon_read(Stream::ReadOp& op) {
  if (reader_.op != &op) return;
  end_read_wait(op);
  disarm_read();  // the peer's next byte stays in the kernel
}

void StreamCore::give_to_reader(Buf&& bytes) {
  Stream::ReadOp& op = *reader_.op;
  if (op.goal_ != nullptr) {
    keep(std::move(bytes));
    if (!try_goal(op)) return;
  } else {
    op.bytes_ = std::move(bytes);
  }
  end_read_wait(op);
  op.wake();
}

[[gnu::cold]] void StreamCore::handler_threw() {
  loop_.on_escape(std::current_exception());
  close(error_of(Errc::exception, Operation::read), false);
}

// Bytes that nobody takes now, or that complete what a reader has collected.
void StreamCore::received_otherwise(Buf&& bytes) {
  if (has(kClosing)) return bytes.reset();
  if (!has(kHandled) && reader_.op != nullptr && reader_.op->goal_ != nullptr) {
    give_to_reader(std::move(bytes));
  } else {
    keep(std::move(bytes));
  }
}

void StreamCore::ended() {
  if (has(kClosing)) return;
  set(kEndReceived);
  count_hold();
  if (inbox_ != nullptr && (has(kHandled) || reader_.op == nullptr))
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
  if (inbox_ == nullptr && wants_bytes() && was_quiet_for(turns)) ended();
}

void StreamCore::read_failed(std::int32_t result) {
  if (has(kClosing)) return;
  read_error_ = errc_of(result);
  count_hold();
  if (has(kHandled)) {
    if (inbox_ != nullptr || has(kPaused)) return;  // delivered behind the bytes
    return close(error_of(read_error_, Operation::read), false);
  }
  if (Stream::ReadOp* const op = reader_.op; op != nullptr && try_satisfy(*op)) {
    end_read_wait(*op);
    op->wake();
  }
}

BufChain& StreamCore::inbox() {
  if (inbox_ == nullptr) inbox_ = &NetExtension::of(loop_).chains.make();
  return *inbox_;
}

void StreamCore::drop_inbox() {
  if (inbox_ == nullptr) return;
  NetExtension::of(loop_).chains.destroy(*std::exchange(inbox_, nullptr));
}

// Nobody takes the bytes now: they wait, short ones out of their block, and a stream that holds much stops reading.
void StreamCore::keep(Buf bytes) {
  inbox().append(copy_break(std::move(bytes), *loop_.small_pool, loop_.metrics));
  if (inbox_->bytes() >= loop_.limits.bytes_per_socket_turn && !has(kHeldByLoan) &&
      !(reader_.op != nullptr && !has(kHandled))) {
    disarm_read();
  }
  hold_if_over_cap();
}

std::uint32_t StreamCore::loan_cap() const {
  const auto live =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(1, loop_.metrics.connections));
  return std::clamp(loop_.limits.group_bytes / live, 2 * loop_.limits.block_bytes,
                    loop_.limits.loan_bytes_max);
}

void StreamCore::hold_if_over_cap() {
  if (has(kHeldByLoan)) return;
  const std::uint32_t cap = loan_cap();
  if (loaned_bytes < cap) return;
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
  const bool counts = has(kHeldByLoan) && is_waiting && read_error_ == Errc::ok &&
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
  if (inbox_ != nullptr || has(kEndReceived) || read_error_ != Errc::ok) queue_delivery();
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
  if (inbox_ != nullptr || has_end || read_error_ != Errc::ok) queue_delivery();
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
  while (inbox_ != nullptr && !has(kPaused) && !has(kClosing)) {
    Buf bytes = inbox_->pop_front();
    if (inbox_->empty()) drop_inbox();
    call_handler([&](StreamHandler& handler) { handler.on_read(std::move(bytes)); });
  }
  if (has(kPaused) || has(kClosing)) return;
  if (read_error_ != Errc::ok) return close(error_of(read_error_, Operation::read), false);
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
  if (!error.ok()) close_error_ = &NetExtension::of(loop_).errors.make(error);
  drop_inbox();
  if (!has(kHandled) && reader_.op != nullptr) {
    Stream::ReadOp& op = *reader_.op;
    end_read_wait(op);
    op.fail_with(error_of(Errc::closed, Operation::read));
    op.wake_soon(loop_);
  }
  wake_writer(error_of(Errc::closed, Operation::write));
  if (!is_send_busy()) {
    slice_.reset();
    outbox_.clear();
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
  outbox_.clear();
  set_queued_pinned(0);
  loop_.notify_close(*this);
}

void StreamCore::close_notification() {
  set(kClosed);
  ++loop_.metrics.closed;
  if (!has(kUncounted)) NetExtension::of(loop_).connection_closed();
  const Error error = close_error_ != nullptr ? *close_error_ : Error{};
  if (close_error_ != nullptr)
    NetExtension::of(loop_).errors.destroy(*std::exchange(close_error_, nullptr));
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
