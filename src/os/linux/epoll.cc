// epoll and eventfd.
#include "src/os/linux/epoll.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {
namespace {

int fd_of(Native native) { return static_cast<int>(native); }

std::int64_t control(Native epoll, int operation, Native native, std::uint32_t events,
                     std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return call_once(Call::watch, native, 0, [&](std::size_t) {
    return ::epoll_ctl(fd_of(epoll), operation, fd_of(native), &event);
  });
}

// Before Linux 5.11 there are only milliseconds; rounded up, because a deadline is never early.
int milliseconds_from(std::uint64_t timeout_ns) {
  const std::uint64_t milliseconds = (timeout_ns + 999'999) / 1'000'000;
  return milliseconds > INT_MAX ? INT_MAX : static_cast<int>(milliseconds);
}

std::atomic<bool> has_nanosecond_wait = true;

int wait_nanoseconds(int epoll, epoll_event* events, int events_max, std::uint64_t timeout_ns) {
  if (has_nanosecond_wait.load(std::memory_order_relaxed)) {
    const timespec timeout{.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000),
                           .tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000)};
    const int count = ::epoll_pwait2(epoll, events, events_max, &timeout, nullptr);
    if (count >= 0 || errno != ENOSYS) return count;
    has_nanosecond_wait.store(false, std::memory_order_relaxed);
  }
  return ::epoll_wait(epoll, events, events_max, milliseconds_from(timeout_ns));
}

}  // namespace

std::int64_t epoll_open() {
  return call_plain([] { return ::epoll_create1(EPOLL_CLOEXEC); });
}

std::int64_t epoll_add(Native epoll, Native native, std::uint32_t events, std::uint64_t data) {
  return control(epoll, EPOLL_CTL_ADD, native, events, data);
}

std::int64_t epoll_change(Native epoll, Native native, std::uint32_t events, std::uint64_t data) {
  return control(epoll, EPOLL_CTL_MOD, native, events, data);
}

std::int64_t epoll_remove(Native epoll, Native native) {
  return call_plain(
      [&] { return ::epoll_ctl(fd_of(epoll), EPOLL_CTL_DEL, fd_of(native), nullptr); });
}

std::int64_t epoll_wait_rarely(Native epoll, epoll_event* events, int events_max,
                               std::uint64_t timeout_ns) {
  const std::int64_t count = call_once(Call::wait, epoll, 0, [&](std::size_t) {
    if (timeout_ns == kWaitForever) return ::epoll_wait(fd_of(epoll), events, events_max, -1);
    if (timeout_ns == 0) return ::epoll_wait(fd_of(epoll), events, events_max, 0);
    return wait_nanoseconds(fd_of(epoll), events, events_max, timeout_ns);
  });
  return count == -EINTR ? 0 : count;  // the caller looks at its clock again
}

std::int64_t event_open() {
  return call_plain([] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
}

std::int64_t event_signal(Native event) {
  const std::uint64_t one = 1;
  return call_plain([&] { return ::write(fd_of(event), &one, sizeof one); });
}

}  // namespace weir::inline v0::os
