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
  bool enter() {
    State awake = State::awake;
    if (state_.compare_exchange_strong(awake, State::asleep)) return true;
    state_.store(State::awake);
    return false;
  }
  /// After it slept. True when somebody woke it.
  bool leave() { return state_.exchange(State::awake) == State::woken; }

  /// For a loop that waits in somebody else's poll: every first wake() after this one signals.
  void stay_asleep() { state_.exchange(State::asleep); }

 private:
  enum class State : int { awake, asleep, woken };
  std::atomic<State> state_ = State::awake;
};

}  // namespace weir::inline v0
