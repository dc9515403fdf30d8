// Whether the loop sleeps, so that a producer wakes it only when it does, and only one producer does.
// The loop says that it sleeps and then looks at its queues once more; a producer queues and then looks at the state:
// in the one order of sequentially consistent operations, at least one of the two sees the other.
#pragma once
#include <atomic>
#include <cstdint>

namespace weir::inline v0 {

class WakeState {
 public:
  /// The loop, before it waits. True: wait now, then call awake(). False: `has_work()` found something; do not wait.
  /// `has_work` must read with memory_order_seq_cst what a producer writes before notify().
  template <typename HasWork>
  bool try_sleep(HasWork&& has_work) {
    state_.store(kSleeping, std::memory_order_seq_cst);
    if (!has_work()) return true;
    state_.store(kRunning,
                 std::memory_order_seq_cst);  // A wake may be on its way; it will be one too many.
    return false;
  }

  /// The loop, after it waited. Returns whether a producer had ended the wait.
  bool awake() { return state_.exchange(kRunning, std::memory_order_seq_cst) == kNotified; }

  /// A producer, on any thread, after it queued something with a seq_cst write. Calls `wake()` when the loop sleeps and
  /// nobody else has woken it. Returns whether it did.
  template <typename Wake>
  bool notify(Wake&& wake) {
    if (state_.load(std::memory_order_seq_cst) != kSleeping) return false;
    std::uint32_t expected = kSleeping;
    if (!state_.compare_exchange_strong(expected, kNotified, std::memory_order_seq_cst))
      return false;
    wake();
    return true;
  }

 private:
  static constexpr std::uint32_t kRunning = 0, kSleeping = 1, kNotified = 2;
  alignas(64) std::atomic<std::uint32_t> state_{kRunning};  // Its line is shared by all producers.
};

}  // namespace weir::inline v0
