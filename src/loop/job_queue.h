// Jobs of one kind (ticks, microtasks, immediates …) in the order in which they were queued: a ring that doubles
// when it is full and takes no memory before its first job.
#pragma once
#include <bit>
#include <cstddef>
#include <memory>
#include <utility>

#include "weir/check.h"
#include "weir/job.h"
#include "weir/metrics.h"

namespace weir::inline v0 {

/// Threads: the loop's own.
class JobQueue {
 public:
  bool empty() const { return head_ == tail_; }
  /// How many are queued now: a phase that runs only those remembers this number.
  std::size_t size() const { return tail_ - head_; }

  void push(Job&& job) {
    WEIR_CHECK(static_cast<bool>(job));
    if (size() == capacity_) grow();
    ring_[tail_++ & (capacity_ - 1)] = std::move(job);
  }
  /// The oldest. It is out of the queue before it runs, so what it queues may move the ring.
  Job pop() {
    WEIR_CHECK(!empty());
    return std::move(ring_[head_++ & (capacity_ - 1)]);
  }
  const Job& front() const { return ring_[head_ & (capacity_ - 1)]; }
  std::size_t capacity() const { return capacity_; }

 private:
  static constexpr std::size_t kFirstCapacity = 64;

  void grow() {
    const std::size_t capacity = capacity_ == 0 ? kFirstCapacity : capacity_ * 2;
    auto ring = std::make_unique<Job[]>(capacity);
    ++thread_counts().heap_allocations;
    for (std::size_t i = head_; i != tail_; ++i)
      ring[i & (capacity - 1)] = std::move(ring_[i & (capacity_ - 1)]);
    ring_ = std::move(ring);
    capacity_ = capacity;
  }

  std::unique_ptr<Job[]> ring_;
  std::size_t capacity_ = 0;  // a power of two, or 0
  std::size_t head_ = 0;      // positions only rise; their low bits are places in the ring
  std::size_t tail_ = 0;
};

}  // namespace weir::inline v0
