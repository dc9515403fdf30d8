// A feature mask uses nothing newer than its kernel. What was used is read from the ring's own counters, after a bit of
// everything that the seam offers, and held against the tables of first kernels.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "tests/unit/uring_rig.h"

namespace weir::test {
namespace {

using uring::Kernel;
using uring::Since;
using uring::Use;

struct Mask {
  const char* name;
  Kernel kernel;
  std::uint32_t flags;      // that must have been used, where this machine's kernel has them
  std::uint32_t flags_not;  // and those that must not
  bool is_multishot;
  bool has_zero_copy;
};
const Mask kMasks[] = {
    {"newest", uring::kNewestKernel,
     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_NO_SQARRAY,
     IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SQPOLL, true, true},
    {"6.1", 601,
     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
     IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SQPOLL | IORING_SETUP_NO_SQARRAY, true, true},
    {"5.10", 510, IORING_SETUP_CQSIZE,
     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SQPOLL |
         IORING_SETUP_NO_SQARRAY,
     false, false},
};

class UringMask : public ::testing::TestWithParam<Mask> {
 protected:
  void SetUp() override {
    if (const std::string reason = uring_refusal(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

// Accept, connect, every way to receive and to send, poll, a timeout, a cancel, a wake, a close.
void use_everything(UringRig& rig) {
  const SeamRig::Pair pair = rig.connect();
  Receiver receiver;
  rig.receive(receiver, pair.server);
  rig.send_raw(pair.client, "group");
  ASSERT_TRUE(rig.turn_until([&] { return receiver.bytes == "group"; }));
  rig.finish(receiver);
  Receiver once;
  rig.receive(once, pair.server, false);
  rig.send_raw(pair.client, "once");
  ASSERT_TRUE(rig.turn_until([&] { return once.bytes == "once"; }));
  rig.finish(once);

  std::array<std::byte, 64> target;
  RecvOp recv = recv_into(pair.server, target.data(), 64);
  rig.send_raw(pair.client, "target");
  EXPECT_EQ(rig.run(recv).result, 6);
  rig.submit(recv);
  rig.poll();
  rig.backend->cancel(recv.id);
  EXPECT_EQ(rig.wait().size(), 1u);
  rig.ops.abandon(recv);

  BufChain one = rig.chain("one");
  BufChain two = rig.chain("two");
  two.append(rig.chain("pieces"));
  SendOp send = make_op<SendOp>(OpKind::send, pair.server);
  for (const bool is_zero_copy : {false, true}) {
    for (const BufChain* chain : {&one, &two}) {
      send.chain = chain;
      send.zero_copy = is_zero_copy;
      EXPECT_EQ(rig.run(send).result, static_cast<std::int32_t>(chain->bytes()));
    }
  }
  rig.poll(20'000'000);  // notifications, and a wait that ends by time
  rig.ops.abandon(send);

  PollOp poll = make_op<PollOp>(OpKind::poll, pair.client);
  poll.events = kReadable;
  poll.multishot = true;
  rig.submit(poll);
  EXPECT_FALSE(rig.wait().empty());
  rig.backend->cancel(poll.id);
  while (poll.state != OpState::idle) rig.wait();
  rig.ops.abandon(poll);
  SocketSpec spec;
  spec.bind = Address::loopback(0);
  spec.backlog = 8;
  const Handle listener = rig.backend->open(spec).value();
  AcceptOp accept = make_op<AcceptOp>(OpKind::accept, listener);
  accept.multishot = true;
  rig.submit(accept);
  rig.poll();
  rig.backend->cancel(accept.id);
  while (accept.state != OpState::idle) rig.wait();
  rig.ops.abandon(accept);
  Op nop = make_op<Op>(OpKind::nop, {});
  EXPECT_EQ(rig.run(nop).result, 0);
  rig.ops.abandon(nop);
  rig.backend->wake();
  rig.poll(1'000'000'000);
  for (const Handle handle : {pair.client, pair.server, listener}) {
    CloseOp close = make_op<CloseOp>(OpKind::close, handle);
    EXPECT_EQ(rig.run(close).result, 0);
    rig.ops.abandon(close);
  }
}

TEST_P(UringMask, UsesNothingNewer) {
  const Mask& mask = GetParam();
  UringRig rig(mask.kernel);
  use_everything(rig);
  const uring::Counters& counters = rig.counters();
  std::uint64_t known_count = 0;
  for (const Since& row : uring::opcode_table()) {
    known_count += counters.opcodes[row.value];
    if (row.kernel > mask.kernel) {
      EXPECT_EQ(counters.opcodes[row.value], 0u) << row.name;
    }
  }
  std::uint64_t all_count = 0;
  for (const std::uint64_t count : counters.opcodes) all_count += count;
  EXPECT_EQ(all_count, known_count) << "an opcode that the table does not know";
  EXPECT_GT(all_count, 12u);
  for (const Since& row : uring::use_table()) {
    if (row.kernel > mask.kernel) {
      EXPECT_EQ(counters.uses[row.value], 0u) << row.name;
    }
  }
  for (const Since& row : uring::setup_flag_table()) {
    if (row.kernel > mask.kernel) {
      EXPECT_EQ(counters.setup_flags & row.value, 0u) << row.name;
    }
  }
  EXPECT_EQ(counters.setup_flags & mask.flags_not, 0u);
}

TEST_P(UringMask, UsesWhatItsKernelHas) {
  const Mask& mask = GetParam();
  UringRig rig(mask.kernel);
  if (rig.uring().features().found < 606) {
    GTEST_SKIP() << "this kernel is as old as "
                 << uring::name_of_kernel(rig.uring().features().found);
  }
  use_everything(rig);
  const uring::Counters& counters = rig.counters();
  EXPECT_EQ(counters.setup_flags & mask.flags, mask.flags);
  EXPECT_EQ(counters.of(Use::recv_multishot) > 0, mask.is_multishot);
  EXPECT_EQ(counters.of(Use::accept_multishot) > 0, mask.is_multishot);
  EXPECT_EQ(counters.of(Use::poll_multishot) > 0, mask.is_multishot);
  EXPECT_EQ(counters.of(Use::buffer_ring) > 0, mask.is_multishot);
  EXPECT_EQ(counters.opcodes[IORING_OP_SEND_ZC] > 0, mask.has_zero_copy);
  EXPECT_EQ(counters.opcodes[IORING_OP_SENDMSG_ZC] > 0, mask.has_zero_copy);
  EXPECT_EQ(counters.opcodes[IORING_OP_TIMEOUT] > 0, mask.kernel < 511)
      << "waits have a timeout since 5.11";
  EXPECT_EQ(rig.backend->caps().zero_copy_send, mask.has_zero_copy);
  EXPECT_EQ(rig.backend->caps().multishot_recv, mask.is_multishot);
}

INSTANTIATE_TEST_SUITE_P(Masks, UringMask, ::testing::ValuesIn(kMasks), [](const auto& param_info) {
  std::string name = param_info.param.name;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

TEST(UringVariant, UnknownOnesAreRefusedWithTheKnownOnes) {
  OpTable ops;
  Metrics metrics;
  Limits limits;
  const auto made = make_backend("io_uring:4.4", {ops, metrics, limits});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error(), Errc::invalid_argument);
  const std::string text = made.error().to_string();
  for (const char* part : {"4.4", "io_uring:5.10", "io_uring:6.1"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(UringCaps, NotesSayWhatWasUsed) {
  if (const std::string reason = uring_refusal(); !reason.empty()) GTEST_SKIP() << reason;
  UringRig rig(510);
  Op nop = make_op<Op>(OpKind::nop, {});
  EXPECT_EQ(rig.run(nop).result, 0);
  rig.ops.abandon(nop);
  std::string all;
  for (const std::string& note : rig.backend->caps().notes) all += note + "\n";
  for (const char* part : {"used as 5.10", "setup: ", "CQSIZE", "opcodes: NOP 1"}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
}

}  // namespace
}  // namespace weir::test
