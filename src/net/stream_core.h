// The engine of every byte stream: what came and waits to be read, what is queued to be sent, who waits, and the
// pressure both ways. A transport below it (a socket, an in-memory pair) moves the bytes. One record in the loop's
// slab; Stream is the handle to it. Waiters and handlers are called from the deliver step or from jobs only.
#pragma once
#include <exception>

#include "src/loop/loop_core.h"
#include "weir/stream.h"

namespace weir::inline v0 {

class StreamCore : public LoopClient, public LoanAccount {
 public:
  explicit StreamCore(LoopCore& loop_core) : loop_(loop_core) {}
  StreamCore(const StreamCore&) = delete;
  StreamCore& operator=(const StreamCore&) = delete;

  LoopCore& loop() const { return loop_; }

  // Reading.
  bool begin_read(Stream::ReadOp& op);  ///< false: op has its bytes or error already
  void abandon_read(Stream::ReadOp& op);
  void start(StreamHandler& handler);
  void pause();
  void resume();
  bool is_paused() const { return has(kPaused); }
  bool has_ended() const { return has(kEndDelivered); }

  // Writing.
  Write write(BufChain& bytes, bool waits);
  Write write(Buf& bytes, bool waits);
  bool begin_write_wait(Stream::WriteOp& op);
  bool begin_finish(Stream::FinishOp& op, bool with_fin);
  void abandon_write(Waiter& waiter);
  void end_writing();
  void set_marks(const WriteMarks& marks);
  std::size_t queued_bytes() const {
    return has(kHasSlice) ? out_.slice.size() : out_.queue.bytes();
  }
  bool can_write() const { return (flags_ & kCannotWrite) == 0; }
  Error write_error() const;  ///< why not

  // Ending. The record is freed when it is closed and the Stream has let go.
  void close(const Error& error, bool with_reset);
  void release();  ///< the Stream is gone: close, and call its handler no more
  bool is_closing() const { return has(kClosing); }
  void set_ref(bool is_ref);

  // What only some transports have.
  virtual Handle handle() const { return {}; }  ///< how reports name the connection
  virtual Address local_address() const { return {}; }
  virtual Address peer_address() const { return {}; }
  virtual Result<void> set_option(SocketOption option, std::int32_t value);
  virtual Result<std::int32_t> get_option(SocketOption option) const;

  void after_callback() override;
  void close_notification() override;
  /// It sees the end of stream if it waits for bytes, has none, and none came for more than `turns`.
  void end_if_idle(std::uint16_t turns);
  void on_loan_return();  ///< enough received memory came home to read on

  /// What a stream seldom has, so that one without it stays small.
  struct Aside {
    BufChain inbox;     // bytes that nobody has taken yet: kHasInbox
    Error close_error;  // for on_close
    WriteMarks marks;   // kOwnMarks; a zero is the loop's
  };

 protected:
  ~StreamCore() {
    queue_slice();
    out_.queue.~BufChain();
  }

  enum Flag : std::uint32_t {
    kPaused = 1u << 0,       // by the handler's owner
    kHeldByLoan = 1u << 1,   // too much received memory is held
    kEndReceived = 1u << 2,  // behind everything in the inbox
    kEndDelivered = 1u << 3,
    kHandled = 1u << 4,  // a handler, not tasks
    kPressured = 1u << 5,
    kFinWanted = 1u << 6,
    kFinStarted = 1u << 7,
    kFinDone = 1u << 8,
    kClosing = 1u << 9,
    kCloseStarted = 1u << 10,
    kClosed = 1u << 11,
    kReleased = 1u << 12,  // the Stream is gone
    kFlushQueued = 1u << 13,
    kWaitsForFin =
        1u << 14,  // what the waiting writer waits for: FIN, an empty queue, or the low mark
    kWaitsForFlush = 1u << 15,
    kDeliveryQueued = 1u << 16,  // a job will hand the inbox to the handler
    kUnref = 1u << 17,
    kResetOnClose = 1u << 18,
    kUncounted = 1u << 19,    // not a connection of the loop's count
    kReadArmed = 1u << 20,    // the transport will bring bytes
    kSendBusy = 1u << 21,     // the transport reads the outbox
    kHoldCounted = 1u << 22,  // held by loans while somebody waits: that keeps the loop alive
    kWriteBroken = 1u << 23,  // write_error_ says why
    kReadBroken = 1u << 24,   // read_error_ does
    kHasSlice = 1u << 25,     // out_ is a slice
    kHasInbox = 1u << 26,
    kOwnMarks = 1u << 27,
  };
  static constexpr std::uint32_t kCannotWrite = kClosing | kFinWanted | kWriteBroken;
  bool has(Flag flag) const { return (flags_ & flag) != 0; }
  void set(Flag flag) { flags_ |= flag; }
  void clear(Flag flag) { flags_ &= ~static_cast<std::uint32_t>(flag); }

  // What a transport does. None of these calls user code; results come back through the functions below.
  virtual void arm_read() = 0;  ///< asks for bytes, until disarm_read
  virtual void disarm_read() = 0;
  virtual void send_outbox() = 0;
  virtual void send_fin() = 0;
  virtual void start_close() = 0;  ///< everything in flight is cancelled; then closed() is called
  virtual void free_record() = 0;
  virtual void on_ref_changed(bool) {}
  /// Did nothing come for more than `turns`?
  virtual bool was_quiet_for(std::uint16_t turns) const = 0;
  virtual bool has_undelivered() const = 0;  ///< bytes that the loop holds for its next step
  /// Somebody begins to wait for the end of the send that is under way.
  virtual void hurry_send() {}

  // What a transport reports.
  void received(Buf&& bytes);
  /// received() of the Buf that is made of `parts`, for a caller that tells threw() what escapes.
  template <typename... Parts>
  void receive(std::size_t size, Parts&&... parts);
  void threw();
  void ended();
  void read_failed(std::int32_t result);
  void sent(std::size_t count);  ///< the first `count` bytes of the outbox are gone
  void sent_slice() {            ///< all of the slice is gone
    ++loop_.metrics.sends;
    loop_.metrics.bytes_sent += out_.slice.size();
    loop_.metrics.write_queue_bytes -= queued_pinned_;
    queued_pinned_ = 0;
    take_slice().reset();
    if (is_send_awaited()) [[unlikely]]
      after_sent(0);
  }
  BufChain take_outbox(std::size_t count_max);
  void send_failed(std::int32_t result);
  void fin_sent(std::int32_t result);
  void closed();

  bool is_read_armed() const { return has(kReadArmed); }
  bool is_send_busy() const { return has(kSendBusy); }
  /// Does anybody wait for the outbox to get empty?
  bool is_send_awaited() const {
    return writer_ != nullptr || (flags_ & (kPressured | kFinWanted | kClosing)) != 0;
  }
  bool wants_bytes() const;
  void continue_reading();
  /// Before what is left of the outbox waits for the peer: short slices leave the big blocks they pin.
  void shrink_leftovers();
  void queue_flush() {
    if (has(kFlushQueued)) return;
    set(kFlushQueued);
    loop_.call_after_callback(*this);
  }

  BufChain& outbox() { return out_.queue; }
  const BufChain& outbox() const { return out_.queue; }
  Buf take_slice() {
    Buf slice = std::move(out_.slice);
    clear(kHasSlice);
    ::new (&out_.queue) BufChain;
    return slice;
  }
  /// The slice becomes the first piece of the outbox: for whoever sends that.
  void queue_slice() {
    if (has(kHasSlice)) {
      Buf slice = take_slice();
      out_.queue.append(std::move(slice));
    }
  }
  void flush_now();

  LoopCore& loop_;
  /// What is to be sent: mostly one slice, the only one of its callback, which leaves with it; else the outbox.
  union Out {
    Out() : queue() {}
    ~Out() {}
    Buf slice;  // kHasSlice
    BufChain queue;
  } out_;

 private:
  // A stream may hold so much before anybody computes its share.
  static constexpr std::uint32_t kFreelyLoaned = 64 << 10;

  Write write_more(Buf& bytes, bool waits);
  bool begin_rare_read(Stream::ReadOp& op);
  bool try_satisfy(Stream::ReadOp& op);
  bool try_goal(Stream::ReadOp& op);
  bool is_collecting() const {
    return !has(kHandled) && reader_.op != nullptr && reader_.op->goal() != nullptr;
  }
  void collect(const Stream::ReadOp::Goal& goal);
  Buf take_from_inbox(std::size_t size_bytes);
  bool finish_inline(Waiter& op);
  void end_read_wait(Stream::ReadOp& op);
  void give_to_reader(Buf&& bytes);
  void received_otherwise(Buf&& bytes);
  void received_while_short(Buf&& got);
  void keep(Buf bytes);
  void hold_if_over_cap();
  void count_hold();
  std::uint32_t loan_cap() const;
  Aside& aside();
  BufChain& inbox() { return aside_->inbox; }  // with kHasInbox
  void drop_inbox();
  void queue_delivery();
  void deliver_inbox();
  void deliver_end();
  void close_if_finished();
  template <typename Call>
  void call_handler(Call&& call);

  bool may_queue(std::size_t pinned_bytes, bool waits) const;
  void queued(std::uint32_t pinned_bytes);
  void after_sent(std::uint32_t pinned_bytes);
  void update_pressure();
  void call_writable();
  bool is_write_wait_over() const;
  void wake_writer_if_done();
  void wake_writer(const Error& error);
  void set_queued_pinned(std::uint32_t bytes);
  std::uint32_t mark(std::uint32_t WriteMarks::*which, std::uint32_t of_loop) const;
  std::uint32_t high_bytes() const {
    return mark(&WriteMarks::high_bytes, loop_.limits.write_high_bytes);
  }
  std::uint32_t low_bytes() const {
    return mark(&WriteMarks::low_bytes, loop_.limits.write_low_bytes);
  }
  std::uint32_t cap_bytes() const {
    return mark(&WriteMarks::cap_bytes, loop_.limits.write_cap_bytes);
  }
  Errc read_error() const { return static_cast<Errc>(read_error_); }
  Errc write_errc() const { return static_cast<Errc>(write_error_); }
  void set_write_error(std::int32_t result) {
    write_error_ = static_cast<std::int16_t>(-result);
    set(kWriteBroken);
  }

  union Reader {
    Stream::ReadOp* op;
    StreamHandler* handler;
  } reader_{nullptr};  // which: kHandled
  Waiter* writer_ = nullptr;
  std::uint32_t queued_pinned_ = 0;
  std::uint32_t flags_ = 0;
  Aside* aside_ = nullptr;
  std::int16_t read_error_ = 0;  // an Errc
  std::int16_t write_error_ = 0;
};

/// The core of a stream that somebody uses. One that is closed still has it, and answers Errc::closed.
inline StreamCore& used(StreamCore* core) {
  if (core == nullptr) [[unlikely]] {
    check_failed_text(__FILE__, __LINE__,
                      "a Stream was used that is moved from or was never opened", "ask valid()");
  }
  return *core;
}

// What most writes are: the first of their callback, on a queue that the peer keeps empty.
inline Write StreamCore::write(Buf& bytes, bool waits) {
  constexpr std::uint32_t kUnusual = kSendBusy | kPressured | kOwnMarks;
  if ((flags_ & kUnusual) != 0 || queued_pinned_ != 0 || bytes.empty() ||
      bytes.block()->capacity > loop_.limits.write_high_bytes) [[unlikely]] {
    return write_more(bytes, waits);
  }
  queued_pinned_ = bytes.block()->capacity;
  loop_.metrics.write_queue_bytes += queued_pinned_;
  ::new (&out_.slice) Buf(std::move(bytes));
  set(kHasSlice);
  queue_flush();
  return Write::flowing;
}

// Every message comes through here: to the handler or to the task that waits, unless something is in front of it.
template <typename... Parts>
[[gnu::always_inline]] inline void StreamCore::receive(std::size_t size, Parts&&... parts) {
  ++loop_.metrics.receives;
  loop_.metrics.bytes_received += size;
  if (loop_.group->is_short()) [[unlikely]]
    return received_while_short(Buf(std::forward<Parts>(parts)...));
  if ((flags_ & (kHandled | kPaused | kClosing | kEndReceived | kHasInbox)) == kHandled) {
    reader_.handler->on_read(Buf(std::forward<Parts>(parts)...));
  } else if ((flags_ & (kHandled | kClosing | kEndReceived | kHasInbox | kHoldCounted)) == 0 &&
             reader_.op != nullptr && reader_.op->is_plain()) {
    Stream::ReadOp& op = *std::exchange(reader_.op, nullptr);
    op.bytes_ = Buf(std::forward<Parts>(parts)...);
    op.wake_with_value();
  } else {
    received_otherwise(Buf(std::forward<Parts>(parts)...));
  }
  if (loaned_bytes > kFreelyLoaned) [[unlikely]]
    hold_if_over_cap();
  if (!is_read_armed()) [[unlikely]]
    continue_reading();
}

}  // namespace weir::inline v0
