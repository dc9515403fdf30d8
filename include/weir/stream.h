// Stream: one end of a byte stream, over a socket or an in-memory pair. It is a move-only handle to a record in the
// loop's slab: moving it is safe, destroying it closes it. Read and write from a task, or start() a handler.
//
//     while (weir::Buf bytes = co_await peer.read()) co_await peer.write(std::move(bytes));
//     co_await peer.finish();
//
// Every accepted byte is later confirmed by flush() or finish(), or reported by an error. Writes of one callback are
// gathered into one send. Received memory is charged to the stream until it is released (Limits::loan_bytes_max).
#pragma once
#include <cstdint>
#include <string_view>
#include <utility>

#include "weir/address.h"
#include "weir/buffer.h"
#include "weir/loop.h"
#include "weir/task.h"

namespace weir::inline v0 {

class StreamCore;
struct ConnectRecord;
struct OpDeadline;

enum class Write : std::uint8_t {
  flowing,    ///< taken
  pressured,  ///< taken; above the high mark: wait for on_writable, or a write() that waits
  refused,    ///< not taken, not even in part: the bytes are still the caller's
};

/// Marks of one stream, in bytes of pinned memory; zero means the loop's (Limits::write_*).
struct WriteMarks {
  std::uint32_t high_bytes = 0;
  std::uint32_t low_bytes = 0;
  std::uint32_t cap_bytes = 0;
};

struct ReadOptions {
  constexpr ReadOptions() = default;
  constexpr ReadOptions(Duration timeout_after)
      : timeout(timeout_after) {}  // NOLINT: a duration is a timeout
  Duration timeout{0};             ///< 0: none. timed_out only if no bytes came
};

/// What a stream tells a handler. A call may destroy the stream, and the handler with it. A stream whose two directions
/// have both ended (on_end, and end_writing's FIN) closes by itself.
class StreamHandler {
 public:
  virtual void on_read(Buf bytes) = 0;  ///< not while paused
  virtual void on_end() {}              ///< the peer's clean end of stream; writing goes on
  virtual void on_writable() {}  ///< was pressured or refused, is at or below the low mark now
  virtual void on_close(
      const Error& error) = 0;  ///< last; error.ok() after a close of one's own, or by itself

 protected:
  ~StreamHandler() = default;
};

/// Owner:   whoever has it; destroying it closes it. Destroy it before its Loop: a stream that outlives the loop points
///          to a record that is gone.
/// Threads: the loop's own.
class WEIR_API Stream {
 public:
  class ReadOp;
  class ReadUntilOp;
  class WriteOp;
  class FinishOp;

  Stream() = default;
  explicit Stream(StreamCore* core) : core_(core) {}
  Stream(Stream&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      release();
      core_ = std::exchange(other.core_, nullptr);
    }
    return *this;
  }
  ~Stream() { release(); }
  bool valid() const { return core_ != nullptr; }
  bool is_open() const;  ///< valid, and close() was not called

  // For tasks. One read and one write, flush or finish may wait at a time; a second aborts.
  /// The next bytes, as many as there are; an empty Buf is the peer's clean end of stream.
  ReadOp read();
  ReadOp read(ReadOptions options);
  /// Exactly `size_bytes` as one Buf (copied together only if they came in several pieces).
  /// Errors: end_of_stream when the peer ends before; what came stays readable. Misuse: 0 bytes aborts.
  ReadUntilOp read_exact(std::size_t size_bytes, ReadOptions options = {});
  /// Up to and with `delimiter`. Errors: message_too_long when `size_bytes_max` came without it; end_of_stream.
  ReadUntilOp read_until(std::string_view delimiter, std::size_t size_bytes_max,
                         ReadOptions options = {});
  /// Gives the bytes away; suspends only under pressure. Errors: those of the write side so far.
  WriteOp write(Buf&& bytes);
  WriteOp write(BufChain&& bytes);
  WriteOp write(std::string_view text);  ///< copied into the loop's memory, counted
  FinishOp flush();                      ///< all accepted bytes are with the kernel
  FinishOp finish();                     ///< flush, then FIN; reading goes on

  // For handlers, and for tasks that do not want to wait.
  void start(StreamHandler& handler);  ///< reads flow to on_read from now on
  Write try_write(Buf& bytes);         ///< takes `bytes` (then empty), or refuses
  Write try_write(BufChain& bytes);
  void end_writing();  ///< FIN after what is queued
  void pause();        ///< no on_read until resume; bytes that came are kept
  void resume();
  bool is_paused() const;

  void close();  ///< now: queued bytes are dropped, who waits is told `closed`
  void reset();  ///< the same, with RST

  Loop& loop() const;
  Address local_address() const;  ///< Family::none for a memory pair
  Address peer_address() const;
  Result<void> set_option(SocketOption option, std::int32_t value);
  Result<std::int32_t> get_option(SocketOption option) const;
  void set_marks(const WriteMarks& marks);
  std::size_t queued_bytes() const;  ///< accepted and not yet with the kernel
  std::size_t loaned_bytes() const;  ///< received memory that the application still holds
  bool has_ended() const;            ///< the peer's end of stream was delivered
  void unref();                      ///< its reads do not keep the loop alive
  void ref();
  StreamCore* core() const { return core_; }

 private:
  void release() noexcept;
  StreamCore* core_ = nullptr;
};

/// Waits for bytes. Destroying it while it waits loses none: what comes later stays with the stream.
class [[nodiscard]] WEIR_API Stream::ReadOp : public Waiter {
 public:
  ReadOp(StreamCore* core, Duration timeout) : core_(core), limit_{.timeout_ns = timeout.count()} {}
  ReadOp(ReadOp&& other) noexcept
      : Waiter(std::move(other)), core_(other.core_), limit_(other.limit_) {}
  ~ReadOp() {
    if (is_waiting()) abandon();
  }
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    return suspend();
  }
  Buf await_resume() { return std::move(bytes_); }

 protected:
  friend class StreamCore;
  friend class SocketCore;
  friend class PairCore;
  enum OwnBit : std::uint8_t {
    kTimed = kFirstOwn,         // it has a deadline
    kTowardsGoal = kTimed << 1  // this is a ReadUntilOp
  };
  /// What read_exact and read_until wait for.
  struct Goal {
    std::size_t size_bytes = 0;  // exactly, or at most when there is a delimiter
    std::string_view delimiter;
    std::size_t searched_bytes = 0;  // no delimiter starts before
  };
  Goal* goal();  // null: any bytes
  bool is_plain() const { return !has_bit(kTimed | kTowardsGoal); }
  bool suspend();  // false: the bytes are here
  void abandon();

  StreamCore* core_;
  union Limit {
    std::int64_t timeout_ns;  // 0: none
    OpDeadline* deadline;     // with kTimed, while it waits
  } limit_;
  Buf bytes_;
};

class [[nodiscard]] WEIR_API Stream::ReadUntilOp : public Stream::ReadOp {
 public:
  ReadUntilOp(StreamCore* core, Duration timeout, std::size_t size_bytes,
              std::string_view delimiter)
      : ReadOp(core, timeout), goal_{size_bytes, delimiter, 0} {
    set_bit(kTowardsGoal);
  }
  ReadUntilOp(ReadUntilOp&& other) noexcept : ReadOp(std::move(other)), goal_(other.goal_) {}

 private:
  friend class Stream::ReadOp;
  Goal goal_;
};

inline Stream::ReadOp::Goal* Stream::ReadOp::goal() {
  return has_bit(kTowardsGoal) ? &static_cast<ReadUntilOp*>(this)->goal_ : nullptr;
}
inline Stream::ReadOp Stream::read() { return ReadOp(core_, Duration(0)); }
inline Stream::ReadOp Stream::read(ReadOptions options) { return ReadOp(core_, options.timeout); }

/// The bytes were taken or refused when write() was called; this waits until the pressure is gone.
class [[nodiscard]] WEIR_API Stream::WriteOp : public Waiter {
 public:
  explicit WriteOp(StreamCore* core) : core_(core) {}
  WriteOp(WriteOp&& other) noexcept : Waiter(std::move(other)), core_(other.core_) {}
  ~WriteOp() {
    if (is_waiting()) abandon();
  }
  bool await_ready() const noexcept { return !has_bit(kNeedsWait); }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    return suspend();
  }
  void await_resume() const noexcept {}

 private:
  friend class StreamCore;
  friend class Stream;
  static constexpr int kNeedsWait = kFirstOwn;
  template <typename Bytes>
  void take(Bytes& bytes);
  bool suspend();
  void abandon();
  StreamCore* core_;
};

class [[nodiscard]] WEIR_API Stream::FinishOp : public Waiter {
 public:
  FinishOp(StreamCore* core, bool with_fin) : core_(core) {
    if (with_fin) set_bit(kWithFin);
  }
  FinishOp(FinishOp&& other) noexcept : Waiter(std::move(other)), core_(other.core_) {}
  ~FinishOp() {
    if (is_waiting()) abandon();
  }
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    return suspend();
  }
  void await_resume() const noexcept {}

 private:
  friend class StreamCore;
  static constexpr int kWithFin = kFirstOwn;
  bool suspend();
  void abandon();
  StreamCore* core_;
};

/// Moves everything from one stream to the other until the end: buffers, pressure, half-close. Copies nothing.
/// Errors: the first of either side; the caller decides what to close.
WEIR_API Task<> pipe(Stream& from, Stream& to);

/// Two streams joined in memory, with the same marks, pressure, half-close and reset as sockets.
WEIR_API std::pair<Stream, Stream> make_stream_pair(Loop& loop);

struct ConnectOptions {
  Duration timeout{0};  ///< 0: the system's
  Address bind{};       ///< Family::none: any
  bool no_delay = true;
  bool keep_alive = false;
  std::int32_t send_buffer_bytes = 0;
  std::int32_t receive_buffer_bytes = 0;
};

/// `co_await connect(address, options)` on the current loop. Errors: connection_refused, timed_out, …
class [[nodiscard]] WEIR_API ConnectAwait : public FullErrorWaiter {
 public:
  ConnectAwait(Loop& loop, const Address& peer, const ConnectOptions& options)
      : loop_(&loop), peer_(peer), options_(options) {}
  ConnectAwait(ConnectAwait&& other) noexcept
      : FullErrorWaiter(std::move(other)),
        loop_(other.loop_),
        peer_(other.peer_),
        options_(other.options_) {}
  ~ConnectAwait() {
    if (is_waiting()) abandon();
  }
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    return suspend();
  }
  Stream await_resume() { return std::move(stream_); }

 private:
  bool suspend();
  void abandon();
  static void on_connected(ConnectOp& op, const Completion& completion);
  Loop* loop_;
  Address peer_;
  ConnectOptions options_;
  ConnectRecord* record_ = nullptr;
  Stream stream_;
};
WEIR_API ConnectAwait connect(const Address& peer, const ConnectOptions& options = {});

/// Takes over a connected stream socket. Errors: what attaching said; the descriptor is then still the caller's.
WEIR_API Result<Stream> adopt_stream(Loop& loop, std::intptr_t native);

}  // namespace weir::inline v0
