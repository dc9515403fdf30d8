// Sends: partial counts add up, gathered pieces keep their order, a dead peer is an error of the send and of nobody else.
#include <algorithm>
#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

// Sends `chain` whole while the peer reads `read_max` bytes at a time; everything arrives in order.
void all_arrives(Rig& rig, BufChain chain, std::size_t read_max) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const std::size_t total = chain.bytes();
  auto& send = rig.send(handle, 0);
  send.outgoing = std::move(chain);
  while (!send.outgoing.empty()) {
    rig.submit(send);
    AWAIT(rig, (peer.read_some(read_max), send.is_done()));
    DEMAND(rig, send.result() > 0);
    send.outgoing.trim_front(static_cast<std::size_t>(send.result()));
  }
  AWAIT(rig, (peer.read_some(), peer.received().size() >= total));
  DEMAND_EQ(rig, peer.received().size(), total);
  DEMAND_EQ(rig, send.sent_bytes, total);
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

void large_to_a_slow_reader(Rig& rig) { all_arrives(rig, rig.chain(0, 16 << 20), 100'000); }

// More pieces than one system call takes.
void three_thousand_pieces(Rig& rig) {
  all_arrives(rig, rig.chain(0, 3000 * 17, 17), ~std::size_t{0});
}

void pieces_of_all_sizes(Rig& rig) {
  BufChain chain;
  std::size_t offset = 0;
  for (std::size_t size = 1; size < 40'000; size = size * 3 + 1) {
    chain.append(rig.chain(offset, size));
    offset += size;
  }
  all_arrives(rig, std::move(chain), ~std::size_t{0});
}

void one_byte(Rig& rig) { all_arrives(rig, rig.chain(0, 1), 1); }

// bytes_max cuts a chain in the middle of a piece.
void at_most_bytes_max(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, 0);
  send.outgoing = rig.chain(0, 1000, 300);
  send.bytes_max = 450;
  rig.submit(send);
  ENDS_ONCE(rig, send);
  DEMAND(rig, send.result() > 0 && send.result() <= 450);
  rig.settle();
  AWAIT(rig, (peer.read_some(), peer.received().size() >= send.sent_bytes));
  DEMAND_EQ(rig, peer.received(), pattern(0, send.sent_bytes));
}

void to_a_dead_peer(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  peer.reset();
  auto& send = rig.send(handle, 1000);
  rig.submit(send);
  ENDS_ONCE(rig, send);
  DEMAND(rig, send.result() == -EPIPE || send.result() == -ECONNRESET);
  rig.submit(send);
  ENDS_ONCE(rig, send);
  DEMAND_EQ(rig, send.result(), -EPIPE);
}

void the_peer_dies_while_it_waits(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, 16 << 20);
  rig.submit(send);
  rig.settle();
  while (send.is_done() && send.result() > 0) {
    send.outgoing.trim_front(static_cast<std::size_t>(send.result()));
    rig.submit(send);
    rig.settle();
  }
  DEMAND(rig, send.is_pending());
  peer.reset();
  AWAIT(rig, send.is_done());
  if (send.result() > 0) {  // What had moved is told first; the error comes to the next.
    send.outgoing.trim_front(static_cast<std::size_t>(send.result()));
    rig.submit(send);
    AWAIT(rig, send.is_done());
  }
  DEMAND(rig, send.result() == -ECONNRESET || send.result() == -EPIPE);
}

void after_shutdown(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& shutdown = rig.make<ShutdownOp>(OpKind::shutdown, handle);
  rig.submit(shutdown);
  ENDS_ONCE(rig, shutdown);
  auto& send = rig.send(handle, 10);
  rig.submit(send);
  ENDS_ONCE(rig, send);
  DEMAND_EQ(rig, send.result(), -EPIPE);
}

void shutdown_behind_a_send(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, 1 << 20);
  DEMAND(rig, rig.send_all(send, peer));
  auto& shutdown = rig.make<ShutdownOp>(OpKind::shutdown, handle);
  rig.submit(shutdown);
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  DEMAND_EQ(rig, peer.received().size(), std::size_t{1} << 20);
}

void shutdown_of_an_unconnected_socket(Rig& rig) {
  auto& shutdown = rig.make<ShutdownOp>(OpKind::shutdown, rig.open({}));
  rig.submit(shutdown);
  ENDS_ONCE(rig, shutdown);
  DEMAND_EQ(rig, shutdown.result(), -ENOTCONN);
}

// Both directions full of bytes at once, by way of the same socket.
void echo_of_much(Rig& rig) {
  constexpr std::size_t kTotal = 4 << 20;
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  recv.holds_blocks = true;
  auto& send = rig.send(handle, 0);
  std::size_t trimmed_bytes = 0;
  rig.submit(recv);
  AWAIT(rig, [&] {
    peer.send_some(std::min<std::size_t>(kTotal - peer.sent_bytes(), 100'000));
    peer.read_some(70'000);
    if (!send.is_pending()) {
      send.outgoing.trim_front(send.sent_bytes - trimmed_bytes);
      trimmed_bytes = send.sent_bytes;
      for (Buf& buf : recv.held) send.outgoing.append(std::move(buf));
      rig.drop_blocks(recv);
      if (!send.outgoing.empty()) rig.submit(send);
    }
    if (!recv.is_pending()) rig.submit(recv);
    return peer.received().size() == kTotal;
  }());
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

const Row kRows[] = {
    {"SendLargeToASlowReader", 0, large_to_a_slow_reader},
    {"SendThreeThousandPieces", 0, three_thousand_pieces},
    {"SendPiecesOfAllSizes", 0, pieces_of_all_sizes},
    {"SendOneByte", 0, one_byte},
    {"SendAtMostBytesMax", 0, at_most_bytes_max},
    {"SendToADeadPeer", 0, to_a_dead_peer},
    {"ThePeerDiesWhileASendWaits", 0, the_peer_dies_while_it_waits},
    {"SendAfterShutdown", 0, after_shutdown},
    {"ShutdownBehindASend", 0, shutdown_behind_a_send},
    {"ShutdownOfAnUnconnectedSocket", 0, shutdown_of_an_unconnected_socket},
    {"EchoOfMuch", 0, echo_of_much},
};

}  // namespace

std::span<const Row> send_rows() { return kRows; }

}  // namespace weir::test
