// Sentence 1: every accepted op ends in exactly one terminal completion; a multishot yields n with kMore, then one
// terminal.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

void nop(Rig& rig) {
  auto& op = rig.make<Op>(OpKind::nop, Handle{});
  rig.submit(op);
  ENDS_ONCE(rig, op);
  DEMAND_EQ(rig, op.result(), 0);
}

// Far more than any queue between weir and the kernel holds.
void twenty_thousand_nops(Rig& rig) {
  std::vector<Track*> nops;
  for (int i = 0; i < 20'000; ++i) {
    nops.push_back(&rig.make<Op>(OpKind::nop, Handle{}));
    rig.submit(*nops.back());
  }
  AWAIT(rig, rig.pending_count() == 0);
  rig.settle();
  for (const Track* op : nops) {
    DEMAND_EQ(rig, op->terminal_count(), 1u);
    DEMAND_EQ(rig, op->result(), 0);
  }
}

void recv_when_ready(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  peer.send(100);
  auto& recv = rig.recv(handle, 256);
  rig.submit(recv);
  ENDS_ONCE(rig, recv);
  DEMAND_EQ(rig, recv.result(), 100);
  DEMAND_EQ(rig, recv.bytes, pattern(0, 100));
}

void recv_later(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv(handle, 256);
  rig.submit(recv);
  rig.settle();
  DEMAND(rig, recv.is_pending());
  peer.send(100);
  ENDS_ONCE(rig, recv);
  DEMAND_EQ(rig, recv.result(), 100);
  DEMAND_EQ(rig, recv.bytes, pattern(0, 100));
}

void recv_takes_at_most_its_memory(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  peer.send(100);
  auto& recv = rig.recv(handle, 30);
  while (recv.bytes.size() < 100) {
    const std::size_t before = recv.bytes.size();
    rig.submit(recv);
    ENDS_ONCE(rig, recv);
    DEMAND(rig, recv.bytes.size() > before && recv.bytes.size() <= before + 30);
  }
  DEMAND_EQ(rig, recv.bytes, pattern(0, 100));
}

void group_recv_when_ready(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  peer.send(100);
  auto& recv = rig.recv_group(handle, false);
  rig.submit(recv);
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kBuf));
  DEMAND_EQ(rig, recv.bytes, pattern(0, 100));
}

void group_recv_later(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, false);
  rig.submit(recv);
  rig.settle();
  DEMAND(rig, recv.is_pending());
  peer.send(100);
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kBuf));
  DEMAND_EQ(rig, recv.bytes, pattern(0, 100));
}

void multishot_recv(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  for (std::size_t i = 1; i <= 5; ++i) {
    peer.send(100);
    AWAIT(rig, recv.bytes.size() == i * 100);
    DEMAND(rig, recv.is_pending());
  }
  DEMAND_EQ(rig, recv.bytes, pattern(0, 500));
  peer.finish();
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kEof));
  DEMAND_EQ(rig, recv.completions().size(), 6u);
}

void multishot_recv_when_ready(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  peer.send(100);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  AWAIT(rig, recv.bytes.size() == 100);
  DEMAND(rig, recv.is_pending());
  peer.send(50);
  AWAIT(rig, recv.bytes.size() == 150);
  DEMAND_EQ(rig, recv.bytes, pattern(0, 150));
}

void send(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, 100);
  rig.submit(send);
  ENDS_ONCE(rig, send);
  DEMAND(rig, send.result() > 0 && send.result() <= 100);
  AWAIT(rig, (peer.read_some(), peer.received().size() >= send.sent_bytes));
  DEMAND_EQ(rig, peer.received(), pattern(0, send.sent_bytes));
}

void connect(Rig& rig) {
  PeerListener listener;
  const Handle handle = rig.open({});
  auto& connect = rig.make<ConnectOp>(OpKind::connect, handle);
  connect.peer = listener.address();
  rig.submit(connect);
  ENDS_ONCE(rig, connect);
  DEMAND_EQ(rig, connect.result(), 0);
  DEMAND(rig, listener.accept().is_open());
}

void accept_once(Rig& rig) {
  const Handle listener = rig.listen();
  auto& accept = rig.accept(listener, false);
  rig.submit(accept);
  rig.settle();
  DEMAND(rig, accept.is_pending());
  Peer first = Peer::connect(rig.local_address(listener));
  Peer second = Peer::connect(rig.local_address(listener));
  ENDS_ONCE(rig, accept);
  DEMAND(rig, accept.terminal().has(kHandle));
  DEMAND_EQ(rig, accept.accepted.size(), 1u);
  rig.submit(accept);
  ENDS_ONCE(rig, accept);
  DEMAND_EQ(rig, accept.accepted.size(), 2u);
}

void multishot_accept(Rig& rig) {
  const Handle listener = rig.listen();
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  std::vector<Peer> peers;
  for (std::size_t i = 1; i <= 5; ++i) {
    peers.push_back(Peer::connect(rig.local_address(listener)));
    AWAIT(rig, accept.accepted.size() == i);
    DEMAND(rig, accept.is_pending());
  }
  rig.cancel(accept);
  ENDS_ONCE(rig, accept);
  DEMAND_EQ(rig, accept.result(), -ECANCELED);
  DEMAND_EQ(rig, accept.completions().size(), 6u);
}

// More than one turn's budget of accepts.
void multishot_accept_of_a_hundred(Rig& rig) {
  const Handle listener = rig.listen(Family::ipv4, 128);
  std::vector<Peer> peers;
  for (int i = 0; i < 100; ++i) peers.push_back(Peer::connect(rig.local_address(listener)));
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  AWAIT(rig, accept.accepted.size() == 100);
  DEMAND(rig, accept.is_pending());
}

void shutdown(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& shutdown = rig.make<ShutdownOp>(OpKind::shutdown, handle);
  rig.submit(shutdown);
  ENDS_ONCE(rig, shutdown);
  DEMAND_EQ(rig, shutdown.result(), 0);
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
}

void close(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& close = rig.close(handle);
  rig.submit(close);
  ENDS_ONCE(rig, close);
  DEMAND_EQ(rig, close.result(), 0);
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
}

void poll_once(Rig& rig) {
  const Descriptor event(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  auto& poll = rig.poll_op(rig.attach_foreign(event.get()), kReadable);
  rig.submit(poll);
  ENDS_ONCE(rig, poll);
  DEMAND_EQ(rig, poll.result(), static_cast<int>(kReadable));
}

void sendmsg(Rig& rig) {
  PeerDatagram peer;
  SocketSpec spec;
  spec.type = SocketSpec::Type::datagram;
  auto& sendmsg = rig.make<MsgOp>(OpKind::sendmsg, rig.open(spec));
  sendmsg.outgoing = rig.chain(0, 100);
  sendmsg.chain = &sendmsg.outgoing;
  sendmsg.peer = peer.address();
  rig.submit(sendmsg);
  ENDS_ONCE(rig, sendmsg);
  DEMAND_EQ(rig, sendmsg.result(), 100);
}

void recvmsg(Rig& rig) {
  PeerDatagram peer;
  SocketSpec spec;
  spec.type = SocketSpec::Type::datagram;
  spec.bind = loopback(Family::ipv4, 0);
  const Handle handle = rig.open(spec);
  peer.send_to(rig.local_address(handle), pattern(0, 100));
  auto& recvmsg = rig.make<MsgOp>(OpKind::recvmsg, handle);
  recvmsg.memory.resize(256);
  recvmsg.target = recvmsg.memory.data();
  recvmsg.bytes_max = 256;
  rig.submit(recvmsg);
  ENDS_ONCE(rig, recvmsg);
  DEMAND_EQ(rig, recvmsg.result(), 100);
}

// A receive and a send of one socket end independently.
void both_directions(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  auto& send = rig.send(handle, 100);
  rig.submit(recv);
  rig.submit(send);
  ENDS_ONCE(rig, send);
  DEMAND(rig, recv.is_pending());
  peer.send(100);
  AWAIT(rig, recv.bytes.size() == 100);
  rig.submit(send);
  ENDS_ONCE(rig, send);
  DEMAND(rig, recv.is_pending());
}

const Row kRows[] = {
    {"Nop", 1, nop},
    {"TwentyThousandNops", 1, twenty_thousand_nops},
    {"RecvWhenReady", 1, recv_when_ready},
    {"RecvLater", 1, recv_later},
    {"RecvTakesAtMostItsMemory", 1, recv_takes_at_most_its_memory},
    {"GroupRecvWhenReady", 1, group_recv_when_ready},
    {"GroupRecvLater", 1, group_recv_later},
    {"MultishotRecv", 1, multishot_recv},
    {"MultishotRecvWhenReady", 1, multishot_recv_when_ready},
    {"Send", 1, send},
    {"Connect", 1, connect},
    {"AcceptOnce", 1, accept_once},
    {"MultishotAccept", 1, multishot_accept},
    {"MultishotAcceptOfAHundred", 1, multishot_accept_of_a_hundred},
    {"Shutdown", 1, shutdown},
    {"Close", 1, close},
    {"PollOnce", 1, poll_once},
    {"Sendmsg", 1, sendmsg},
    {"Recvmsg", 1, recvmsg},
    {"BothDirections", 1, both_directions},
};

}  // namespace

std::span<const Row> terminal_rows() { return kRows; }

}  // namespace weir::test
