// Latencies, counted in log-linear steps.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

// Log-linear: 64 steps for each power of two, so a figure is at most 1.6 % off.
class Histogram {
 public:
  void clear() {
    std::fill(buckets_.begin(), buckets_.end(), 0);
    count_ = 0;
  }
  void record(std::uint64_t ns) {
    ++buckets_[index_of(ns)];
    ++count_;
  }
  double quantile_us(double q) const {
    const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen > rank || (seen == count_ && seen != 0)) return middle_of(i) / 1e3;
    }
    return 0;
  }

 private:
  static constexpr unsigned kStepBits = 6;
  static std::size_t index_of(std::uint64_t ns) {
    if (ns < (1u << kStepBits)) return static_cast<std::size_t>(ns);
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kStepBits - 1;
    return (static_cast<std::size_t>(shift) << kStepBits) + static_cast<std::size_t>(ns >> shift);
  }
  static double middle_of(std::size_t index) {
    if (index < (1u << kStepBits)) return static_cast<double>(index);
    const std::size_t shift = (index >> kStepBits) - 1;
    const std::size_t step = index - (shift << kStepBits);
    return (static_cast<double>(step) + 0.5) * static_cast<double>(std::uint64_t{1} << shift);
  }
  std::vector<std::uint64_t> buckets_ =
      std::vector<std::uint64_t>((64 - kStepBits + 1) << kStepBits);
  std::uint64_t count_ = 0;
};
