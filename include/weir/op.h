// The records that cross the seam: an Op says what to do, an OpId names it to the kernel, a Completion says what
// came of it. An Op is one intrusive record owned by a socket object, never on a coroutine's or a thread's stack; it
// keeps its address until its terminal completion. What the kernel carries is the id, never a pointer, so a late
// completion of something gone is a counter (Metrics::stale_completions), not a use-after-free.
#pragma once
#include <cstdint>

#include "weir/address.h"
#include "weir/buffer.h"
#include "weir/check.h"
#include "weir/counted.h"
#include "weir/export.h"

namespace weir::inline v0 {

enum class OpKind : std::uint8_t {
  none,
  nop,
  accept,
  connect,
  recv,
  send,
  recvmsg,
  sendmsg,
  shutdown,
  close,
  poll,
  wake,
};

/// Slot, generation and kind in one word. A slot is reused; the generation rises at every submission.
struct OpId {
  std::uint64_t value = 0;

  static constexpr OpId make(std::uint32_t slot, std::uint32_t generation, OpKind kind) {
    return {std::uint64_t{slot} << 32 | std::uint64_t{generation & 0xffffffu} << 8 |
            static_cast<std::uint8_t>(kind)};
  }
  constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(value >> 32); }
  constexpr std::uint32_t generation() const {
    return static_cast<std::uint32_t>(value >> 8) & 0xffffffu;
  }
  constexpr OpKind kind() const { return static_cast<OpKind>(value & 0xff); }
  friend constexpr bool operator==(OpId, OpId) = default;
};

/// Flags of a completion.
enum CompletionFlag : std::uint16_t {
  kMore =
      1
      << 0,  ///< the op goes on; without it this is its terminal completion, whatever the result says
  kBuf = 1 << 1,  ///< group, buffer, offset and length name received bytes in a block of the group
  kBufMore = 1 << 2,   ///< the backend will put more bytes into the same block
  kNotif = 1 << 3,     ///< zero-copy memory came back; the result was known before (DESIGN 2)
  kEof = 1 << 4,       ///< a receive of 0 bytes that is the peer's end of stream
  kNonEmpty = 1 << 5,  ///< a hint: more bytes were waiting
  kCopied = 1 << 6,    ///< with kNotif: the kernel copied after all
  kTrunc = 1 << 7,     ///< a datagram was longer than its memory
  kHandle = 1 << 8,    ///< an accept: `buffer` is the attached Handle
};

/// One result, 32 bytes: also the record of a replay file.
struct Completion {
  OpId id;
  std::int32_t result =
      0;  ///< bytes (or 0), or -errno in Linux's numbers on every system (weir::Errc)
  std::uint16_t flags = 0;
  std::uint16_t group = 0;  ///< with kBuf
  std::uint32_t buffer =
      0;  ///< with kBuf: the block's index in its group; with kHandle: the handle
  std::uint32_t offset = 0;  ///< with kBuf: of the bytes behind the block's base
  std::uint32_t length = 0;  ///< with kBuf: of the bytes
  std::uint32_t reserved = 0;

  constexpr bool has(CompletionFlag flag) const { return (flags & flag) != 0; }
  constexpr bool is_terminal() const { return (flags & kMore) == 0; }
};
static_assert(sizeof(Completion) == 32);

/// What a backend knows a socket by: a registration, a fixed-file slot, a stack socket. Never an fd.
struct Handle {
  std::uint32_t value = 0xffffffffu;
  constexpr bool valid() const { return value != 0xffffffffu; }
  friend constexpr bool operator==(Handle, Handle) = default;
};

enum class OpState : std::uint8_t {
  idle,        ///< not in flight; may be submitted
  pending,     ///< submitted; its terminal completion is to come
  cancelling,  ///< pending, and a cancel was asked for
};

struct Op;
/// What the loop keeps of an op that has a deadline, while it has one: OpTable leads there.
struct TimedOp {
  Op* op = nullptr;
};

/// The part that every kind shares, 40 bytes. Filled in by portable code; `id` and `state` by the OpTable.
struct Op {
  OpId id = {~std::uint64_t{0}};  ///< slot from adopt() on; generation and kind new at every submit
  Op* next = nullptr;             ///< the backend's, while pending: FIFOs and overflow lists
  void (*on_complete)(Op& op, const Completion& completion) =
      nullptr;  ///< called by the loop's deliver step only
  Handle handle;
  OpKind kind = OpKind::none;
  OpState state = OpState::idle;
  std::uint8_t backend_bits = 0;  ///< the backend's own, zero at submit
  bool multishot : 1 = false;     ///< accept, recv, poll: goes on until a completion without kMore
  bool keeps_alive : 1 = true;    ///< counts for the loop's life while pending (ref, unref)
  /// Its owner can be told without a completion: Sink::received, Sink::sent. Such a receive is a multishot one of any
  /// length from a group.
  bool is_direct : 1 = false;
  bool is_timed : 1 = false;      ///< it has a deadline
  std::uint16_t undelivered = 0;  ///< completions in the sink that were not delivered yet
  std::uint16_t turn_mark = 0;    ///< low bits of the turn that turn_bytes belongs to
  std::uint32_t turn_bytes = 0;   ///< bytes, or connections, delivered to the owner this turn
};
static_assert(sizeof(void*) != 8 || sizeof(Op) == 40);

/// One receive on a stream. Empty `target`: into a block of `group`, which the completion names (kBuf).
struct RecvOp : Op {
  std::byte* target = nullptr;  ///< lent memory; a terminal completion gives it back
  /// Of the target. Of a group receive that is not multishot: at most this much, and no more than a block (0: a block).
  std::uint32_t bytes_max = 0;
  std::uint16_t group = 0xffff;
};

/// A gather send from the front of `chain`, which the stream owns and does not change below `bytes` until the
/// terminal completion; or of one `piece`. A completion may report fewer bytes than asked for.
struct SendOp : Op {
  union {
    const BufChain* chain = nullptr;
    const std::byte* piece;  ///< with is_piece: bytes_max bytes, in memory that outlives the op
  };
  std::uint32_t bytes_max = 0;  ///< at most this much of the chain; 0: all
  bool is_piece = false;
  bool zero_copy = false;  ///< a wish; see Backend::submit. Not of a piece
  /// Nobody waits for the result: it may come together with the next event. An owner who begins to wait clears it,
  /// at any time before the terminal.
  bool lazy = false;
};

/// Waits for a connection. Multishot; each completion carries kHandle.
struct AcceptOp : Op {
  std::uint32_t accepts_max = 0;  ///< per turn; 0: Limits::accepts_per_turn
};

struct ConnectOp : Op {
  Address peer;
};

/// Half-closes the write side.
struct ShutdownOp : Op {};

/// Closes the handle. Submitted only when no other op is in flight on it. Its terminal is the last of the handle.
/// To abort the connection (RST), set SocketOption::linger_s to 0 first.
struct CloseOp : Op {};

/// Readiness of a foreign descriptor that was attach()ed: libpq, OpenSSL, c-ares.
enum PollEvent : std::uint32_t { kReadable = 1, kWritable = 4, kPollError = 8, kPollHangup = 16 };
struct PollOp : Op {
  std::uint32_t events = 0;  ///< of PollEvent; the completion's result has those that hold
};

/// Datagrams, with their side record. `target`/`chain` as above; the side record lies in the op.
struct MsgOp : Op {
  std::byte* target = nullptr;  ///< recvmsg: lent memory
  std::uint32_t bytes_max = 0;
  const BufChain* chain = nullptr;  ///< sendmsg: what to send
  Address peer;  ///< recvmsg: the sender; sendmsg: the receiver (Family::none: connected)
  std::byte* control = nullptr;     ///< ancillary data in the system's own layout
  std::uint32_t control_bytes = 0;  ///< room before, length after
};

/// Slots and generations of all ops of a loop. A slot belongs to an Op while its owner lives: 8 bytes an op.
class OpTable {
 public:
  /// Gives `op` a slot. The table grows with its owners, which are bounded.
  void adopt(Op& op) {
    WEIR_CHECK_EQ(op.id.slot(), kNone);
    std::uint32_t slot = free_;
    std::uint32_t generation = 0;
    if (slot == kNone) {
      slot = static_cast<std::uint32_t>(entries_.size());
      entries_.push_back(0);
    } else {
      free_ = static_cast<std::uint32_t>(entries_[slot] >> 32);
      generation = static_cast<std::uint32_t>(entries_[slot] >> 8) & 0xffffffu;
    }
    op.id = OpId::make(slot, generation, op.kind);
    entries_[slot] = reinterpret_cast<std::uintptr_t>(&op);
  }
  /// The owner goes away; the op must be idle. Late completions of the slot are stale from here on.
  void abandon(Op& op) {
    WEIR_CHECK_EQ(static_cast<int>(op.state), static_cast<int>(OpState::idle));
    const std::uint32_t slot = op.id.slot();
    entries_[slot] = std::uint64_t{free_} << 32 | std::uint64_t{op.id.generation()} << 8 | kFreeTag;
    free_ = slot;
    op.id = {~std::uint64_t{0}};
  }
  /// idle -> pending with a new id. A second submit of a pending op would lend its memory twice: it aborts.
  void begin(Op& op) {
    WEIR_CHECK_EQ(static_cast<int>(op.state), static_cast<int>(OpState::idle));
    op.id = OpId::make(op.id.slot(), op.id.generation() + 1, op.kind);
    op.state = OpState::pending;
    op.backend_bits = 0;
  }
  /// The pending op of this id, or null when it is gone or was submitted again since.
  Op* find(OpId id) const {
    if (id.slot() >= entries_.size()) return nullptr;
    Op* op = at(id.slot());
    return op != nullptr && op->id == id && op->state != OpState::idle ? op : nullptr;
  }
  std::size_t size() const { return entries_.size(); }
  /// The op that owns a slot, or null.
  Op* at(std::size_t slot) const {
    const std::uint64_t entry = entries_[slot];
    if ((entry & kTags) == 0) [[likely]]
      return reinterpret_cast<Op*>(static_cast<std::uintptr_t>(entry));
    return (entry & kFreeTag) != 0 ? nullptr : timed_at(entry)->op;
  }
  /// A pending op gets a deadline, and loses it.
  void set_timed(Op& op, TimedOp& timed) {
    timed.op = &op;
    op.is_timed = true;
    entries_[op.id.slot()] = reinterpret_cast<std::uintptr_t>(&timed) | kTimedTag;
  }
  TimedOp& take_timed(Op& op) {
    std::uint64_t& entry = entries_[op.id.slot()];
    TimedOp& timed = *timed_at(entry);
    entry = reinterpret_cast<std::uintptr_t>(&op);
    op.is_timed = false;
    return timed;
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;
  // An Op is aligned, so its address never has these bits.
  static constexpr std::uint64_t kFreeTag = 1, kTimedTag = 2, kTags = kFreeTag | kTimedTag;
  static TimedOp* timed_at(std::uint64_t entry) {
    return reinterpret_cast<TimedOp*>(static_cast<std::uintptr_t>(entry & ~kTags));
  }
  /// An Op's address, or that of its TimedOp, or next free slot and last generation, with a tag.
  CountedVector<std::uint64_t> entries_;
  std::uint32_t free_ = kNone;
};

}  // namespace weir::inline v0
