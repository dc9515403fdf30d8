// Sentence 6: an empty group is a normal state. The receive ends with -ENOBUFS or waits; when blocks come home it goes on;
// no byte is lost. Here the owner holds all blocks, looks, and gives them back.
#include <algorithm>
#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

constexpr std::uint32_t kBlock = 1024;
constexpr std::uint32_t kBlocks = 8;
constexpr RigOptions kSmallGroup{.block_bytes = kBlock, .blocks = kBlocks};

// Receives until the group is empty and nothing more comes: the op waits, or has ended with -ENOBUFS.
bool drain_group(Rig& rig, Tracked<RecvOp>& recv) {
  recv.holds_blocks = true;
  rig.submit(recv);
  const bool emptied = rig.run_until("the group is empty", [&] {
    if (recv.is_done() && recv.result() == -ENOBUFS) return true;
    if (!recv.is_pending()) rig.submit(recv);
    return rig.group().in_use() == kBlocks && recv.held.size() == kBlocks;
  });
  rig.settle();
  return emptied && !rig.has_failed();
}

template <bool is_multishot>
void nothing_is_lost(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const std::size_t total = kBlocks * kBlock * 4;
  peer.send(total);
  auto& recv = rig.recv_group(handle, is_multishot);
  if (!drain_group(rig, recv)) return;
  DEMAND(rig, recv.bytes.size() < total);
  DEMAND(rig, recv.is_pending() || recv.result() == -ENOBUFS || recv.result() > 0);
  recv.holds_blocks = false;
  rig.drop_blocks(recv);
  if (!receive_bytes(rig, recv, total)) return;
  DEMAND_EQ(rig, recv.bytes.size(), total);
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

// The end of stream behind the bytes that had to wait.
void the_end_comes_last(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const std::size_t total = kBlocks * kBlock * 2 + 100;
  peer.send(total);
  peer.finish();
  auto& recv = rig.recv_group(handle, true);
  if (!drain_group(rig, recv)) return;
  DEMAND(rig, !recv.terminal().has(kEof));
  recv.holds_blocks = false;
  rig.drop_blocks(recv);
  if (!receive_bytes(rig, recv, total + 1)) return;  // until the end
  DEMAND(rig, recv.terminal().has(kEof));
  DEMAND_EQ(rig, recv.bytes.size(), total);
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

// One holds everything; when it lets go, all that wait go on.
void all_that_wait_go_on(Rig& rig) {
  Peer holder_peer;
  const Handle holder_handle = rig.connected(holder_peer);
  holder_peer.send(kBlocks * kBlock * 2);
  auto& holder = rig.recv_group(holder_handle, true);
  if (!drain_group(rig, holder)) return;
  std::vector<Peer> peers(5);
  std::vector<Tracked<RecvOp>*> waiting;
  for (Peer& peer : peers) {
    waiting.push_back(&rig.recv_group(rig.connected(peer), true));
    rig.submit(*waiting.back());
    peer.send(300);
  }
  rig.settle();
  rig.cancel(holder);
  AWAIT(rig, !holder.is_pending());
  rig.drop_blocks(holder);
  for (auto* recv : waiting) {
    if (!receive_bytes(rig, *recv, 300)) return;
    DEMAND_EQ(rig, recv->bytes, pattern(0, 300));
  }
}

// The kernel waits on nothing here: the op that waits for memory can be cancelled like any other.
void cancel_while_waiting(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const std::size_t total = kBlocks * kBlock * 2;
  peer.send(total);
  auto& recv = rig.recv_group(handle, true);
  if (!drain_group(rig, recv)) return;
  if (recv.is_pending()) {
    rig.cancel(recv);
    ENDS_ONCE(rig, recv);
  }
  recv.holds_blocks = false;
  rig.drop_blocks(recv);
  if (!receive_bytes(rig, recv, total)) return;
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

// Many times round: one block at a time comes home.
void one_block_at_a_time(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const std::size_t total = kBlocks * kBlock * 4;
  peer.send(total);
  auto& recv = rig.recv_group(handle, true);
  if (!drain_group(rig, recv)) return;
  AWAIT(rig, [&] {
    if (recv.bytes.size() == total) return true;
    if (!recv.held.empty()) {
      std::vector<Buf> rest;
      rest.assign(std::make_move_iterator(recv.held.begin() + 1),
                  std::make_move_iterator(recv.held.end()));
      recv.held.front().reset();
      rig.drop_blocks(recv);
      recv.held = std::move(rest);
    }
    if (!recv.is_pending()) rig.submit(recv);
    return false;
  }());
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

// A multishot that ends early (memory ran out) and is submitted again has lost nothing between the two.
void a_multishot_that_ends_early(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  std::size_t total = 0;
  for (int round = 0; round < 20; ++round) {
    peer.send(kBlocks * kBlock + 77);
    total += kBlocks * kBlock + 77;
    if (!receive_bytes(rig, recv, total)) return;
  }
  DEMAND_EQ(rig, recv.bytes.size(), total);
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

template <bool is_multishot>
void several_blocks_for_one_receive(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  peer.send(kBlock * 5 + 123);
  auto& recv = rig.recv_group(handle, is_multishot);
  recv.bytes_max = kBlock * 4;
  if (!receive_bytes(rig, recv, kBlock * 5 + 123)) return;
  DEMAND_EQ(rig, first_difference(recv.bytes), std::string::npos);
}

const Row kRows[] = {
    {"EmptyGroupLosesNothing", 6, nothing_is_lost<false>, kSmallGroup},
    {"EmptyGroupLosesNothingMultishot", 6, nothing_is_lost<true>, kSmallGroup},
    {"EmptyGroupThenTheEnd", 6, the_end_comes_last, kSmallGroup},
    {"RefillWakesAllThatWait", 6, all_that_wait_go_on, kSmallGroup},
    {"CancelWhileWaitingForMemory", 6, cancel_while_waiting, kSmallGroup},
    {"RefillOneBlockAtATime", 6, one_block_at_a_time, kSmallGroup},
    {"AMultishotThatEndsEarly", 6, a_multishot_that_ends_early, kSmallGroup},
    {"SeveralBlocksForOneReceive", 6, several_blocks_for_one_receive<false>, kSmallGroup},
    {"SeveralBlocksForOneReceiveMultishot", 6, several_blocks_for_one_receive<true>, kSmallGroup},
};

}  // namespace

std::span<const Row> group_rows() { return kRows; }

}  // namespace weir::test
