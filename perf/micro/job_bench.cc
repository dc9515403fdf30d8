// Jobs: queued and run by one thread (ticks, microtasks, immediates), and posted from another thread to one that drains
// its queue once a turn. Read the posts beside each other: with two processors that share no cache every cell is
// fetched from afar, and the time is that of the memory; read them only on a machine with nothing else to do.
#include <benchmark/benchmark.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "perf/micro/per_item.h"
#include "src/loop/job_queue.h"
#include "src/loop/post_queue.h"
#include "src/loop/record_slab.h"

namespace weir {
namespace {

// Queues a batch made by `make()`, then runs as many as were there.
template <typename Make>
void run_batches(benchmark::State& state, Make make) {
  const std::int64_t batch = state.range(0);
  JobQueue queue;
  for (auto _ : state) {
    for (std::int64_t i = 0; i < batch; ++i) queue.push(make());
    for (std::size_t left = queue.size(); left != 0; --left) queue.pop().run();
  }
  report_per_item(state, batch);
}

void BM_JobOneWord(benchmark::State& state) {
  std::uint64_t ran_count = 0;
  run_batches(state, [&] { return [&ran_count] { ++ran_count; }; });
  benchmark::DoNotOptimize(ran_count);
}
void BM_JobFourWords(benchmark::State& state) {
  std::uint64_t sum = 0;
  const std::array<std::uint64_t, 3> words{1, 2, 3};
  run_batches(state, [&] { return [&sum, words] { sum += words[0] + words[1] + words[2]; }; });
  benchmark::DoNotOptimize(sum);
}
void BM_JobShared(benchmark::State& state) {
  const auto shared = std::make_shared<std::uint64_t>(0);
  run_batches(state, [&] { return [shared] { ++*shared; }; });
}
void BM_JobOnHeap(benchmark::State& state) {
  std::uint64_t sum = 0;
  const std::array<std::uint64_t, 8> words{1};
  run_batches(state, [&] { return [&sum, words] { sum += words[0]; }; });
  benchmark::DoNotOptimize(sum);
}
BENCHMARK(BM_JobOneWord)->ArgName("batch")->Arg(1)->Arg(64)->Arg(1024);
BENCHMARK(BM_JobFourWords)->ArgName("batch")->Arg(64);
BENCHMARK(BM_JobShared)->ArgName("batch")->Arg(64);
BENCHMARK(BM_JobOnHeap)->ArgName("batch")->Arg(64);

void BM_PostSame(benchmark::State& state) {
  const std::int64_t batch = state.range(0);
  PostQueue queue(65'536);
  std::uint64_t ran_count = 0;
  for (auto _ : state) {
    for (std::int64_t i = 0; i < batch; ++i) queue.push([&ran_count] { ++ran_count; });
    queue.drain(1024, [](Job&& job) { job.run(); });
  }
  report_per_item(state, batch);
}
BENCHMARK(BM_PostSame)->ArgName("batch")->Arg(1)->Arg(64);

// Until the last of the batch has run on the other thread, which is kept awake.
void BM_PostCross(benchmark::State& state) {
  const std::int64_t batch = state.range(0);
  PostQueue queue(65'536);
  std::atomic<std::int64_t> ran_count{0};
  std::atomic<bool> is_over{false};
  std::thread loop([&] {
    while (!is_over.load(std::memory_order_relaxed)) {
      if (queue.drain(1024, [](Job&& job) { job.run(); }) == 0)
        std::this_thread::yield();  // a turn
    }
  });
  std::int64_t wanted = 0;
  for (auto _ : state) {
    wanted += batch;
    for (std::int64_t i = 0; i < batch; ++i) {
      queue.push([&ran_count] {
        ran_count.store(ran_count.load(std::memory_order_relaxed) + 1, std::memory_order_release);
      });
    }
    for (std::uint32_t spins = 1; ran_count.load(std::memory_order_acquire) != wanted; ++spins) {
      if (spins % 1024 == 0) std::this_thread::yield();
    }
  }
  is_over = true;
  loop.join();
  report_per_item(state, batch);
}
BENCHMARK(BM_PostCross)->ArgName("batch")->Arg(1)->Arg(64)->UseRealTime();

void BM_RecordMakeDestroy(benchmark::State& state) {
  struct Record {
    Record() {}  // leaves the words alone: they are not what is measured
    std::array<std::uint64_t, 32> words;
  };
  RecordSlab<Record> slab;
  for (int i = 0; i < 10'000; ++i) slab.make();
  for (auto _ : state) {
    Record& record = slab.make();
    benchmark::DoNotOptimize(record);
    slab.destroy(record);
  }
}
BENCHMARK(BM_RecordMakeDestroy);

}  // namespace
}  // namespace weir
