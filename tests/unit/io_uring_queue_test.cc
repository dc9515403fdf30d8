// Queues that are full, flags that are refused, ids that nobody has, sends that end quietly: what the seam's contract
// hides, and only the ring's counters show.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <deque>
#include <string>
#include <vector>

#include "src/os/fault.h"
#include "tests/unit/uring_rig.h"

namespace weir::test {
namespace {

using uring::Use;

class Uring : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = uring_refusal(); !reason.empty()) GTEST_SKIP() << reason;
  }
};
using UringQueue = Uring;
using UringSetup = Uring;
using UringIds = Uring;
using UringQuiet = Uring;

struct Nop : Op {
  Nop() { kind = OpKind::nop; }
};

TEST_F(UringQueue, MoreOpsThanPlacesAllEndInOrder) {
  UringRig rig(uring::kNewestKernel, 8);
  std::deque<Nop> nops(100);
  for (Nop& nop : nops) ASSERT_FALSE(rig.submit(nop).done);
  EXPECT_GT(rig.counters().full_queues, 0u);
  EXPECT_TRUE(rig.backend->pending_hint());
  std::vector<OpId> ended;
  while (ended.size() < nops.size()) {
    const std::vector<Completion> out = rig.wait();
    ASSERT_FALSE(out.empty()) << ended.size() << " ended";
    for (const Completion& completion : out) ended.push_back(completion.id);
  }
  for (std::size_t i = 0; i < nops.size(); ++i) {
    EXPECT_EQ(ended[i], nops[i].id) << i;
    rig.ops.abandon(nops[i]);
  }
}

TEST_F(UringQueue, ACancelOfAnOpThatFoundNoPlaceEndsItOnce) {
  UringRig rig(uring::kNewestKernel, 8);
  std::deque<Nop> nops(30);
  for (Nop& nop : nops) rig.submit(nop);
  for (std::size_t i = 20; i < nops.size(); ++i) {
    rig.backend->cancel(nops[i].id);
    rig.backend->cancel(nops[i].id);
  }
  std::size_t cancelled_count = 0;
  std::size_t ended_count = 0;
  while (ended_count < nops.size()) {
    const std::vector<Completion> out = rig.wait();
    ASSERT_FALSE(out.empty()) << ended_count << " ended";
    for (const Completion& completion : out) {
      ++ended_count;
      cancelled_count += completion.result == -ECANCELED;
    }
  }
  EXPECT_EQ(cancelled_count, 10u);
  EXPECT_TRUE(rig.poll(1'000'000).empty());
  for (Nop& nop : nops) rig.ops.abandon(nop);
}

TEST_F(UringQueue, CancelsThatFindNoPlaceAreNotLost) {
  UringRig rig(uring::kNewestKernel, 8);
  std::vector<SeamRig::Pair> pairs;
  std::deque<RecvOp> ops;
  std::array<std::byte, 16> target;
  for (int i = 0; i < 30; ++i) {
    pairs.push_back(rig.connect());
    rig.submit(ops.emplace_back(recv_into(pairs.back().server, target.data(), 16)));
  }
  rig.poll();
  for (RecvOp& op : ops) rig.backend->cancel(op.id);
  std::size_t ended_count = 0;
  while (ended_count < ops.size()) {
    const std::vector<Completion> out = rig.wait();
    ASSERT_FALSE(out.empty()) << ended_count << " ended";
    for (const Completion& completion : out) EXPECT_EQ(completion.result, -ECANCELED);
    ended_count += out.size();
  }
  for (RecvOp& op : ops) rig.ops.abandon(op);
}

TEST_F(UringQueue, CompletionsThatFindNoPlaceAreNotLost) {
  UringRig rig(uring::kNewestKernel, 8);  // 128 completions
  std::deque<Nop> nops(500);
  for (Nop& nop : nops) rig.submit(nop);
  std::size_t ended_count = 0;
  while (ended_count < nops.size()) {
    const std::vector<Completion> out = rig.wait();
    ASSERT_FALSE(out.empty()) << ended_count << " ended";
    ended_count += out.size();
  }
  EXPECT_EQ(ended_count, nops.size());
  EXPECT_GT(rig.metrics.completion_overflows, 0u);
  for (Nop& nop : nops) rig.ops.abandon(nop);
}

TEST_F(UringQueue, ATurnEntersOnce) {
  UringRig rig;
  const SeamRig::Pair pair = rig.connect();
  Receiver receiver;
  rig.receive(receiver, pair.server);
  rig.turn();
  const std::uint64_t before = rig.counters().enters;
  rig.send_raw(pair.client, "x");
  rig.turn(1'000'000'000);
  EXPECT_EQ(receiver.bytes, "x");
  EXPECT_EQ(rig.counters().enters - before, 1u);
  rig.turn();
  EXPECT_EQ(rig.counters().enters - before, 1u) << "nothing to hand over and nothing to wait for";
  rig.finish(receiver);
}

// ---- setup

thread_local int refusals_left = 0;

os::Fault refuse_setups(os::Call call, os::Native) {
  if (call != os::Call::ring_setup || refusals_left == 0) return {};
  --refusals_left;
  return {.error = -EINVAL};
}

TEST_F(UringSetup, FlagsAreDroppedNewestFirst) {
  std::uint32_t flags_before = UringRig().counters().setup_flags;
  const auto table = uring::setup_flag_table();
  for (int refusals = 1; refusals <= 3; ++refusals) {
    refusals_left = refusals;
    os::set_fault_hook(refuse_setups);
    OpTable ops;
    Metrics metrics;
    Limits limits;
    auto made = make_io_uring_backend({}, {ops, metrics, limits});
    os::set_fault_hook(nullptr);
    ASSERT_TRUE(made.ok()) << made.error().to_string();
    const std::uint32_t flags = static_cast<uring::IoUring&>(*made.value()).counters().setup_flags;
    const uring::Since* newest = nullptr;
    for (const uring::Since& row : table) {
      if ((flags_before & row.value) != 0) newest = &row;
    }
    ASSERT_NE(newest, nullptr);
    EXPECT_EQ(flags & newest->value, 0u) << newest->name;
    flags_before = flags;
  }
}

// ---- ids

TEST_F(UringIds, CompletionsOfNobodyAreCountedAndDropped) {
  UringRig rig;
  Nop nop;
  rig.submit(nop);
  const OpId first = nop.id;
  EXPECT_EQ(rig.wait().size(), 1u);
  rig.submit(nop);  // the same slot, a generation later
  const OpId strangers[] = {
      first,
      OpId::make(first.slot(), first.generation() + 1, OpKind::recv),
      OpId::make(123'456, 1, OpKind::send),
      OpId::make(0, 0, static_cast<OpKind>(0xf9)),
      uring::internal_id(77, 1, uring::kZeroCopy),
  };
  for (const OpId id : strangers) {
    io_uring_sqe& entry = rig.uring().ring().next();
    io_uring_prep_nop(&entry);
    entry.user_data = id.value;
  }
  const std::vector<Completion> out = rig.wait();
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].id, nop.id);
  EXPECT_EQ(rig.metrics.stale_completions, std::size(strangers));
  rig.ops.abandon(nop);
}

// ---- quiet sends

struct QuietScene {
  UringRig rig;
  SeamRig::Pair pair = rig.connect();
  Receiver receiver;
  SendOp send = make_op<SendOp>(OpKind::send, pair.server);
  BufChain bytes;

  QuietScene() {
    rig.receive(receiver, pair.server);
    rig.turn();
    send.chain = &bytes;
    send.lazy = true;
  }
  ~QuietScene() {
    if (send.state != OpState::idle) rig.backend->cancel(send.id);
    EXPECT_TRUE(rig.turn_until([&] { return send.state == OpState::idle; }));
    rig.ops.abandon(send);
    rig.finish(receiver);
  }
  bool is_possible() { return rig.uring().features().has(Use::skip_success); }
};

TEST_F(UringQuiet, AnAnswerAndTheNextRequestAreOneEnter) {
  QuietScene scene;
  if (!scene.is_possible()) GTEST_SKIP() << "this kernel reports every send";
  UringRig& rig = scene.rig;
  scene.bytes = rig.chain("answer");
  for (int round = 1; round <= 3; ++round) {
    rig.submit(scene.send);
    rig.send_raw(scene.pair.client, "r");
    const std::uint64_t before = rig.counters().enters;
    const std::vector<Completion> ends = rig.turn(1'000'000'000);
    EXPECT_EQ(rig.counters().enters - before, 1u);
    ASSERT_EQ(ends.size(), 1u);
    EXPECT_EQ(ends[0].result, 6);
    EXPECT_EQ(scene.receiver.bytes.size(), static_cast<std::size_t>(round));
  }
  EXPECT_EQ(rig.read_raw(scene.pair.client, 64), "answeransweranswer");
}

TEST_F(UringQuiet, AnEndThatSomebodyBeganToWaitForDoesNotComeLate) {
  QuietScene scene;
  if (!scene.is_possible()) GTEST_SKIP() << "this kernel reports every send";
  scene.bytes = scene.rig.chain("answer");
  scene.rig.submit(scene.send);
  scene.send.lazy = false;
  constexpr std::uint64_t kWaitNs = 5'000'000'000;
  const std::uint64_t before_ns = scene.rig.backend->now();
  EXPECT_EQ(scene.rig.turn(kWaitNs).size(), 1u);
  EXPECT_LT(scene.rig.backend->now() - before_ns, kWaitNs / 2) << "it came when the wait was over";
}

TEST_F(UringQuiet, WhatFindsNoRoomIsSentAllTheSame) {
  QuietScene scene;
  if (!scene.is_possible()) GTEST_SKIP() << "this kernel reports every send";
  UringRig& rig = scene.rig;
  std::string sent;
  std::string received;
  scene.bytes = rig.chain(std::string(1 << 20, 'a'));
  const auto take = [&](const std::vector<Completion>& ends) {
    for (const Completion& end : ends) {
      EXPECT_GT(end.result, 0);
      sent.append(static_cast<std::size_t>(end.result), 'a');
    }
  };
  for (int i = 0; i < 64; ++i) {  // more than the two buffers hold
    if (scene.send.state == OpState::idle) rig.submit(scene.send);
    take(rig.turn());
  }
  ASSERT_NE(scene.send.state, OpState::idle) << "64 MiB found room";
  EXPECT_TRUE(rig.turn_until([&] {
    received += rig.read_raw(scene.pair.client, 4 << 20);
    if (scene.send.state != OpState::idle) take(rig.turn(1'000'000));
    return scene.send.state == OpState::idle && received.size() == sent.size();
  })) << received.size()
      << " of " << sent.size();
}

TEST_F(UringQuiet, AHalfCloseBehindAQuietSendIsNotLeftWaiting) {
  QuietScene scene;
  scene.bytes = scene.rig.chain("last");
  scene.rig.submit(scene.send);
  ShutdownOp shutdown = make_op<ShutdownOp>(OpKind::shutdown, scene.pair.server);
  ASSERT_FALSE(scene.rig.submit(shutdown).done) << "a send is before it";
  EXPECT_TRUE(scene.rig.turn_until([&] { return shutdown.state == OpState::idle; }));
  EXPECT_EQ(scene.rig.read_raw(scene.pair.client, 16), "last");
  scene.rig.ops.abandon(shutdown);
}

}  // namespace
}  // namespace weir::test
