// Work that a test holds up: it says when it runs, and waits until the test lets it go on. And a loop for such work, which
// looks at the end whether everything that was captured has gone, on the thread where it was made.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "tests/unit/loop_rig.h"

namespace weir::test {

class Gate {
 public:
  ~Gate() { open(); }
  /// For work: counts itself as entered, and waits until the gate is open.
  void pass() {
    std::unique_lock lock(mutex_);
    ++entered_count_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_; });
    ++passed_count_;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  /// Waits until `count` have entered.
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entered_count_ >= count; });
  }
  int entered_count() const {
    const std::lock_guard lock(mutex_);
    return entered_count_;
  }
  int passed_count() const {
    const std::lock_guard lock(mutex_);
    return passed_count_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int entered_count_ = 0;
  int passed_count_ = 0;
  bool is_open_ = false;
};

inline OffloadLimits one_thread(std::uint32_t queue_max = 1024) {
  OffloadLimits limits;
  limits.threads_max = limits.cpu_max = limits.file_max = limits.dns_max = 1;
  limits.queue_max = queue_max;
  return limits;
}

/// Counts what lives, and what died on another thread than the loop's before it was moved from.
struct Counted {
  static inline std::atomic<int> live_count_ = 0;
  static inline std::atomic<int> died_elsewhere_count_ = 0;
  static inline std::thread::id home_;
  Counted() { ++live_count_; }
  Counted(const Counted&) { ++live_count_; }
  Counted(Counted&& other) noexcept {
    ++live_count_;
    other.is_moved_from = true;
  }
  ~Counted() {
    --live_count_;
    if (!is_moved_from && std::this_thread::get_id() != home_) ++died_elsewhere_count_;
  }
  bool is_moved_from = false;
};

class OffloadTest : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    Counted::home_ = std::this_thread::get_id();
    Counted::live_count_ = Counted::died_elsewhere_count_ = 0;
  }
  void TearDown() override {
    rig_.reset();
    EXPECT_EQ(Counted::live_count_, 0);
    EXPECT_EQ(Counted::died_elsewhere_count_, 0);
  }
  static std::unique_ptr<OffloadPool> make_pool(const OffloadLimits& limits = {}) {
    return OffloadPool::make(limits).value();
  }
  void expect_nothing_pending() {
    EXPECT_EQ(metrics().offloads_pending, 0u);
    EXPECT_FALSE(loop().run());
  }
};

inline std::uint32_t running_count(const OffloadPool& pool, Work work) {
  return pool.stats().running_count[static_cast<int>(work)];
}
inline std::uint32_t waiting_count(const OffloadPool& pool, Work work) {
  return pool.stats().waiting_count[static_cast<int>(work)];
}

}  // namespace weir::test
