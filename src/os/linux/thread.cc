// Threads and processors.
#include "src/os/thread.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {

void set_thread_name(const char* name) {
  char cut[16] = {};
  std::memcpy(cut, name, std::min(std::strlen(name), sizeof cut - 1));
  call_plain([&] { return pthread_setname_np(pthread_self(), cut); });
}

std::int64_t set_cpu_affinity(std::uint32_t cpu) {
  if (cpu >= CPU_SETSIZE) return -EINVAL;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return call_plain([&] { return sched_setaffinity(0, sizeof set, &set); });
}

std::uint32_t cpu_count() {
  cpu_set_t set;
  if (call_plain([&] { return sched_getaffinity(0, sizeof set, &set); }) < 0) return 1;
  return static_cast<std::uint32_t>(std::max(CPU_COUNT(&set), 1));
}

}  // namespace weir::inline v0::os
