// Sentence 7: the end of a stream and errors never overtake bytes that were received before; ending a multishot first
// delivers what the kernel had already taken.
#include <sys/socket.h>

#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

// How a row receives.
enum class How { memory, group, multishot };

Tracked<RecvOp>& receiver(Rig& rig, Handle handle, How how) {
  return how == How::memory ? rig.recv(handle, 1000)
                            : rig.recv_group(handle, how == How::multishot);
}

// Reads on until the stream ended or failed; the last result.
bool read_to_the_end(Rig& rig, Tracked<RecvOp>& recv) {
  if (!recv.is_pending()) rig.submit(recv);
  return rig.run_until("the stream's end", [&] {
    if (recv.is_pending()) return false;
    if (recv.terminal().has(kEof) || (recv.result() < 0 && recv.result() != -ENOBUFS)) return true;
    rig.submit(recv);
    return false;
  });
}

template <How how>
void bytes_then_the_end(Rig& rig) {
  Peer peer;
  auto& recv = receiver(rig, rig.connected(peer), how);
  peer.send(10'000);
  peer.finish();
  if (!read_to_the_end(rig, recv)) return;
  DEMAND(rig, recv.terminal().has(kEof));
  DEMAND_EQ(rig, recv.bytes, pattern(0, 10'000));
}

// Bytes and FIN arrive while the receive is armed: they share one edge.
template <How how>
void bytes_and_the_end_in_one_edge(Rig& rig) {
  for (const std::size_t bytes : {5u, 1000u, 4096u, 10'000u}) {
    Peer peer;
    auto& recv = receiver(rig, rig.connected(peer), how);
    rig.submit(recv);
    rig.settle();
    peer.send(bytes);
    peer.finish();
    if (!read_to_the_end(rig, recv)) return;
    DEMAND(rig, recv.terminal().has(kEof));
    DEMAND_EQ(rig, recv.bytes, pattern(0, bytes));
  }
}

// A short read must not make a readiness backend forget the FIN that came with it.
template <How how>
void a_short_read_then_the_end(Rig& rig) {
  Peer peer;
  auto& recv = receiver(rig, rig.connected(peer), how);
  rig.submit(recv);
  rig.settle();
  peer.send(5);
  AWAIT(rig, recv.bytes.size() == 5);
  peer.finish();
  rig.settle();
  if (!read_to_the_end(rig, recv)) return;
  DEMAND(rig, recv.terminal().has(kEof));
}

template <How how>
void bytes_then_a_reset(Rig& rig) {
  Peer peer;
  auto& recv = receiver(rig, rig.connected(peer), how);
  rig.submit(recv);
  rig.settle();
  peer.send(3000);
  peer.reset();
  if (!read_to_the_end(rig, recv)) return;
  DEMAND_EQ(rig, recv.result(), -ECONNRESET);
  DEMAND_EQ(rig, recv.bytes, pattern(0, 3000));
}

template <How how>
void only_a_reset(Rig& rig) {
  Peer peer;
  auto& recv = receiver(rig, rig.connected(peer), how);
  rig.submit(recv);
  rig.settle();
  peer.reset();
  AWAIT(rig, recv.is_done());
  DEMAND_EQ(rig, recv.result(), -ECONNRESET);
}

template <How how>
void only_the_end(Rig& rig) {
  Peer peer;
  auto& recv = receiver(rig, rig.connected(peer), how);
  rig.submit(recv);
  rig.settle();
  peer.finish();
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kEof));
  DEMAND_EQ(rig, recv.completions().size(), 1u);
}

// The end is told to everyone who asks again.
void the_end_stays(Rig& rig) {
  Peer peer;
  auto& recv = rig.recv_group(rig.connected(peer), true);
  peer.finish();
  for (int i = 0; i < 5; ++i) {
    rig.submit(recv);
    ENDS_ONCE(rig, recv);
    DEMAND(rig, recv.terminal().has(kEof));
  }
}

// What a paused receive had taken comes before its terminal; the rest comes when it goes on.
void a_paused_multishot_recv(Rig& rig) {
  Peer peer;
  auto& recv = rig.recv_group(rig.connected(peer), true);
  for (int round = 0; round < 30; ++round) {
    if (!recv.is_pending()) rig.submit(recv);
    peer.send(3000);
    if (round % 3 == 0) rig.step();
    peer.send(2000);
    rig.cancel(recv);
    AWAIT(rig, !recv.is_pending());
  }
  if (!receive_bytes(rig, recv, peer.sent_bytes())) return;
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

void a_paused_multishot_accept(Rig& rig) {
  const Handle listener = rig.listen();
  const Address address = rig.local_address(listener);
  auto& accept = rig.accept(listener);
  std::vector<Peer> peers;
  for (int round = 0; round < 10; ++round) {
    if (!accept.is_pending()) rig.submit(accept);
    if (round % 2 == 0) rig.step();
    peers.push_back(Peer::connect(address));
    peers.push_back(Peer::connect(address));
    peers.push_back(Peer::connect(address));
    rig.cancel(accept);
    AWAIT(rig, !accept.is_pending());
  }
  rig.submit(accept);
  AWAIT(rig, accept.accepted.size() == peers.size());
  for (Peer& peer : peers) peer.send(10);  // each of them lives
  for (const Handle handle : accept.accepted) {
    auto& recv = rig.recv_group(handle, false);
    rig.submit(recv);
    AWAIT(rig, recv.is_done());
    DEMAND_EQ(rig, recv.bytes, pattern(0, 10));
  }
}

// SHUT_RD by somebody else ends a receive that waits.
void the_read_side_is_shut(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const auto fd = static_cast<int>(rig.backend().native(handle));
  if (fd < 0) return rig.skip("the handle has no descriptor to shut");
  auto& recv = rig.recv(handle, 100);
  rig.submit(recv);
  rig.settle();
  DEMAND_EQ(rig, ::shutdown(fd, SHUT_RD), 0);
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kEof));
}

// Half-closed by us: the other direction goes on for as long as the peer wants.
void half_closed_by_us(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  auto& shutdown = rig.make<ShutdownOp>(OpKind::shutdown, handle);
  rig.submit(shutdown);
  ENDS_ONCE(rig, shutdown);
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  peer.send(5000);
  AWAIT(rig, recv.bytes.size() == 5000);
  peer.finish();
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kEof));
  DEMAND_EQ(rig, recv.bytes, pattern(0, 5000));
}

void half_closed_by_the_peer(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  peer.finish();
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kEof));
  auto& send = rig.send(handle, 5000);
  DEMAND(rig, rig.send_all(send, peer));
  AWAIT(rig, (peer.read_some(), peer.received().size() == 5000));
  DEMAND_EQ(rig, peer.received(), pattern(0, 5000));
}

#define ROWS_FOR(how, name)                                                       \
  Row{"BytesThenTheEnd" name, 7, bytes_then_the_end<how>},                        \
      Row{"BytesAndTheEndInOneEdge" name, 7, bytes_and_the_end_in_one_edge<how>}, \
      Row{"AShortReadThenTheEnd" name, 7, a_short_read_then_the_end<how>},        \
      Row{"BytesThenAReset" name, 7, bytes_then_a_reset<how>},                    \
      Row{"OnlyAReset" name, 7, only_a_reset<how>}, Row {                         \
    "OnlyTheEnd" name, 7, only_the_end<how>                                       \
  }

const Row kRows[] = {
    ROWS_FOR(How::memory, "Memory"),
    ROWS_FOR(How::group, "Group"),
    ROWS_FOR(How::multishot, "Multishot"),
    {"TheEndStays", 7, the_end_stays},
    {"APausedMultishotRecv", 7, a_paused_multishot_recv},
    {"APausedMultishotAccept", 7, a_paused_multishot_accept},
    {"TheReadSideIsShut", 7, the_read_side_is_shut},
    {"HalfClosedByUs", 7, half_closed_by_us},
    {"HalfClosedByThePeer", 7, half_closed_by_the_peer},
};

}  // namespace

std::span<const Row> order_rows() { return kRows; }

}  // namespace weir::test
