// Setting up and entering a ring. It starts disabled: the thread that enters it first becomes its one issuer, so a
// loop may be made on one thread and run on another.
#include "backends/io_uring/ring.h"

#include <algorithm>
#include <cerrno>

#include "src/os/clock.h"
#include "src/os/linux/call.h"
#include "src/os/socket.h"
#include "weir/check.h"

// Newer than the oldest liburing that this builds with.
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

namespace weir::inline v0::uring {
namespace {

// A counted setup that a test may answer for.
int set_up(unsigned submissions, io_uring_params& params) {
  if (const os::FaultHook hook = os::fault_hook.load(std::memory_order_relaxed); hook != nullptr) {
    std::size_t size = ~std::size_t{0};
    std::int64_t answer = 0;
    if (os::ask_fault_hook(hook, os::Call::ring_setup, -1, size, answer))
      return static_cast<int>(answer);
  }
  ++os::call_count;
  return io_uring_setup(submissions, &params);
}

}  // namespace

Ring::~Ring() {
  if (!is_open_) return;
  if (registered_by_ ==
      std::this_thread::get_id()) {  // another thread's table may have another ring at this index
    io_uring_rsrc_update update{};
    update.offset = enter_fd_;
    ++os::call_count;
    io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_UNREGISTER_RING_FDS, &update, 1);
  }
  ++os::call_count;
  io_uring_queue_exit(&ring_);
}

int Ring::open(Kernel mask, unsigned submissions) {
  const auto table = setup_flag_table();
  for (std::size_t newest = table.size();; --newest) {
    std::uint32_t flags = 0;
    for (std::size_t i = 0; i < newest; ++i) {
      if (table[i].kernel <= mask) flags |= table[i].value;
    }
    if ((flags & IORING_SETUP_DEFER_TASKRUN) != 0)
      flags &= ~IORING_SETUP_COOP_TASKRUN;  // one or the other
    const bool is_last = newest == 0;
    if (!is_last && table[newest - 1].kernel > mask) continue;  // the same flags as without it
    const int result = try_open(flags, submissions);
    if (result != -EINVAL || is_last) {
      if (result == 0) features_ = find_features(ring_, mask);
      return result;
    }
  }
}

// Like io_uring_queue_init_params(), which would add NO_SQARRAY by itself and so defeat a mask.
int Ring::try_open(std::uint32_t flags, unsigned submissions) {
  io_uring_params params{};
  params.flags = flags;
  if ((flags & IORING_SETUP_CQSIZE) != 0)
    params.cq_entries = submissions * (kCompletions / kSubmissions);
  const int fd = set_up(submissions, params);
  if (fd < 0) return fd;
  if (const int mapped = io_uring_queue_mmap(fd, &params, &ring_); mapped < 0) {
    os::close(fd);
    return mapped;
  }
  ring_.ring_fd = fd;
  ring_.enter_ring_fd = fd;
  ring_.flags = params.flags;
  ring_.features = params.features;
  if ((flags & IORING_SETUP_NO_SQARRAY) == 0) {
    for (unsigned i = 0; i < ring_.sq.ring_entries; ++i) ring_.sq.array[i] = i;
  }
  is_open_ = true;
  enter_fd_ = static_cast<unsigned>(fd);
  counters_.setup_flags = flags;
  io_uring_ring_dontfork(&ring_);  // a child would write into the parent's queues
  return 0;
}

// The first enter: this thread is the one that issues from now on.
int Ring::start() {
  if ((counters_.setup_flags & IORING_SETUP_R_DISABLED) != 0) {
    ++os::call_count;
    if (const int enabled = io_uring_enable_rings(&ring_); enabled < 0) return enabled;
  }
  is_started_ = true;
  if (features_.has(Use::registered_ring)) {
    io_uring_rsrc_update update{};
    update.offset = ~0u;
    update.data = static_cast<std::uint64_t>(ring_.ring_fd);
    ++os::call_count;
    if (io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_RING_FDS, &update,
                          1) == 1) {
      enter_fd_ = update.offset;
      enter_flags_ |= IORING_ENTER_REGISTERED_RING;
      registered_by_ = std::this_thread::get_id();
      counters_.count(Use::registered_ring);
    }
  }
  if (features_.has(Use::no_iowait)) {
    enter_flags_ |= IORING_ENTER_NO_IOWAIT;
    counters_.count(Use::no_iowait);
  }
  return 0;
}

int Ring::enter_until(std::uint64_t deadline_ns) {
  WEIR_CHECK(features_.has(Use::wait_timeout));
  counters_.count(Use::wait_timeout);
  unsigned flags = enter_flags_ | IORING_ENTER_EXT_ARG;
  std::uint64_t time_ns = deadline_ns;
  if (features_.has(Use::absolute_timeout)) {
    flags |= IORING_ENTER_ABS_TIMER;
    counters_.count(Use::absolute_timeout);
  } else {
    const std::uint64_t now = os::now_ns();
    time_ns = std::max(deadline_ns, now) - now;
  }
  __kernel_timespec time;
  time.tv_sec = static_cast<__s64>(time_ns / 1'000'000'000);
  time.tv_nsec = static_cast<long long>(time_ns % 1'000'000'000);
  io_uring_getevents_arg argument{};
  argument.sigmask_sz = _NSIG / 8;
  argument.ts = reinterpret_cast<std::uintptr_t>(&time);
  return call_enter(1, flags, &argument, sizeof(argument));
}

int Ring::ask_for_fault() const {
  const os::FaultHook hook = os::fault_hook.load(std::memory_order_relaxed);
  std::size_t size = ~std::size_t{0};
  std::int64_t answer = 0;
  if (hook == nullptr ||
      !os::ask_fault_hook(hook, os::Call::ring_enter, ring_.ring_fd, size, answer))
    return 0;
  return static_cast<int>(answer);
}

void Ring::check_enter(int result) {
  WEIR_CHECK_NE(result, -EEXIST);  // a ring belongs to the thread that entered it first
  WEIR_CHECK_NE(
      result, -EBADR);  // the kernel lost completions for want of memory: nothing is sure any more
}

}  // namespace weir::inline v0::uring
