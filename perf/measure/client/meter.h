// What was used in the measured time, and the line of JSON that says so.
#pragma once
#include <cstdint>
#include <optional>

#include "histogram.h"
#include "options.h"
#include "server_usage.h"

class Meter {
 public:
  explicit Meter(const Options& options) : options_(options) {
    if (options.count_syscalls) syscalls_.emplace(options.pid);
  }
  /// The measured time begins: returns now.
  std::uint64_t begin(std::uint64_t completed) {
    latency_.clear();
    begin_ = usage_now(completed);
    is_running_ = true;
    return begin_.at_ns;
  }
  bool is_running() const { return is_running_; }
  void record(std::uint64_t ns) {
    if (is_running_) latency_.record(ns);
  }
  /// It ends. `late`: requests that were due and could not be sent.
  void end(std::uint64_t completed) { end_ = usage_now(completed); }
  void print(std::uint64_t late = 0) const;

 private:
  struct Usage {
    std::uint64_t at_ns = 0, completed = 0, client_cpu_ns = 0, server_cpu_ns = 0, syscalls = 0;
  };
  Usage usage_now(std::uint64_t completed) const;

  const Options& options_;
  Usage begin_, end_;
  Histogram latency_;
  std::optional<SyscallCounter> syscalls_;
  bool is_running_ = false;
};
