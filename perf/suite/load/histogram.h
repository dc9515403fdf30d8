// Latencies counted in log-linear steps: 64 for each power of two, so a quantile is at most 1.6 % off; the least, the
// greatest and the mean are exact. Recording allocates nothing.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace load {

class Histogram {
 public:
  void record(std::uint64_t ns) {
    ++steps_[index_of(ns)];
    ++count_;
    sum_ns_ += ns;
    min_ns_ = std::min(min_ns_, ns);
    max_ns_ = std::max(max_ns_, ns);
  }
  void clear() { *this = Histogram(); }

  std::uint64_t count() const { return count_; }
  std::uint64_t min_ns() const { return count_ != 0 ? min_ns_ : 0; }
  std::uint64_t max_ns() const { return max_ns_; }
  double mean_ns() const {
    return count_ != 0 ? static_cast<double>(sum_ns_) / static_cast<double>(count_) : 0;
  }
  /// The least recorded value, to the step's precision, that a share `q` of all is not above; 0 when there is none.
  std::uint64_t quantile_ns(double q) const {
    const auto wanted = static_cast<std::uint64_t>(q * static_cast<double>(count_) + 0.5);
    const std::uint64_t rank =
        std::clamp<std::uint64_t>(wanted, 1, std::max<std::uint64_t>(1, count_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      seen += steps_[i];
      if (seen >= rank) return std::clamp(middle_of(i), min_ns_, max_ns_);
    }
    return 0;
  }

 private:
  static constexpr unsigned kStepBits = 6;
  static std::size_t index_of(std::uint64_t ns) {
    if (ns < (1u << kStepBits)) return static_cast<std::size_t>(ns);
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kStepBits - 1;
    return (std::size_t{shift} << kStepBits) + static_cast<std::size_t>(ns >> shift);
  }
  static std::uint64_t middle_of(std::size_t index) {
    if (index < (1u << kStepBits)) return index;
    const std::size_t shift = (index >> kStepBits) - 1;
    const std::uint64_t first = std::uint64_t{index - (shift << kStepBits)} << shift;
    return first + ((std::uint64_t{1} << shift) >> 1);
  }

  std::array<std::uint64_t, (64 - kStepBits + 1) << kStepBits> steps_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
  std::uint64_t min_ns_ = ~std::uint64_t{0};
  std::uint64_t max_ns_ = 0;
};

}  // namespace load
