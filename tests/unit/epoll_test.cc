// What only the epoll backend can be asked: which system calls an op costs, and when it must not trust a short count.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/unit/seam_rig.h"

namespace weir::test {
namespace {

std::uint64_t calls() { return os::system_calls(); }

class Epoll : public ::testing::Test {
 protected:
  SeamRig rig{"epoll"};
  std::array<std::byte, 256> target{};

  void send_raw(Handle handle, std::string_view text) {
    ASSERT_EQ(::send(static_cast<int>(rig.backend->native(handle)), text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
  }
  RecvOp recv(Handle handle) { return recv_into(handle, target.data(), 256); }
};

TEST_F(Epoll, AWaitAndAReceiveIsAllThatAShortMessageCosts) {
  const SeamRig::Pair pair = rig.connect();
  RecvOp op = recv(pair.server);
  ASSERT_FALSE(rig.submit(op).done);
  rig.poll();
  for (int round = 0; round < 3; ++round) {
    send_raw(pair.client, "ping");
    const std::uint64_t before = calls();
    const std::vector<Completion> got = rig.poll(1'000'000'000);
    EXPECT_EQ(calls() - before, 2u);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].result, 4);
    const std::uint64_t again = calls();
    EXPECT_FALSE(rig.submit(op).done);
    EXPECT_EQ(calls() - again, 0u) << "the short count said that nothing is left";
  }
}

TEST_F(Epoll, AfterTheEndWasSeenAShortCountIsReadOn) {
  const SeamRig::Pair pair = rig.connect();
  send_raw(pair.client, "last");
  ::shutdown(static_cast<int>(rig.backend->native(pair.client)), SHUT_WR);
  RecvOp op = recv(pair.server);
  EXPECT_EQ(rig.run(op).result, 4);
  const Submitted end = rig.submit(op);
  ASSERT_TRUE(end.done) << "data and FIN shared one edge";
  EXPECT_EQ(end.completion.result, 0);
  EXPECT_TRUE(end.completion.has(kEof));
}

TEST_F(Epoll, ACancelledReceiveEndsInTheNextPollWithoutWaiting) {
  const SeamRig::Pair pair = rig.connect();
  RecvOp op = recv(pair.server);
  rig.submit(op);
  rig.backend->cancel(op.id);
  rig.backend->cancel(op.id);
  EXPECT_TRUE(rig.backend->pending_hint());
  rig.sink.set_room(256);
  rig.backend->poll(Backend::kNever, rig.sink);
  EXPECT_EQ(rig.sink.waiting_control(), 1u);
  Completion got;
  ASSERT_TRUE(rig.sink.next(got));
  EXPECT_EQ(got.result, -ECANCELED);
  send_raw(pair.client, "kept");
  EXPECT_EQ(rig.run(op).result, 4);
}

TEST_F(Epoll, AWakeFromAnotherThreadEndsTheWait) {
  std::thread other([&] { rig.backend->wake(); });
  rig.backend->poll(Backend::kNever, rig.sink);
  other.join();
}

TEST_F(Epoll, WakingARunningLoopCostsNoSystemCall) {
  const std::uint64_t before = calls();
  for (int i = 0; i < 10; ++i) rig.backend->wake();
  EXPECT_EQ(calls(), before);
  rig.backend->poll(Backend::kNever, rig.sink);  // returns: the wake was kept
  EXPECT_EQ(calls(), before + 1);
}

TEST_F(Epoll, AnEchoCostsAWaitAReceiveAndASend) {
  const SeamRig::Pair pair = rig.connect();
  RecvOp op = recv(pair.server);
  rig.submit(op);
  rig.poll();
  const std::string_view text = "pong";
  BufChain chain;
  chain.append(Buf::borrow(
      std::as_bytes(std::span(text)), [](void*) {}, nullptr));
  auto send = make_op<SendOp>(OpKind::send, pair.server);
  send.chain = &chain;
  for (int round = 0; round < 3; ++round) {
    send_raw(pair.client, "ping");
    const std::uint64_t before = calls();
    ASSERT_EQ(rig.poll(1'000'000'000).size(), 1u);
    ASSERT_TRUE(rig.submit(send).done);
    rig.submit(op);
    EXPECT_EQ(calls() - before, 3u);
  }
}

TEST_F(Epoll, ASocketIsWatchedForReadingFirstAndForWritingWhenItHasTo) {
  const SeamRig::Pair pair = rig.connect();
  RecvOp op = recv(pair.server);
  std::uint64_t before = calls();
  rig.submit(op);
  EXPECT_EQ(calls() - before, 1u) << "the registration";
  EXPECT_TRUE(rig.poll().empty());
  before = calls();
  EXPECT_TRUE(rig.poll(1'000'000).empty()) << "being writable is no news";
  EXPECT_EQ(calls() - before, 1u);
  const std::string bytes(1 << 20, 's');
  BufChain chain;
  chain.append(Buf::borrow(
      std::as_bytes(std::span(bytes)), [](void*) {}, nullptr));
  auto send = make_op<SendOp>(OpKind::send, pair.server);
  send.chain = &chain;
  while (rig.submit(send).done) before = calls();
  EXPECT_LE(calls() - before, 2u) << "an EAGAIN perhaps, and the change of the registration";
  rig.backend->cancel(send.id);
  rig.poll();
}

TEST_F(Epoll, NeverWaitsForADeadlineThatHasPassed) {
  const std::uint64_t before = calls();
  rig.backend->poll(rig.backend->now() - 1, rig.sink);
  rig.backend->poll(1, rig.sink);
  EXPECT_EQ(calls() - before, 2u);
}

TEST_F(Epoll, NeverReturnsBeforeADeadlineWithNothing) {
  for (const std::uint64_t wait_ns : {1u, 1'000u, 300'000u, 2'000'001u}) {
    const std::uint64_t deadline_ns = rig.backend->now() + wait_ns;
    rig.backend->poll(deadline_ns, rig.sink);
    EXPECT_GE(rig.backend->now(), deadline_ns);
  }
}

TEST_F(Epoll, AWaitHandleIsReadableWhenPollHasSomething) {
  const auto is_readable = [&] {
    pollfd asked{
        .fd = static_cast<int>(rig.backend->wait_handle()), .events = POLLIN, .revents = 0};
    return ::poll(&asked, 1, 0) == 1;
  };
  const SeamRig::Pair pair = rig.connect();
  RecvOp op = recv(pair.server);
  rig.submit(op);
  rig.poll();
  EXPECT_FALSE(is_readable());
  for (int round = 0; round < 2; ++round) {
    rig.backend->wake();
    rig.backend->wake();
    EXPECT_TRUE(is_readable()) << "a loop that waits elsewhere must hear of a wake too";
    EXPECT_TRUE(rig.poll().empty());
    EXPECT_FALSE(is_readable());
  }
  send_raw(pair.client, "ping");
  EXPECT_TRUE(is_readable());
  EXPECT_EQ(rig.poll().size(), 1u);
  EXPECT_FALSE(is_readable());
}

TEST_F(Epoll, ManyWakesOfManyThreadsAreNeitherLostNorManyCalls) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  std::atomic<int> posted = 0;
  int seen = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        posted.fetch_add(1);
        rig.backend->wake();
      }
    });
  }
  while (seen < kThreads * kRounds) {  // hangs when a wake is lost
    rig.backend->poll(Backend::kNever, rig.sink);
    seen = posted.load();
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Epoll, AResetReachesThePeer) {
  const SeamRig::Pair pair = rig.connect();
  auto close = make_op<CloseOp>(OpKind::close, pair.client);
  ASSERT_TRUE(rig.backend->set_option(pair.client, SocketOption::linger_s, 0).ok());
  EXPECT_EQ(rig.run(close).result, 0);
  RecvOp op = recv(pair.server);
  EXPECT_EQ(rig.run(op).result, -ECONNRESET);
}

using EpollDeathTest = Epoll;

TEST_F(EpollDeathTest, AHandleThatWasClosedAborts) {
  const SeamRig::Pair pair = rig.connect();
  auto close = make_op<CloseOp>(OpKind::close, pair.server);
  EXPECT_EQ(rig.run(close).result, 0);
  RecvOp op = recv(pair.server);
  EXPECT_DEATH(rig.submit(op), "slot.handle == handle.value");
}

TEST_F(EpollDeathTest, ClosingUnderAnOpInFlightAborts) {
  const SeamRig::Pair pair = rig.connect();
  RecvOp op = recv(pair.server);
  rig.submit(op);
  auto close = make_op<CloseOp>(OpKind::close, pair.server);
  EXPECT_DEATH(rig.submit(close), "reads.head == nullptr");
}

}  // namespace
}  // namespace weir::test
