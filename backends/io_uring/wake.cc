// Waiting, and ending a wait from another thread: through the gate, which says whether the eventfd must be written.
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "backends/io_uring/io_uring.h"
#include "src/os/linux/epoll.h"
#include "src/os/os.h"

namespace weir::inline v0::uring {

void IoUring::wake() {
  if (gate_.wake()) os::event_signal(event_);
}

// Whoever waits for it has to be woken by every first wake() after a poll, and must ask pending_hint() before he waits:
// what was submitted since the last poll is not with the kernel yet.
std::intptr_t IoUring::wait_handle() const {
  is_foreign_ = true;
  gate_.stay_asleep();
  return ring_.fd();
}

std::uint64_t IoUring::now() const { return os::now_ns(); }

bool IoUring::pending_hint() const {
  return ring_.ready() != 0 || ring_.has_kernel_work() || needs_sweep_ || !overflow_.empty() ||
         !cancels_.empty() || gate_.is_woken() ||
         (is_foreign_ && (ring_.unsubmitted() != 0 || !is_wake_armed_));
}

// A readiness of the eventfd, once and for all where the kernel has multishots. Nobody reads the eventfd then: each
// write is an event of its own.
bool IoUring::prepare_wake() {
  if (!ring_.has_room()) return false;
  io_uring_sqe& entry = ring_.next();
  if (ring_.features().has(Use::poll_multishot)) {
    io_uring_prep_poll_multishot(&entry, event_, POLLIN);
    ring_.counters().count(Use::poll_multishot);
  } else {
    io_uring_prep_poll_add(&entry, event_, POLLIN);
  }
  entry.user_data = internal_id(0, 0, kWakeEvent).value;
  ring_.count(entry);
  return true;
}

void IoUring::complete_wake(const io_uring_cqe& cqe) {
  if ((cqe.flags & IORING_CQE_F_MORE) != 0) return;
  is_wake_armed_ = false;
  has_chores_ = true;  // the next poll arms it again
  std::uint64_t count = 0;
  ++os::system_calls();
  static_cast<void>(::read(event_, &count, sizeof(count)));
}

// Where the kernel's waits have no timeout (before 5.11), an entry of its own ends them: one, for the earliest deadline
// that was asked for. One that fires too early costs a turn.
bool IoUring::prepare_timeout(std::uint64_t deadline_ns) {
  if (timeout_ns_ <= deadline_ns) return true;
  if (!ring_.has_room(2)) return false;
  if (timeout_ns_ != kNever) {
    io_uring_sqe& entry = ring_.next();
    io_uring_prep_timeout_remove(&entry, internal_id(0, timeout_count_, kTimeout).value, 0);
    entry.user_data = internal_id(0, 0, kOwnCancel).value;
    ring_.count(entry);
  }
  timeout_ns_ = deadline_ns;
  timeout_.tv_sec = static_cast<__s64>(deadline_ns / 1'000'000'000);
  timeout_.tv_nsec = static_cast<long long>(deadline_ns % 1'000'000'000);
  io_uring_sqe& entry = ring_.next();
  io_uring_prep_timeout(&entry, &timeout_, 0, IORING_TIMEOUT_ABS);
  timeout_count_ = (timeout_count_ + 1) & 0xffffffu;
  entry.user_data = internal_id(0, timeout_count_, kTimeout).value;
  ring_.count(entry);
  return true;
}

}  // namespace weir::inline v0::uring
