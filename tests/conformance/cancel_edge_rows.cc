// Sentences 3 and 8 where bytes have moved: a cancelled send reports what the system took, and no race between data and cancel
// loses or doubles a byte.
#include <algorithm>
#include <cerrno>
#include <random>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

constexpr std::size_t kMuch = 16 << 20;  // more than both sockets' buffers hold

// The send is pending with a part of it taken; what it reports and what the peer gets must agree.
void send_half_taken(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, kMuch);
  rig.submit(send);
  rig.settle();
  while (send.is_done() && send.result() > 0) {  // A backend may report the part at once.
    send.outgoing.trim_front(static_cast<std::size_t>(send.result()));
    rig.submit(send);
    rig.settle();
  }
  DEMAND(rig, send.is_pending());
  rig.cancel(send);
  ENDS_ONCE(rig, send);
  DEMAND(rig, send.result() > 0 || send.result() == -ECANCELED);
  auto& close = rig.close(handle);
  rig.submit(close);
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  DEMAND_EQ(rig, peer.received().size(), send.sent_bytes);
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

void two_receives_of_one_socket(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& first = rig.recv(handle, 64);
  auto& second = rig.recv(handle, 64);
  rig.submit(first);
  rig.submit(second);
  rig.settle();
  rig.cancel(first);
  rig.cancel(second);
  ENDS_ONCE(rig, first);
  ENDS_ONCE(rig, second);
  DEMAND_EQ(rig, first.result(), -ECANCELED);
  DEMAND_EQ(rig, second.result(), -ECANCELED);
}

void one_of_two_receives(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& first = rig.recv(handle, 64);
  auto& second = rig.recv(handle, 64);
  rig.submit(first);
  rig.submit(second);
  rig.settle();
  rig.cancel(first);
  ENDS_ONCE(rig, first);
  DEMAND(rig, second.is_pending());
  peer.send(10);
  ENDS_ONCE(rig, second);
  DEMAND_EQ(rig, second.bytes, pattern(0, 10));
}

// Cancels the receive before every turn: what it does not report must still be in the socket.
template <bool is_multishot>
void cancel_each_turn_loses_nothing(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, is_multishot);
  for (std::size_t turn = 1; turn <= 200; ++turn) {
    if (!recv.is_pending()) rig.submit(recv);
    if (turn % 3 == 0) rig.step();
    peer.send(turn);
    if (turn % 2 == 0) rig.step();
    if (recv.is_pending()) rig.cancel(recv);
    AWAIT(rig, !recv.is_pending());
    DEMAND(rig, recv.result() > 0 || recv.result() == -ECANCELED);
  }
  if (!receive_bytes(rig, recv, peer.sent_bytes())) return;
  DEMAND_EQ(rig, recv.bytes.size(), peer.sent_bytes());
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

// One socket of the race: it receives, is cancelled and closed as the seed says.
struct Racer {
  Peer peer;
  Handle handle;
  Tracked<RecvOp>* recv = nullptr;
  Tracked<SendOp>* send = nullptr;
  std::size_t trimmed_bytes = 0;

  // The next send starts behind what was reported as sent.
  void submit_send(Rig& rig, std::size_t bytes) {
    send->outgoing.trim_front(send->sent_bytes - trimmed_bytes);
    trimmed_bytes = send->sent_bytes;
    if (send->outgoing.empty()) send->outgoing = rig.chain(trimmed_bytes, bytes);
    rig.submit(*send);
  }
};

void race_step(Rig& rig, Racer& racer, std::mt19937& random) {
  switch (random() % 8) {
    case 0:
    case 1:
      if (!racer.recv->is_pending()) rig.submit(*racer.recv);
      break;
    case 2: racer.peer.send_some(1 + random() % 9000); break;
    case 3: rig.cancel(racer.recv->op().id); break;
    case 4:
      if (!racer.send->is_pending()) racer.submit_send(rig, 1 + random() % 200'000);
      break;
    case 5: rig.cancel(racer.send->op().id); break;
    case 6: racer.peer.read_some(1 + random() % 100'000); break;
    default: rig.step(); break;
  }
}

template <std::uint32_t seed>
void cancel_race(Rig& rig) {
  std::mt19937 random(seed);
  std::vector<std::unique_ptr<Racer>> racers;
  for (int i = 0; i < 6; ++i) {
    racers.push_back(std::make_unique<Racer>());
    Racer& racer = *racers.back();
    racer.handle = rig.connected(racer.peer);
    racer.recv =
        i % 3 == 0 ? &rig.recv(racer.handle, 5000) : &rig.recv_group(racer.handle, i % 3 == 1);
    racer.send = &rig.send(racer.handle, 100'000);
  }
  for (int i = 0; i < 3000 && !rig.has_failed(); ++i) {
    race_step(rig, *racers[random() % racers.size()], random);
  }
  for (const auto& racer : racers) {
    AWAIT(rig, (rig.cancel(racer->send->op().id), !racer->send->is_pending()));
    racer->peer.finish();
    if (!receive_bytes(rig, *racer->recv, racer->peer.sent_bytes())) return;
    DEMAND_EQ(rig, racer->recv->bytes.size(), racer->peer.sent_bytes());
    DEMAND_EQ(rig, first_difference(racer->recv->bytes), std::string::npos);
    auto& shutdown = rig.make<ShutdownOp>(OpKind::shutdown, racer->handle);
    rig.submit(shutdown);
    AWAIT(rig, (racer->peer.read_some(), racer->peer.is_eof()));
    DEMAND_EQ(rig, racer->peer.received().size(), racer->send->sent_bytes);
    DEMAND_EQ(rig, first_difference(racer->peer.received()), std::string::npos);
  }
}

// The loop makes a deadline of a cancel. One that comes when bytes are under way, received and not yet told, or not yet
// received: they are told, or they are there for the next receive. A backend never says that the time was over.
template <bool into_group>
void a_deadline_over_bytes(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = into_group ? rig.recv_group(handle, false) : rig.recv(handle, 100);
  for (int round = 0; round < 40; ++round) {
    rig.submit(recv);
    if (round % 4 != 3) peer.send(10);
    for (int step = 0; step < round % 3; ++step) rig.step();
    rig.cancel(recv);
    AWAIT(rig, recv.is_done());
    DEMAND(rig, recv.result() > 0 || recv.result() == -ECANCELED);
  }
  if (!receive_bytes(rig, recv, peer.sent_bytes())) return;
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

const Row kRows[] = {
    {"CancelSendHalfTaken", 3, send_half_taken},
    {"CancelTwoReceivesOfOneSocket", 3, two_receives_of_one_socket},
    {"CancelOneOfTwoReceives", 3, one_of_two_receives},
    {"CancelRecvEachTurn", 3, cancel_each_turn_loses_nothing<false>},
    {"CancelMultishotRecvEachTurn", 3, cancel_each_turn_loses_nothing<true>},
    {"CancelRaceSeed1", 3, cancel_race<1>},
    {"CancelRaceSeed2", 3, cancel_race<2>},
    {"CancelRaceSeed3", 3, cancel_race<3>},
    {"CancelRaceSeed4", 3, cancel_race<4>},
    {"ADeadlineOverBytes", 8, a_deadline_over_bytes<false>},
    {"ADeadlineOverBytesOfTheGroup", 8, a_deadline_over_bytes<true>},
};

}  // namespace

std::span<const Row> cancel_edge_rows() { return kRows; }

}  // namespace weir::test
