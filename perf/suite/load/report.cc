// A table, or JSON with the same figures and more.
#include "perf/suite/load/report.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <string>

namespace load {

namespace {

struct Quantile {
  const char* name;
  double q;
};
constexpr Quantile kQuantiles[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}, {"p99_99", 0.9999}};

double per(double count, std::uint64_t requests) {
  return requests != 0 ? count / static_cast<double>(requests) : 0;
}
double us(double ns) { return ns / 1e3; }
double us(std::uint64_t ns) { return us(static_cast<double>(ns)); }

double requests_per_s(const Tally& tally) {
  return tally.span_ns != 0
             ? static_cast<double>(tally.requests) * 1e9 / static_cast<double>(tally.span_ns)
             : 0;
}

std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    json += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return json + '"';
}

}  // namespace

void print_table(const Options& options, const Tally& tally) {
  const Histogram& latency = tally.latency;
  std::printf("%s at %s with %s: %" PRIu64 " connections x %" PRIu64 " x %" PRIu64 " bytes, %s\n",
              options.protocol == Protocol::http ? "http" : "echo",
              options.server.to_string().c_str(), tally.backend.c_str(), tally.connected,
              options.pipeline, options.size_bytes,
              options.rate != 0 ? (std::to_string(options.rate) + " requests/s, open loop").c_str()
                                : "closed loop");
  std::printf("  requests     %12" PRIu64 "   in %.3f s\n", tally.requests,
              static_cast<double>(tally.span_ns) / 1e9);
  std::printf("  requests/s   %12.0f   %.1f MB/s of payload each way\n", requests_per_s(tally),
              requests_per_s(tally) * static_cast<double>(options.size_bytes) / 1e6);
  std::printf("  latency us   %12.1f   mean; least %.1f, greatest %.1f\n", us(latency.mean_ns()),
              us(latency.min_ns()), us(latency.max_ns()));
  for (const Quantile& quantile : kQuantiles) {
    std::printf("    %-10s %12.1f\n", quantile.name, us(latency.quantile_ns(quantile.q)));
  }
  std::printf("  each got     %12" PRIu64 "   to %" PRIu64 " answers\n", tally.least_answers,
              tally.most_answers);
  std::printf("  load itself  %12.2f   CPU us/request, %.2f system calls/request\n",
              per(us(tally.cpu_ns), tally.requests_total),
              per(static_cast<double>(tally.metrics.system_calls), tally.requests_total));
  if (tally.late != 0) {
    std::printf("  late         %12" PRIu64 "   due, but not sent when the time was up\n",
                tally.late);
  }
  std::printf("  faults       %12" PRIu64 "\n", tally.fault_count());
  for (std::size_t i = 0; i < kFaultCount; ++i) {
    if (tally.faults[i] != 0)
      std::printf("    %-12s %10" PRIu64 "\n", kFaultNames[i], tally.faults[i]);
  }
  if (!tally.first_fault.empty()) std::printf("    the first: %s\n", tally.first_fault.c_str());
}

void print_json(const Options& options, const Tally& tally) {
  const Histogram& latency = tally.latency;
  std::printf("{\"protocol\": \"%s\", \"connect\": %s, \"backend\": %s,\n",
              options.protocol == Protocol::http ? "http" : "echo",
              quoted(options.server.to_string()).c_str(), quoted(tally.backend).c_str());
  std::printf(" \"connections\": %" PRIu64 ", \"pipeline\": %" PRIu64 ", \"size\": %" PRIu64
              ", \"rate\": %" PRIu64 ",\n",
              options.connections, options.pipeline, options.size_bytes, options.rate);
  std::printf(" \"connected\": %" PRIu64 ", \"connect_s\": %.6f, \"seconds\": %.6f,\n",
              tally.connected, static_cast<double>(tally.connect_ns) / 1e9,
              static_cast<double>(tally.span_ns) / 1e9);
  std::printf(" \"requests\": %" PRIu64 ", \"requests_total\": %" PRIu64
              ", \"requests_per_s\": %.1f,\n",
              tally.requests, tally.requests_total, requests_per_s(tally));
  std::printf(" \"least_answers\": %" PRIu64 ", \"most_answers\": %" PRIu64 ",\n",
              tally.least_answers, tally.most_answers);
  std::printf(" \"latency_us\": {\"min\": %.3f, \"mean\": %.3f", us(latency.min_ns()),
              us(latency.mean_ns()));
  for (const Quantile& quantile : kQuantiles) {
    std::printf(", \"%s\": %.3f", quantile.name, us(latency.quantile_ns(quantile.q)));
  }
  std::printf(", \"max\": %.3f},\n \"late\": %" PRIu64 ", \"faults\": {", us(latency.max_ns()),
              tally.late);
  for (std::size_t i = 0; i < kFaultCount; ++i) {
    std::printf("\"%s\": %" PRIu64 ", ", kFaultNames[i], tally.faults[i]);
  }
  std::printf("\"all\": %" PRIu64 "}, \"first_fault\": %s,\n", tally.fault_count(),
              quoted(tally.first_fault).c_str());
  std::printf(" \"client\": {\"cpu_us_per_request\": %.4f, \"system_calls\": %" PRIu64
              ", \"heap_allocations\": %" PRIu64 ", \"bytes_copied\": %" PRIu64 "}}\n",
              per(us(tally.cpu_ns), tally.requests_total), tally.metrics.system_calls,
              tally.metrics.heap_allocations, tally.metrics.bytes_copied);
}

}  // namespace load
