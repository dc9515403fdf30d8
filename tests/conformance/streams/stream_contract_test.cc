// The contract as the owner of a stream sees it, on every backend and mask, and on the first two with chaos around them
// (tests/rig/chaos.h): what streams make of results that come short, late and in another order.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "tests/conformance/streams/stream_rig.h"
#include "tests/rig/chaos.h"

namespace weir::test {
namespace {

constexpr std::string_view kBackends[] = {
    "epoll",         "io_uring",      "io_uring:6.1",     "io_uring:5.10",
    "chaos:1:epoll", "chaos:2:epoll", "chaos:1:io_uring", "chaos:2:io_uring"};

class StreamContract : public ::testing::TestWithParam<std::tuple<std::string_view, StreamRow>> {};

TEST_P(StreamContract, Holds) {
  register_chaos();
  const auto& [backend, row] = GetParam();
  StreamRig rig(backend, row.options);
  if (!rig.is_available()) GTEST_SKIP() << rig.reason();
  row.check(rig);
  rig.finish();
  if (!rig.reason().empty()) GTEST_SKIP() << rig.reason();
  EXPECT_EQ(rig.verdict(), "");
}

// "epoll_S7_BytesThenAReset", "io_uring_chaos_1_S7_BytesThenAReset"
std::string name_of_test(const ::testing::TestParamInfo<StreamContract::ParamType>& info) {
  const auto& [backend, row] = info.param;
  std::string name(backend);
  if (name.starts_with("chaos:")) name = name.substr(8) + ":" + name.substr(0, 7);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '.'; }, '_');
  return name + "_S" + std::to_string(row.sentence) + "_" + std::string(row.name);
}

INSTANTIATE_TEST_SUITE_P(Streams, StreamContract,
                         ::testing::Combine(::testing::ValuesIn(kBackends),
                                            ::testing::ValuesIn(all_stream_rows())),
                         name_of_test);

}  // namespace
}  // namespace weir::test
