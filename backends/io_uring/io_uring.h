// The io_uring backend: the kernel carries out the ops, this file's class keeps the books. One enter a turn hands over
// what was submitted and waits; completions name an OpId, so one that comes too late finds nobody and is counted.
// What its parts do: turn.cc is the path of a turn, submit.cc fills entries, complete.cc sorts completions, receive.cc
// and group.cc run receive groups, send.cc gathers and keeps zero-copy memory, sockets.cc holds the handles, wake.cc
// ends waits.
#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "backends/io_uring/features.h"
#include "backends/io_uring/group.h"
#include "backends/io_uring/op_list.h"
#include "backends/io_uring/records.h"
#include "backends/io_uring/ring.h"
#include "src/os/wake_gate.h"
#include "weir/backend.h"

namespace weir::inline v0 {

Result<std::unique_ptr<Backend>> make_io_uring_backend(std::string_view variant,
                                                       const BackendContext& context);

namespace uring {

// Kinds of the kernel's user_data that are not ops: the byte that OpId keeps its OpKind in.
enum Internal : std::uint8_t {
  kWakeEvent = 0xf0,   // the eventfd was written
  kUserCancel = 0xf1,  // a cancel that the owner asked for; slot and generation are the op's
  kOwnCancel = 0xf2,   // one of our own: its op goes on
  kTimeout = 0xf3,     // a wait's end, where waits have none themselves
  kZeroCopy = 0xf4,    // a zero-copy send; slot and generation are its record's
  kFirstInternal = kWakeEvent,
};

// Op::backend_bits.
enum OpBit : std::uint8_t {  // the last two bits mean another thing for each kind
  kInKernel = 1 << 0,        // a request of it is with the kernel, or in the queue to it
  kListed = 1 << 1,          // in the overflow list, the waiting list, or a group's
  kQuiet = 1 << 2,           // a send whose success the kernel does not report
  kCancelAsked = 1 << 3,
  kCancelRetried = 1 << 4,
  kEnded = 1 << 5,  // its terminal is in the sink
  kZeroCopySend = 1 << 6,
  kPlainSend = 1 << 7,  // zero-copy was refused, or there was no room: copy, and wait for room
  kPausing = 1 << 6,    // an accept that we cancelled: enough wait to be delivered
};

constexpr OpId internal_id(std::uint32_t slot, std::uint32_t generation, Internal kind) {
  return OpId::make(slot, generation, static_cast<OpKind>(kind));
}

// What the receive op of a socket is doing.
enum class Step : std::uint8_t {
  none,
  multishot,  // armed; goes on by itself
  stopping,   // the same, but we cancelled it: one socket must not take everything
  selecting,  // one receive into whichever buffer the kernel takes
  polling,    // waiting until there is something
  taking,     // receiving what is there into blocks of our choice
};

struct Socket {
  int fd = -1;                  // or with is_direct() its place in the ring's own table
  std::uint32_t handle = 0;     // index and generation: one that was closed never matches again
  std::uint16_t in_flight = 0;  // ops without a terminal
  std::uint16_t sends = 0;      // of those, sends: a half-close comes behind them
  Step step = Step::none;
  bool is_owned : 1 = false;
  bool is_paced : 1 = false;        // no multishot: polls, and takes at most its share a turn
  bool is_ready : 1 = false;        // paced: there is something to take
  bool was_full : 1 = false;        // the last take filled its memory
  bool is_drained : 1 = false;      // the last receive said that nothing was left
  std::uint8_t short_count = 0;     // takes in a row that did not fill one block
  std::uint8_t entry_flags = 0;     // IOSQE_FIXED_FILE for a direct descriptor
  std::uint32_t turn = 0;           // that charged_bytes counts
  std::uint32_t charged_bytes = 0;  // received this turn

  bool is_direct() const { return entry_flags != 0; }
  /// Every entry for a socket is made so, after io_uring_prep_*.
  void aim(io_uring_sqe& entry) const {
    entry.flags = static_cast<std::uint8_t>(entry.flags | entry_flags);
  }
};

class IoUring final : public Backend {
 public:
  /// Errors: what the kernel refused, as Error::native; the text says what it was asked for.
  static Result<std::unique_ptr<Backend>> make(const char* name, Kernel mask,
                                               const BackendContext& context,
                                               unsigned submissions = Ring::kSubmissions);
  ~IoUring() override;

  const Caps& caps() const override;
  Result<Handle> open(const SocketSpec& spec) override;
  Result<Handle> attach(std::intptr_t native, bool owned) override;
  std::intptr_t detach(Handle handle) override;
  std::intptr_t native(Handle handle) const override;
  Result<Address> local_address(Handle handle) const override;
  Result<Address> peer_address(Handle handle) const override;
  Result<void> set_option(Handle handle, SocketOption option, std::int32_t value) override;
  Result<std::int32_t> get_option(Handle handle, SocketOption option) const override;

  Submitted submit(Op& op) override;
  void cancel(OpId id) override;
  void provide(Pool& group) override;
  void refilled(Pool& group) override;
  void poll(std::uint64_t deadline_ns, Sink& sink) override;
  std::intptr_t wait_handle() const override;
  std::uint64_t now() const override;
  bool pending_hint() const override;
  void wake() override;

  /// For tests.
  const Counters& counters() const { return ring_.counters(); }
  const Features& features() const { return ring_.features(); }
  Ring& ring() { return ring_; }
  const ReceiveGroup& group(GroupId id) const { return *groups_[id]; }

 private:
  IoUring(const char* name, const BackendContext& context, unsigned submissions);
  int start(Kernel mask, unsigned submissions);
  void drain();
  void take_home(const io_uring_cqe& cqe);

  // sockets.cc
  void make_table();
  Handle add_socket(int fd, bool is_owned, bool is_direct = false);
  Handle add_accepted(int result) { return add_socket(result, true, has_direct_accepts_); }
  void close_accepted(int result);
  void move_into_table(Socket& opened);
  void release_socket(Handle handle);
  static constexpr std::uint32_t kSocketsMax = 1u << 22;  // more than descriptors can be had
  static constexpr std::uint32_t index_of(Handle handle) {
    return handle.value & (kSocketsMax - 1);
  }
  /// Misuse: a handle that was closed aborts with its value.
  Socket& socket(Handle handle) {
    WEIR_CHECK_LT(index_of(handle), socket_count_);
    Socket& named = sockets_.data()[index_of(handle)];
    WEIR_CHECK_EQ(named.handle, handle.value);
    return named;
  }
  const Socket& socket(Handle handle) const { return const_cast<IoUring*>(this)->socket(handle); }

  // submit.cc
  Submitted submit_other(Op& op);
  Submitted start(Op& op);
  void put_off(Op& op);
  bool prepare(Op& op);  // false: no room in the queue
  bool prepare_send(SendOp& op, const Socket& socket);
  bool prepare_simple(Op& op, const Socket& socket);
  io_uring_sqe& entry_for(Op& op) {
    io_uring_sqe& entry = ring_.next();
    entry.user_data = op.id.value;
    op.backend_bits |= kInKernel;
    return entry;
  }
  Submitted done(Op& op, std::int32_t result);
  Submitted submit_shutdown(ShutdownOp& op, Socket& socket);
  void half_close(Op& op);
  void accept_into_table(io_uring_sqe& entry);
  Submitted submit_close(CloseOp& op, Socket& socket);
  void again(Op& op);  // a further request of a pending op
  struct PendingCancel {
    std::uint64_t target;
    std::uint64_t user_data;
  };
  bool prepare_cancel(const PendingCancel& cancel);
  void queue_cancel(const Op& op, Internal kind);
  void flush();
  void hold(Op& op);
  void run_waiting();
  void sweep_cancelled();
  std::uint64_t user_data_of(const Op& op);

  // complete.cc
  void complete_other(OpId id, const io_uring_cqe& cqe);
  void complete_op(Op& op, const io_uring_cqe& cqe);
  void complete_internal(OpId id, const io_uring_cqe& cqe);
  void complete_cancel(OpId id, std::int32_t result);
  void complete_accept(AcceptOp& op, const io_uring_cqe& cqe);
  void complete_poll(PollOp& op, const io_uring_cqe& cqe);
  void drop_stale(OpId id, const io_uring_cqe& cqe);
  void end(Op& op, std::int32_t result, std::uint16_t flags = 0);
  void end(Op& op, const Completion& completion);
  void end_cancelled(Op& op) { end(op, -ECANCELED); }
  void push(Op& op, const Completion& completion) {
    ++pushed_count_;
    sink_->push(op, completion);
  }
  Op* op_at(OpId id) const;  // by slot and generation alone

  // receive.cc
  bool prepare_recv(RecvOp& op, Socket& socket);
  bool prepare_group_recv(RecvOp& op, Socket& socket);
  bool prepare_take(RecvOp& op, Socket& socket);
  void prepare_select(RecvOp& op, Socket& socket, bool is_multishot);
  void complete_recv(RecvOp& op, const io_uring_cqe& cqe);
  void complete_target_recv(RecvOp& op, const io_uring_cqe& cqe);
  void complete_select(RecvOp& op, Socket& socket, const io_uring_cqe& cqe);
  void complete_take(RecvOp& op, Socket& socket, std::int32_t result);
  void go_on_receiving(RecvOp& op, Socket& socket);
  void starve(RecvOp& op);
  void feed_starved(ReceiveGroup& group);
  void pace(RecvOp& op, Socket& socket);
  static constexpr std::uint16_t kUndeliveredMax = 32;  // results of one socket in the sink
  /// Has this socket had its share of this turn, or of the sink?
  bool is_over_share(const RecvOp& op, Socket& socket, std::uint32_t bytes) const {
    if (socket.turn != turn_) {
      socket.turn = turn_;
      socket.charged_bytes = 0;
    }
    socket.charged_bytes += bytes;
    return socket.charged_bytes >= context_.limits.bytes_per_socket_turn ||
           op.undelivered >= kUndeliveredMax;
  }
  static std::uint16_t hint_of(const io_uring_cqe& cqe) {
    return (cqe.flags & IORING_CQE_F_SOCK_NONEMPTY) != 0 ? std::uint16_t{kNonEmpty}
                                                         : std::uint16_t{0};
  }
  ReceiveGroup& group_of(const RecvOp& op);

  // send.cc
  bool prepare_message(MsgOp& op, const Socket& socket);
  struct Pieces {
    iovec* segments;
    std::uint32_t count = 0;
    std::uint32_t bytes = 0;
  };
  Pieces gather(const BufChain& chain, std::uint32_t bytes_max);
  OpId zero_copy_id(std::uint32_t index);
  void keep_until_notified(SendOp& op, io_uring_sqe& entry, std::uint32_t piece_count);
  void forget_zero_copy(std::uint32_t index);
  bool prepare_gather(SendOp& op, const Socket& socket);
  bool may_be_quiet(const SendOp& op) const {
    return op.lazy && quiet_count_ < quiet_max_ && (op.backend_bits & kPlainSend) == 0;
  }
  void be_quiet(SendOp& op, io_uring_sqe& entry, std::uint32_t bytes) {
    entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry.msg_flags |= MSG_DONTWAIT;
    op.backend_bits |= kQuiet;
    quiet_sends_[quiet_count_++] = {&op, bytes};
    ring_.counters().count(Use::skip_success);
  }
  void forget_quiet(SendOp& op);
  void complete_send(SendOp& op, const io_uring_cqe& cqe);
  void complete_message(MsgOp& op, const io_uring_cqe& cqe);
  void complete_zero_copy(OpId id, const io_uring_cqe& cqe);

  // wake.cc
  bool prepare_wake();
  void complete_wake(const io_uring_cqe& cqe);
  bool prepare_timeout(std::uint64_t deadline_ns);

  // turn.cc
  void complete(const io_uring_cqe& cqe);
  void complete_armed(RecvOp& op, const io_uring_cqe& cqe);
  void look_ahead();
  void end_quiet_sends();
  bool may_stay_quiet() const;
  void wait(std::uint64_t deadline_ns);
  void enter(unsigned wait_count, std::uint64_t deadline_ns);
  void reap_overflow();
  bool do_chores();

  BackendContext context_;
  mutable Caps caps_;
  std::vector<std::string> notes_;  // what start found; caps() adds the counts
  Ring ring_;
  Sink* sink_ = nullptr;  // during poll()
  std::uint32_t turn_ = 0;
  std::uint32_t pushed_count_ = 0;  // results put into the sink by this poll before it entered
  bool tells_at_once_ = false;      // what came is bytes of armed receives alone
  bool has_chores_ = true;          // something is left to the next poll: see do_chores()
  int send_flags_ = MSG_NOSIGNAL;
  bool needs_sweep_ = false;  // a cancelled op waits in a list
  bool has_direct_accepts_ = false;
  CountedVector<int> free_connects_;  // places of the table for sockets that connect
  CountedVector<Socket> sockets_;
  std::uint32_t socket_count_ = 0;  // of sockets_
  CountedVector<std::uint32_t> free_sockets_;
  CountedVector<std::uint32_t>
      closed_sockets_;  // free from the next poll on, when their last completions are delivered
  std::vector<std::unique_ptr<ReceiveGroup>> groups_;  // by id; null where none was provided
  std::vector<ReceiveGroup*> active_groups_;
  OpList overflow_;  // found the queue full
  OpList waiting_;   // for something of ours: deliveries, sends before a half-close
  CountedVector<PendingCancel> cancels_;  // found the queue full
  struct QuietSend {
    SendOp* op;
    std::uint32_t bytes;
  };
  std::unique_ptr<QuietSend[]> quiet_sends_;  // handed over, or about to be
  std::uint32_t quiet_count_ = 0;
  std::uint32_t quiet_max_ = 0;  // 0: the kernel always reports
  Records records_;
  Scratch scratch_;

  int event_ = -1;
  bool is_wake_armed_ = false;
  std::uint64_t timeout_ns_ =
      Ring::kNever;  // of the timeout that is armed, where waits have none themselves
  std::uint32_t timeout_count_ = 0;
  __kernel_timespec timeout_{};      // read when its entry is taken
  mutable bool is_foreign_ = false;  // somebody waits on wait_handle()
  alignas(64) mutable WakeGate gate_;
};

}  // namespace uring
}  // namespace weir::inline v0
