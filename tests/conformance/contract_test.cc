// The contract of weir/backend.h, row by row, on every backend and mask, driven through the seam itself. A backend that
// the machine refuses is skipped with its reason.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

constexpr std::chrono::milliseconds kPatience{5000};
constexpr std::string_view kBackends[] = {"epoll", "io_uring", "io_uring:6.1", "io_uring:5.10"};

class Contract : public ::testing::TestWithParam<std::tuple<std::string_view, Row>> {};

TEST_P(Contract, Holds) {
  const auto& [backend, row] = GetParam();
  const Verdict verdict = run_row(row, backend, kPatience);
  if (!verdict.skipped.empty()) GTEST_SKIP() << verdict.skipped;
  EXPECT_EQ(verdict.text, "");
}

// "io_uring_5_10_S3_CancelRecvTwice"
std::string name_of_test(const ::testing::TestParamInfo<Contract::ParamType>& info) {
  const auto& [backend, row] = info.param;
  std::string name(backend);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '.'; }, '_');
  return name + "_S" + std::to_string(row.sentence) + "_" + std::string(row.name);
}

INSTANTIATE_TEST_SUITE_P(Seam, Contract,
                         ::testing::Combine(::testing::ValuesIn(kBackends),
                                            ::testing::ValuesIn(all_rows())),
                         name_of_test);

}  // namespace

}  // namespace weir::test
