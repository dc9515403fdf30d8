// Connect: the kernel's answer reaches the op, once, whatever it is.
#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

Tracked<ConnectOp>& connect_to(Rig& rig, const Address& address) {
  SocketSpec spec;
  spec.family = address.family;
  auto& connect = rig.make<ConnectOp>(OpKind::connect, rig.open(spec));
  connect.peer = address;
  rig.submit(connect);
  return connect;
}

void refused(Rig& rig) {
  auto& connect = connect_to(rig, refused_address());
  ENDS_ONCE(rig, connect);
  DEMAND_EQ(rig, connect.result(), -ECONNREFUSED);
}

void refused_ipv6(Rig& rig) {
  if (!has_ipv6()) return rig.skip("this machine has no IPv6 loopback");
  auto& connect = connect_to(rig, loopback(Family::ipv6, refused_address().port));
  ENDS_ONCE(rig, connect);
  DEMAND_EQ(rig, connect.result(), -ECONNREFUSED);
}

// A broadcast address is never reachable by TCP, whatever routes the machine has.
void unreachable(Rig& rig) {
  auto& connect = connect_to(rig, Address::ipv4(127, 255, 255, 255, 80));
  ENDS_ONCE(rig, connect);
  DEMAND_EQ(rig, connect.result(), -ENETUNREACH);
}

void a_socket_after_a_refusal_closes(Rig& rig) {
  auto& connect = connect_to(rig, refused_address());
  ENDS_ONCE(rig, connect);
  auto& close = rig.close(connect.handle);
  rig.submit(close);
  ENDS_ONCE(rig, close);
  DEMAND_EQ(rig, close.result(), 0);
}

// Sent and received at once behind the connect.
void bytes_right_behind(Rig& rig) {
  PeerListener listener;
  auto& connect = connect_to(rig, listener.address());
  AWAIT(rig, connect.is_done());
  DEMAND_EQ(rig, connect.result(), 0);
  Peer peer = listener.accept();
  DEMAND(rig, peer.is_open());
  auto& send = rig.send(connect.handle, 1000);
  DEMAND(rig, rig.send_all(send, peer));
  peer.send(1000);
  auto& recv = rig.recv_group(connect.handle, true);
  if (!receive_bytes(rig, recv, 1000)) return;
  DEMAND_EQ(rig, recv.bytes, pattern(0, 1000));
  AWAIT(rig, (peer.read_some(), peer.received().size() == 1000));
}

void a_hundred_at_once(Rig& rig) {
  PeerListener listener(Family::ipv4, 128);
  std::vector<Tracked<ConnectOp>*> connects;
  for (int i = 0; i < 100; ++i) connects.push_back(&connect_to(rig, listener.address()));
  AWAIT(rig, rig.pending_count() == 0);
  for (const auto* connect : connects) DEMAND_EQ(rig, connect->result(), 0);
}

void to_a_closed_and_reset_peer(Rig& rig) {
  PeerListener listener;
  auto& connect = connect_to(rig, listener.address());
  Peer peer;
  AWAIT(rig, (peer = listener.accept()).is_open());
  peer.reset();
  AWAIT(rig, connect.is_done());
  auto& recv = rig.recv(connect.handle, 10);
  if (connect.result() == 0) {  // The reset came behind the connection.
    rig.submit(recv);
    AWAIT(rig, recv.is_done());
    DEMAND_EQ(rig, recv.result(), -ECONNRESET);
  } else {
    DEMAND_EQ(rig, connect.result(), -ECONNRESET);
  }
}

const Row kRows[] = {
    {"ConnectRefused", 0, refused},
    {"ConnectRefusedIpv6", 0, refused_ipv6},
    {"ConnectUnreachable", 0, unreachable},
    {"ConnectRefusedThenClose", 0, a_socket_after_a_refusal_closes},
    {"ConnectThenBytes", 0, bytes_right_behind},
    {"ConnectAHundred", 0, a_hundred_at_once},
    {"ConnectThenReset", 0, to_a_closed_and_reset_peer},
};

}  // namespace

std::span<const Row> connect_rows() { return kRows; }

}  // namespace weir::test
