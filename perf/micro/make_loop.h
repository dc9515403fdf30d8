// A loop for a benchmark: on the backend of its name, or the benchmark is skipped with the reason.
#pragma once
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <string_view>

#include "weir/loop.h"

namespace weir {

inline constexpr std::string_view kMeasuredBackends[] = {"epoll", "io_uring"};

/// Argument 0 of the benchmark is the backend's place in kMeasuredBackends. Null: the benchmark was skipped.
inline std::unique_ptr<Loop> make_loop(benchmark::State& state,
                                       LedgerLevel ledger = LedgerLevel::sampled) {
  LoopOptions options;
  options.backend = kMeasuredBackends[static_cast<std::size_t>(state.range(0))];
  options.ledger = ledger;
  Result<std::unique_ptr<Loop>> made = Loop::make(options);
  if (!made.ok()) {
    state.SkipWithError(made.error().to_string().c_str());
    return nullptr;
  }
  state.SetLabel(std::string(options.backend));
  return std::move(made).value();
}

}  // namespace weir
