// The rules of readiness emulation that the seam's contract does not show: when memory is taken, what a turn leaves over,
// what a short count is worth, and when no system call is made.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "tests/unit/seam_rig.h"
#include "weir/pool.h"

namespace weir::test {
namespace {

constexpr std::uint32_t kBlock = 4096;
constexpr GroupId kGroup = 3;

std::uint64_t calls() { return os::system_calls(); }

class Readiness : public ::testing::Test {
 protected:
  Ledger ledger;
  std::unique_ptr<Pool> pool;
  std::unique_ptr<SeamRig> rig;

  explicit Readiness(std::uint32_t blocks_max = 64, const Limits& limits = {})
      : pool(std::make_unique<Pool>(
            Pool::Options{
                .block_bytes = kBlock, .blocks_max = blocks_max, .slab_blocks = 8, .group = kGroup},
            ledger)),
        rig(std::make_unique<SeamRig>("epoll", limits)) {
    rig->backend->provide(*pool);
  }
  ~Readiness() override {
    os::set_fault_hook(nullptr);
    rig.reset();  // before the pool
  }

  int fd(Handle handle) { return static_cast<int>(rig->backend->native(handle)); }
  void send_raw(Handle handle, std::string_view text) {
    ASSERT_EQ(::send(fd(handle), text.data(), text.size(), MSG_DONTWAIT),
              static_cast<ssize_t>(text.size()));
  }
  static RecvOp stream_op(Handle handle) {
    auto op = make_op<RecvOp>(OpKind::recv, handle);
    op.group = kGroup;
    op.multishot = true;
    return op;
  }
  void end(Op& op) {
    rig->backend->cancel(op.id);
    while (op.state != OpState::idle) rig->poll();
    rig->ops.abandon(op);
  }
};

// Bytes of a group receive; the block stays out until the Buf goes.
Buf loaned(Pool& pool, const Completion& completion) {
  return pool.loan(&pool.at(completion.buffer), completion.offset, completion.length, nullptr);
}

TEST_F(Readiness, MemoryIsTakenWhenThereAreBytesForIt) {
  const SeamRig::Pair pair = rig->connect();
  RecvOp op = stream_op(pair.server);
  ASSERT_FALSE(rig->submit(op).done);
  rig->poll();
  EXPECT_EQ(pool->in_use(), 0u);
  send_raw(pair.client, "hello");
  const std::vector<Completion> got = rig->wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].flags, kBuf | kMore);
  EXPECT_EQ(got[0].group, kGroup);
  EXPECT_EQ(pool->in_use(), 1u);
  EXPECT_EQ(loaned(*pool, got[0]).text(), "hello");
  EXPECT_EQ(pool->in_use(), 0u);
  end(op);
}

class ReadinessOfTwoBlocks : public Readiness {
 protected:
  ReadinessOfTwoBlocks() : Readiness(2) {}
};

TEST_F(ReadinessOfTwoBlocks, AnEmptyGroupIsWaitedForAndNothingIsLost) {
  const SeamRig::Pair pair = rig->connect();
  const SeamRig::Pair other = rig->connect();
  RecvOp op = stream_op(pair.server);
  RecvOp other_op = stream_op(other.server);
  rig->submit(op);
  rig->submit(other_op);
  rig->poll();
  std::array<Buf, 2> held = {pool->take(), pool->take()};
  send_raw(pair.client, "first");
  send_raw(other.client, "second");
  EXPECT_TRUE(rig->poll(1'000'000).empty());
  EXPECT_EQ(rig->metrics.no_buffers, 2u);
  EXPECT_FALSE(rig->backend->pending_hint()) << "a loop that waits for memory sleeps";
  held[0].reset();
  EXPECT_TRUE(rig->backend->pending_hint());
  std::vector<Completion> got = rig->poll();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].id, op.id) << "in the order in which they ran dry";
  EXPECT_EQ(loaned(*pool, got[0]).text(), "first");
  got = rig->poll();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(loaned(*pool, got[0]).text(), "second");
  end(op);
  end(other_op);
}

TEST_F(ReadinessOfTwoBlocks, AReceiveThatWaitsForMemoryCanBeCancelled) {
  const SeamRig::Pair pair = rig->connect();
  RecvOp op = stream_op(pair.server);
  rig->submit(op);
  std::array<Buf, 2> held = {pool->take(), pool->take()};
  send_raw(pair.client, "kept");
  EXPECT_TRUE(rig->poll(1'000'000).empty());
  rig->backend->cancel(op.id);
  std::vector<Completion> got = rig->poll();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].result, -ECANCELED);
  for (Buf& buf : held) buf.reset();
  rig->submit(op);
  got = rig->poll();
  ASSERT_EQ(got.size(), 1u) << "the edge is long gone, the bytes are not";
  EXPECT_EQ(loaned(*pool, got[0]).text(), "kept");
  end(op);
}

TEST_F(Readiness, ABulkStreamGetsItsShareInTwoCallsThenInOne) {
  const SeamRig::Pair pair = rig->connect();
  ::setsockopt(fd(pair.client), SOL_SOCKET, SO_SNDBUF, "\0\0\x10", 4);
  ::setsockopt(fd(pair.server), SOL_SOCKET, SO_RCVBUF, "\0\0\x10", 4);
  RecvOp op = stream_op(pair.server);
  rig->submit(op);
  rig->poll();
  const std::string bulk(4 * kBlock - 1, 'x');
  pool->take().reset();  // maps the slab, which is a call too
  for (const std::uint64_t calls_wanted :
       {3u, 2u}) {  // the wait, and: 1 + 3 blocks at first, 4 from then on
    send_raw(pair.client, bulk);
    const std::uint64_t before = calls();
    const std::vector<Completion> got = rig->poll(1'000'000'000);
    EXPECT_EQ(calls() - before, calls_wanted);
    ASSERT_EQ(got.size(), 4u);
    std::size_t bytes = 0;
    for (const Completion& completion : got) {
      EXPECT_TRUE(completion.has(kMore));
      bytes += loaned(*pool, completion).size();
    }
    EXPECT_EQ(bytes, bulk.size());
  }
  end(op);
}

TEST_F(Readiness, AOneShotReceiveIsOneBlockHoweverMuchThereIs) {
  const SeamRig::Pair pair = rig->connect();
  RecvOp op = stream_op(pair.server);
  op.multishot = false;
  send_raw(pair.client, std::string(2 * kBlock, 'a') + std::string(10, 'b'));
  for (const std::size_t wanted : {std::size_t{kBlock}, std::size_t{kBlock}, std::size_t{10}}) {
    const Completion got = rig->run(op);
    EXPECT_TRUE(got.is_terminal());
    EXPECT_EQ(loaned(*pool, got).size(), wanted);
  }
  rig->ops.abandon(op);
}

class ReadinessWithASmallShare : public Readiness {
 protected:
  static Limits limits() {
    Limits limits;
    limits.bytes_per_socket_turn = 2 * kBlock;
    return limits;
  }
  ReadinessWithASmallShare() : Readiness(64, limits()) {}
};

TEST_F(ReadinessWithASmallShare, AGreedySocketGetsItsShareEachTurnAndOthersTheirs) {
  const SeamRig::Pair greedy = rig->connect();
  const SeamRig::Pair polite = rig->connect();
  RecvOp greedy_op = stream_op(greedy.server);
  RecvOp polite_op = stream_op(polite.server);
  rig->submit(greedy_op);
  rig->submit(polite_op);
  rig->poll();
  send_raw(greedy.client, std::string(7 * kBlock, 'g'));
  for (const std::size_t wanted : {2 * kBlock, 2 * kBlock, 2 * kBlock, kBlock}) {
    send_raw(polite.client, "p");
    std::map<std::uint64_t, std::size_t> bytes;
    for (const Completion& completion : rig->poll(1'000'000'000)) {
      bytes[completion.id.value] += loaned(*pool, completion).size();
    }
    EXPECT_EQ(bytes[greedy_op.id.value], wanted);
    EXPECT_EQ(bytes[polite_op.id.value], 1u);
  }
  EXPECT_EQ(rig->metrics.socket_budget_hits, 3u);
  EXPECT_TRUE(rig->poll().empty());
  end(greedy_op);
  end(polite_op);
}

TEST_F(Readiness, WithoutRoomNothingIsTakenAndEachSocketHasItsTurn) {
  std::vector<SeamRig::Pair> pairs;
  std::vector<RecvOp> ops(3);
  for (RecvOp& op : ops) {
    pairs.push_back(rig->connect());
    op = stream_op(pairs.back().server);
    rig->submit(op);
  }
  rig->poll();
  for (const SeamRig::Pair& pair : pairs) send_raw(pair.client, "x");
  EXPECT_TRUE(rig->poll(1'000'000'000, /*room=*/0).empty());
  EXPECT_EQ(pool->in_use(), 0u);
  EXPECT_TRUE(rig->backend->pending_hint());
  std::vector<std::uint64_t> seen;
  for (int turn = 0; turn < 3; ++turn) {
    for (const Completion& completion : rig->poll(1'000'000'000, /*room=*/1)) {
      seen.push_back(completion.id.value);
      loaned(*pool, completion).reset();
    }
  }
  EXPECT_THAT(seen,
              ::testing::UnorderedElementsAre(ops[0].id.value, ops[1].id.value, ops[2].id.value));
  for (RecvOp& op : ops) end(op);
}

TEST_F(Readiness, DatagramsShareAnEdgeSoAShortOneIsReadOn) {
  SocketSpec spec;
  spec.type = SocketSpec::Type::datagram;
  spec.bind = Address::loopback(0);
  const Handle receiver = rig->backend->open(spec).value();
  const Handle sender = rig->backend->open(spec).value();
  std::array<std::byte, 64> target;
  auto op = make_op<MsgOp>(OpKind::recvmsg, receiver);
  op.target = target.data();
  op.bytes_max = 64;
  rig->submit(op);
  rig->poll();
  Address to = rig->backend->local_address(receiver).value();
  const auto send = [&](std::string_view text) {
    BufChain chain;
    chain.append(Buf::borrow(
        std::as_bytes(std::span(text)), [](void*) {}, nullptr));
    auto message = make_op<MsgOp>(OpKind::sendmsg, sender);
    message.chain = &chain;
    message.peer = to;
    EXPECT_EQ(rig->run(message).result, static_cast<std::int32_t>(text.size()));
    rig->ops.abandon(message);
  };
  send("one");
  send("three");
  std::vector<Completion> got = rig->wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].result, 3);
  EXPECT_EQ(op.peer, rig->backend->local_address(sender).value());
  const Submitted second = rig->submit(op);
  ASSERT_TRUE(second.done) << "no new edge tells of it";
  EXPECT_EQ(second.completion.result, 5);
  op.bytes_max = 2;
  EXPECT_FALSE(rig->submit(op).done);
  send("long");
  got = rig->wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(got[0].has(kTrunc));
  rig->ops.abandon(op);
}

// A chain of one piece of `size` bytes.
struct Payload {
  std::string bytes;
  BufChain chain;
  explicit Payload(std::size_t size, std::size_t pieces = 1) : bytes(size, 's') {
    for (std::size_t i = 0; i < pieces; ++i) {
      chain.append(Buf::borrow(
          std::as_bytes(std::span(bytes)), [](void*) {}, nullptr));
    }
  }
};

TEST_F(Readiness, ASendThatFitsCostsOneCallAndIsDoneAtOnce) {
  const SeamRig::Pair pair = rig->connect();
  Payload payload(100, /*pieces=*/3);
  auto op = make_op<SendOp>(OpKind::send, pair.server);
  op.chain = &payload.chain;
  for (const auto& [bytes_max, wanted] :
       {std::pair{0u, 300}, {40u, 40}, {100u, 100}, {150u, 150}}) {
    op.bytes_max = bytes_max;
    const std::uint64_t before = calls();
    const Submitted sent = rig->submit(op);
    EXPECT_EQ(calls() - before, 1u);
    ASSERT_TRUE(sent.done);
    EXPECT_EQ(sent.completion.result, wanted);
  }
  rig->ops.abandon(op);
}

TEST_F(Readiness, ABlockedSendWaitsForRoomAndAShutdownWaitsForIt) {
  const SeamRig::Pair pair = rig->connect();
  Payload payload(1 << 20);
  auto op = make_op<SendOp>(OpKind::send, pair.server);
  op.chain = &payload.chain;
  std::size_t sent = 0;
  for (;;) {
    const Submitted submitted = rig->submit(op);
    if (!submitted.done) break;
    ASSERT_GT(submitted.completion.result, 0);
    sent += static_cast<std::size_t>(submitted.completion.result);
  }
  auto shutdown = make_op<ShutdownOp>(OpKind::shutdown, pair.server);
  EXPECT_FALSE(rig->submit(shutdown).done) << "behind the bytes submitted before it";
  EXPECT_TRUE(rig->poll(1'000'000).empty());
  std::string target(1 << 20, 0);
  std::size_t got = 0;
  bool is_finished = false;
  while (!is_finished) {
    for (const Completion& completion : rig->poll(1'000'000)) {
      if (completion.id == op.id) sent += static_cast<std::size_t>(completion.result);
    }
    const ssize_t count = ::recv(fd(pair.client), target.data(), target.size(), MSG_DONTWAIT);
    if (count > 0) got += static_cast<std::size_t>(count);
    is_finished = count == 0;
  }
  EXPECT_EQ(got, sent);
  EXPECT_EQ(shutdown.state, OpState::idle);
  rig->ops.abandon(op);
  rig->ops.abandon(shutdown);
}

TEST_F(Readiness, AShutdownBehindACancelledSendGoesOn) {
  const SeamRig::Pair pair = rig->connect();
  Payload payload(1 << 20);
  auto op = make_op<SendOp>(OpKind::send, pair.server);
  op.chain = &payload.chain;
  while (rig->submit(op).done) {
  }
  auto shutdown = make_op<ShutdownOp>(OpKind::shutdown, pair.server);
  rig->submit(shutdown);
  rig->backend->cancel(op.id);
  std::map<std::uint64_t, std::int32_t> results;
  for (int turn = 0; turn < 2; ++turn) {
    for (const Completion& completion : rig->poll())
      results[completion.id.value] = completion.result;
  }
  EXPECT_EQ(results, (std::map<std::uint64_t, std::int32_t>{{op.id.value, -ECANCELED},
                                                            {shutdown.id.value, 0}}));
  rig->ops.abandon(op);
  rig->ops.abandon(shutdown);
}

TEST_F(Readiness, TriesThatFindNothingStopAndComeBackWhenTheyWouldPay) {
  const SeamRig::Pair pair = rig->connect();
  std::array<std::byte, 8> target;
  RecvOp op = recv_into(pair.server, target.data(), 8);
  const auto make_ready = [&] {  // an event while nobody waits, as a burst makes them
    send_raw(pair.client, "x");
    EXPECT_TRUE(rig->poll(1'000'000'000).empty());
  };
  const auto calls_of_submit = [&] {
    const std::uint64_t before = calls();
    rig->submit(op);
    return calls() - before;
  };
  rig->submit(op);
  rig->poll();
  rig->backend->cancel(op.id);
  rig->poll();
  for (int miss = 0; miss < 4; ++miss) {
    make_ready();
    char byte;
    ASSERT_EQ(::recv(fd(pair.server), &byte, 1, 0), 1);  // somebody else takes it
    EXPECT_EQ(calls_of_submit(), 1u);
    ASSERT_EQ(op.state, OpState::pending);
    rig->backend->cancel(op.id);
    rig->poll();
  }
  for (int hit = 0; hit < 8; ++hit) {
    make_ready();
    EXPECT_EQ(calls_of_submit(), 0u);
    ASSERT_EQ(rig->poll().size(), 1u);
  }
  make_ready();
  EXPECT_EQ(calls_of_submit(), 1u);
  EXPECT_EQ(op.state, OpState::idle);
  rig->ops.abandon(op);
}

TEST_F(Readiness, AHandleThatIsGoneGetsNoNewsOfADescriptorKeptOpenElsewhere) {
  const SeamRig::Pair pair = rig->connect();
  RecvOp op = stream_op(pair.server);
  rig->submit(op);
  rig->poll();
  const int copy = ::dup(fd(pair.server));  // as a forked child has it
  end(op);
  auto close = make_op<CloseOp>(OpKind::close, pair.server);
  EXPECT_EQ(rig->run(close).result, 0);
  rig->ops.abandon(close);
  const SeamRig::Pair next = rig->connect();  // uses the slot again
  std::array<std::byte, 8> target;
  RecvOp next_op = recv_into(next.server, target.data(), 8);
  rig->submit(next_op);
  send_raw(pair.client, "late");
  EXPECT_TRUE(rig->poll(1'000'000).empty());
  EXPECT_EQ(next_op.state, OpState::pending);
  end(next_op);
  ::close(copy);
}

// What happens to one call of a kind: the first entry is used first.
std::map<os::Call, std::vector<os::Fault>> faults;
os::Fault next_fault(os::Call call, os::Native) {
  std::vector<os::Fault>& left = faults[call];
  if (left.empty()) return {};
  const os::Fault fault = left.front();
  left.erase(left.begin());
  return fault;
}

TEST_F(Readiness, AnInjectedShortCountOrEagainLosesNothing) {
  const SeamRig::Pair pair = rig->connect();
  RecvOp op = stream_op(pair.server);
  rig->submit(op);
  rig->poll();
  send_raw(pair.client, "abcdef");
  faults = {
      {os::Call::recv, {{.error = -EAGAIN}, {.size_max = 2}, {.error = -EINTR}, {.size_max = 1}}}};
  os::set_fault_hook(next_fault);
  std::string got;
  for (int turn = 0; turn < 8 && got.size() < 6; ++turn) {
    for (const Completion& completion : rig->poll()) got += loaned(*pool, completion).text();
  }
  EXPECT_EQ(got, "abcdef");
  end(op);
}

}  // namespace
}  // namespace weir::test
