// Tells a loop that waits from one that runs, so that waking a running loop costs no system call. The order of the
// exchanges is the whole point: whoever queues something and then calls wake() is either seen by the loop before it
// sleeps, or sees that it sleeps.
#pragma once
#include <atomic>

namespace weir::inline v0 {

class WakeGate {
 public:
  /// Any thread. True when the caller must signal: the loop sleeps, or is about to.
  bool wake() { return state_.exchange(State::woken) == State::asleep; }

  /// The loop's thread, before it sleeps. False when somebody has woken it already: do not sleep.
  bool enter() { return state_.exchange(State::asleep) != State::woken; }
  /// Has somebody woken it since? A look only.
  bool is_woken() const { return state_.load(std::memory_order_relaxed) == State::woken; }
  /// For a turn that looks before it knows whether it sleeps: is_woken(), and that wake is used up.
  bool take_wake() { return is_woken() && leave(); }
  /// After enter() and the wait. True when somebody has woken it.
  bool leave() { return state_.exchange(resting_) == State::woken; }

  /// For a loop that waits in somebody else's poll as well: from now on the first wake() after each turn signals.
  void stay_asleep() {
    resting_ = State::asleep;
    state_.exchange(State::asleep);
  }
  /// A turn that does not sleep.
  void rest() {
    if (resting_ == State::asleep) state_.exchange(State::asleep);
  }

 private:
  enum class State : int { awake, asleep, woken };
  std::atomic<State> state_ = State::awake;
  State resting_ = State::awake;  // the loop's thread's own
};

}  // namespace weir::inline v0
