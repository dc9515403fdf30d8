// The turn: what a loop does around each piece of work, on each backend. Read an item of a batch beside the idle turn:
// the batch shares one.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>

#include "perf/micro/make_loop.h"
#include "perf/micro/per_item.h"
#include "weir/combine.h"
#include "weir/scope.h"
#include "weir/task.h"

namespace weir {
namespace {

constexpr std::int64_t kBatch = 64;

void BM_IdleTurn(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  for (auto _ : state) loop->run(RunMode::no_wait);
}
BENCHMARK(BM_IdleTurn)->ArgName("backend")->DenseRange(0, 1);

// One immediate queues a batch of jobs, which run after it and before anything else.
template <typename Queue>
void run_jobs(benchmark::State& state, Queue queue) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  std::int64_t ran_count = 0;
  for (auto _ : state) {
    loop->immediate([&] {
      for (std::int64_t i = 0; i < kBatch; ++i) queue(*loop, ran_count);
    });
    loop->run(RunMode::no_wait);
  }
  if (ran_count != kBatch * static_cast<std::int64_t>(state.iterations()))
    state.SkipWithError("not every job ran");
  report_per_item(state, kBatch);
}
void BM_Tick(benchmark::State& state) {
  run_jobs(state, [](Loop& loop, std::int64_t& count) { loop.tick([&count] { ++count; }); });
}
void BM_Microtask(benchmark::State& state) {
  run_jobs(state, [](Loop& loop, std::int64_t& count) { loop.microtask([&count] { ++count; }); });
}
BENCHMARK(BM_Tick)->ArgName("backend")->DenseRange(0, 1);
BENCHMARK(BM_Microtask)->ArgName("backend")->DenseRange(0, 1);

// Completions of ops that do nothing: submit, one poll, deliver.
void BM_Dispatch(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  struct Nop : Op {
    std::int64_t* count = nullptr;
  };
  std::int64_t done_count = 0;
  std::array<Nop, kBatch> ops;
  for (Nop& op : ops) {
    op.kind = OpKind::nop;
    op.count = &done_count;
    op.on_complete = [](Op& done, const Completion&) { ++*static_cast<Nop&>(done).count; };
    loop->ops().adopt(op);
  }
  std::int64_t wanted = 0;
  for (auto _ : state) {
    for (Nop& op : ops) loop->submit(op);
    wanted += kBatch;
    while (done_count != wanted) loop->run(RunMode::no_wait);
  }
  for (Nop& op : ops) loop->ops().abandon(op);
  report_per_item(state, kBatch);
}
BENCHMARK(BM_Dispatch)->ArgName("backend")->DenseRange(0, 1);

// A task calls another one, which is done at once: a frame from the loop's list, and the way in and out.
Task<std::int64_t> add_one(std::int64_t to) { co_return to + 1; }
Task<> call_tasks(std::int64_t& sum) {
  for (std::int64_t i = 0; i < kBatch; ++i) sum = co_await add_one(sum);
}
void BM_CallTask(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  std::int64_t sum = 0;
  for (auto _ : state) {
    loop->spawn(call_tasks(sum), "call tasks");
    while (loop->run(RunMode::no_wait)) {
    }
  }
  if (sum != kBatch * static_cast<std::int64_t>(state.iterations()))
    state.SkipWithError("not every task ran");
  report_per_item(state, kBatch);
}
BENCHMARK(BM_CallTask)->ArgName("backend")->DenseRange(0, 1);

// A task that lets the turn go on is resumed once a turn; 64 of them share it.
Task<> yield_often(const bool& is_over) {
  while (!is_over) co_await yield();
}
void BM_ResumeTask(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  bool is_over = false;
  for (std::int64_t i = 0; i < kBatch; ++i) loop->spawn(yield_often(is_over), "yield often");
  for (auto _ : state) loop->run(RunMode::no_wait);
  is_over = true;
  while (loop->run(RunMode::no_wait)) {
  }
  report_per_item(state, kBatch);
}
BENCHMARK(BM_ResumeTask)->ArgName("backend")->DenseRange(0, 1);

}  // namespace
}  // namespace weir
