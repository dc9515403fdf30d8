// Sentence 5: cancel everything on the handle, take the terminals, then close; the close's terminal is the last of the
// handle, and the descriptor is gone by then.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

bool is_descriptor_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

// The owner's part of closing: nothing else may be in flight.
bool cancel_and_wait(Rig& rig, std::initializer_list<Track*> ops) {
  for (const Track* op : ops) rig.cancel(*op);
  return rig.run_until("the cancelled ops end", [&] {
    for (const Track* op : ops) {
      if (op->is_pending()) return false;
    }
    return true;
  });
}

void with_everything_in_flight(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  auto& send = rig.send(handle, 16 << 20);
  rig.submit(recv);
  rig.submit(send);
  rig.settle();
  peer.send(500);
  if (!cancel_and_wait(rig, {&recv, &send})) return;
  auto& close = rig.close(handle);
  rig.submit(close);
  ENDS_ONCE(rig, close);
  DEMAND_EQ(rig, close.result(), 0);
  DEMAND_EQ(rig, recv.terminal_count() + send.terminal_count(), 2u);
  AWAIT(rig, (peer.read_some(), peer.is_eof() || peer.error() == ECONNRESET));
}

void descriptor_is_gone_at_the_terminal(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const auto fd = static_cast<int>(rig.backend().native(handle));
  if (fd < 0) return rig.skip("the handle has no descriptor to look at");
  auto& close = rig.close(handle);
  bool was_open = false;
  close.on_completion = [&](const Completion&) { was_open = is_descriptor_open(fd); };
  rig.submit(close);
  AWAIT(rig, close.is_done());
  DEMAND(rig, !was_open);
  DEMAND(rig, !is_descriptor_open(fd));
}

void peer_sees_the_end(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& close = rig.close(handle);
  rig.submit(close);
  AWAIT(rig, close.is_done());
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
}

void what_was_sent_still_arrives(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, 1 << 20);
  rig.submit(send);
  AWAIT(rig, send.is_done());
  DEMAND(rig, send.result() > 0);
  auto& close = rig.close(handle);
  rig.submit(close);
  AWAIT(rig, close.is_done());
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  DEMAND_EQ(rig, peer.received().size(), send.sent_bytes);
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

void with_reset(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  DEMAND(rig, rig.backend().set_option(handle, SocketOption::linger_s, 0).ok());
  auto& close = rig.close(handle);
  rig.submit(close);
  ENDS_ONCE(rig, close);
  AWAIT(rig, (peer.read_some(), peer.error() != 0));
  DEMAND_EQ(rig, peer.error(), ECONNRESET);
}

void a_listener(Rig& rig) {
  const Handle listener = rig.listen();
  const Address address = rig.local_address(listener);
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  rig.settle();
  if (!cancel_and_wait(rig, {&accept})) return;
  auto& close = rig.close(listener);
  rig.submit(close);
  ENDS_ONCE(rig, close);
  DEMAND(rig, !Peer::connect(address).is_open());
}

void a_foreign_descriptor_stays_open(Rig& rig) {
  int ends[2];
  DEMAND_EQ(rig, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor ours(ends[0]);
  const Descriptor far(ends[1]);
  const Handle handle = rig.attach_foreign(ours.get());
  auto& poll = rig.poll_op(handle, kReadable);
  rig.submit(poll);
  rig.settle();
  if (!cancel_and_wait(rig, {&poll})) return;
  auto& close = rig.close(handle);
  rig.submit(close);
  ENDS_ONCE(rig, close);
  DEMAND(rig, is_descriptor_open(ours.get()));
}

void detach_gives_it_back_open(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  rig.settle();
  if (!cancel_and_wait(rig, {&recv})) return;
  const std::intptr_t native = rig.backend().detach(handle);
  rig.forget(handle);
  if (native < 0) return rig.skip("the handle has no descriptor to give back");
  DEMAND(rig, is_descriptor_open(static_cast<int>(native)));
  const Handle again = rig.attach(Descriptor(static_cast<int>(native)));
  peer.send(100);
  auto& second = rig.recv_group(again, false);
  rig.submit(second);
  ENDS_ONCE(rig, second);
  DEMAND_EQ(rig, second.bytes, pattern(0, 100));
}

// The kernel gives the number of a closed descriptor to the next one: nothing of the old may reach the new.
void a_number_used_again_at_once(Rig& rig) {
  PeerListener listener;
  for (int i = 0; i < 50; ++i) {
    PeerListener::Pair old_pair = listener.connected_pair();
    const Handle old_handle = rig.attach(std::move(old_pair.near));
    auto& old_recv = rig.recv_group(old_handle, true);
    rig.submit(old_recv);
    rig.step();
    old_pair.far.send(10);  // an event for the old one, unseen
    const OpId old_id = old_recv.op().id;
    if (!cancel_and_wait(rig, {&old_recv})) return;
    auto& close = rig.close(old_handle);
    rig.submit(close);
    AWAIT(rig, close.is_done());
    PeerListener::Pair new_pair = listener.connected_pair();
    const Handle new_handle = rig.attach(std::move(new_pair.near));
    auto& new_recv = rig.recv_group(new_handle, true);
    rig.submit(new_recv);
    rig.cancel(old_id);
    old_pair.far.reset();
    rig.settle();
    DEMAND(rig, new_recv.is_pending());
    DEMAND_EQ(rig, new_recv.bytes.size(), 0u);
    new_pair.far.send(20);
    AWAIT(rig, new_recv.bytes.size() == 20);
    if (!cancel_and_wait(rig, {&new_recv})) return;
    auto& new_close = rig.close(new_handle);
    rig.submit(new_close);
    AWAIT(rig, new_close.is_done());
  }
}

void a_notification_does_not_delay_it(Rig& rig) {
  if (!rig.backend().caps().zero_copy_send)
    return rig.skip("this backend sends nothing without a copy");
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, 256 << 10);
  send.zero_copy = true;
  rig.submit(send);
  AWAIT(rig, send.is_done());
  DEMAND(rig, send.result() > 0);
  auto& close = rig.close(handle);
  rig.submit(close);
  AWAIT(rig, close.is_done());
  send.outgoing.clear();
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  DEMAND_EQ(rig, peer.received().size(), send.sent_bytes);
  AWAIT(rig, send.notification_count() == 1 && rig.app_pool().in_use() == 0);
}

void unused_handles(Rig& rig) {
  SocketSpec datagram;
  datagram.type = SocketSpec::Type::datagram;
  for (int i = 0; i < 200; ++i) {
    const Handle handle = rig.open(i % 2 == 0 ? SocketSpec{} : datagram);
    auto& close = rig.close(handle);
    rig.submit(close);
    AWAIT(rig, close.is_done());
    DEMAND_EQ(rig, close.result(), 0);
  }
}

// A forked child may keep a listener open: what arrives there must not end our waits any more.
void a_listener_that_a_child_keeps_open(Rig& rig) {
  const Handle listener = rig.listen();
  const Address address = rig.local_address(listener);
  const Descriptor kept(::dup(static_cast<int>(rig.backend().native(listener))));
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  rig.settle();
  rig.cancel(accept);
  AWAIT(rig, accept.is_done());
  auto& close = rig.close(listener);
  rig.submit(close);
  AWAIT(rig, close.is_done());
  const Peer peer = Peer::connect(address);
  DEMAND(rig, peer.is_open());
  const std::uint64_t deadline_ns = rig.backend().now() + 5'000'000;
  std::uint64_t polls = 0;
  for (; rig.backend().now() < deadline_ns; ++polls) rig.backend().poll(deadline_ns, rig.sink());
  DEMAND(rig, polls <= 3);
}

const Row kRows[] = {
    {"CloseWithEverythingInFlight", 5, with_everything_in_flight},
    {"DescriptorIsGoneAtTheTerminal", 5, descriptor_is_gone_at_the_terminal},
    {"CloseShowsThePeerTheEnd", 5, peer_sees_the_end},
    {"CloseDeliversWhatWasSent", 5, what_was_sent_still_arrives},
    {"CloseWithReset", 5, with_reset},
    {"CloseAListener", 5, a_listener},
    {"CloseAListenerThatAChildKeepsOpen", 5, a_listener_that_a_child_keeps_open},
    {"CloseForgetsAForeignDescriptor", 5, a_foreign_descriptor_stays_open},
    {"DetachGivesItBackOpen", 5, detach_gives_it_back_open},
    {"ANumberUsedAgainAtOnce", 5, a_number_used_again_at_once},
    {"CloseIsNotDelayedByANotification", 5, a_notification_does_not_delay_it},
    {"CloseUnusedHandles", 5, unused_handles},
};

}  // namespace

std::span<const Row> close_rows() { return kRows; }

}  // namespace weir::test
