// The sweep of the timer wheel: from slots to the sorted batch that expire() runs.
// Path: Loop's turn, step 2 -> expire -> begin_expiry, refill -> sweep -> on_due.
#include "src/loop/timer_wheel.h"

#include <algorithm>
#include <utility>

namespace weir::inline v0 {

namespace {

constexpr auto kInOrder = [](const auto& left, const auto& right) {
  return left.deadline_ns != right.deadline_ns ? left.deadline_ns < right.deadline_ns
                                               : left.sequence < right.sequence;
};

}  // namespace

TimerWheel::TimerWheel() : slots_(std::make_unique<Slot[]>(kNoSlot + 1)) {
  batch_.reserve(kBatchMax);
}

TimerWheel::~TimerWheel() {
  for (std::size_t index = 0; index <= kLateSlot; ++index) {
    for (TimerNode* node : slots_[index].chains) {
      while (node != nullptr) {
        node->place_ = nullptr;
        node = node->next_;
      }
    }
  }
  for (; batch_next_ < batch_.size(); ++batch_next_) {
    if (batch_[batch_next_].node != nullptr) batch_[batch_next_].node->place_ = nullptr;
  }
}

// Everything armed so far may run. False: there is still a slot to spread, so nobody knows yet what is first.
bool TimerWheel::begin_expiry(std::uint64_t now_ns) {
  WEIR_CHECK_GE(now_ns, swept_ns_);
  fence_ = next_sequence_;
  moves_left_ = kMovesMax;
  if (!spread()) return false;
  take_late();
  return true;
}

// What was armed late joins the rest of the batch, in order.
void TimerWheel::take_late() {
  if (slots_[kLateSlot].count == 0) return;
  if (batch_next_ * 2 >= batch_.size()) {
    batch_.erase(batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(batch_next_));
    batch_next_ = 0;
  }
  const std::size_t old_size = batch_.size();
  sweep(kLateSlot);
  const auto late = batch_.begin() + static_cast<std::ptrdiff_t>(old_size);
  std::sort(late, batch_.end(), kInOrder);
  if (batch_next_ < old_size && old_size < batch_.size() && kInOrder(*late, *(late - 1))) {
    std::inplace_merge(batch_.begin() + static_cast<std::ptrdiff_t>(batch_next_), late,
                       batch_.end(), kInOrder);
  }
}

// Fills the empty batch with the earliest timers that are due; false when there are none, or not yet known.
bool TimerWheel::refill(std::uint64_t now_ns) {
  batch_.clear();
  batch_next_ = 0;
  if (batch_.capacity() > kBatchKeep) batch_.shrink_to_fit();
  while (levels_ != 0 && batch_.empty()) {
    const std::size_t index = first_slot();
    const Slot& slot = slots_[index];
    if (slot.earliest_ns > now_ns || moves_left_ == 0) return false;
    mark_empty(index);
    const std::size_t level = index >> kDigitBits;
    if (slot.count <= kBatchMax || level == 0) {
      const std::uint64_t last_ns =
          slot.earliest_ns | ((std::uint64_t{1} << (level * kDigitBits)) - 1);
      swept_ns_ = std::min(last_ns, now_ns);
      sweep(index);
      std::sort(batch_.begin(), batch_.end(), kInOrder);
    } else {
      swept_ns_ = slot.earliest_ns;
      spread_ = index;
      if (!spread()) return false;
      take_late();
    }
  }
  if (!batch_.empty()) return true;
  swept_ns_ = now_ns;  // Nothing is armed but what is late, so nothing can lie in a wrong slot.
  return false;
}

// Empties a slot: into the batch what is due by swept_ns_, into other slots the rest.
void TimerWheel::sweep(std::size_t index) {
  const Slot swept = std::exchange(slots_[index], Slot{});
  std::array<TimerNode*, kChains> chains = swept.chains;
  moves_left_ -= std::min(moves_left_, swept.count);
  for (std::uint32_t left_count = swept.count; left_count != 0;) {
    for (TimerNode*& chain : chains) {
      TimerNode* node = chain;
      if (node == nullptr) continue;
      chain = node->next_;
      --left_count;
      if (node->deadline_ns_ <= swept_ns_ && node->sequence_ < fence_) {
        node->place_ = &batch_mark_;
        batch_.push_back({node->deadline_ns_, node->sequence_, node});
        ++batch_live_;
      } else {
        insert(*node);
      }
    }
  }
}

// Moves the nodes of a slot that is too full for one batch to lower levels, a bounded number a call, so
// that a million timers in one slot do not stop the loop. Those due at the slot's earliest deadline become
// late ones. True: done.
bool TimerWheel::spread() {
  Slot& slot = slots_[spread_];
  for (std::size_t next_chain = 0; slot.count != 0; next_chain = (next_chain + 1) % kChains) {
    TimerNode* node = slot.chains[next_chain];
    if (node == nullptr) continue;
    if (moves_left_ == 0) return false;
    --moves_left_;
    unlink(*node);
    insert(*node);
  }
  spread_ = kNoSlot;
  return true;
}

void TimerWheel::remove_from_batch(TimerNode& node) {
  const Due key{node.deadline_ns_, node.sequence_, nullptr};
  const auto found = std::lower_bound(batch_.begin() + static_cast<std::ptrdiff_t>(batch_next_),
                                      batch_.end(), key, kInOrder);
  WEIR_CHECK(found != batch_.end() && found->node == &node);
  found->node = nullptr;
  --batch_live_;
}

}  // namespace weir::inline v0
