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
  explicit StreamCore(LoopCore& loop_core) : loop_(loop_core) { set_marks({}); }
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
  std::size_t queued_bytes() const { return slice_.size() + outbox_.bytes(); }
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

 protected:
  ~StreamCore() = default;

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
  /// Did nothing come for more than `turns`, and is nothing on its way to the application?
  virtual bool was_quiet_for(std::uint16_t turns) const = 0;
  /// Somebody begins to wait for the end of the send that is under way.
  virtual void hurry_send() {}

  // What a transport reports.
  void received(Buf&& bytes);
  void ended();
  void read_failed(std::int32_t result);
  void sent(std::size_t count);  ///< the first `count` bytes of the outbox are gone
  void sent_slice();             ///< all of slice_ is gone
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

  /// The slice becomes the first piece of the outbox: for whoever sends that.
  void queue_slice() {
    if (!slice_.empty()) outbox_.append(std::move(slice_));
  }
  void flush_now();

  LoopCore& loop_;
  Buf slice_;  // what most writes are: the only one of its callback, which leaves with it; the outbox is empty
  BufChain outbox_;
  BufChain* inbox_ = nullptr;  // made when bytes wait, which is seldom

 private:
  // A stream may hold so much before anybody computes its share.
  static constexpr std::uint32_t kFreelyLoaned = 64 << 10;

  Write write_more(Buf& bytes, bool waits);
  bool try_satisfy(Stream::ReadOp& op);
  bool try_goal(Stream::ReadOp& op);
  Buf take_from_inbox(std::size_t size_bytes);
  bool finish_inline(Stream::ReadOp& op);
  void end_read_wait(Stream::ReadOp& op);
  void give_to_reader(Buf&& bytes);
  void received_otherwise(Buf&& bytes);
  void keep(Buf bytes);
  void hold_if_over_cap();
  void count_hold();
  std::uint32_t loan_cap() const;
  BufChain& inbox();
  void drop_inbox();
  void queue_delivery();
  void deliver_inbox();
  void deliver_end();
  void close_if_finished();
  void handler_threw();
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
  void set_write_error(std::int32_t result) {
    write_error_ = static_cast<Errc>(-result);
    set(kWriteBroken);
  }

  union Reader {
    Stream::ReadOp* op;
    StreamHandler* handler;
  } reader_{nullptr};  // which: kHandled
  Waiter* writer_ = nullptr;
  std::uint32_t queued_pinned_ = 0;
  std::uint32_t flags_ = 0;
  Errc read_error_ = Errc::ok;
  Errc write_error_ = Errc::ok;
  Error* close_error_ = nullptr;  // for on_close; seldom there
  WriteMarks marks_;              // effective ones: none is zero
};

template <typename Call>
void StreamCore::call_handler(Call&& call) {
#if defined(__cpp_exceptions)
  try {
    call(*reader_.handler);
  } catch (...) {
    handler_threw();
  }
#else
  call(*reader_.handler);
#endif
}

// Every message comes through here: to the handler or to the task that waits, unless something is in front of it.
inline void StreamCore::received(Buf&& bytes) {
  ++loop_.metrics.receives;
  loop_.metrics.bytes_received += bytes.size();
  const std::uint32_t way = flags_ & (kHandled | kPaused | kClosing);
  if (way == kHandled && inbox_ == nullptr) {
    call_handler([&](StreamHandler& handler) { handler.on_read(std::move(bytes)); });
  } else if ((way & (kHandled | kClosing)) == 0 && reader_.op != nullptr && inbox_ == nullptr) {
    give_to_reader(std::move(bytes));
  } else {
    received_otherwise(std::move(bytes));
  }
  if (loaned_bytes > kFreelyLoaned) [[unlikely]]
    hold_if_over_cap();
  if (!is_read_armed()) [[unlikely]]
    continue_reading();
}

}  // namespace weir::inline v0
