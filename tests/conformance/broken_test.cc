// Can the rows fail? Each sentence has backends that break it, and its rows must notice every one of them; on a decorator
// that breaks nothing all rows must hold, or the failures would prove nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "tests/conformance/broken.h"
#include "tests/conformance/row.h"

namespace weir::test {
namespace {

constexpr std::chrono::milliseconds kShortPatience{100};
constexpr std::chrono::milliseconds kPatience{5000};
constexpr std::string_view kInner[] = {"epoll", "io_uring"};

std::string name_of(std::string_view text) {
  std::string name(text);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '.' || c == '-'; }, '_');
  return name;
}

const Row* find_row(const std::vector<Row>& rows, std::string_view name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

class BrokenContract : public ::testing::TestWithParam<std::tuple<std::string_view, Defect>> {};

TEST_P(BrokenContract, IsNoticed) {
  register_broken();
  const auto& [inner, defect] = GetParam();
  const std::string backend = "broken:" + std::string(defect.name) + ":" + std::string(inner);
  const std::vector<Row> rows = all_rows();
  std::size_t run_count = 0;
  for (const std::string_view name : defect.rows) {
    const Row* row = find_row(rows, name);
    ASSERT_NE(row, nullptr) << "no row is called " << name;
    EXPECT_EQ(row->sentence, defect.sentence) << name;
    const Verdict verdict = run_row(*row, backend, kShortPatience);
    if (!verdict.skipped.empty()) continue;
    ++run_count;
    EXPECT_NE(verdict.text, "") << name << " holds on " << backend;
  }
  if (run_count == 0) GTEST_SKIP() << "none of its rows can be run on " << inner;
}

std::string defect_name(const ::testing::TestParamInfo<BrokenContract::ParamType>& info) {
  const auto& [inner, defect] = info.param;
  return name_of(inner) + "_S" + std::to_string(defect.sentence) + "_" + name_of(defect.name);
}

INSTANTIATE_TEST_SUITE_P(Seam, BrokenContract,
                         ::testing::Combine(::testing::ValuesIn(kInner),
                                            ::testing::ValuesIn(defects())),
                         defect_name);

class UnbrokenContract : public ::testing::TestWithParam<std::tuple<std::string_view, Row>> {};

TEST_P(UnbrokenContract, Holds) {
  register_broken();
  const auto& [inner, row] = GetParam();
  const Verdict verdict = run_row(row, "broken:none:" + std::string(inner), kPatience);
  if (!verdict.skipped.empty()) GTEST_SKIP() << verdict.skipped;
  EXPECT_EQ(verdict.text, "");
}

std::string row_name(const ::testing::TestParamInfo<UnbrokenContract::ParamType>& info) {
  const auto& [inner, row] = info.param;
  return name_of(inner) + "_S" + std::to_string(row.sentence) + "_" + std::string(row.name);
}

INSTANTIATE_TEST_SUITE_P(Seam, UnbrokenContract,
                         ::testing::Combine(::testing::ValuesIn(kInner),
                                            ::testing::ValuesIn(all_rows())),
                         row_name);

}  // namespace
}  // namespace weir::test
