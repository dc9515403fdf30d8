// The rows again on "chaos", which shortens, delays and reorders within what the contract allows: it must not be noticed,
// or the tests that stand on it would blame the wrong one.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "tests/conformance/row.h"
#include "tests/rig/chaos.h"

namespace weir::test {
namespace {

constexpr std::chrono::milliseconds kPatience{5000};
constexpr std::string_view kInner[] = {"epoll", "io_uring"};
constexpr int kSeeds[] = {1, 2, 3};

class ChaosContract : public ::testing::TestWithParam<std::tuple<std::string_view, Row>> {};

TEST_P(ChaosContract, Holds) {
  register_chaos();
  const auto& [inner, row] = GetParam();
  for (const int seed : kSeeds) {
    const std::string backend = "chaos:" + std::to_string(seed) + ":" + std::string(inner);
    const Verdict verdict = run_row(row, backend, kPatience);
    if (!verdict.skipped.empty()) GTEST_SKIP() << verdict.skipped;
    EXPECT_EQ(verdict.text, "") << backend;
  }
}

std::string row_name(const ::testing::TestParamInfo<ChaosContract::ParamType>& info) {
  const auto& [inner, row] = info.param;
  return std::string(inner) + "_S" + std::to_string(row.sentence) + "_" + std::string(row.name);
}

INSTANTIATE_TEST_SUITE_P(Seam, ChaosContract,
                         ::testing::Combine(::testing::ValuesIn(kInner),
                                            ::testing::ValuesIn(all_rows())),
                         row_name);

}  // namespace
}  // namespace weir::test
