// Receive groups: how many blocks are posted, what one greedy socket may take, and that the polite ones do not notice.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "tests/unit/uring_rig.h"

namespace weir::test {
namespace {

using uring::ReceiveGroup;

class UringGroup : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = uring_refusal(); !reason.empty()) GTEST_SKIP() << reason;
  }
  static bool has_ring(UringRig& rig) { return rig.uring().group(UringRig::kGroup).has_ring(); }
};

// The far end of a flood never blocks; how much it sent.
std::size_t send_all_it_takes(const UringRig& rig, Handle from, std::string_view bytes) {
  std::size_t total = 0;
  for (;;) {
    const ssize_t sent = ::send(static_cast<int>(rig.backend->native(from)), bytes.data(),
                                bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) return total;
    total += static_cast<std::size_t>(sent);
  }
}

TEST_F(UringGroup, PostsMoreWhenTheRingRunsDryAndFewerWhenItDoesNot) {
  UringRig rig(uring::kNewestKernel, 8,
               {.block_bytes = 1024, .blocks_max = 512, .group = UringRig::kGroup});
  if (!has_ring(rig)) GTEST_SKIP() << "no buffer rings here";
  constexpr std::size_t kSockets = ReceiveGroup::kPostedMin + 36;
  const ReceiveGroup& group = rig.uring().group(UringRig::kGroup);
  EXPECT_EQ(group.target(), ReceiveGroup::kPostedMin);
  std::vector<SeamRig::Pair> pairs;
  std::deque<Receiver> receivers;
  for (std::size_t i = 0; i < kSockets; ++i) {
    pairs.push_back(rig.connect());
    rig.receive(receivers.emplace_back(), pairs.back().server);
  }
  rig.turn();
  for (const SeamRig::Pair& pair : pairs) rig.send_raw(pair.client, "all at once");
  // The kernel does a part of its work at each enter, so a poll has to enter often to run the ring dry.
  std::deque<Op> nops(400);
  for (Op& nop : nops) {
    nop.kind = OpKind::nop;
    rig.submit(nop);
  }
  EXPECT_TRUE(rig.turn_until([&] {
    return std::all_of(receivers.begin(), receivers.end(),
                       [](const Receiver& receiver) { return receiver.bytes == "all at once"; });
  }));
  EXPECT_TRUE(rig.turn_until([&] { return nops.back().state == OpState::idle; }));
  for (Op& nop : nops) rig.ops.abandon(nop);
  EXPECT_GT(rig.metrics.no_buffers, 0u) << "the ring did not run dry";
  EXPECT_EQ(group.target(), 2 * ReceiveGroup::kPostedMin);

  for (std::uint32_t i = 0; i < 2 * ReceiveGroup::kWindowTurns; ++i) {
    rig.send_raw(pairs[0].client, "x");
    rig.turn(1'000'000'000);
  }
  EXPECT_EQ(group.target(), ReceiveGroup::kPostedMin);
  for (Receiver& receiver : receivers) rig.finish(receiver);
}

TEST_F(UringGroup, AGreedySocketIsPacedAndComesBack) {
  UringRig rig;
  if (!has_ring(rig)) GTEST_SKIP() << "no buffer rings here";
  const SeamRig::Pair greedy = rig.connect();
  Receiver receiver;
  rig.receive(receiver, greedy.server);
  rig.turn();
  const std::string flood(256 << 10, 'f');
  std::size_t sent = 0;
  for (int i = 0; i < 20; ++i) {
    sent += send_all_it_takes(rig, greedy.client, flood);
    rig.turn();
  }
  EXPECT_EQ(rig.counters().bulk_switches, 1u) << "it stays paced while it floods";
  EXPECT_EQ(rig.counters().multishot_returns, 0u);
  EXPECT_FALSE(receiver.has_ended()) << "the owner sees one op all the while";

  ASSERT_TRUE(rig.turn_until([&] { return receiver.bytes.size() == sent; }));
  receiver.bytes.clear();
  for (int i = 0; i < 8; ++i) {
    rig.send_raw(greedy.client, "polite");
    EXPECT_TRUE(rig.turn_until(
        [&] { return receiver.bytes.size() == 6u * (static_cast<unsigned>(i) + 1); }));
  }
  EXPECT_EQ(rig.counters().multishot_returns, 1u);
  rig.finish(receiver);
}

TEST_F(UringGroup, APacedSocketTakesItsShareATurn) {
  UringRig rig;
  if (!has_ring(rig)) GTEST_SKIP() << "no buffer rings here";
  const SeamRig::Pair greedy = rig.connect();
  Receiver receiver;
  rig.receive(receiver, greedy.server);
  rig.turn();
  const std::string flood(256 << 10, 'f');
  for (int i = 0; i < 5; ++i) {
    send_all_it_takes(rig, greedy.client, flood);
    rig.turn();
  }
  ASSERT_EQ(rig.counters().bulk_switches, 1u);
  for (int i = 0; i < 10; ++i) {
    send_all_it_takes(rig, greedy.client, flood);
    const std::size_t before = receiver.bytes.size();
    rig.turn();
    EXPECT_LE(receiver.bytes.size() - before, rig.limits.bytes_per_socket_turn);
  }
  rig.finish(receiver);
}

TEST_F(UringGroup, AFloodDoesNotDelayThePolite) {
  for (const uring::Kernel mask : {uring::kNewestKernel, uring::Kernel{601}, uring::Kernel{510}}) {
    UringRig rig(mask);
    const SeamRig::Pair greedy = rig.connect();
    Receiver flooded;
    rig.receive(flooded, greedy.server);
    std::vector<SeamRig::Pair> pairs;
    std::deque<Receiver> polite;
    for (int i = 0; i < 20; ++i) {
      pairs.push_back(rig.connect());
      rig.receive(polite.emplace_back(), pairs.back().server);
    }
    const std::string flood(256 << 10, 'f');
    std::size_t worst_turns = 0;
    for (std::size_t round = 1; round <= 20; ++round) {
      for (const SeamRig::Pair& pair : pairs) rig.send_raw(pair.client, "p");
      std::size_t turns = 0;
      const auto is_served = [&](const Receiver& receiver) {
        return receiver.bytes.size() == round;
      };
      while (!std::all_of(polite.begin(), polite.end(), is_served) && turns < 100) {
        send_all_it_takes(rig, greedy.client, flood);
        rig.turn();
        ++turns;
      }
      worst_turns = std::max(worst_turns, turns);
    }
    EXPECT_LE(worst_turns, 4u) << "as on " << uring::name_of_kernel(mask);
    EXPECT_GT(flooded.bytes.size(), 5u * (64 << 10)) << "the flood is served too";
    rig.finish(flooded);
    for (Receiver& receiver : polite) rig.finish(receiver);
  }
}

TEST_F(UringGroup, WithoutRingsAnIdleSocketPinsNothing) {
  UringRig rig(510);
  std::vector<SeamRig::Pair> pairs;
  std::deque<Receiver> receivers;
  for (int i = 0; i < 20; ++i) {
    pairs.push_back(rig.connect());
    rig.receive(receivers.emplace_back(), pairs.back().server);
  }
  rig.turn();
  EXPECT_EQ(rig.group.in_use(), 0u);
  for (const SeamRig::Pair& pair : pairs) rig.send_raw(pair.client, "x");
  EXPECT_TRUE(rig.turn_until([&] {
    return std::all_of(receivers.begin(), receivers.end(),
                       [](const Receiver& r) { return r.bytes == "x"; });
  }));
  rig.turn();
  EXPECT_EQ(rig.group.in_use(), 0u);
  for (Receiver& receiver : receivers) rig.finish(receiver);
}

}  // namespace
}  // namespace weir::test
