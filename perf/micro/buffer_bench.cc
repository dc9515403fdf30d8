// Buffers: take and release, what the ledger adds at each level, and chains. Read the levels beside each other.
#include <benchmark/benchmark.h>

#include <cstdint>

#include "weir/buffer.h"
#include "weir/ledger.h"
#include "weir/pool.h"

namespace weir {
namespace {

constexpr const char* kLevelNames[] = {"off", "sampled", "all"};

void BM_TakeRelease(benchmark::State& state) {
  Ledger ledger(static_cast<LedgerLevel>(state.range(0)));
  Pool pool({}, ledger);
  for (auto _ : state) {
    Buf buf = pool.take();
    benchmark::DoNotOptimize(buf);
  }
  state.SetLabel(kLevelNames[state.range(0)]);
}
BENCHMARK(BM_TakeRelease)->ArgName("ledger")->DenseRange(0, 2);

// The backend's way: a block is lent, becomes received bytes, and goes home.
void BM_LendLoanRelease(benchmark::State& state) {
  Ledger ledger(static_cast<LedgerLevel>(state.range(0)));
  Pool pool({}, ledger);
  LoanAccount account;
  for (auto _ : state) {
    Block* const block = pool.take_for_backend(BlockState::lent);
    Buf buf = pool.loan(block, 0, 64, &account);
    benchmark::DoNotOptimize(buf);
  }
  state.SetLabel(kLevelNames[state.range(0)]);
}
BENCHMARK(BM_LendLoanRelease)->ArgName("ledger")->DenseRange(0, 2);

void BM_Share(benchmark::State& state) {
  Ledger ledger(LedgerLevel::off);
  Pool pool({}, ledger);
  const Buf buf = pool.take();
  for (auto _ : state) {
    Buf second = buf.share();
    benchmark::DoNotOptimize(second);
  }
}
BENCHMARK(BM_Share);

void BM_ChainAppendPop(benchmark::State& state) {
  Ledger ledger(LedgerLevel::off);
  Pool pool({}, ledger);
  Buf buf = pool.take();
  BufChain chain;
  for (auto _ : state) {
    chain.append(std::move(buf));
    buf = chain.pop_front();
  }
  benchmark::DoNotOptimize(buf);
}
BENCHMARK(BM_ChainAppendPop);

// A front of 1 byte of a chain of `pieces`, and together again.
void BM_ChainSplitJoin(benchmark::State& state) {
  Ledger ledger(LedgerLevel::off);
  Pool pool({}, ledger);
  BufChain chain;
  for (std::int64_t i = 0; i < state.range(0); ++i) chain.append(pool.take());
  std::int64_t split_count = 0;
  for (auto _ : state) {
    BufChain front = chain.split_front(1);
    benchmark::DoNotOptimize(front);
    if (++split_count % 1024 != 0) continue;
    state.PauseTiming();  // the first piece wears off
    chain.clear();
    for (std::int64_t i = 0; i < state.range(0); ++i) chain.append(pool.take());
    state.ResumeTiming();
  }
}
BENCHMARK(BM_ChainSplitJoin)->ArgName("pieces")->Arg(1)->Arg(16);

}  // namespace
}  // namespace weir
