// Reads the counters of both sides at the two ends of the measured time. On one shared CPU the server never runs while
// these are read, so they are exact.
#include "meter.h"

#include <cstdio>

#include "common.h"

Meter::Usage Meter::usage_now(std::uint64_t completed) const {
  Usage usage{0, completed, clock_ns(CLOCK_PROCESS_CPUTIME_ID), 0, 0};
  if (options_.pid != 0) usage.server_cpu_ns = cpu_ns_of(options_.pid);
  if (syscalls_) usage.syscalls = syscalls_->read_count();
  usage.at_ns = now_ns();
  return usage;
}

void Meter::print(std::uint64_t late) const {
  const auto requests = static_cast<double>(end_.completed - begin_.completed);
  const double seconds = static_cast<double>(end_.at_ns - begin_.at_ns) / 1e9;
  const auto print_per_request = [&](const char* name, std::uint64_t amount, double unit) {
    std::printf(",\"%s\":%.4f", name, static_cast<double>(amount) / unit / requests);
  };
  if (requests == 0) fail("not one answer in the measured time");
  std::printf("{\"connections\":%u,\"size\":%zu,\"pipeline\":%u,\"rate\":%llu",
              options_.connections, options_.size, options_.pipeline,
              static_cast<unsigned long long>(options_.rate));
  std::printf(",\"requests\":%.0f,\"seconds\":%.6f,\"requests_per_second\":%.1f", requests, seconds,
              requests / seconds);
  std::printf(",\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"late\":%llu",
              latency_.quantile_us(0.5), latency_.quantile_us(0.99), latency_.quantile_us(0.999),
              static_cast<unsigned long long>(late));
  print_per_request("client_cpu_us", end_.client_cpu_ns - begin_.client_cpu_ns, 1e3);
  if (options_.pid != 0)
    print_per_request("server_cpu_us", end_.server_cpu_ns - begin_.server_cpu_ns, 1e3);
  if (syscalls_) print_per_request("server_syscalls", end_.syscalls - begin_.syscalls, 1);
  std::puts("}");
}
