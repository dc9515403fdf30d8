// The clock: CLOCK_MONOTONIC through the vDSO, so no system call.
#include "src/os/clock.h"

#include <time.h>

namespace weir::inline v0::os {
namespace {
std::uint64_t read_clock(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(time.tv_nsec);
}
}  // namespace

std::uint64_t now_ns() { return read_clock(CLOCK_MONOTONIC); }

}  // namespace weir::inline v0::os
