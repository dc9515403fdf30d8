// One ring: set up with the flags that the kernel takes, filled, entered, and walked. It knows queues and flags, no
// ops. Entries are handed over by enter(); nothing here waits unless asked to.
#pragma once
#include <liburing.h>

#include <cstdint>
#include <thread>

#include "backends/io_uring/features.h"

namespace weir::inline v0::uring {

/// Errors are -errno. Threads: one; the first enter() binds the ring to its caller.
class Ring {
 public:
  static constexpr unsigned kSubmissions = 256;
  static constexpr unsigned kCompletions = 16 * kSubmissions;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  Ring() = default;
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Makes the ring with the flags that `mask` allows, dropping the newest until the kernel takes them.
  /// Errors: EPERM (forbidden), ENOSYS (none), ENOMEM (memlock), EMFILE, EINVAL (not even the oldest flags).
  int open(Kernel mask, unsigned submissions = kSubmissions);

  Features& features() { return features_; }
  const Features& features() const { return features_; }
  Counters& counters() { return counters_; }
  const Counters& counters() const { return counters_; }
  io_uring& native() { return ring_; }
  int fd() const { return ring_.ring_fd; }
  bool is_started() const { return is_started_; }

  bool has_room(unsigned count = 1) const { return room() >= count; }
  unsigned room() const {
    return ring_.sq.ring_entries - (ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead));
  }
  /// The next entry, for the caller to fill in (io_uring_prep_*) and to count; has_room() first.
  io_uring_sqe& next() {
    io_uring_sqe& entry = ring_.sq.sqes[ring_.sq.sqe_tail++ & ring_.sq.ring_mask];
    io_uring_initialize_sqe(&entry);
    return entry;
  }
  /// The place of the entry that next() gave last, for memory that goes with it.
  unsigned last_place() const { return (ring_.sq.sqe_tail - 1) & ring_.sq.ring_mask; }
  void count(const io_uring_sqe& entry) { ++counters_.opcodes[entry.opcode & 63]; }
  unsigned unsubmitted() const {
    return ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead);
  }

  /// Hands over all entries and waits for `wait_count` completions, at most until `deadline_ns` on the monotonic clock.
  /// Returns the entries taken, or -errno; -ETIME when the deadline came first. Entries not taken stay.
  int enter(unsigned wait_count, std::uint64_t deadline_ns);

  unsigned ready() const { return io_uring_smp_load_acquire(ring_.cq.ktail) - *ring_.cq.khead; }
  bool has_kernel_work() const {
    return (io_uring_smp_load_acquire(ring_.sq.kflags) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }
  bool has_overflow() const {
    return (io_uring_smp_load_acquire(ring_.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0;
  }

  /// Calls `each` with every completion that is there now.
  template <typename Each>
  unsigned reap(Each&& each) {
    unsigned head = *ring_.cq.khead;
    const unsigned tail = io_uring_smp_load_acquire(ring_.cq.ktail);
    const unsigned count = tail - head;
    for (; head != tail; ++head) each(ring_.cq.cqes[head & ring_.cq.ring_mask]);
    if (count != 0) io_uring_smp_store_release(ring_.cq.khead, tail);
    return count;
  }

 private:
  int try_open(std::uint32_t flags, unsigned submissions);
  int start();

  io_uring ring_{};
  Features features_;
  Counters counters_;
  std::uint32_t enter_flags_ = 0;
  unsigned enter_fd_ = 0;  // the descriptor, or its index among the thread's registered rings
  std::thread::id registered_by_{};
  bool is_open_ = false;
  bool is_started_ = false;
};

}  // namespace weir::inline v0::uring
