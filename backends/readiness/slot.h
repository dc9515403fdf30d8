// What a readiness backend knows of one descriptor, in one cache line, and the flat table of all of them.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "src/os/os.h"
#include "weir/op.h"

namespace weir::inline v0 {

/// The first, third and last of the low bits have the values of PollEvent, so that an event's bits are the slot's.
enum SlotBit : std::uint16_t {
  kReadReady = 1 << 0,  // maybe: the system call tells the truth
  kHangup =
      1 << 1,  // RDHUP, HUP or ERR was seen: a short read proves nothing, read on to EAGAIN or 0
  kWriteReady = 1 << 2,
  kRegistered = 1 << 3,    // the poller knows the descriptor …
  kReadWatched = 1 << 4,   // … and reports edges of reading,
  kWriteWatched = 1 << 5,  // … and of writing; both stay until the end
  kPolled = 1 << 6,        // … or it is armed once, by level, for poll ops
  kOwned = 1 << 7,
  kStream =
      1
      << 8,  // bytes without boundaries: a short count tells that the kernel has no more, or no room
  kListener = 1 << 9,
  kQueued = 1 << 10,   // in the ready list
  kStarved = 1 << 11,  // the first read waits for memory of its group
  kBulk = 1 << 12,     // the last receive filled a block: take several at once
};
static_assert(int{kReadReady} == kReadable && int{kWriteReady} == kWritable);

/// Ops of one direction in order of submission, linked by Op::next.
struct OpFifo {
  Op* head = nullptr;
  Op* tail = nullptr;

  void push(Op& op) {
    op.next = nullptr;
    (head == nullptr ? head : tail->next) = &op;
    tail = &op;
  }
  void pop() { head = head->next; }
  bool remove(const Op& op) {
    Op* previous = nullptr;
    for (Op* at = head; at != nullptr; previous = at, at = at->next) {
      if (at != &op) continue;
      (previous == nullptr ? head : previous->next) = op.next;
      if (tail == &op) tail = previous;
      return true;
    }
    return false;
  }
};

/// Whether a submit should try at once: not after 4 EAGAINs in a row, again after 8 tries in a row that would have paid.
class Speculation {
 public:
  bool is_on() const { return score_ >= 0; }
  void hit() { score_ = static_cast<std::int8_t>(score_ < 0 ? score_ + 1 : 0); }
  void miss() {
    score_ =
        static_cast<std::int8_t>(score_ < 0 || score_ == kMissesMax - 1 ? -kHitsMin : score_ + 1);
  }

 private:
  static constexpr int kMissesMax = 4;
  static constexpr int kHitsMin = 8;
  std::int8_t score_ = 0;  // on: misses in a row; off: minus the hits still wanted
};

inline constexpr std::uint32_t kNoSlot = 0xffffffffu;

struct Slot {
  OpFifo reads;   // accept, recv, recvmsg; or poll ops
  OpFifo writes;  // connect, send, sendmsg, shutdown
  os::Native native = -1;
  std::uint32_t handle = 0;  // index | generation << 24: what Handle and the poller's events carry
  std::uint32_t next_ready = kNoSlot;  // in the ready list
  std::uint32_t next_other =
      kNoSlot;                   // in a group's list of starved slots, or the list of free ones
  std::uint32_t turn = 0;        // that turn_bytes belongs to
  std::uint32_t turn_bytes = 0;  // received
  std::uint16_t bits = 0;
  Speculation read_speculation;
  Speculation write_speculation;

  bool has(std::uint16_t bit) const { return (bits & bit) != 0; }
  void set(std::uint16_t bit) { bits = static_cast<std::uint16_t>(bits | bit); }
  void clear(std::uint16_t bit) { bits = static_cast<std::uint16_t>(bits & ~bit); }
};
static_assert(sizeof(void*) != 8 || sizeof(Slot) == 64);

/// Slots by index. They keep their address: chunks are added, never moved.
class SlotTable {
 public:
  /// A slot with nothing set but its handle.
  Slot& take() {
    if (free_ == kNoSlot) grow();
    Slot& slot = at(free_);
    free_ = slot.next_other;
    slot.next_other = kNoSlot;
    slot.native = -1;
    slot.clear(
        static_cast<std::uint16_t>(~kQueued));  // a reused slot may still stand in the ready list
    slot.read_speculation = slot.write_speculation = {};
    return slot;
  }
  /// The slot's handle means nothing from here on; a late event of it at worst marks the next user ready.
  void release(Slot& slot) {
    const std::uint32_t index = index_of(slot.handle);
    slot.handle += 1u << kIndexBits;
    slot.clear(static_cast<std::uint16_t>(~kQueued));
    slot.next_other = free_;
    free_ = index;
  }

  /// The slot of a live handle. Misuse: a handle that was closed aborts with its value.
  Slot& of(Handle handle) const {
    const std::uint32_t index = index_of(handle.value);
    WEIR_CHECK_LT(index, count_);
    Slot& slot = at(index);
    WEIR_CHECK_EQ(slot.handle, handle.value);
    return slot;
  }
  Slot& at(std::uint32_t index) const { return chunks_[index / kChunk][index % kChunk]; }
  static constexpr std::uint32_t index_of(std::uint32_t handle) {
    return handle & ((1u << kIndexBits) - 1);
  }
  std::uint32_t size() const { return count_; }

 private:
  static constexpr std::uint32_t kIndexBits = 24;
  static constexpr std::uint32_t kChunk = 256;

  void grow() {
    WEIR_CHECK_LT(count_ + kChunk, 1u << kIndexBits);
    chunks_.push_back(std::make_unique<Slot[]>(kChunk));
    for (std::uint32_t i = kChunk; i-- > 0;) {
      Slot& slot = chunks_.back()[i];
      slot.handle = count_ + i;
      slot.next_other = free_;
      free_ = count_ + i;
    }
    count_ += kChunk;
  }

  std::vector<std::unique_ptr<Slot[]>> chunks_;
  std::uint32_t count_ = 0;
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
    const std::uint32_t count = count_;
    for (std::uint32_t i = 0; i < count; ++i) {
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
