// What a timer is to the loop's wheel: one intrusive record inside its owner, which keeps its address while armed.
// Arming, extending and cancelling link and unlink it; nothing is allocated.
#pragma once
#include <cstdint>

#include "weir/check.h"

namespace weir::inline v0 {

/// Units:   nanoseconds on the loop's clock.
/// Owner:   whoever made it; it must be cancelled, or have fired, before it is destroyed.
/// Threads: the loop's own.
class TimerNode {
 public:
  using OnDue = void (*)(TimerNode& node);

  explicit TimerNode(OnDue on_due_at = nullptr) : on_due(on_due_at) {}
  ~TimerNode() { WEIR_CHECK(!is_armed()); }  // The wheel would go on to follow its links.
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  bool is_armed() const { return place_ != nullptr; }
  /// The last deadline it was armed with.
  std::uint64_t deadline_ns() const { return deadline_ns_; }

  /// Called once it is due, already disarmed: it may be armed again, or destroyed, inside.
  OnDue on_due;

 private:
  friend class TimerWheel;
  TimerNode* next_ = nullptr;
  TimerNode** place_ = nullptr;  // the pointer that points here; null while not armed
  std::uint64_t deadline_ns_ = 0;
  std::uint64_t sequence_ = 0;  // of arming: the order among equal deadlines
  std::uint16_t slot_ = 0;      // in the wheel
};
static_assert(sizeof(void*) != 8 || sizeof(TimerNode) == 48);

}  // namespace weir::inline v0
