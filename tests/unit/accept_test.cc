// Accepting and connecting on a readiness backend: how many at once, at what cost, and what ends it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <map>
#include <vector>

#include "tests/unit/seam_rig.h"

namespace weir::test {
namespace {

// What happens to one call of a kind: the first entry is used first.
std::map<os::Call, std::vector<os::Fault>> faults;
os::Fault next_fault(os::Call call, os::Native) {
  std::vector<os::Fault>& left = faults[call];
  if (left.empty()) return {};
  const os::Fault fault = left.front();
  left.erase(left.begin());
  return fault;
}

class Accepting : public ::testing::Test {
 protected:
  SeamRig rig{"epoll"};
  Handle listener;
  AcceptOp op;
  std::vector<int> clients;

  Accepting() {
    SocketSpec spec;
    spec.bind = Address::loopback(0);
    spec.backlog = 16;
    listener = rig.backend->open(spec).value();
    op = make_op<AcceptOp>(OpKind::accept, listener);
    op.multishot = true;
  }
  ~Accepting() override {
    os::set_fault_hook(nullptr);
    for (const int client : clients) ::close(client);
  }
  void end() {
    rig.backend->cancel(op.id);
    while (op.state != OpState::idle) rig.poll();
    rig.ops.abandon(op);
  }
  void connect(int count) {
    for (int i = 0; i < count; ++i) {
      const std::int64_t client = os::open_socket({}, /*non_blocking=*/false);
      ASSERT_EQ(os::connect(client, rig.backend->local_address(listener).value()), 0);
      clients.push_back(static_cast<int>(client));
    }
  }
};

TEST_F(Accepting, TakesTwiceAsManyWhileThereAreMoreUpToItsBudget) {
  op.accepts_max = 4;
  rig.submit(op);
  connect(13);
  for (const std::size_t wanted : {1u, 2u, 4u, 4u, 2u, 0u}) {
    const std::vector<Completion> got = rig.poll();
    EXPECT_EQ(got.size(), wanted);
    for (const Completion& completion : got) EXPECT_EQ(completion.flags, kHandle | kMore);
  }
  end();
}

TEST_F(Accepting, AConnectionAtATimeCostsAWaitAndAnAccept) {
  rig.submit(op);
  for (int round = 0; round < 4; ++round) {
    connect(1);
    rig.poll(0, /*room=*/0);  // another turn, in which something else happens
    const std::uint64_t before = os::system_calls();
    EXPECT_EQ(rig.poll(1'000'000'000).size(), 1u);
    EXPECT_EQ(os::system_calls() - before, 2u);
    EXPECT_TRUE(rig.poll().empty());
    EXPECT_TRUE(rig.poll().empty());
  }
  end();
}

TEST_F(Accepting, AListenerThatNobodyAcceptsFromEndsOneWaitAtMost) {
  rig.submit(op);
  rig.backend->cancel(op.id);
  rig.poll();
  connect(1);
  EXPECT_TRUE(rig.poll(1'000'000'000).empty());
  const std::uint64_t deadline_ns = rig.backend->now() + 2'000'000;
  rig.backend->poll(deadline_ns, rig.sink);
  EXPECT_GE(rig.backend->now(), deadline_ns);
  rig.submit(op);
  EXPECT_EQ(rig.poll(1'000'000'000).size(), 1u);
  end();
}

TEST_F(Accepting, ConnectionsThatDiedInTheQueueDoNotEndIt) {
  rig.submit(op);
  connect(1);
  faults = {
      {os::Call::accept, {{.error = -ECONNABORTED}, {.error = -EPERM}, {.error = -ENETDOWN}}}};
  os::set_fault_hook(next_fault);
  const std::vector<Completion> got = rig.wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(got[0].has(kHandle));
  os::set_fault_hook(nullptr);
  end();
}

TEST_F(Accepting, WithoutDescriptorsItEndsAndTheConnectionStaysForTheNext) {
  rig.submit(op);
  connect(1);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next_fd = ::dup(0);
  ::close(next_fd);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next_fd);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  std::vector<Completion> got = rig.wait();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].result, -EMFILE);
  EXPECT_TRUE(got[0].is_terminal());
  rig.submit(op);
  got = rig.wait();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(got[0].has(kHandle));
  end();
}

TEST_F(Accepting, AConnectThatCannotGoOnIsPendingAndCanBeCancelled) {
  SocketSpec spec;
  spec.bind = Address::loopback(0);
  spec.backlog = 1;
  const Handle full = rig.backend->open(spec).value();
  std::vector<ConnectOp> ops(4);
  int pending = 0;
  for (ConnectOp& connect :
       ops) {  // the queue takes two; the kernel drops the others' first packets
    connect = make_op<ConnectOp>(OpKind::connect, rig.backend->open({}).value());
    connect.peer = rig.backend->local_address(full).value();
    const Submitted submitted = rig.submit(connect);
    EXPECT_EQ(submitted.completion.result, 0) << "connected, or not yet";
    pending += submitted.done ? 0 : 1;
  }
  EXPECT_GT(pending, 0);
  for (ConnectOp& connect : ops) {
    if (connect.state == OpState::pending) rig.backend->cancel(connect.id);
  }
  const std::vector<Completion> got = rig.poll();
  EXPECT_EQ(got.size(), static_cast<std::size_t>(pending));
  for (const Completion& completion : got) EXPECT_EQ(completion.result, -ECANCELED);
  for (ConnectOp& connect : ops) rig.ops.abandon(connect);
}

TEST_F(Accepting, AConnectThatIsRefusedSaysSo) {
  const Address nobody = rig.backend->local_address(listener).value();
  auto close = make_op<CloseOp>(OpKind::close, listener);
  EXPECT_EQ(rig.run(close).result, 0);
  rig.ops.abandon(close);
  auto connect = make_op<ConnectOp>(OpKind::connect, rig.backend->open({}).value());
  connect.peer = nobody;
  EXPECT_EQ(rig.run(connect).result, -ECONNREFUSED);
  rig.ops.abandon(connect);
}

}  // namespace
}  // namespace weir::test
