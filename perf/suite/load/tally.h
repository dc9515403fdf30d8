// What a run came to: requests, latencies, and everything that went wrong, by kind.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "perf/suite/load/histogram.h"
#include "weir/metrics.h"

namespace load {

enum class Fault : std::uint8_t {
  connect,      ///< no connection
  reset,        ///< the connection broke
  early_end,    ///< the server ended it with answers missing
  wrong_bytes,  ///< they are not what was expected, or more than was expected
  bad_answer,   ///< http: no valid answer, or not 200
  unanswered,   ///< requests without an answer when time was up
};
inline constexpr std::size_t kFaultCount = 6;
inline constexpr std::array<const char*, kFaultCount> kFaultNames = {
    "connect", "reset", "early_end", "wrong_bytes", "bad_answer", "unanswered"};

struct Tally {
  Histogram latency;
  std::uint64_t requests = 0;        ///< answered while it counted
  std::uint64_t requests_total = 0;  ///< answered at all
  std::uint64_t least_answers = 0;   ///< that any one connection got, and the most
  std::uint64_t most_answers = 0;
  std::uint64_t late = 0;     ///< open loop: due, but not sent when the time was up
  std::uint64_t span_ns = 0;  ///< the time that counted
  std::uint64_t connected = 0;
  std::uint64_t connect_ns = 0;  ///< until all were
  std::uint64_t cpu_ns = 0;      ///< of this process, for all of requests_total
  std::array<std::uint64_t, kFaultCount> faults{};
  std::string first_fault;  ///< in words
  std::string backend;
  weir::Metrics metrics;

  std::uint64_t fault_count() const {
    std::uint64_t sum = 0;
    for (const std::uint64_t count : faults) sum += count;
    return sum;
  }
  void add(Fault fault, std::uint64_t count, const std::string& words) {
    faults[static_cast<std::size_t>(fault)] += count;
    if (first_fault.empty()) first_fault = words;
  }
};

}  // namespace load
