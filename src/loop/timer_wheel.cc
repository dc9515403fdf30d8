// The sweep of the timer wheel: from slots to the sorted batch that expire() runs.
// Path: Loop's turn, step 2 -> expire -> begin_expiry, refill -> sweep -> on_due.
#include "src/loop/timer_wheel.h"

#include <algorithm>

namespace weir::inline v0 {

namespace {

constexpr auto kInOrder = [](const auto& left, const auto& right) {
  return left.deadline_ns != right.deadline_ns ? left.deadline_ns < right.deadline_ns
                                               : left.sequence < right.sequence;
};

}  // namespace

TimerWheel::TimerWheel() : slots_(std::make_unique<Slot[]>(kLateSlot + 1)) {}

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

// Everything armed so far may run; what was armed late joins the rest of the batch, in order.
void TimerWheel::begin_expiry(std::uint64_t now_ns) {
  WEIR_CHECK_GE(now_ns, swept_ns_);
  fence_ = next_sequence_;
  if (slots_[kLateSlot].count == 0) return;
  batch_.erase(batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(batch_next_));
  batch_next_ = 0;
  const auto kept = static_cast<std::ptrdiff_t>(batch_.size());
  sweep(kLateSlot);
  std::sort(batch_.begin() + kept, batch_.end(), kInOrder);
  std::inplace_merge(batch_.begin(), batch_.begin() + kept, batch_.end(), kInOrder);
}

// Fills the empty batch with the earliest timers that are due. Slots that hold too many for one sort are spread over
// lower levels first, so that a call's work stays in proportion to what it runs.
bool TimerWheel::refill(std::uint64_t now_ns) {
  batch_.clear();
  batch_next_ = 0;
  while (levels_ != 0 && batch_.empty()) {
    const int level = std::countr_zero(levels_);
    const int digit = std::countr_zero(occupied_[static_cast<std::size_t>(level)]);
    const std::size_t index = slot_index(level, digit);
    const int shift = level * kDigitBits;
    const std::uint64_t below = (std::uint64_t{1} << shift) - 1;
    const std::uint64_t inside = level + 1 == kLevels ? kNever : below << kDigitBits | 63;
    const std::uint64_t start_ns = (swept_ns_ & ~inside) | static_cast<std::uint64_t>(digit)
                                                               << shift;
    if (start_ns > now_ns) break;
    const bool fits = slots_[index].count <= kBatchMax || level == 0;
    swept_ns_ = fits ? std::min(start_ns | below, now_ns) : start_ns;
    mark_empty(index);
    sweep(index);
    std::sort(batch_.begin(), batch_.end(), kInOrder);
  }
  if (!batch_.empty()) return true;
  swept_ns_ = std::max(swept_ns_, now_ns);
  return false;
}

// Empties a slot: into the batch what is due by swept_ns_, into other slots the rest.
void TimerWheel::sweep(std::size_t index) {
  Slot& slot = slots_[index];
  std::array<TimerNode*, kChains> chains = slot.chains;
  std::uint32_t left_count = slot.count;
  slot.chains = {};
  slot.count = 0;
  while (left_count != 0) {
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

void TimerWheel::remove_from_batch(TimerNode& node) {
  const Due key{node.deadline_ns_, node.sequence_, nullptr};
  const auto found = std::lower_bound(batch_.begin() + static_cast<std::ptrdiff_t>(batch_next_),
                                      batch_.end(), key, kInOrder);
  WEIR_CHECK(found != batch_.end() && found->node == &node);
  found->node = nullptr;
  --batch_live_;
}

}  // namespace weir::inline v0
