// Misuse of the seam stops the program where it happens: what goes on running loses bytes later.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/rig/rig.h"

namespace weir::test {
namespace {

constexpr std::string_view kBackends[] = {"epoll", "io_uring", "io_uring:5.10"};

class MisuseDeathTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  // A child made by fork alone would share the ring with us.
  MisuseDeathTest() { ::testing::FLAGS_gtest_death_test_style = "threadsafe"; }

  // A socket with a receive in flight.
  static Handle busy(Rig& rig, Peer& peer) {
    const Handle handle = rig.connected(peer);
    rig.submit(rig.recv_group(handle, true));
    rig.settle();
    return handle;
  }
};

TEST_P(MisuseDeathTest, CloseWithAnOpInFlight) {
  if (const Rig rig(GetParam()); !rig.is_available()) GTEST_SKIP() << rig.reason();
  EXPECT_DEATH(
      {
        Rig rig(GetParam());
        Peer peer;
        rig.submit(rig.close(busy(rig, peer)));
      },
      "check failed");
}

TEST_P(MisuseDeathTest, DetachWithAnOpInFlight) {
  if (const Rig rig(GetParam()); !rig.is_available()) GTEST_SKIP() << rig.reason();
  EXPECT_DEATH(
      {
        Rig rig(GetParam());
        Peer peer;
        rig.backend().detach(busy(rig, peer));
      },
      "check failed");
}

TEST_P(MisuseDeathTest, SubmitAPendingOp) {
  if (const Rig rig(GetParam()); !rig.is_available()) GTEST_SKIP() << rig.reason();
  EXPECT_DEATH(
      {
        Rig rig(GetParam());
        Peer peer;
        auto& recv = rig.recv(rig.connected(peer), 10);
        rig.submit(recv);
        rig.ops().begin(recv);
      },
      "check failed");
}

TEST_P(MisuseDeathTest, AHandleThatIsClosed) {
  if (const Rig rig(GetParam()); !rig.is_available()) GTEST_SKIP() << rig.reason();
  EXPECT_DEATH(
      {
        Rig rig(GetParam());
        Peer peer;
        const Handle handle = rig.connected(peer);
        rig.submit(rig.close(handle));
        rig.settle();
        rig.submit(rig.recv(handle, 10));
      },
      "check failed");
}

// Another socket has its place by then, and must not be taken for it.
TEST_P(MisuseDeathTest, AHandleWhosePlaceWasUsedAgain) {
  if (const Rig rig(GetParam()); !rig.is_available()) GTEST_SKIP() << rig.reason();
  const auto use_again = [&](void (*use)(Rig & rig, Handle stale)) {
    Rig rig(GetParam());
    std::vector<Peer> peers(3);
    const Handle handle = rig.connected(peers[0]);
    rig.submit(rig.close(handle));
    rig.settle();
    rig.connected(peers[1]);
    rig.connected(peers[2]);
    use(rig, handle);
  };
  EXPECT_DEATH(use_again([](Rig& rig, Handle stale) { rig.submit(rig.recv(stale, 10)); }),
               "check failed");
  EXPECT_DEATH(use_again([](Rig& rig, Handle stale) {
                 static_cast<void>(rig.backend().local_address(stale));
               }),
               "check failed");
}

std::string backend_name(const ::testing::TestParamInfo<std::string_view>& info) {
  std::string name(info.param);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '.'; }, '_');
  return name + "_Misuse";
}

INSTANTIATE_TEST_SUITE_P(Seam, MisuseDeathTest, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
