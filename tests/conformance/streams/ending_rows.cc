// Ends: close with everything in flight, destroyed owners, reset, numbers used again, and the end of the loop itself
// (sentences 2, 4, 5 and 9).
#include <cerrno>

#include "tests/conformance/streams/stream_rig.h"

namespace weir::test {
namespace {

// Bytes unread in the socket, bytes queued that the peer does not read, a read armed.
Recorder& busy(StreamRig& rig, Peer& peer) {
  Recorder& recorder = rig.reader(peer);
  for (int i = 0; i < 100; ++i) {
    Buf bytes = rig.bytes(0, 60'000);
    Write answer = Write::flowing;
    rig.call([&] { answer = recorder.stream.try_write(bytes); });
    if (answer == Write::refused) break;
    if (i % 10 == 0) rig.step();
  }
  peer.send(5000);
  return recorder;
}

void close_with_everything_in_flight(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = busy(rig, peer);
  rig.call([&] { recorder.stream.close(); });
  DEMAND_EQ(rig, recorder.close_count, 0u);
  AWAIT(rig, recorder.close_count == 1);
  DEMAND(rig, recorder.close_error.ok());
  rig.settle();
  AWAIT(rig, (peer.read_some(), peer.is_eof() || peer.error() != 0));
}

void close_twice(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = busy(rig, peer);
  rig.call([&] {
    recorder.stream.close();
    recorder.stream.close();
  });
  AWAIT(rig, recorder.close_count == 1);
  rig.call([&] { recorder.stream.close(); });
  rig.settle();
  DEMAND_EQ(rig, recorder.close_count, 1u);
}

void reset_is_seen(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.reader(peer);
  rig.settle();
  rig.call([&] { recorder.stream.reset(); });
  AWAIT(rig, recorder.close_count == 1);
  AWAIT(rig, (peer.read_some(), peer.error() != 0));
  DEMAND_EQ(rig, peer.error(), ECONNRESET);
}

// No user code runs for an owner that is gone; its memory comes home (the rig looks at the end).
void destroyed_with_everything_in_flight(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = busy(rig, peer);
  const std::size_t bytes_before = recorder.bytes.size();
  rig.call([&] { recorder.stream = Stream(); });
  rig.settle();
  AWAIT(rig, (peer.read_some(), peer.is_eof() || peer.error() != 0));
  DEMAND_EQ(rig, recorder.close_count, 0u);
  DEMAND_EQ(rig, recorder.bytes.size(), bytes_before);
}

enum class Where { on_read, on_end, on_writable };

// The stream goes away inside its own callback.
template <Where where, bool is_destroyed>
void ended_in_its_own_callback(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.record(rig.connected(peer));
  bool has_happened = false;
  const auto end_it = [&] {
    has_happened = true;
    if (is_destroyed) {
      recorder.stream = Stream();
    } else {
      recorder.stream.close();
    }
  };
  (where == Where::on_read  ? recorder.when_read
   : where == Where::on_end ? recorder.when_ended
                            : recorder.when_writable) = end_it;
  rig.call([&] { recorder.start(); });
  peer.send(50'000);
  peer.finish();
  AWAIT(rig, [&] {
    if (where == Where::on_writable && !has_happened) {
      for (int i = 0; i < 3; ++i) {  // more than the high mark
        Buf bytes = rig.bytes(0, 60'000);
        rig.call([&] { static_cast<void>(recorder.stream.try_write(bytes)); });
      }
    }
    peer.read_some();
    return has_happened;
  }());
  const std::size_t bytes_then = recorder.bytes.size();
  AWAIT(rig, rig.metrics().connections == 0);
  rig.settle();
  DEMAND_EQ(rig, recorder.bytes.size(), bytes_then);
  DEMAND_EQ(rig, recorder.close_count, is_destroyed ? 0u : 1u);
}

// Blocks that the owner still holds outlive their stream.
void held_blocks_outlive_it(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.reader(peer);
  recorder.holds_blocks = true;
  peer.send(20'000);
  AWAIT(rig, recorder.bytes.size() == 20'000);
  rig.call([&] { recorder.stream.close(); });
  AWAIT(rig, recorder.close_count == 1);
  rig.call([&] { recorder.stream = Stream(); });
  rig.settle();
  std::string held;
  for (const Buf& buf : recorder.held) held += buf.text();
  DEMAND_EQ(rig, held, pattern(0, 20'000));
  recorder.held.clear();
}

// The kernel gives the number of a closed descriptor to the next stream.
void a_number_used_again_at_once(StreamRig& rig) {
  for (int i = 0; i < 50; ++i) {
    Peer old_peer;
    Recorder& old_one = rig.reader(old_peer);
    rig.step();
    old_peer.send(10);
    rig.call([&] { old_one.stream.close(); });
    AWAIT(rig, old_one.close_count == 1);
    const std::size_t old_bytes = old_one.bytes.size();
    Peer new_peer;
    Recorder& new_one = rig.reader(new_peer);
    old_peer.reset();
    rig.step();
    DEMAND_EQ(rig, new_one.bytes.size(), 0u);
    DEMAND_EQ(rig, new_one.close_count, 0u);
    new_peer.send(20);
    AWAIT(rig, new_one.bytes.size() == 20);
    DEMAND_EQ(rig, old_one.bytes.size(), old_bytes);
    rig.call([&] { new_one.stream = Stream(); });
  }
}

// The loop ends while everything is in flight; the rig then looks for blocks and descriptors that stayed.
void the_loop_ends(StreamRig& rig) {
  std::vector<Peer> peers(20);
  for (std::size_t i = 0; i < peers.size(); ++i) {
    if (i % 2 == 0) {
      busy(rig, peers[i]);
    } else {
      rig.reader(peers[i]);
    }
  }
  Listener listener = rig.listen();
  const Peer waiting = Peer::connect(listener.local_address());
  rig.step();
}

const StreamRow kRows[] = {
    {"CloseWithEverythingInFlight", 5, close_with_everything_in_flight},
    {"CloseTwice", 5, close_twice},
    {"ResetIsSeenByThePeer", 5, reset_is_seen},
    {"DestroyedWithEverythingInFlight", 5, destroyed_with_everything_in_flight},
    {"ClosedInOnRead", 5, ended_in_its_own_callback<Where::on_read, false>},
    {"DestroyedInOnRead", 5, ended_in_its_own_callback<Where::on_read, true>},
    {"ClosedInOnEnd", 5, ended_in_its_own_callback<Where::on_end, false>},
    {"DestroyedInOnEnd", 5, ended_in_its_own_callback<Where::on_end, true>},
    {"ClosedInOnWritable", 5, ended_in_its_own_callback<Where::on_writable, false>},
    {"DestroyedInOnWritable", 5, ended_in_its_own_callback<Where::on_writable, true>},
    {"HeldBlocksOutliveIt", 4, held_blocks_outlive_it},
    {"ANumberUsedAgainAtOnce", 5, a_number_used_again_at_once},
    {"TheLoopEnds", 9, the_loop_ends},
};

}  // namespace

std::span<const StreamRow> ending_rows() { return kRows; }

}  // namespace weir::test
