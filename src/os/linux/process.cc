// What the kernel knows of this process.
#include "src/os/process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {

// /proc/self/statm: pages in all, pages resident, ...
std::uint64_t resident_bytes() {
  char text[128];
  const std::int64_t fd =
      call_plain([] { return ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC); });
  if (fd < 0) return 0;
  const std::int64_t size =
      call_plain([&] { return ::read(static_cast<int>(fd), text, sizeof text); });
  call_plain([&] { return ::close(static_cast<int>(fd)); });
  if (size <= 0) return 0;
  const char* end = text + size;
  const char* space =
      static_cast<const char*>(std::memchr(text, ' ', static_cast<std::size_t>(size)));
  std::uint64_t pages = 0;
  if (space != nullptr) std::from_chars(space + 1, end, pages);
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::int64_t raise_descriptors_max() {
  rlimit limit{};
  std::int64_t result = call_plain([&] { return getrlimit(RLIMIT_NOFILE, &limit); });
  if (result < 0) return result;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    result = call_plain([&] { return setrlimit(RLIMIT_NOFILE, &limit); });
    if (result < 0) return result;
  }
  return static_cast<std::int64_t>(limit.rlim_cur);
}

}  // namespace weir::inline v0::os
