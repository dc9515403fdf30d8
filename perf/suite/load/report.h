// What a run came to, for people and for programs.
#pragma once
#include "perf/suite/load/options.h"
#include "perf/suite/load/tally.h"

namespace load {

void print_table(const Options& options, const Tally& tally);
void print_json(const Options& options, const Tally& tally);

}  // namespace load
