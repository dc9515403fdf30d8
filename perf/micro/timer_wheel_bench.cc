// The loop's timers without the loop, as perf/peers/micro measures those of other libraries: delays spread evenly over
// 1 s to 1 h. "shuffled" puts the nodes into memory in another order than that of arming: read it beside the other,
// for it shows the cache misses that a long-lived process has. Time is a number; no clock is read while measuring.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "perf/micro/per_item.h"
#include "src/loop/timer_wheel.h"

namespace weir {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kSecond = 1000 * kMillisecond;
constexpr std::uint64_t kStart = 12'345 * kSecond;
constexpr std::size_t kMany = 1'000'000;
constexpr std::size_t kBudget = 1024;

// Nodes and the wheel that links them; disarmed before they go.
struct Timers {
  explicit Timers(std::size_t count, bool is_shuffled = false) {
    for (std::size_t i = 0; i < count; ++i) order.push_back(&nodes.emplace_back());
    if (is_shuffled) std::shuffle(order.begin(), order.end(), random);
    TimerNode first;
    wheel.arm(first, kStart);  // brings the wheel to kStart
    wheel.expire(kStart, 1, [](TimerNode&) {});
  }
  ~Timers() {
    for (TimerNode& node : nodes) wheel.cancel(node);
  }
  std::uint64_t delay_at_random() { return (1000 + random() % 3'600'000) * kMillisecond; }

  std::mt19937_64 random{7};
  std::deque<TimerNode> nodes;
  std::vector<TimerNode*> order;
  TimerWheel wheel;
};

void BM_TimerArmCancel(benchmark::State& state) {
  const auto others = static_cast<std::size_t>(state.range(0));
  Timers timers(others + 1);
  std::vector<std::uint64_t> delays(4096);
  for (std::uint64_t& delay : delays) delay = timers.delay_at_random();
  for (std::size_t i = 1; i <= others; ++i) {
    timers.wheel.arm(*timers.order[i], kStart + timers.delay_at_random());
  }
  std::size_t i = 0;
  for (auto _ : state) {
    timers.wheel.arm(*timers.order[0], kStart + delays[i++ % delays.size()]);
    timers.wheel.cancel(*timers.order[0]);
  }
}
BENCHMARK(BM_TimerArmCancel)->ArgName("others")->Arg(0)->Arg(10'000)->Arg(kMany);

// An idle timeout pushed back: only its record is written.
void BM_TimerExtend(benchmark::State& state) {
  Timers timers(kMany);
  for (TimerNode* node : timers.order) timers.wheel.arm(*node, kStart + timers.delay_at_random());
  std::uint64_t deadline_ns = kStart + 3601 * kSecond;
  for (auto _ : state) timers.wheel.arm(*timers.order[0], ++deadline_ns);
}
BENCHMARK(BM_TimerExtend);

void BM_TimersArm(benchmark::State& state) {
  Timers timers(kMany, state.range(0) != 0);
  std::vector<std::uint64_t> deadlines(kMany);
  for (std::uint64_t& deadline : deadlines) deadline = kStart + timers.delay_at_random();
  for (auto _ : state) {
    for (std::size_t i = 0; i < kMany; ++i) timers.wheel.arm(*timers.order[i], deadlines[i]);
    state.PauseTiming();
    for (TimerNode* node : timers.order) timers.wheel.cancel(*node);
    state.ResumeTiming();
  }
  report_per_item(state, std::int64_t{kMany});
}
BENCHMARK(BM_TimersArm)->ArgName("shuffled")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

// A million timers due at once, run in turns of 1024.
enum class Spread : std::int64_t { hour, fifth_of_a_second, one_deadline };

void BM_TimersDue(benchmark::State& state) {
  const auto spread = static_cast<Spread>(state.range(0));
  Timers timers(kMany, state.range(1) != 0);
  std::uint64_t now_ns = kStart;
  std::size_t turn_count = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (TimerNode* node : timers.order) {
      const std::uint64_t delay_ns = timers.delay_at_random();
      switch (spread) {
        case Spread::hour: timers.wheel.arm(*node, now_ns + delay_ns); break;
        case Spread::fifth_of_a_second:
          timers.wheel.arm(*node, now_ns + (1 + delay_ns / kMillisecond % 200) * kMillisecond);
          break;
        case Spread::one_deadline: timers.wheel.arm(*node, now_ns + kSecond); break;
      }
    }
    now_ns += 3602 * kSecond;
    std::size_t ran_count = 0;
    state.ResumeTiming();
    for (; !timers.wheel.empty(); ++turn_count) {
      timers.wheel.expire(now_ns, kBudget, [&](TimerNode&) { ++ran_count; });
    }
    if (ran_count != kMany) state.SkipWithError("not every timer ran");
  }
  report_per_item(state, std::int64_t{kMany});
  state.counters["turns"] =
      benchmark::Counter(static_cast<double>(turn_count), benchmark::Counter::kAvgIterations);
}
BENCHMARK(BM_TimersDue)
    ->ArgNames({"spread", "shuffled"})
    ->ArgsProduct({{0, 1, 2}, {0, 1}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace weir
