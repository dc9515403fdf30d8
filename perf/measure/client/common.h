// What the client's files share: one way to end with a message, and the clocks.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

[[noreturn]] [[gnu::format(printf, 1, 2)]] inline void fail(const char* format, ...) {
  va_list args;
  va_start(args, format);
  std::fputs("perf_client: ", stderr);
  std::vfprintf(stderr, format, args);
  std::fputc('\n', stderr);
  va_end(args);
  std::exit(1);
}

inline std::uint64_t clock_ns(clockid_t which) {
  timespec t;
  clock_gettime(which, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(t.tv_nsec);
}

inline std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }
