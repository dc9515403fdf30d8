// The same echo on backends that make life hard. "chaos" shortens, delays and reorders within what the contract allows:
// nothing of that is an error, so every byte must come back, whatever the seed. "faulty" lets ops fail: the error reaches
// its owner, and nobody else loses a byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/fault/echo.h"
#include "tests/rig/chaos.h"
#include "tests/rig/faulty.h"

namespace weir::test {
namespace {

constexpr std::string_view kBackends[] = {"epoll", "io_uring", "io_uring:6.1", "io_uring:5.10"};
constexpr std::uint32_t kSeeds = 40;

class HardLife : public ::testing::TestWithParam<std::string_view> {};

TEST_P(HardLife, ChaosCostsNoByte) {
  register_chaos();
  for (std::uint32_t seed = 1; seed <= kSeeds; ++seed) {
    const std::string name = "chaos:" + std::to_string(seed) + ":" + std::string(GetParam());
    // Few blocks in every other run, so that the group runs dry as well.
    Rig rig(name, {.block_bytes = 1024, .blocks = seed % 2 == 0 ? 16u : 64u});
    if (!rig.is_available()) GTEST_SKIP() << rig.reason();
    Echo echo(rig, {.clients = 6, .bytes_each = 40'000});
    echo.run();
    rig.finish();
    ASSERT_EQ(rig.verdict(), "") << name;
  }
}

TEST_P(HardLife, AnErrorReachesItsOwner) {
  register_faulty();
  std::size_t error_count = 0;
  for (std::uint32_t seed = 1; seed <= kSeeds; ++seed) {
    const std::string name = "faulty:" + std::to_string(seed) + ":" + std::string(GetParam());
    Rig rig(name, {.block_bytes = 1024, .blocks = 64});
    if (!rig.is_available()) GTEST_SKIP() << rig.reason();
    Echo echo(rig, {.clients = 6, .bytes_each = 40'000, .errors_allowed = true});
    echo.run();
    rig.finish();
    ASSERT_EQ(rig.verdict(), "") << name;
    error_count += echo.error_count();
  }
  EXPECT_GT(error_count, 0u) << "no error ever reached anybody: this test shows nothing";
}

// Both at once: the errors come late and in any order.
TEST_P(HardLife, ChaosWithErrorsCostsNobodyElseAByte) {
  register_chaos();
  register_faulty();
  for (std::uint32_t seed = 1; seed <= kSeeds; ++seed) {
    const std::string name = "chaos:" + std::to_string(seed) + ":faulty:" + std::to_string(seed) +
                             ":" + std::string(GetParam());
    Rig rig(name, {.block_bytes = 1024, .blocks = 64});
    if (!rig.is_available()) GTEST_SKIP() << rig.reason();
    Echo echo(rig, {.clients = 6, .bytes_each = 40'000, .errors_allowed = true});
    echo.run();
    rig.finish();
    ASSERT_EQ(rig.verdict(), "") << name;
  }
}

TEST(HardLifeName, NeedsASeedAndABackend) {
  register_chaos();
  register_faulty();
  for (const std::string_view name : {"chaos", "chaos:", "chaos:x:epoll", "chaos:1",
                                      "chaos:1x:epoll", "chaos:1:nothing", "faulty:epoll"}) {
    const Rig rig(name);
    EXPECT_FALSE(rig.is_available()) << name;
    EXPECT_NE(rig.reason(), "") << name;
  }
}

std::string backend_name(const ::testing::TestParamInfo<std::string_view>& info) {
  std::string name(info.param);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '.'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Seam, HardLife, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
