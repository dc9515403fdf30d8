// The loop's timers. A node lies in the slot of the highest base-64 digit in which its deadline differs
// from the time swept so far, so arming and cancelling are O(1) at nanosecond resolution, and all slots
// of a lower level come before those of a higher one. When the first slot's time has come, what is due
// goes from it into a sorted batch and the rest to lower levels. A node extended to later stays where it
// is until then.
#pragma once
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "weir/check.h"
#include "weir/counted.h"
#include "weir/timer_node.h"

namespace weir::inline v0 {

/// Units:   nanoseconds on the loop's clock, which never goes back.
/// Owner:   the nodes belong to others; the wheel links them while they are armed.
/// Threads: the loop's own.
class TimerWheel {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  TimerWheel();
  ~TimerWheel();  ///< disarms what is still armed
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  /// Arms `node`, or gives an armed one a new deadline and a new place in the order. A deadline in the
  /// past is due in the next expire().
  void arm(TimerNode& node, std::uint64_t deadline_ns) {
    const bool is_armed = node.is_armed();
    if (is_armed) {
      if (deadline_ns >= node.deadline_ns_ &&
          node.place_ != &batch_mark_) {  // Moved when its slot is swept.
        node.deadline_ns_ = deadline_ns;
        node.sequence_ = next_sequence_++;
        return;
      }
      remove(node);
    }
    node.deadline_ns_ = deadline_ns;
    node.sequence_ = next_sequence_++;
    size_ += !is_armed;
    insert(node);
  }

  /// Disarms `node`, also one that is due and waits in the batch. Returns whether it was armed.
  bool cancel(TimerNode& node) {
    if (!node.is_armed()) return false;
    remove(node);
    node.place_ = nullptr;
    --size_;
    return true;
  }

  /// Disarms and hands to `run(TimerNode&)` at most `budget` timers whose deadline is `now_ns` or earlier,
  /// by deadline, then by order of arming. What is armed or extended meanwhile waits for the next call, as
  /// does what is over budget. Returns how many ran: when a slot is very full, fewer than are due, for the
  /// moves between slots are bounded too; next_deadline_ns() is in the past then.
  template <typename Run>
  std::size_t expire(std::uint64_t now_ns, std::size_t budget, Run&& run) {
    if (next_deadline_ns() > now_ns || !begin_expiry(now_ns)) return 0;
    std::size_t ran_count = 0;
    while (ran_count < budget) {
      if (batch_next_ == batch_.size() && !refill(now_ns)) break;
      const std::size_t ahead = batch_next_ + kPrefetch;
      if (ahead < batch_.size()) __builtin_prefetch(batch_[ahead].node);
      TimerNode* node = batch_[batch_next_++].node;
      if (node == nullptr) continue;  // Cancelled since.
      --batch_live_;
      --size_;
      node->place_ = nullptr;
      ++ran_count;
      run(*node);
    }
    return ran_count;
  }
  std::size_t expire(std::uint64_t now_ns, std::size_t budget) {
    return expire(now_ns, budget, [](TimerNode& node) { node.on_due(node); });
  }

  /// Never later than the earliest deadline; kNever when nothing is armed, 0 when something waits to run.
  /// It is too early only after a cancel or an extension: an expire() then runs nothing and finds a better
  /// bound, at most once a level and timer.
  std::uint64_t next_deadline_ns() const {
    if ((batch_live_ | slots_[kLateSlot].count | slots_[spread_].count) != 0) return 0;
    return levels_ == 0 ? kNever : slots_[first_slot()].earliest_ns;
  }

  std::size_t size() const { return size_; }  ///< armed
  bool empty() const { return size_ == 0; }

 private:
  static constexpr int kDigitBits = 6;
  static constexpr int kLevels = 11;  // 64 bits of nanoseconds
  static constexpr std::size_t kLateSlot = std::size_t{kLevels} << kDigitBits;  // due when armed
  static constexpr std::size_t kNoSlot = kLateSlot + 1;                         // always empty
  static constexpr std::size_t kChains = 8;
  static constexpr std::uint32_t kBatchMax = 128;      // a fuller slot is spread over lower levels
  static constexpr std::uint32_t kMovesMax = 4096;     // of nodes between slots, in one expire()
  static constexpr std::size_t kBatchKeep = 16 << 10;  // memory for more than this is given back
  static constexpr std::size_t kPrefetch = 16;

  // Several chains a slot, taken in turn: walking them side by side overlaps the cache misses.
  struct Slot {
    std::array<TimerNode*, kChains> chains;
    std::uint64_t earliest_ns;  // no node's deadline is earlier; valid while count > 0
    std::uint32_t count;
  };
  struct Due {
    std::uint64_t deadline_ns;
    std::uint64_t sequence;
    TimerNode* node;
  };

  static std::size_t slot_index(int level, int digit) {
    return static_cast<std::size_t>(level << kDigitBits | digit);
  }

  void insert(TimerNode& node) {
    std::size_t index = kLateSlot;
    if (node.deadline_ns_ > swept_ns_) {
      const int level = (63 - std::countl_zero(node.deadline_ns_ ^ swept_ns_)) / kDigitBits;
      const int digit = static_cast<int>(node.deadline_ns_ >> (level * kDigitBits) & 63);
      index = slot_index(level, digit);
      occupied_[static_cast<std::size_t>(level)] |= std::uint64_t{1} << digit;
      levels_ |= 1u << level;
    }
    Slot& slot = slots_[index];
    const bool is_first = slot.count == 0 || node.deadline_ns_ < slot.earliest_ns;
    if (is_first) slot.earliest_ns = node.deadline_ns_;
    TimerNode*& head = slot.chains[slot.count++ % kChains];
    node.next_ = head;
    node.place_ = &head;
    node.slot_ = static_cast<std::uint16_t>(index);
    if (head != nullptr) head->place_ = &node.next_;
    head = &node;
  }

  void remove(TimerNode& node) {
    if (node.place_ == &batch_mark_) {
      remove_from_batch(node);
      return;
    }
    unlink(node);
    if (slots_[node.slot_].count == 0) mark_empty(node.slot_);
  }

  void unlink(TimerNode& node) {
    *node.place_ = node.next_;
    if (node.next_ != nullptr) node.next_->place_ = node.place_;
    --slots_[node.slot_].count;
  }

  std::size_t first_slot() const {  // there is one
    const int level = std::countr_zero(levels_);
    return slot_index(level, std::countr_zero(occupied_[static_cast<std::size_t>(level)]));
  }
  void mark_empty(std::size_t index) {
    if (index == kLateSlot) return;
    const std::size_t level = index >> kDigitBits;
    occupied_[level] &= ~(std::uint64_t{1} << (index & 63));
    if (occupied_[level] == 0) levels_ &= ~(1u << level);
  }

  bool begin_expiry(std::uint64_t now_ns);
  void take_late();
  bool refill(std::uint64_t now_ns);
  void sweep(std::size_t index);
  bool spread();
  void remove_from_batch(TimerNode& node);

  std::uint64_t swept_ns_ =
      0;  // deadlines up to here are late; each slot's digit is above this one's
  std::uint64_t next_sequence_ = 0;
  std::uint64_t fence_ = 0;  // what is armed during an expire() has this sequence or a later one
  std::size_t size_ = 0;
  std::array<std::uint64_t, kLevels> occupied_{};
  std::uint32_t levels_ = 0;      // which have an occupied slot
  std::uint32_t moves_left_ = 0;  // in this expire()
  std::unique_ptr<Slot[]> slots_;
  std::size_t spread_ = kNoSlot;  // a slot too full for one batch, on its way to lower levels
  CountedVector<Due> batch_;      // due, in order; a cancelled one has no node
  std::size_t batch_next_ = 0;
  std::size_t batch_live_ = 0;
  TimerNode* batch_mark_ = nullptr;  // its address is the place of a node in the batch
};

}  // namespace weir::inline v0
