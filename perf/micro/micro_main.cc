// The micro benchmarks, one file a subject. `micro --benchmark_filter=Timer` runs some of them.
#include <benchmark/benchmark.h>

BENCHMARK_MAIN();
