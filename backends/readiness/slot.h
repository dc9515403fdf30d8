// What a readiness backend knows of one descriptor, in 48 bytes, and the flat table of all of them.
#pragma once
#include <cstdint>
#include <new>

#include "src/os/memory.h"
#include "src/os/os.h"
#include "weir/op.h"
#include "weir/pool.h"

namespace weir::inline v0 {

/// What is known of a descriptor. What a poller reports has the values of PollEvent, and kPeerFinished, and is or'ed in.
/// The hot paths test all that matters to them at once, so the first ops of both directions have bits too.
enum SlotBit : std::uint32_t {
  kReadReady = kReadable,  // maybe: the system call tells the truth
  kBulk = 1 << 1,          // the last receive filled its memory: more may be there
  kWriteReady = kWritable,
  kFailed = kPollError,
  kHungUp = kPollHangup,
  kRegistered = 1 << 5,    // the poller knows the descriptor ...
  kReadWatched = 1 << 6,   // ... and reports edges of reading,
  kWriteWatched = 1 << 7,  // ... and of writing; both stay until the end
  kPolled = 1 << 8,        // ... or it is armed once, by level, for poll ops
  kOwned = 1 << 9,
  kStream = 1 << 10,        // bytes without boundaries: a short count says that nothing is left
  kQueued = 1 << 11,        // in the ready list
  kStarved = 1 << 12,       // the first read waits for memory of its group
  kPeerFinished = 1 << 13,  // the peer has finished sending: what is left can be read to its end
  kReadDoubt = 1 << 14,     // tries at submit found nothing, several in a row: do not try
  kWriteDoubt = 1 << 15,
  kReceiving = 1 << 16,  // the first read is a direct receive (Op::is_direct)
  kReading = 1 << 17,    // there are reads
  kWriting = 1 << 18,    // there are writes
  kListener = 1 << 19,
};
/// The end or an error was seen: a short count proves nothing any more.
inline constexpr std::uint32_t kEnding = kFailed | kHungUp | kPeerFinished;

/// Ops of one direction in order of submission, linked by Op::next. A socket has one or two, so the end is found by
/// walking and takes no room.
struct OpFifo {
  Op* head = nullptr;

  void push(Op& op) {
    op.next = nullptr;
    Op** at = &head;
    while (*at != nullptr) at = &(*at)->next;
    *at = &op;
  }
  void pop() { head = head->next; }
  bool remove(const Op& op) {
    for (Op** at = &head; *at != nullptr; at = &(*at)->next) {
      if (*at != &op) continue;
      *at = op.next;
      return true;
    }
    return false;
  }
};

inline constexpr std::uint32_t kNoSlot = 0xffffffffu;

struct Slot {
  OpFifo reads;   // accept, recv, recvmsg; or poll ops
  OpFifo writes;  // connect, send, sendmsg, shutdown
  std::int32_t native = -1;
  std::uint32_t handle = 0;  // index and generation: what Handle and the poller's events carry
  std::uint32_t bits = 0;    // of SlotBit
  std::uint32_t next_ready = kNoSlot;  // in the ready list
  std::uint32_t next_other =
      kNoSlot;                   // in a group's list of starved slots, or the list of free ones
  std::uint32_t turn = 0;        // when it was last served, and what turn_bytes belongs to
  std::uint32_t turn_bytes = 0;  // received
  std::uint8_t read_tries =
      0;  // in a row: that found nothing, or in doubt, that would have found something
  std::uint8_t write_tries = 0;
  // How much at once: connections that a listener took last, 0 when those were all; blocks that a stream which sends
  // much is to be asked for.
  std::uint16_t batch = 0;

  bool has(std::uint32_t bit) const { return (bits & bit) != 0; }
  void set(std::uint32_t bit) { bits |= bit; }
  void clear(std::uint32_t bit) { bits &= ~bit; }

  void push_read(Op& op) {
    reads.push(op);
    note_reads();
  }
  void pop_read() {
    reads.pop();
    note_reads();
  }
  bool remove_read(const Op& op) {
    const bool was_there = reads.remove(op);
    note_reads();
    return was_there;
  }
  void push_write(Op& op) {
    writes.push(op);
    bits |= kWriting;
  }
  void pop_write() {
    writes.pop();
    if (writes.head == nullptr) bits &= ~std::uint32_t{kWriting};
  }
  bool remove_write(const Op& op) {
    const bool was_there = writes.remove(op);
    if (writes.head == nullptr) bits &= ~std::uint32_t{kWriting};
    return was_there;
  }

 private:
  void note_reads() {
    bits &= ~std::uint32_t{kReading | kReceiving};
    if (reads.head == nullptr) return;
    bits |= kReading;
    if (reads.head->kind == OpKind::recv && reads.head->is_direct) bits |= kReceiving;
  }
};
static_assert(sizeof(void*) != 8 || sizeof(Slot) == 48);

/// Slots by index, flat: the addresses of all that there may be are reserved at the start, and memory comes as they are
/// first used. Slot 0 is nobody's, so an event with data 0 never matches.
class SlotTable {
 public:
  static constexpr std::uint32_t kSlotsMax = 1u << 20;

  SlotTable() : slots_(static_cast<Slot*>(os::map_memory(kSlotsMax * sizeof(Slot)))) {
    if (slots_ != nullptr) (new (&slots_[0]) Slot)->handle = kNoSlot;
  }
  ~SlotTable() {
    if (slots_ != nullptr) os::unmap_memory(slots_, kSlotsMax * sizeof(Slot));
  }
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;
  bool is_open() const { return slots_ != nullptr; }

  /// A slot with nothing set but its handle; null when all are taken.
  Slot* take() {
    if (free_ == kNoSlot) {
      if (count_ == kSlotsMax) return nullptr;
      Slot* fresh = new (&slots_[count_]) Slot;
      fresh->handle = count_++;
      return fresh;
    }
    Slot& slot = slots_[free_];
    free_ = slot.next_other;
    slot.next_other = kNoSlot;
    slot.read_tries = slot.write_tries = 0;
    slot.batch = 0;
    return &slot;
  }
  /// The slot's handle means nothing from here on; a late event of it at worst marks the next user ready.
  void release(Slot& slot) {
    const std::uint32_t index = index_of(slot.handle);
    slot.handle += kSlotsMax;
    slot.native = -1;
    slot.bits &= kQueued;  // the ready list may still have it; what it has by then does not matter
    slot.next_other = free_;
    free_ = index;
  }

  /// The slot of a live handle. Misuse: a handle that was closed aborts with its value.
  Slot& of(Handle handle) const {
    Slot& slot = at(handle.value);
    WEIR_CHECK_EQ(slot.handle, handle.value);
    return slot;
  }
  /// The slot that a handle names, or named.
  Slot& at(std::uint32_t handle) const { return slots_[index_of(handle)]; }
  static constexpr std::uint32_t index_of(std::uint32_t handle) { return handle & (kSlotsMax - 1); }
  std::uint32_t size() const { return count_; }

 private:
  Slot* slots_;
  std::uint32_t count_ = 1;
  std::uint32_t free_ = kNoSlot;
};

/// A list of slots in order, linked by one of their members.
template <std::uint32_t Slot::*next>
class SlotList {
 public:
  explicit SlotList(SlotTable& slots) : slots_(&slots) {}
  bool empty() const { return count_ == 0; }
  std::uint32_t size() const { return count_; }
  void push(Slot& slot) {
    const std::uint32_t index = SlotTable::index_of(slot.handle);
    slot.*next = kNoSlot;
    (count_ == 0 ? head_ : slots_->at(tail_).*next) = index;
    tail_ = index;
    ++count_;
  }
  Slot& pop() {
    Slot& slot = slots_->at(head_);
    head_ = slot.*next;
    --count_;
    return slot;
  }
  void remove(const Slot& slot) {  // walks the list: for what is rare
    for (std::uint32_t count = count_; count > 0; --count) {
      Slot& first = pop();
      if (&first != &slot) push(first);
    }
  }

 private:
  SlotTable* slots_;
  std::uint32_t head_ = kNoSlot;
  std::uint32_t tail_ = kNoSlot;
  std::uint32_t count_ = 0;
};

}  // namespace weir::inline v0
