// Jobs on their way from any thread to one loop: a bounded ring without locks. One word holds where producers are and
// how far they may go, so "full" is exact; the consumer moves the limit on after each drain, and starts again at the
// first cell whenever the ring is empty, so that only as much memory is touched as jobs ever waited at once.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "weir/check.h"
#include "weir/job.h"

namespace weir::inline v0 {

/// Threads: push() anywhere; everything else on the consumer's. A producer that stops between claiming its cell and
///          filling it holds back those behind it, and empty() stays false: the consumer must not sleep, and does not.
class PostQueue {
 public:
  explicit PostQueue(std::uint32_t capacity);
  ~PostQueue();  ///< destroys what is still queued; no producer may be left
  PostQueue(const PostQueue&) = delete;
  PostQueue& operator=(const PostQueue&) = delete;

  /// Takes `job`, or leaves it alone and returns false when `capacity` jobs are waiting. (Up to 64 that the
  /// drain under way has run already count as well.)
  /// The claim is seq_cst, so that Backend::wake() may follow.
  bool push(Job&& job) {
    WEIR_CHECK(static_cast<bool>(job));
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    do {
      if (tail_of(word) == limit_of(word)) return false;
    } while (!word_.compare_exchange_weak(word, word + kOneTail, std::memory_order_seq_cst,
                                          std::memory_order_relaxed));
    __builtin_prefetch(&cells_[(tail_of(word) + kPrefetch) & mask_], 1);  // It was the consumer's.
    Cell& cell = cells_[tail_of(word) & mask_];
    ::new (static_cast<void*>(&cell.job)) Job(std::move(job));
    cell.is_full.store(1, std::memory_order_release);
    return true;
  }

  /// Hands at most `budget` jobs, oldest first, to `run(Job&&)`. Returns how many.
  template <typename Run>
  std::size_t drain(std::size_t budget, Run&& run) {
    struct AtEnd {  // Also when run() throws: producers must hear of the room.
      PostQueue& queue;
      std::size_t count = 0;
      ~AtEnd() {
        if (count != 0) queue.report_room();
      }
    } drained{*this};
    while (drained.count < budget) {
      Cell& cell = cells_[head_ & mask_];
      if (cell.is_full.load(std::memory_order_acquire) == 0) break;
      Job job = std::move(cell.job);
      cell.is_full.store(0, std::memory_order_relaxed);
      ++head_;
      if (++drained.count % kReportEvery == 0) report_room();
      run(std::move(job));
    }
    return drained.count;
  }

  /// Is nothing queued, nor about to be? seq_cst: the loop may sleep when it says so.
  bool empty() const { return tail_of(word_.load(std::memory_order_seq_cst)) == head_; }
  std::uint32_t size() const { return tail_of(word_.load(std::memory_order_relaxed)) - head_; }
  std::uint32_t capacity() const { return capacity_; }

 private:
  static constexpr std::uint32_t kPrefetch = 8;    // cells
  static constexpr std::size_t kReportEvery = 64;  // of the consumer's steps, in a long drain
  struct alignas(64) Cell {  // A zero cell is an empty one, so fresh pages need no writing.
    std::atomic<std::uint32_t> is_full;
    Job job;
  };

  static constexpr std::uint64_t kOneTail = std::uint64_t{1} << 32;
  static std::uint32_t tail_of(std::uint64_t word) {
    return static_cast<std::uint32_t>(word >> 32);
  }
  static std::uint32_t limit_of(std::uint64_t word) { return static_cast<std::uint32_t>(word); }
  void report_room();

  // Three lines: read by all, written by producers, written by the consumer.
  alignas(64) std::uint32_t capacity_;
  std::uint32_t mask_;
  Cell* cells_;
  void* memory_;
  // High half: tail, where the next producer claims a cell; it wraps. Low half: where tail must stop.
  alignas(64) std::atomic<std::uint64_t> word_;
  alignas(64) std::uint32_t head_ = 0;
};

}  // namespace weir::inline v0
