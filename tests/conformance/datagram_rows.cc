// Datagrams: each is one completion with its sender; none is joined, split or lost without a mark.
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

Handle open_datagram(Rig& rig, Family family = Family::ipv4) {
  SocketSpec spec;
  spec.type = SocketSpec::Type::datagram;
  spec.family = family;
  spec.bind = loopback(family, 0);
  return rig.open(spec);
}

Tracked<MsgOp>& recvmsg(Rig& rig, Handle handle, std::uint32_t bytes) {
  auto& op = rig.make<MsgOp>(OpKind::recvmsg, handle);
  op.memory.resize(bytes);
  op.target = op.memory.data();
  op.bytes_max = bytes;
  return op;
}

Tracked<MsgOp>& sendmsg(Rig& rig, Handle handle, const Address& to, BufChain chain) {
  auto& op = rig.make<MsgOp>(OpKind::sendmsg, handle);
  op.outgoing = std::move(chain);
  op.chain = &op.outgoing;
  op.peer = to;
  return op;
}

template <Family family>
void there_and_back(Rig& rig) {
  if (family == Family::ipv6 && !has_ipv6()) return rig.skip("this machine has no IPv6 loopback");
  PeerDatagram peer(family);
  const Handle handle = open_datagram(rig, family);
  const Address ours = rig.local_address(handle);
  auto& in = recvmsg(rig, handle, 2000);
  rig.submit(in);
  rig.settle();
  peer.send_to(ours, pattern(0, 1200));
  ENDS_ONCE(rig, in);
  DEMAND_EQ(rig, in.bytes, pattern(0, 1200));
  DEMAND(rig, in.peer == peer.address());
  auto& out = sendmsg(rig, handle, in.peer, rig.chain(0, 1200, 500));
  rig.submit(out);
  ENDS_ONCE(rig, out);
  DEMAND_EQ(rig, out.result(), 1200);
  std::string bytes;
  Address from;
  AWAIT(rig, peer.receive(bytes, from));
  DEMAND_EQ(rig, bytes, pattern(0, 1200));
  DEMAND(rig, from == ours);
}

// Several share one edge; each comes by itself, from its own sender.
void several_at_once(Rig& rig) {
  PeerDatagram first;
  PeerDatagram second;
  const Handle handle = open_datagram(rig);
  const Address ours = rig.local_address(handle);
  auto& in = recvmsg(rig, handle, 2000);
  rig.submit(in);
  rig.settle();
  for (std::size_t i = 1; i <= 10; ++i)
    (i % 2 == 0 ? second : first).send_to(ours, pattern(0, i * 10));
  for (std::size_t i = 1; i <= 10; ++i) {
    in.bytes.clear();
    if (i > 1) rig.submit(in);
    AWAIT(rig, in.is_done());
    const PeerDatagram& sender = i % 2 == 0 ? second : first;
    DEMAND(rig, in.peer == sender.address());
    DEMAND_EQ(rig, in.result(), static_cast<int>(i * 10));
  }
}

void longer_than_its_memory(Rig& rig) {
  PeerDatagram peer;
  const Handle handle = open_datagram(rig);
  peer.send_to(rig.local_address(handle), pattern(0, 500));
  peer.send_to(rig.local_address(handle), pattern(0, 50));
  auto& in = recvmsg(rig, handle, 100);
  rig.submit(in);
  ENDS_ONCE(rig, in);
  DEMAND_EQ(rig, in.result(), 100);
  DEMAND(rig, in.terminal().has(kTrunc));
  DEMAND_EQ(rig, in.bytes, pattern(0, 100));
  rig.submit(in);
  ENDS_ONCE(rig, in);
  DEMAND_EQ(rig, in.result(), 50);  // the rest of the long one is gone, not in front of the next
  DEMAND(rig, !in.terminal().has(kTrunc));
}

void an_empty_datagram(Rig& rig) {
  PeerDatagram peer;
  const Handle handle = open_datagram(rig);
  auto& in = recvmsg(rig, handle, 100);
  rig.submit(in);
  rig.settle();
  peer.send_to(rig.local_address(handle), "");
  ENDS_ONCE(rig, in);
  DEMAND_EQ(rig, in.result(), 0);
  DEMAND(rig, in.peer == peer.address());
}

void too_long_to_send(Rig& rig) {
  PeerDatagram peer;
  const Handle handle = open_datagram(rig);
  auto& out = sendmsg(rig, handle, peer.address(), rig.chain(0, 70'000));
  rig.submit(out);
  ENDS_ONCE(rig, out);
  DEMAND_EQ(rig, out.result(), -EMSGSIZE);
}

void connected(Rig& rig) {
  PeerDatagram peer;
  const Handle handle = open_datagram(rig);
  auto& connect = rig.make<ConnectOp>(OpKind::connect, handle);
  connect.peer = peer.address();
  rig.submit(connect);
  ENDS_ONCE(rig, connect);
  DEMAND_EQ(rig, connect.result(), 0);
  auto& out = sendmsg(rig, handle, Address{}, rig.chain(0, 100));
  rig.submit(out);
  ENDS_ONCE(rig, out);
  DEMAND_EQ(rig, out.result(), 100);
  std::string bytes;
  Address from;
  AWAIT(rig, peer.receive(bytes, from));
  DEMAND_EQ(rig, bytes, pattern(0, 100));
}

// A datagram to nobody is answered by ICMP: an error of a later op, not the end of the socket.
void nobody_there(Rig& rig) {
  Address nobody;
  {
    PeerDatagram gone;
    nobody = gone.address();
  }
  PeerDatagram peer;
  const Handle handle = open_datagram(rig);
  auto& connect = rig.make<ConnectOp>(OpKind::connect, handle);
  connect.peer = nobody;
  rig.submit(connect);
  ENDS_ONCE(rig, connect);
  auto& in = recvmsg(rig, handle, 100);
  rig.submit(in);
  auto& out = sendmsg(rig, handle, Address{}, rig.chain(0, 100));
  rig.submit(out);
  ENDS_ONCE(rig, out);
  ENDS_ONCE(rig, in);
  DEMAND_EQ(rig, in.result(), -ECONNREFUSED);
  rig.submit(in);
  rig.settle();
  DEMAND(rig, in.is_pending());
}

void control_data(Rig& rig) {
  PeerDatagram peer;
  const Handle handle = open_datagram(rig);
  const auto fd = static_cast<int>(rig.backend().native(handle));
  if (fd < 0) return rig.skip("the handle has no descriptor to set an option of");
  const int on = 1;
  DEMAND_EQ(rig, ::setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)), 0);
  constexpr std::uint32_t kControlBytes = 64;
  auto& in = recvmsg(rig, handle, 128);
  in.memory.resize(128 + kControlBytes);
  in.target = in.memory.data();
  in.control = in.target + 128;
  in.control_bytes = kControlBytes;
  rig.submit(in);
  rig.settle();
  peer.send_to(rig.local_address(handle), "x");
  ENDS_ONCE(rig, in);
  DEMAND(rig,
         in.control_bytes >= sizeof(cmsghdr) + sizeof(int) && in.control_bytes <= kControlBytes);
  cmsghdr header;
  std::memcpy(&header, in.control, sizeof(header));
  DEMAND_EQ(rig, header.cmsg_level, static_cast<int>(IPPROTO_IP));
  DEMAND_EQ(rig, header.cmsg_type, static_cast<int>(IP_TTL));
}

const Row kRows[] = {
    {"DatagramThereAndBack", 0, there_and_back<Family::ipv4>},
    {"DatagramThereAndBackIpv6", 0, there_and_back<Family::ipv6>},
    {"SeveralDatagramsAtOnce", 0, several_at_once},
    {"DatagramLongerThanItsMemory", 0, longer_than_its_memory},
    {"AnEmptyDatagram", 0, an_empty_datagram},
    {"DatagramTooLongToSend", 0, too_long_to_send},
    {"DatagramConnected", 0, connected},
    {"DatagramToNobody", 0, nobody_there},
    {"DatagramControlData", 0, control_data},
};

}  // namespace

std::span<const Row> datagram_rows() { return kRows; }

}  // namespace weir::test
