// epoll and eventfd, for the epoll backend: counted and open to faults like every call of the os room.
#pragma once
#include <sys/epoll.h>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {

inline constexpr std::uint64_t kWaitForever = ~std::uint64_t{0};

std::int64_t epoll_open();
std::int64_t epoll_add(Native epoll, Native native, std::uint32_t events, std::uint64_t data);
std::int64_t epoll_change(Native epoll, Native native, std::uint32_t events, std::uint64_t data);
std::int64_t epoll_remove(Native epoll, Native native);
/// epoll_wait() with a time limit, or under a fault hook.
std::int64_t epoll_wait_rarely(Native epoll, epoll_event* events, int events_max,
                               std::uint64_t timeout_ns);
/// Waits at most `timeout_ns` (0: not at all; kWaitForever). The count of events; 0 also after a signal.
inline std::int64_t epoll_wait(Native epoll, epoll_event* events, int events_max,
                               std::uint64_t timeout_ns) {
  if ((timeout_ns != 0 && timeout_ns != kWaitForever) || has_fault_hook()) [[unlikely]] {
    return epoll_wait_rarely(epoll, events, events_max, timeout_ns);
  }
  ++call_count;
  const int count =
      ::epoll_wait(static_cast<int>(epoll), events, events_max, timeout_ns == 0 ? 0 : -1);
  return count >= 0 ? count : errno == EINTR ? 0 : -errno;
}

std::int64_t event_open();
/// Makes an event descriptor readable: one edge a call. Any thread.
std::int64_t event_signal(Native event);

}  // namespace weir::inline v0::os
