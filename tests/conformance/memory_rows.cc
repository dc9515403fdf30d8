// Sentence 4: lent memory comes back at the terminal completion, zero-copy memory at kNotif, never at cancel()'s return.
// A row cannot see a kernel write into memory that was given back unless it looks: it fills the memory then, and compares
// later; or changes bytes that were reported as sent, and reads what arrives.
#include <algorithm>
#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

constexpr std::byte kOurs{0xa5};

void fill(Tracked<RecvOp>& recv) { std::fill(recv.memory.begin(), recv.memory.end(), kOurs); }
bool is_ours(const Tracked<RecvOp>& recv) {
  return std::all_of(recv.memory.begin(), recv.memory.end(),
                     [](std::byte b) { return b == kOurs; });
}

// Overwrites bytes that were reported as sent.
void scribble(const BufChain& chain, std::size_t bytes) {
  for (const BufChain::Node* node = chain.front(); node != nullptr && bytes > 0;
       node = node->next) {
    const std::size_t count = std::min(bytes, node->buf.size());
    std::fill_n(const_cast<std::byte*>(node->buf.data()), count, kOurs);
    bytes -= count;
  }
}

void receive_memory_after_cancel(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv(handle, 256);
  rig.submit(recv);
  rig.settle();
  rig.cancel(recv);
  AWAIT(rig, recv.is_done());
  fill(recv);
  peer.send(100);
  rig.settle();
  DEMAND(rig, is_ours(recv));
}

void receive_memory_after_data(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv(handle, 256);
  rig.submit(recv);
  peer.send(100);
  AWAIT(rig, recv.is_done());
  fill(recv);
  peer.send(100);
  rig.settle();
  DEMAND(rig, is_ours(recv));
}

// What the socket has not taken yet is still read from the chain; what it has taken is not.
void sent_memory_may_change(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  const std::size_t total = 8 << 20;
  auto& send = rig.send(handle, total);
  while (!send.outgoing.empty()) {
    rig.submit(send);
    AWAIT(rig, (peer.read_some(256 << 10), send.is_done()));
    DEMAND(rig, send.result() > 0);
    scribble(send.outgoing, static_cast<std::size_t>(send.result()));
    send.outgoing.trim_front(static_cast<std::size_t>(send.result()));
  }
  AWAIT(rig, (peer.read_some(), peer.received().size() == total));
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

void sent_memory_after_cancel(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, 16 << 20);
  rig.submit(send);
  rig.settle();
  if (send.is_pending()) rig.cancel(send);
  AWAIT(rig, send.is_done());
  scribble(send.outgoing, send.outgoing.bytes());
  auto& close = rig.close(handle);
  rig.submit(close);
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  DEMAND_EQ(rig, peer.received().size(), send.sent_bytes);
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

// Arming and cancelling a receive costs the group nothing.
void group_is_as_before(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  rig.settle();
  const std::uint32_t in_use = rig.group().in_use();
  for (int i = 0; i < 200; ++i) {
    rig.cancel(recv);
    AWAIT(rig, recv.is_done());
    rig.submit(recv);
    rig.settle();
  }
  DEMAND_EQ(rig, rig.group().in_use(), in_use);
}

// A block that was given to the owner is not written again while he holds it.
void held_blocks_stay(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  recv.holds_blocks = true;
  rig.submit(recv);
  for (int i = 0; i < 20; ++i) {
    peer.send(1000);
    AWAIT(rig, recv.bytes.size() == peer.sent_bytes());
  }
  std::string held;
  for (const Buf& buf : recv.held) held += buf.text();
  DEMAND_EQ(rig, held, pattern(0, peer.sent_bytes()));
}

constexpr std::size_t kZeroCopyBytes = 256 << 10;

// Sends all of it zero-copy; a part may go in one op.
bool zero_copy_send(Rig& rig, Tracked<SendOp>& send, Peer& peer, std::size_t* notifications) {
  send.zero_copy = true;
  while (!send.outgoing.empty()) {
    rig.submit(send);
    const bool is_notified = rig.run_until("a zero-copy send ends and is notified", [&] {
      peer.read_some();
      return send.is_done() &&
             (send.notification_count() == 1 || !rig.backend().caps().zero_copy_send);
    });
    if (!is_notified || send.result() <= 0) return false;
    *notifications += send.notification_count();
    send.outgoing.trim_front(static_cast<std::size_t>(send.result()));
  }
  return true;
}

void zero_copy_notifies_after_the_result(Rig& rig) {
  if (!rig.backend().caps().zero_copy_send)
    return rig.skip("this backend sends nothing without a copy");
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, kZeroCopyBytes);
  std::size_t notifications = 0;
  DEMAND(rig, zero_copy_send(rig, send, peer, &notifications));
  DEMAND(rig, notifications > 0);
  AWAIT(rig, (peer.read_some(), peer.received().size() == kZeroCopyBytes));
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
  rig.settle();
  DEMAND_EQ(rig, rig.app_pool().in_use(), 0u);
}

// The owner drops its chain at the result; the blocks stay out until the notification, and then they are home.
void zero_copy_holds_memory_until_notified(Rig& rig) {
  if (!rig.backend().caps().zero_copy_send)
    return rig.skip("this backend sends nothing without a copy");
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, kZeroCopyBytes);
  send.zero_copy = true;
  std::uint32_t out_before_notified = 0;
  send.on_completion = [&](const Completion&) {
    send.outgoing.clear();
    if (send.notification_count() == 0) out_before_notified = rig.app_pool().in_use();
  };
  rig.submit(send);
  AWAIT(rig, send.is_done());
  DEMAND(rig, send.result() > 0);
  DEMAND(rig, out_before_notified > 0);
  AWAIT(rig, (peer.read_some(), send.notification_count() == 1));
  AWAIT(rig, rig.app_pool().in_use() == 0);
}

// Where there is no zero-copy the wish is just a send.
void zero_copy_is_only_a_wish(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& send = rig.send(handle, kZeroCopyBytes);
  std::size_t notifications = 0;
  DEMAND(rig, zero_copy_send(rig, send, peer, &notifications));
  AWAIT(rig, (peer.read_some(), peer.received().size() == kZeroCopyBytes));
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

void zero_copy_to_a_dead_peer(Rig& rig) {
  if (!rig.backend().caps().zero_copy_send)
    return rig.skip("this backend sends nothing without a copy");
  Peer peer;
  const Handle handle = rig.connected(peer);
  peer.reset();
  auto& send = rig.send(handle, kZeroCopyBytes);
  send.zero_copy = true;
  do {
    rig.submit(send);
    AWAIT(rig, send.is_done());
  } while (send.result() > 0);
  DEMAND(rig, send.result() == -EPIPE || send.result() == -ECONNRESET);
  send.outgoing.clear();
  AWAIT(rig, rig.app_pool().in_use() == 0);
  rig.settle();
  DEMAND_EQ(rig, send.terminal_count(), 1u);
  DEMAND(rig, send.notification_count() <= 1);
}

const Row kRows[] = {
    {"ReceiveMemoryAfterCancel", 4, receive_memory_after_cancel},
    {"ReceiveMemoryAfterData", 4, receive_memory_after_data},
    {"SentMemoryMayChange", 4, sent_memory_may_change},
    {"SentMemoryAfterCancel", 4, sent_memory_after_cancel},
    {"GroupIsAsBefore", 4, group_is_as_before},
    {"HeldBlocksStay", 4, held_blocks_stay},
    {"ZeroCopyNotifiesAfterTheResult", 4, zero_copy_notifies_after_the_result},
    {"ZeroCopyHoldsMemoryUntilNotified", 4, zero_copy_holds_memory_until_notified},
    {"ZeroCopyIsOnlyAWish", 4, zero_copy_is_only_a_wish},
    {"ZeroCopyToADeadPeer", 4, zero_copy_to_a_dead_peer},
};

}  // namespace

std::span<const Row> memory_rows() { return kRows; }

}  // namespace weir::test
