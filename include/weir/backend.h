// The seam. A backend turns Ops into Completions on one system interface (epoll, io_uring, …); this header is all
// that one needs to be written: registered by name, it needs no change in weir. tests/conformance drives any
// registered backend through the contract below.
//
// The contract, numbered as in the tests:
//  1 Every accepted op ends in exactly one terminal completion (no kMore); a multishot yields n with kMore, then one
//    terminal. Also at shutdown. A missing kMore means ended, whatever the result says.
//  2 A backend calls nobody: results go into the Sink during poll(). Only submit() may answer `done` at once, and
//    send_now().
//  3 cancel() is a request: bytes that moved are reported wherever the system tells them; -ECANCELED on a receive
//    means none moved. Cancelling what is done, cancelled, or not yet seen by the kernel is defined: nothing, or one terminal.
//  4 Lent memory comes back at the terminal completion, zero-copy memory at kNotif, never at cancel()'s return.
//  5 close is submitted when nothing else is in flight on the handle; its terminal is the handle's last. Outstanding
//    kNotif do not delay it.
//  6 An empty group is normal: the op ends with -ENOBUFS (or waits on the group), and no byte is lost.
//  7 End of stream and errors never overtake bytes already received; cancelling a multishot first delivers what
//    the kernel had already taken.
//  8 Deadlines are the loop's: it cancels. The backend only reports what moved.
//  9 At destruction the loop cancels and pumps; what never ends is leaked and reported, not freed.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/address.h"
#include "weir/counted.h"
#include "weir/limits.h"
#include "weir/metrics.h"
#include "weir/op.h"
#include "weir/pool.h"
#include "weir/result.h"

namespace weir::inline v0 {

/// What a backend found that it can do, by probe and by self-test at start; kept for everybody to see.
struct Caps {
  std::string name;               ///< "epoll", "io_uring:5.10"
  bool completion = false;        ///< the kernel carries out the op; else readiness is emulated
  bool multishot_accept = false;  ///< natively, without a system call an accept
  bool multishot_recv = false;    ///< natively: receives go on by themselves, into a provided group
  bool zero_copy_send = false;
  bool direct_descriptors = false;
  bool wait_handle = false;
  std::uint32_t handles_max = 0;  ///< 0: as many as the process may open
  std::vector<std::string>
      notes;  ///< "bundles: off, self-test saw them out of order", flags used, opcodes used
};

/// Where poll() puts results. Control (wake, close, a cancelled op with nothing before it) is delivered before
/// posted callbacks, those before data; within one op the order is kept. Reaping is not budgeted; delivery is.
class WEIR_API Sink {
 public:
  explicit Sink(OpTable& ops) : ops_(ops) {}
  virtual ~Sink() = default;

  /// Adds one result. `op` is its pending op where the backend has it at hand, else it is looked up.
  void push(const Completion& completion);
  void push(Op& op, const Completion& completion);
  /// push() of a result that is no control: bytes, a connection, an error that is not `cancelled`. The caller fills in
  /// every field of the record it gets, in place: a copy of one that was just written stalls the processor.
  Completion& add_data(Op& op) {
    ++op.undelivered;
    room_ -= room_ != 0 ? 1u : 0u;
    has_queued_ = true;
    return data_.add();
  }

  /// `length` bytes came for a direct op that goes on; they lie at the start of `block`, which is lent.
  /// The shortest way of a message: a loop may tell the owner inside this call, where a delivery would come next, and
  /// the owner may submit, cancel and close anything. So the caller has put down all that it knows of the op and
  /// its handle before, keeps nothing of them, and tells only what came after everything it pushed.
  void received(RecvOp& op, Block& block, std::uint32_t length) {
    on_received_(*this, op, block, length);
  }
  struct Run {  ///< bytes that fill one block after another
    Block* const* blocks;
    std::uint32_t block_bytes;
    std::uint32_t length;
    std::uint32_t count() const { return (length + block_bytes - 1) / block_bytes; }
    std::uint32_t length_of(std::uint32_t index) const {
      return index + 1 < count() ? block_bytes : length - index * block_bytes;
    }
  };
  /// The same for a run: what its owner writes while he is told of it leaves behind the last block, in one send.
  void received(RecvOp& op, const Run& run) { on_received_run_(*this, op, run); }
  /// The same for a lazy send that has ended: all its bytes are with the kernel.
  void sent(SendOp& op, std::uint32_t bytes) { on_sent_(*this, op, bytes); }
  /// What they do when nobody can be told yet: the completion that they stand for is queued.
  void queue_received(RecvOp& op, const Block& block, std::uint32_t length);
  void queue_run(RecvOp& op, const Run& run) {
    for (std::uint32_t i = 0; i < run.count(); ++i) {
      queue_received(op, *run.blocks[i], run.length_of(i));
    }
  }
  void queue_sent(SendOp& op, std::uint32_t bytes);

  /// How many data completions the loop still wants this turn: a readiness backend stops receiving at 0 and keeps
  /// the rest on its ready list, so that memory is taken only for what will be delivered.
  std::uint32_t room() const { return room_; }

 protected:
  /// A completion of no pending op: a late one, or the kNotif of a send that is through. Its memory goes home.
  virtual void on_unowned(const Completion& completion) {
    if (!completion.has(kNotif)) ++stale_;
  }
  struct WEIR_API Queue {  // a ring that grows: push at the tail, take at the head
    CountedVector<Completion> slots = CountedVector<Completion>(512);
    std::uint32_t mask = 511;
    std::uint32_t head = 0, tail = 0;
    bool empty() const { return head == tail; }
    std::uint32_t size() const { return tail - head; }
    Completion& add() {
      if (size() > mask) [[unlikely]]
        grow();
      return slots[tail++ & mask];
    }
    void push(const Completion& completion) { add() = completion; }
    Completion& front() { return slots[head & mask]; }
    void grow();
  };
  using OnReceived = void (*)(Sink& sink, RecvOp& op, Block& block, std::uint32_t length);
  using OnReceivedRun = void (*)(Sink& sink, RecvOp& op, const Run& run);
  using OnSent = void (*)(Sink& sink, SendOp& op, std::uint32_t bytes);
  OnReceived on_received_ = [](Sink& sink, RecvOp& op, Block& block, std::uint32_t length) {
    sink.queue_received(op, block, length);
  };
  OnReceivedRun on_received_run_ = [](Sink& sink, RecvOp& op, const Run& run) {
    sink.queue_run(op, run);
  };
  OnSent on_sent_ = [](Sink& sink, SendOp& op, std::uint32_t bytes) { sink.queue_sent(op, bytes); };
  OpTable& ops_;
  Queue control_, data_;
  bool has_queued_ = false;  // set with every entry of either; cleared by whoever finds both empty
  std::uint32_t room_ = 0;
  std::uint64_t stale_ = 0;
};

/// submit()'s answer. `done`: `completion` is the op's terminal and will not come again through the sink.
struct Submitted {
  bool done = false;
  Completion completion;
};

/// A socket to open: what it is, and everything to set before it is bound or connected.
struct SocketSpec {
  enum class Type : std::uint8_t { stream, datagram };
  Type type = Type::stream;
  Family family = Family::ipv4;
  Address bind{};            ///< Family::none: not bound
  std::int32_t backlog = 0;  ///< > 0: listen
  bool reuse_address = false;
  bool reuse_port = false;
  bool ipv6_only = false;  ///< false: a dual-stack socket
  bool no_delay = true;    ///< streams; accepted sockets inherit it
  bool keep_alive = false;
  std::int32_t send_buffer_bytes = 0;  ///< 0: the system's
  std::int32_t receive_buffer_bytes = 0;
};

enum class SocketOption : std::uint8_t {
  no_delay,
  keep_alive,
  keep_alive_idle_s,
  keep_alive_interval_s,
  keep_alive_count,
  linger_s,
  send_buffer_bytes,
  receive_buffer_bytes,
  unsent_low_bytes,
};

/// What a loop hands to its backend at start; all of it outlives the backend.
struct BackendContext {
  OpTable& ops;
  Metrics& metrics;
  const Limits& limits;
};

/// Threads: the loop's own, but for wake().
class WEIR_API Backend {
 public:
  virtual ~Backend() = default;

  virtual const Caps& caps() const = 0;

  /// Opens a socket in the backend's own space; binds and listens when asked. Never blocks.
  /// Errors: the system's (address_in_use, too_many_open_files, …), with the address in the text.
  virtual Result<Handle> open(const SocketSpec& spec) = 0;
  /// Takes over a native descriptor. `owned`: close() closes it; else (poll of a foreign fd) only forgets it.
  virtual Result<Handle> attach(std::intptr_t native, bool owned) = 0;
  /// Gives the native descriptor back, open. No op may be in flight on it (misuse aborts). -1: there is none.
  virtual std::intptr_t detach(Handle handle) = 0;
  virtual std::intptr_t native(Handle handle) const = 0;
  virtual Result<Address> local_address(Handle handle) const = 0;
  virtual Result<Address> peer_address(Handle handle) const = 0;
  virtual Result<void> set_option(Handle handle, SocketOption option, std::int32_t value) = 0;
  virtual Result<std::int32_t> get_option(Handle handle, SocketOption option) const = 0;

  /// Starts `op`, which OpTable::begin() made pending.
  /// Shape:   never blocks, never fails for a full queue (an intrusive overflow list), never calls back. A multishot
  ///          op never answers done. A send with zero_copy set may be sent so: the backend then keeps its own references to the
  ///          chain's blocks until kNotif, which it reports to the sink with the send's id after the terminal.
  /// Errors:  in the completion. Misuse aborts with its values.
  /// Owner:   the caller owns `op`; the backend borrows it, and its memory, until the terminal completion.
  virtual Submitted submit(Op& op) = 0;

  /// Sends without an op what needs no waiting and has nothing in flight before it.
  /// Returns the count that was taken, or -errno as a send's completion; 0: nothing was done, submit() an op.
  virtual std::int64_t send_now(Handle handle, const std::byte* data, std::size_t size) {
    static_cast<void>(handle), static_cast<void>(data), static_cast<void>(size);
    return 0;
  }

  /// Asks for the end of an op. Never fails, is never lost, may be repeated, runs no callback. Unknown ids are ignored.
  virtual void cancel(OpId id) = 0;

  /// Makes `group` available for receives that name its id. The backend takes blocks from it (Pool::take_for_backend) and
  /// either posts them to the kernel or takes one when data is ready.
  virtual void provide(Pool& group) = 0;
  /// Room came back in the group (a loaned block went home): receives that wait for it may go on.
  virtual void refilled(Pool& group) = 0;

  /// One wait until `deadline_ns` on now()'s clock (0: do not wait; kNever: until something happens); then everything
  /// that there is goes into the sink.
  virtual void poll(std::uint64_t deadline_ns, Sink& sink) = 0;
  /// When the backend itself must run again (a user-space stack's timers); kNever if not.
  virtual std::uint64_t next_deadline() const { return kNever; }
  virtual void tick(std::uint64_t now_ns) { static_cast<void>(now_ns); }
  /// A descriptor that becomes readable when poll() has something, or -1.
  virtual std::intptr_t wait_handle() const { return -1; }
  virtual std::uint64_t now() const = 0;
  /// Without a system call: would poll() find something, or has it work left?
  virtual bool pending_hint() const = 0;
  /// Ends the current or the next wait. Any thread; coalesced.
  virtual void wake() = 0;

  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
};

using BackendFactory = Result<std::unique_ptr<Backend>> (*)(std::string_view variant,
                                                            const BackendContext& context);

/// Registers a backend under `name` (static text). A name asked for as "name:variant" passes the variant on.
/// Threads: any, before the first loop that asks for it. Registering a name twice replaces it.
WEIR_API void register_backend(const char* name, BackendFactory factory);
WEIR_API std::vector<std::string> backend_names();

/// A backend and why it was chosen: for "auto" the reasons of those that were passed over.
struct ChosenBackend {
  std::unique_ptr<Backend> backend;
  std::string reason;
};
/// Errors: invalid_argument for a name that is not registered (the text lists those that are); what the backend said.
WEIR_API Result<ChosenBackend> make_backend(std::string_view name, const BackendContext& context);

}  // namespace weir::inline v0
