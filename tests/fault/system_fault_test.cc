// Faults of the system's calls, at the one room where they are made (src/os): short counts, EINTR and EAGAIN must pass
// unnoticed; errors reach their owner, once, and cost nobody else a byte. Each seed is a run of its own, and is printed when it
// fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <random>
#include <string>
#include <tuple>

#include "src/os/fault.h"
#include "tests/fault/echo.h"

namespace weir::test {
namespace {

using os::Call;
using os::Fault;

struct FaultRow {
  Call call;
  Fault fault;
  bool is_error;  ///< the call's owner hears of it
};

const FaultRow kFaults[] = {
    {Call::recv, {.size_max = 1}, false},          {Call::recv, {.size_max = 100}, false},
    {Call::recv, {.error = -EINTR}, false},        {Call::recv, {.error = -EAGAIN}, false},
    {Call::recv, {.error = -ECONNRESET}, true},    {Call::recv, {.error = -ENOMEM}, true},
    {Call::send, {.size_max = 1}, false},          {Call::send, {.size_max = 100}, false},
    {Call::send, {.error = -EINTR}, false},        {Call::send, {.error = -EAGAIN}, false},
    {Call::send, {.error = -ECONNRESET}, true},    {Call::send, {.error = -ENOBUFS}, true},
    {Call::send, {.error = -ENOMEM}, true},        {Call::accept, {.error = -EINTR}, false},
    {Call::accept, {.error = -EAGAIN}, false},     {Call::accept, {.error = -ECONNABORTED}, false},
    {Call::accept, {.error = -EMFILE}, false},  // the test's owner tries again
    {Call::accept, {.error = -ENFILE}, false},     {Call::accept, {.error = -ENOBUFS}, false},
    {Call::accept, {.error = -ENOMEM}, false},     {Call::connect, {.error = -ECONNREFUSED}, true},
    {Call::connect, {.error = -ENOBUFS}, true},    {Call::open_socket, {.error = -EMFILE}, true},
    {Call::open_socket, {.error = -ENOMEM}, true}, {Call::watch, {.error = -ENOMEM}, true},
    {Call::watch, {.error = -ENOSPC}, true},       {Call::wait, {.error = -EINTR}, false},
    {Call::ring_enter, {.error = -EINTR}, false},  {Call::ring_enter, {.error = -EAGAIN}, false},
    {Call::ring_enter, {.error = -EBUSY}, false},
};

struct Dice {
  std::mt19937 random;
  std::uint32_t one_in = 0;
  bool with_errors = false;
  std::uint64_t fault_count = 0;
};
Dice dice;

Fault ask(Call call, os::Native) {
  if (dice.random() % dice.one_in != 0) return {};
  const auto fits = [&](const FaultRow& row) {
    return row.call == call && (dice.with_errors || !row.is_error);
  };
  const auto count = std::count_if(std::begin(kFaults), std::end(kFaults), fits);
  if (count == 0) return {};
  auto pick = static_cast<std::ptrdiff_t>(dice.random() % static_cast<std::uint64_t>(count));
  for (const FaultRow& row : kFaults) {
    if (fits(row) && pick-- == 0) {
      ++dice.fault_count;
      return row.fault;
    }
  }
  return {};
}

/// Faults happen while it lives.
class Faults {
 public:
  Faults(std::uint32_t seed, std::uint32_t one_in, bool with_errors) {
    dice = {std::mt19937(seed), one_in, with_errors, 0};
    os::set_fault_hook(ask);
  }
  ~Faults() { os::set_fault_hook(nullptr); }
  std::uint64_t count() const { return dice.fault_count; }
};

constexpr std::string_view kBackends[] = {"epoll", "io_uring", "io_uring:6.1", "io_uring:5.10"};
constexpr std::uint32_t kSeeds = 30;

class SystemFaults : public ::testing::TestWithParam<std::string_view> {
 protected:
  // One run; its verdict.
  std::string run(std::uint32_t seed, std::uint32_t one_in, bool with_errors) {
    Rig rig(GetParam(), {.block_bytes = 4096, .blocks = 64});
    if (!rig.is_available()) {
      skipped_ = rig.reason();
      return {};
    }
    Echo echo(rig, {.errors_allowed = with_errors});
    {
      const Faults faults(seed, one_in, with_errors);
      echo.run();
      rig.finish();
      fault_count_ += faults.count();
      error_count_ += echo.error_count();
    }
    return rig.verdict();
  }
  std::string skipped_;
  std::uint64_t fault_count_ = 0;
  std::uint64_t error_count_ = 0;
};

TEST_P(SystemFaults, ThatPassUnnoticedCostNoByte) {
  for (std::uint32_t seed = 1; seed <= kSeeds && skipped_.empty(); ++seed) {
    ASSERT_EQ(run(seed, 4, false), "") << "seed " << seed;
  }
  if (!skipped_.empty()) GTEST_SKIP() << skipped_;
  EXPECT_GT(fault_count_, 0u) << "no fault was ever asked for: this test shows nothing";
}

TEST_P(SystemFaults, ThatAreErrorsReachTheirOwner) {
  for (std::uint32_t seed = 1; seed <= kSeeds && skipped_.empty(); ++seed) {
    ASSERT_EQ(run(1000 + seed, 20, true), "") << "seed " << 1000 + seed;
  }
  if (!skipped_.empty()) GTEST_SKIP() << skipped_;
  EXPECT_GT(error_count_, 0u) << "no error ever reached anybody: this test shows nothing";
}

std::string backend_name(const ::testing::TestParamInfo<std::string_view>& info) {
  std::string name(info.param);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '.'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Seam, SystemFaults, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
