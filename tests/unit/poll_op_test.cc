// Poll ops on descriptors that somebody else owns: told by level, as poll(2) tells it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "tests/unit/seam_rig.h"

namespace weir::test {
namespace {

class PollOps : public ::testing::Test {
 protected:
  SeamRig rig{"epoll"};
  int ours = -1, theirs = -1;
  Handle handle;

  PollOps() {
    std::array<int, 2> fds;
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    ours = fds[0];
    theirs = fds[1];
    handle = rig.backend->attach(ours, /*owned=*/false).value();
  }
  ~PollOps() override {
    ::close(ours);
    ::close(theirs);
  }
  PollOp poll_op(std::uint32_t events) {
    auto op = make_op<PollOp>(OpKind::poll, handle);
    op.events = events;
    return op;
  }
  void send() { ASSERT_EQ(::send(theirs, "x", 1, 0), 1); }
  void end(Op& op) {
    if (op.state != OpState::idle) rig.backend->cancel(op.id);
    while (op.state != OpState::idle) rig.poll();
    rig.ops.abandon(op);
  }
};

TEST_F(PollOps, TellEachTimeWhileTheLevelHolds) {
  PollOp op = poll_op(kReadable);
  rig.submit(op);
  EXPECT_TRUE(rig.poll().empty());
  send();
  for (int round = 0; round < 3; ++round) {  // nobody reads the byte
    const std::vector<Completion> got = rig.wait();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].result, kReadable);
    EXPECT_TRUE(got[0].is_terminal());
    rig.submit(op);
  }
  end(op);
}

TEST_F(PollOps, GoOnWhenMultishotButNotBeforeTheirNewsWasDelivered) {
  PollOp op = poll_op(kReadable);
  op.multishot = true;
  rig.submit(op);
  send();
  rig.sink.set_room(8);
  rig.backend->poll(rig.backend->now() + 1'000'000'000, rig.sink);
  rig.backend->poll(0, rig.sink);
  rig.backend->poll(0, rig.sink);
  EXPECT_EQ(rig.sink.waiting(), 1u);
  Completion got;
  ASSERT_TRUE(rig.sink.next(got));
  EXPECT_EQ(got.flags, kMore);
  EXPECT_EQ(rig.wait().size(), 1u);
  end(op);
}

TEST_F(PollOps, SeveralWaitForDifferentThingsOfOneDescriptor) {
  PollOp reader = poll_op(kReadable);
  PollOp writer = poll_op(kWritable);
  rig.submit(reader);
  rig.submit(writer);
  std::vector<Completion> got = rig.wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].id, writer.id);
  EXPECT_EQ(got[0].result, kWritable);
  send();
  got = rig.wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].id, reader.id);
  end(reader);
  end(writer);
}

TEST_F(PollOps, APeerThatOnlyFinishedIsReadableAndNotHungUp) {
  PollOp reader = poll_op(kReadable);
  rig.submit(reader);
  ::shutdown(theirs, SHUT_WR);
  std::vector<Completion> got = rig.wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].result, kReadable);
  ::close(theirs);
  rig.submit(reader);
  got = rig.wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].result, kReadable | kPollHangup);
  theirs = ::dup(ours);
  end(reader);
}

TEST_F(PollOps, ForgettingAForeignDescriptorLeavesItOpenAndUnwatched) {
  PollOp op = poll_op(kReadable);
  rig.submit(op);
  end(op);
  auto close = make_op<CloseOp>(OpKind::close, handle);
  EXPECT_EQ(rig.run(close).result, 0);
  rig.ops.abandon(close);
  EXPECT_NE(::fcntl(ours, F_GETFD), -1);
  handle = rig.backend->attach(ours, /*owned=*/false).value();
  op = poll_op(kReadable);
  rig.submit(op);
  send();
  ASSERT_EQ(rig.wait().size(), 1u) << "the same descriptor again";
  end(op);
  EXPECT_EQ(rig.backend->detach(handle), ours);
}

TEST_F(PollOps, GiveWayToReadsOfWeirItself) {
  PollOp op = poll_op(kReadable);
  rig.submit(op);
  send();
  ASSERT_EQ(rig.wait().size(), 1u);
  std::array<std::byte, 8> target;
  RecvOp recv = recv_into(handle, target.data(), 8);
  EXPECT_EQ(rig.run(recv).result, 1);
  ASSERT_FALSE(rig.submit(recv).done);
  send();
  ASSERT_EQ(rig.wait().size(), 1u);
  rig.submit(op);
  EXPECT_TRUE(rig.poll().empty());
  send();
  EXPECT_EQ(rig.wait().size(), 1u);
  end(op);
  end(recv);
}

TEST_F(PollOps, WhatCannotBePolledEndsWithTheError) {
  const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  PollOp op = poll_op(kReadable);
  op.handle = rig.backend->attach(file, /*owned=*/true).value();
  const Completion got = rig.run(op);
  EXPECT_EQ(got.result, -EPERM);
  rig.ops.abandon(op);
  EXPECT_EQ(rig.backend->attach(-1, /*owned=*/false).error(), Errc::bad_descriptor);
}

}  // namespace
}  // namespace weir::test
