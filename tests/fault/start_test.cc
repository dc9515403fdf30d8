// A backend that cannot start says why, and leaves nothing behind: no descriptor, no registration. Whoever asked for
// "auto" gets another one.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "src/os/fault.h"
#include "tests/rig/rig.h"
#include "weir/weir.h"

namespace weir::test {
namespace {

thread_local std::int64_t refusal = 0;

os::Fault refuse_rings(os::Call call, os::Native) {
  return call == os::Call::ring_setup ? os::Fault{.error = refusal} : os::Fault{};
}
// epoll watches its wake-up descriptor as it starts; io_uring needs no such call.
os::Fault refuse_watches(os::Call call, os::Native) {
  return call == os::Call::watch ? os::Fault{.error = refusal} : os::Fault{};
}
os::Fault refuse_both(os::Call call, os::Native native) {
  return call == os::Call::watch ? refuse_watches(call, native) : refuse_rings(call, native);
}

class RefusedRing : public ::testing::TestWithParam<int> {
 protected:
  RefusedRing() {
    refusal = -GetParam();
    os::set_fault_hook(refuse_rings);
  }
  ~RefusedRing() override { os::set_fault_hook(nullptr); }

  Metrics metrics_;
  OpTable ops_;
  Limits limits_;
};

TEST_P(RefusedRing, IsAnErrorWithItsReason) {
  const std::size_t before = open_descriptor_count();
  const Result<ChosenBackend> made = make_backend("io_uring", {ops_, metrics_, limits_});
  ASSERT_FALSE(made.ok());
  if (made.error().native == 0) GTEST_SKIP() << made.error().to_string();  // not in this build
  EXPECT_EQ(made.error(), Errc::unavailable) << made.error().to_string();
  EXPECT_EQ(made.error().native, GetParam()) << made.error().to_string();
  EXPECT_NE(made.error().expected, nullptr);
  EXPECT_EQ(open_descriptor_count(), before);
}

// docs/decisions/0006: a name is that backend or an error; only `auto` takes another one.
TEST_P(RefusedRing, IsAnErrorToWhoNamesItAndNoneToAuto) {
  const Error named = Loop::make({.backend = "io_uring"}).error();
  if (named.native == 0) GTEST_SKIP() << named.to_string();  // not in this build
  EXPECT_EQ(named, Errc::unavailable) << named.to_string();
  EXPECT_EQ(named.native, GetParam());
  Result<std::unique_ptr<Loop>> made = Loop::make({.backend = "auto"});
  ASSERT_TRUE(made.ok()) << made.error().to_string();
  EXPECT_EQ((*made)->caps().name, "epoll");
  EXPECT_NE((*made)->backend_reason().find("io_uring: " + named.to_string()), std::string::npos)
      << (*made)->backend_reason();
}

INSTANTIATE_TEST_SUITE_P(Start, RefusedRing, ::testing::Values(EPERM, ENOSYS, ENOMEM));

class RefusedEpoll : public ::testing::TestWithParam<int> {
 protected:
  RefusedEpoll() {
    refusal = -GetParam();
    has_io_uring_ = make_backend("io_uring", {ops_, metrics_, limits_}).ok();
    os::set_fault_hook(refuse_watches);
  }
  ~RefusedEpoll() override { os::set_fault_hook(nullptr); }

  Metrics metrics_;
  OpTable ops_;
  Limits limits_;
  bool has_io_uring_ = false;
};

TEST_P(RefusedEpoll, IsAnErrorAndLeavesNothingOpen) {
  const std::size_t before = open_descriptor_count();
  const Result<ChosenBackend> made = make_backend("epoll", {ops_, metrics_, limits_});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().native, GetParam()) << made.error().to_string();
  EXPECT_EQ(open_descriptor_count(), before);
}

TEST_P(RefusedEpoll, LeavesAutoTheOtherOne) {
  if (!has_io_uring_) GTEST_SKIP() << "io_uring cannot be had here, so auto has no other";
  const Result<ChosenBackend> made = make_backend("auto", {ops_, metrics_, limits_});
  ASSERT_TRUE(made.ok()) << made.error().to_string();
  EXPECT_TRUE(made.value().backend->caps().name.starts_with("io_uring"))
      << made.value().backend->caps().name;
}

TEST_P(RefusedEpoll, WithTheNextOneRefusedTooAutoHasNone) {
  os::set_fault_hook(refuse_both);
  const Result<ChosenBackend> made = make_backend("auto", {ops_, metrics_, limits_});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().native, GetParam()) << made.error().to_string();
}

INSTANTIATE_TEST_SUITE_P(Start, RefusedEpoll, ::testing::Values(ENOSPC, ENOMEM, EPERM));

// Made and destroyed again and again, with sockets open that nobody closed.
TEST(Start, LeavesNoDescriptorBehind) {
  for (const std::string_view name : {"epoll", "io_uring", "io_uring:6.1", "io_uring:5.10"}) {
    const std::size_t before = open_descriptor_count();
    for (int i = 0; i < 5; ++i) {
      Metrics metrics;
      OpTable ops;
      Limits limits;
      Result<ChosenBackend> made = make_backend(name, {ops, metrics, limits});
      if (!made.ok()) break;  // that it is refused here is shown by the conformance tests
      for (int s = 0; s < 10; ++s) EXPECT_TRUE(made.value().backend->open({}).ok());
    }
    EXPECT_EQ(open_descriptor_count(), before) << name;
  }
}

}  // namespace
}  // namespace weir::test
