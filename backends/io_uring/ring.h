// One ring: set up with the flags that the kernel takes, filled, entered, and walked. It knows queues and flags, no
// ops. Entries are handed over by enter(); nothing here waits unless asked to.
#pragma once
#include <liburing.h>

#include <csignal>
#include <cstdint>
#include <thread>

#include "backends/io_uring/features.h"
#include "src/os/linux/call.h"

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

  /// Hands over all entries and waits for `wait_count` completions, at most until `deadline_ns` on the monotonic
  /// clock. Returns the entries taken, or -errno; -ETIME when time ran out first. Entries that were not taken stay.
  int enter(unsigned wait_count, std::uint64_t deadline_ns) {
    const unsigned tail = ring_.sq.sqe_tail;
    io_uring_smp_store_release(ring_.sq.ktail, tail);
    if (!is_started_) [[unlikely]] {
      if (const int started = start(); started < 0) return started;
    }
    if (wait_count != 0 && deadline_ns != kNever) return enter_until(deadline_ns);
    return call_enter(wait_count, enter_flags_, nullptr, _NSIG / 8);
  }

  unsigned ready() const { return io_uring_smp_load_acquire(ring_.cq.ktail) - *ring_.cq.khead; }
  bool has_kernel_work() const {
    return (io_uring_smp_load_acquire(ring_.sq.kflags) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }
  bool has_overflow() const {
    return (io_uring_smp_load_acquire(ring_.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0;
  }

  /// Calls `each` with every completion that is there now, and leaves it there.
  template <typename Each>
  void look(Each&& each) const {
    const unsigned tail = io_uring_smp_load_acquire(ring_.cq.ktail);
    for (unsigned head = *ring_.cq.khead; head != tail; ++head)
      each(ring_.cq.cqes[head & ring_.cq.ring_mask]);
  }
  /// Takes the oldest one, if there is one.
  template <typename Each>
  void reap_one(Each&& each) {
    if (ready() == 0) return;
    const unsigned head = *ring_.cq.khead;
    each(ring_.cq.cqes[head & ring_.cq.ring_mask]);
    io_uring_smp_store_release(ring_.cq.khead, head + 1);
  }
  /// Calls `each` with every completion that is there now, and takes them.
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
  int enter_until(std::uint64_t deadline_ns);
  int call_enter(unsigned wait_count, unsigned flags, void* argument, std::size_t size) {
    if (os::fault_hook.load(std::memory_order_relaxed) != nullptr) [[unlikely]] {
      if (const int fault = ask_for_fault(); fault != 0) return fault;
    }
    ++os::call_count;
    ++counters_.enters;
    const int result = io_uring_enter2(enter_fd_, unsubmitted(), wait_count, flags,
                                       static_cast<sigset_t*>(argument), size);
    if (result < 0) [[unlikely]]
      check_enter(result);
    return result;
  }
  int ask_for_fault() const;
  static void check_enter(int result);

  io_uring ring_{};
  Features features_;
  Counters counters_;
  std::uint32_t enter_flags_ = IORING_ENTER_GETEVENTS;
  unsigned enter_fd_ = 0;  // the descriptor, or its index among the thread's registered rings
  std::thread::id registered_by_{};
  bool is_open_ = false;
  bool is_started_ = false;
};

}  // namespace weir::inline v0::uring
