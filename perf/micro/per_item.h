// How micro benchmarks that do many things an iteration report the time of one.
#pragma once
#include <benchmark/benchmark.h>

#include <cstdint>

namespace weir {

/// Adds the column `per_item`, in seconds ("5.1n" is 5.1 ns), for iterations of `item_count` things.
inline void report_per_item(benchmark::State& state, std::int64_t item_count) {
  state.counters["per_item"] = benchmark::Counter(
      static_cast<double>(item_count),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

}  // namespace weir
