// What open, attach, options and addresses promise, on IPv4, IPv6 and both at once.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

bool need(Rig& rig, Family family) {
  if (family == Family::ipv6 && !has_ipv6()) rig.skip("this machine has no IPv6 loopback");
  return rig.reason().empty();
}

// A connection both of whose ends are weir's, and bytes both ways.
template <Family family>
void both_ends(Rig& rig) {
  if (!need(rig, family)) return;
  const Handle listener = rig.listen(family);
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  SocketSpec spec;
  spec.family = family;
  const Handle client = rig.open(spec);
  auto& connect = rig.make<ConnectOp>(OpKind::connect, client);
  connect.peer = rig.local_address(listener);
  rig.submit(connect);
  AWAIT(rig, connect.is_done() && accept.accepted.size() == 1);
  DEMAND_EQ(rig, connect.result(), 0);
  const Handle server = accept.accepted[0];
  DEMAND(rig, rig.backend().peer_address(client).value() == rig.local_address(listener));
  DEMAND(rig, rig.backend().peer_address(server).value() == rig.local_address(client));
  for (const auto& [from, to] : {std::pair(client, server), std::pair(server, client)}) {
    auto& recv = rig.recv_group(to, true);
    auto& send = rig.send(from, 1000);
    Peer nobody;
    if (!rig.send_all(send, nobody) || !receive_bytes(rig, recv, 1000)) return;
    DEMAND_EQ(rig, recv.bytes, pattern(0, 1000));
  }
}

Handle listen_on_any(Rig& rig, bool ipv6_only, Address& address) {
  SocketSpec spec;
  spec.family = Family::ipv6;
  spec.bind = Address::any_ipv6(0);
  spec.backlog = 16;
  spec.ipv6_only = ipv6_only;
  const Handle listener = rig.open(spec);
  address = rig.local_address(listener);
  return listener;
}

void dual_stack(Rig& rig) {
  if (!need(rig, Family::ipv6)) return;
  Address address;
  const Handle listener = listen_on_any(rig, false, address);
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  const Peer four = Peer::connect(loopback(Family::ipv4, address.port));
  const Peer six = Peer::connect(loopback(Family::ipv6, address.port));
  DEMAND(rig, four.is_open());
  DEMAND(rig, six.is_open());
  AWAIT(rig, accept.accepted.size() == 2);
}

void ipv6_alone(Rig& rig) {
  if (!need(rig, Family::ipv6)) return;
  Address address;
  const Handle listener = listen_on_any(rig, true, address);
  DEMAND(rig, listener.valid());
  DEMAND(rig, !Peer::connect(loopback(Family::ipv4, address.port)).is_open());
  DEMAND(rig, Peer::connect(loopback(Family::ipv6, address.port)).is_open());
}

void an_address_in_use(Rig& rig) {
  const PeerListener taken;
  SocketSpec spec;
  spec.bind = taken.address();
  spec.backlog = 16;
  const Result<Handle> handle = rig.backend().open(spec);
  DEMAND(rig, !handle.ok());
  DEMAND(rig, handle.error() == Errc::address_in_use);
  DEMAND(rig, handle.error().to_string().find(taken.address().to_string()) != std::string::npos);
}

void a_shared_port(Rig& rig) {
  SocketSpec spec;
  spec.bind = loopback(Family::ipv4, 0);
  spec.backlog = 16;
  spec.reuse_port = true;
  const Handle first = rig.open(spec);
  spec.bind = rig.local_address(first);
  const Handle second = rig.open(spec);
  DEMAND(rig, second.valid());
  DEMAND(rig, rig.local_address(second) == spec.bind);
}

void options(Rig& rig) {
  const Handle handle = rig.open({});
  struct Case {
    SocketOption option;
    std::int32_t value;
  };
  for (const Case& row :
       {Case{SocketOption::no_delay, 0}, Case{SocketOption::no_delay, 1},
        Case{SocketOption::keep_alive, 1}, Case{SocketOption::keep_alive_idle_s, 33},
        Case{SocketOption::keep_alive_interval_s, 7}, Case{SocketOption::keep_alive_count, 4},
        Case{SocketOption::linger_s, 5}}) {
    DEMAND(rig, rig.backend().set_option(handle, row.option, row.value).ok());
    Result<std::int32_t> got = rig.backend().get_option(handle, row.option);
    DEMAND(rig, got.ok());
    DEMAND_EQ(rig, got.value() != 0, row.value != 0);
    if (row.value > 1) DEMAND_EQ(rig, got.value(), row.value);
  }
  DEMAND(rig, rig.backend().set_option(handle, SocketOption::send_buffer_bytes, 32 << 10).ok());
  DEMAND(rig,
         rig.backend().get_option(handle, SocketOption::send_buffer_bytes).value() >= 32 << 10);
}

// No-delay is on unless somebody asks otherwise, on accepted sockets too.
void no_delay_by_default(Rig& rig) {
  const Handle listener = rig.listen();
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  const Peer peer = Peer::connect(rig.local_address(listener));
  AWAIT(rig, accept.accepted.size() == 1);
  DEMAND(rig, rig.backend().get_option(accept.accepted[0], SocketOption::no_delay).value() != 0);
  DEMAND(rig, rig.backend().get_option(rig.open({}), SocketOption::no_delay).value() != 0);
}

// Whether the descriptor was non-blocking before makes no difference: an op waits.
template <bool is_non_blocking>
void attached_as_it_is(Rig& rig) {
  PeerListener listener;
  PeerListener::Pair pair = listener.connected_pair();
  if (is_non_blocking)
    ::fcntl(pair.near.get(), F_SETFL, ::fcntl(pair.near.get(), F_GETFL) | O_NONBLOCK);
  const Handle handle = rig.attach(std::move(pair.near));
  auto& recv = rig.recv(handle, 100);
  rig.submit(recv);
  rig.settle();
  DEMAND(rig, recv.is_pending());
  pair.far.send(10);
  ENDS_ONCE(rig, recv);
  DEMAND_EQ(rig, recv.bytes, pattern(0, 10));
}

void a_unix_stream(Rig& rig) {
  int ends[2];
  DEMAND_EQ(rig, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Peer peer{Descriptor(ends[1])};
  ::fcntl(peer.fd(), F_SETFL, O_NONBLOCK);
  const Handle handle = rig.attach(Descriptor(ends[0]));
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  peer.send(5000);
  AWAIT(rig, recv.bytes.size() == 5000);
  auto& send = rig.send(handle, 5000);
  DEMAND(rig, rig.send_all(send, peer));
  AWAIT(rig, (peer.read_some(), peer.received().size() == 5000));
  DEMAND_EQ(rig, recv.bytes, pattern(0, 5000));
  DEMAND_EQ(rig, peer.received(), pattern(0, 5000));
  peer.finish();
  ENDS_ONCE(rig, recv);
  DEMAND(rig, recv.terminal().has(kEof));
}

void the_clock_only_rises(Rig& rig) {
  std::uint64_t last = rig.backend().now();
  DEMAND(rig, last > 0);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t now = rig.backend().now();
    DEMAND(rig, now >= last);
    last = now;
  }
}

const Row kRows[] = {
    {"BothEndsIpv4", 0, both_ends<Family::ipv4>},
    {"BothEndsIpv6", 0, both_ends<Family::ipv6>},
    {"DualStack", 0, dual_stack},
    {"Ipv6Alone", 0, ipv6_alone},
    {"AnAddressInUse", 0, an_address_in_use},
    {"ASharedPort", 0, a_shared_port},
    {"Options", 0, options},
    {"NoDelayByDefault", 0, no_delay_by_default},
    {"AttachedBlocking", 0, attached_as_it_is<false>},
    {"AttachedNonBlocking", 0, attached_as_it_is<true>},
    {"AUnixStream", 0, a_unix_stream},
    {"TheClockOnlyRises", 0, the_clock_only_rises},
};

}  // namespace

std::span<const Row> socket_rows() { return kRows; }

}  // namespace weir::test
