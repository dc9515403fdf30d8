// Waiting, and ending a wait from another thread. A wake costs a system call only if the loop sleeps: the loop says
// so in one word before it enters the kernel, and whoever wakes it swaps that word. Both are read-modify-writes of one
// atomic, so either the loop sees the wake before it sleeps, or the waker sees a sleeper and writes the eventfd.
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "backends/io_uring/io_uring.h"
#include "src/os/linux/epoll.h"
#include "src/os/os.h"

namespace weir::inline v0::uring {

void IoUring::wake() {
  if (sleep_.exchange(Sleep::notified) == Sleep::sleeping) os::event_signal(event_);
}

// Whoever waits for it has to be woken by every first wake() after a poll, and must ask pending_hint() before he waits:
// what was submitted since the last poll is not with the kernel yet.
std::intptr_t IoUring::wait_handle() const {
  is_foreign_ = true;
  sleep_.exchange(Sleep::sleeping);
  return ring_.fd();
}

std::uint64_t IoUring::now() const { return os::now_ns(); }

bool IoUring::pending_hint() const {
  return ring_.ready() != 0 || ring_.has_kernel_work() || needs_sweep_ || !overflow_.empty() ||
         !cancels_.empty() || sleep_.load(std::memory_order_relaxed) == Sleep::notified ||
         (is_foreign_ && ring_.unsubmitted() != 0);
}

void IoUring::poll(std::uint64_t deadline_ns, Sink& sink) {
  sink_ = &sink;
  pushed_count_ = 0;
  ++turn_;
  if (!closed_sockets_.empty()) {
    free_sockets_.insert(free_sockets_.end(), closed_sockets_.begin(), closed_sockets_.end());
    closed_sockets_.clear();
  }
  if (needs_sweep_) sweep_cancelled();
  if (!waiting_.empty()) run_waiting();
  for (ReceiveGroup* group : active_groups_) {
    group->refill();
    if (!group->starved.empty()) feed_starved(*group);
  }
  if (!cancels_.empty() || !overflow_.empty() || !is_wake_armed_) flush();
  wait_and_submit(deadline_ns);
  reap();
  if (is_foreign_) sleep_.exchange(Sleep::sleeping);
  sink_ = nullptr;
}

void IoUring::wait_and_submit(std::uint64_t deadline_ns) {
  bool waits = deadline_ns != 0 && pushed_count_ == 0 && ring_.ready() == 0 && overflow_.empty() &&
               cancels_.empty();
  if (is_foreign_ || sleep_.load(std::memory_order_relaxed) == Sleep::notified) {
    if (sleep_.exchange(Sleep::awake) == Sleep::notified) waits = false;
  }
  if (waits && deadline_ns != kNever && !ring_.features().has(Use::wait_timeout)) {
    waits = prepare_timeout(deadline_ns);
  }
  if (waits && sleep_.exchange(Sleep::sleeping) == Sleep::notified) {
    sleep_.exchange(Sleep::awake);
    waits = false;
  }
  if (!waits) {
    if (ring_.unsubmitted() != 0 || ring_.has_kernel_work()) enter(0, 0);
    return;
  }
  enter(1, deadline_ns);
  if (sleep_.exchange(Sleep::awake) == Sleep::notified) ++context_.metrics.wakes;
}

void IoUring::enter(unsigned wait_count, std::uint64_t deadline_ns) {
  const bool has_timeout = ring_.features().has(Use::wait_timeout);
  const int result = ring_.enter(wait_count, has_timeout ? deadline_ns : Ring::kNever);
  if (result > 0) context_.metrics.submissions += static_cast<std::uint32_t>(result);
  if (ring_.unsubmitted() == 0) scratch_.used = 0;
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
  is_wake_armed_ = false;  // the next poll arms it again
  std::uint64_t count = 0;
  ++os::system_calls();
  static_cast<void>(::read(event_, &count, sizeof(count)));
}

// Where the kernel's waits have no timeout (before 5.11), an entry of its own ends them: one, for the earliest deadline
// that was asked for. One that fires too early costs a turn.
bool IoUring::prepare_timeout(std::uint64_t deadline_ns) {
  if (timeout_ns_ <= deadline_ns) return true;
  if (!ring_.has_room(2)) return false;
  if (timeout_ns_ != Ring::kNever) {
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
