// The histogram of latencies: exact where it says so, else within its step.
#include "perf/suite/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace {

using load::Histogram;

TEST(Histogram, IsZeroWhenEmpty) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.min_ns(), 0u);
  EXPECT_EQ(histogram.max_ns(), 0u);
  EXPECT_EQ(histogram.mean_ns(), 0.0);
  EXPECT_EQ(histogram.quantile_ns(0.5), 0u);
}

TEST(Histogram, KeepsOneValueExactly) {
  for (const std::uint64_t value :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{63}, std::uint64_t{64},
        std::uint64_t{1'000'003}, ~std::uint64_t{0}}) {
    Histogram histogram;
    histogram.record(value);
    for (const double q : {0.0, 0.5, 1.0}) EXPECT_EQ(histogram.quantile_ns(q), value);
    EXPECT_EQ(histogram.min_ns(), value);
    EXPECT_EQ(histogram.max_ns(), value);
  }
}

TEST(Histogram, CountsSmallValuesOneByOne) {
  Histogram histogram;
  for (std::uint64_t value = 1; value <= 60; ++value) histogram.record(value);
  EXPECT_EQ(histogram.quantile_ns(0.5), 30u);
  EXPECT_EQ(histogram.quantile_ns(0.9), 54u);
  EXPECT_EQ(histogram.quantile_ns(1.0), 60u);
  EXPECT_EQ(histogram.mean_ns(), 30.5);
}

TEST(Histogram, QuantilesAreWithinTheirStep) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> latency(11, 2);
    std::vector<std::uint64_t> values(50'000);
    Histogram histogram;
    for (std::uint64_t& value : values) {
      value = static_cast<std::uint64_t>(latency(random));
      histogram.record(value);
    }
    std::sort(values.begin(), values.end());
    for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999}) {
      const auto exact = static_cast<double>(values[static_cast<std::size_t>(q * 50'000) - 1]);
      EXPECT_NEAR(static_cast<double>(histogram.quantile_ns(q)), exact, exact * 0.016 + 1) << q;
    }
    EXPECT_EQ(histogram.min_ns(), values.front());
    EXPECT_EQ(histogram.max_ns(), values.back());
    EXPECT_EQ(histogram.count(), values.size());
  }
}

TEST(Histogram, ForgetsWhenCleared) {
  Histogram histogram;
  histogram.record(5);
  histogram.clear();
  histogram.record(9);
  EXPECT_EQ(histogram.count(), 1u);
  EXPECT_EQ(histogram.min_ns(), 9u);
  EXPECT_EQ(histogram.quantile_ns(0.5), 9u);
}

}  // namespace
