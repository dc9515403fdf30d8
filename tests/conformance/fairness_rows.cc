// Budgets at the seam: the sink's room, the bytes per socket and turn, accepts per turn; and nobody starves beside one who
// never stops.
#include <algorithm>
#include <map>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

constexpr RigOptions kSmallRoom{.block_bytes = 4096, .blocks = 256, .room = 4};
constexpr RigOptions kManyBlocks{.block_bytes = 4096, .blocks = 256};

// A readiness backend takes no more than will be delivered; what it left comes in later polls, without a wait.
void no_more_than_the_room(Rig& rig) {
  if (rig.backend().caps().completion)
    return rig.skip("the kernel receives by itself here; reaping is not budgeted");
  std::vector<Peer> peers(40);
  std::vector<Tracked<RecvOp>*> recvs;
  for (Peer& peer : peers) {
    recvs.push_back(&rig.recv_group(rig.connected(peer), true));
    rig.submit(*recvs.back());
  }
  rig.settle();
  for (Peer& peer : peers) peer.send(10);
  std::size_t done = 0;
  for (int poll = 0; poll < 200 && done < peers.size(); ++poll) {
    rig.step(std::chrono::milliseconds(5));
    const auto now_done = static_cast<std::size_t>(std::count_if(
        recvs.begin(), recvs.end(), [](const auto* recv) { return recv->bytes.size() == 10; }));
    DEMAND(rig, now_done - done <= rig.options().room);
    done = now_done;
  }
  DEMAND_EQ(rig, done, peers.size());
}

// However small the room, everything arrives.
void a_small_room_loses_nothing(Rig& rig) {
  std::vector<Peer> peers(10);
  std::vector<Tracked<RecvOp>*> recvs;
  for (Peer& peer : peers) {
    recvs.push_back(&rig.recv_group(rig.connected(peer), true));
    peer.send(30'000);
    peer.finish();
    rig.submit(*recvs.back());
  }
  AWAIT(rig, std::all_of(recvs.begin(), recvs.end(), [&](Tracked<RecvOp>* recv) {
          if (!recv->is_pending() && !recv->terminal().has(kEof)) rig.submit(*recv);
          return recv->terminal().has(kEof);
        }));
  for (const auto* recv : recvs) DEMAND_EQ(rig, recv->bytes, pattern(0, 30'000));
}

// One poll gives one socket its budget, not all that it has; the next poll goes on without waiting.
void bytes_per_socket_and_turn(Rig& rig) {
  if (rig.backend().caps().completion)
    return rig.skip("the kernel receives by itself here; the loop budgets delivery");
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  const std::size_t total = 400'000;
  std::size_t before = 0;
  for (int poll = 0; poll < 1000 && recv.bytes.size() < total; ++poll) {
    peer.send_some(total - peer.sent_bytes());
    before = recv.bytes.size();
    rig.step(std::chrono::milliseconds(5));
    DEMAND(rig, recv.bytes.size() - before <=
                    rig.limits().bytes_per_socket_turn + rig.options().block_bytes);
  }
  DEMAND_EQ(rig, recv.bytes.size(), total);
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

// A flood on one socket, and one message on each of the others: each is there within a few polls.
void a_flood_beside_the_polite(Rig& rig) {
  Peer flood;
  auto& flooded = rig.recv_group(rig.connected(flood), true);
  rig.submit(flooded);
  std::vector<Peer> peers(20);
  std::vector<Tracked<RecvOp>*> recvs;
  for (Peer& peer : peers) {
    recvs.push_back(&rig.recv_group(rig.connected(peer), true));
    rig.submit(*recvs.back());
  }
  rig.settle();
  for (std::size_t round = 1; round <= 20; ++round) {
    for (Peer& peer : peers) peer.send(100);
    const std::uint64_t start = rig.poll_count();
    AWAIT(rig, [&] {
      flood.send_some(256 << 10);
      if (!flooded.is_pending()) rig.submit(flooded);
      return std::all_of(recvs.begin(), recvs.end(), [&](Tracked<RecvOp>* recv) {
        if (!recv->is_pending()) rig.submit(*recv);
        return recv->bytes.size() == round * 100;
      });
    }());
    DEMAND(rig, rig.poll_count() - start <= 20);
  }
  DEMAND_EQ(rig, first_difference(flooded.bytes), std::string::npos);
}

// The flooded socket's owner is slow and pauses it at a part of the group, as a stream does at its loan cap: the rest
// of the group stays for the others.
void a_flood_whose_owner_is_slow(Rig& rig) {
  Peer flood;
  auto& flooded = rig.recv_group(rig.connected(flood), true);
  flooded.holds_blocks = true;
  flooded.on_completion = [&](const Completion& completion) {
    if (!completion.is_terminal() && flooded.held.size() == 32) rig.cancel(flooded);
  };
  rig.submit(flooded);
  Peer polite;
  auto& recv = rig.recv_group(rig.connected(polite), true);
  rig.submit(recv);
  AWAIT(rig, (flood.send_some(256 << 10), flooded.is_done()));
  rig.settle();
  for (std::size_t i = 1; i <= 20; ++i) {
    polite.send(100);
    AWAIT(rig, [&] {
      if (!recv.is_pending()) rig.submit(recv);
      return recv.bytes.size() == i * 100;
    }());
  }
  flooded.on_completion = nullptr;
  flooded.holds_blocks = false;
  rig.drop_blocks(flooded);
  if (!receive_bytes(rig, flooded, flood.sent_bytes())) return;
  DEMAND_EQ(rig, first_difference(flooded.bytes), std::string::npos);
}

// A listener takes its budget of connections in a poll. Where the kernel accepts by itself, the loop budgets delivery
// (the streams' row NoMoreThanItsShareATurn), and a backend must not pile up more than a few turns' worth.
void accepts_per_turn(Rig& rig) {
  const Handle listener = rig.listen(Family::ipv4, 256);
  auto& accept = rig.accept(listener);
  accept.accepts_max = 8;
  rig.submit(accept);
  rig.settle();
  std::vector<Peer> peers;
  for (int i = 0; i < 100; ++i) peers.push_back(Peer::connect(rig.local_address(listener)));
  const bool is_budgeted = !rig.backend().caps().multishot_accept;
  std::size_t before = 0;
  for (int poll = 0; poll < 200 && accept.accepted.size() < 100; ++poll) {
    before = accept.accepted.size();
    rig.step(std::chrono::milliseconds(5));
    if (is_budgeted) DEMAND(rig, accept.accepted.size() - before <= 8);
    if (!accept.is_pending()) rig.submit(accept);
  }
  DEMAND_EQ(rig, accept.accepted.size(), 100u);
}

const Row kRows[] = {
    {"NoMoreThanTheRoom", 0, no_more_than_the_room, kSmallRoom},
    {"ASmallRoomLosesNothing", 0, a_small_room_loses_nothing, kSmallRoom},
    {"BytesPerSocketAndTurn", 0, bytes_per_socket_and_turn, kManyBlocks},
    {"AFloodBesideThePolite", 0, a_flood_beside_the_polite, kManyBlocks},
    {"AFloodWhoseOwnerIsSlow", 0, a_flood_whose_owner_is_slow, kManyBlocks},
    {"AcceptsPerTurn", 0, accepts_per_turn},
};

}  // namespace

std::span<const Row> fairness_rows() { return kRows; }

}  // namespace weir::test
