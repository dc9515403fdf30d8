// What comes in: every byte once and in order, then the end, then nothing; with little memory, with blocks held, paused and
// resumed (sentences 1, 6 and 7).
#include "tests/conformance/streams/stream_rig.h"

namespace weir::test {
namespace {

constexpr StreamRigOptions kLittleMemory{.block_bytes = 1024, .blocks = 8, .loan_blocks = 4};

void to_the_end(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.reader(peer);
  for (std::size_t i = 1; i <= 5; ++i) {
    peer.send(1000);
    AWAIT(rig, reader.bytes.size() == i * 1000);
  }
  peer.finish();
  AWAIT(rig, reader.end_count == 1);
  rig.settle();
  DEMAND_EQ(rig, reader.close_count, 0u);
  rig.call([&] { reader.stream.end_writing(); });
  AWAIT(rig, reader.close_count == 1);
  DEMAND(rig, reader.close_error.ok());
  DEMAND_EQ(rig, reader.bytes, pattern(0, 5000));
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
}

// Bytes and FIN in the socket before anybody reads.
void bytes_and_the_end_at_once(StreamRig& rig) {
  for (const std::size_t count : {1u, 4096u, 10'000u, 60'000u}) {
    Peer peer;
    Recorder& reader = rig.record(rig.connected(peer));
    peer.send(count);
    peer.finish();
    rig.call([&] { reader.start(); });
    AWAIT(rig, reader.end_count == 1);
    DEMAND_EQ(rig, reader.bytes, pattern(0, count));
  }
}

void bytes_and_the_end_in_one_edge(StreamRig& rig) {
  for (const std::size_t count : {1u, 4096u, 10'000u, 60'000u}) {
    Peer peer;
    Recorder& reader = rig.reader(peer);
    rig.settle();
    peer.send(count);
    peer.finish();
    AWAIT(rig, reader.end_count == 1);
    DEMAND_EQ(rig, reader.bytes, pattern(0, count));
  }
}

void bytes_then_a_reset(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.reader(peer);
  rig.settle();
  peer.send(20'000);
  peer.reset();
  AWAIT(rig, reader.close_count == 1);
  DEMAND(rig, reader.close_error == Errc::connection_reset);
  DEMAND_EQ(rig, reader.bytes, pattern(0, 20'000));
  DEMAND_EQ(rig, reader.end_count, 0u);
}

// Paused: nothing comes; resumed: everything, in order, before the end.
void paused_then_resumed(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.reader(peer);
  peer.send(1000);
  AWAIT(rig, reader.bytes.size() == 1000);
  rig.call([&] { reader.stream.pause(); });
  peer.send(30'000);
  peer.finish();
  rig.settle();
  DEMAND_EQ(rig, reader.bytes.size(), 1000u);
  DEMAND_EQ(rig, reader.end_count, 0u);
  rig.call([&] { reader.stream.resume(); });
  AWAIT(rig, reader.end_count == 1);
  DEMAND_EQ(rig, reader.bytes, pattern(0, 31'000));
}

void paused_and_resumed_each_turn(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.reader(peer);
  for (std::size_t turn = 0; turn < 200; ++turn) {
    peer.send(1 + turn * 7);
    rig.call([&] { turn % 2 == 0 ? reader.stream.pause() : reader.stream.resume(); });
    if (turn % 3 == 0) rig.step();
  }
  rig.call([&] { reader.stream.resume(); });
  AWAIT(rig, reader.bytes.size() == peer.sent_bytes());
  DEMAND_EQ(rig, first_difference(reader.bytes), std::string::npos);
}

// A pause in on_read holds back what was received together with it.
void paused_in_its_own_callback(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.record(rig.connected(peer));
  std::size_t calls_while_paused = 0;
  reader.when_read = [&] {
    if (reader.stream.is_paused()) ++calls_while_paused;
    reader.stream.pause();
  };
  peer.send(50'000);
  rig.call([&] { reader.start(); });
  AWAIT(rig, [&] {
    if (reader.stream.is_paused()) rig.call([&] { reader.stream.resume(); });
    return reader.bytes.size() == 50'000;
  }());
  DEMAND_EQ(rig, calls_while_paused, 0u);
  DEMAND_EQ(rig, first_difference(reader.bytes), std::string::npos);
}

// The owner holds what it got until its loan cap pauses the stream; when the blocks come home it goes on by itself.
void held_blocks_pause_it(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.reader(peer);
  reader.holds_blocks = true;
  const std::size_t total = 600'000;
  AWAIT(rig, [&] {
    peer.send_some(total - peer.sent_bytes());
    return rig.metrics().read_pauses > 0;
  }());
  rig.settle();
  DEMAND(rig, reader.bytes.size() < total);
  DEMAND(rig, reader.stream.loaned_bytes() > 0);
  AWAIT(rig, [&] {
    peer.send_some(total - peer.sent_bytes());
    reader.held.clear();
    return reader.bytes.size() == total;
  }());
  DEMAND_EQ(rig, first_difference(reader.bytes), std::string::npos);
}

// Some hold whatever they get, many of them far more together than there is: what is left goes to those who hold nothing.
template <std::size_t holder_count>
void holders_do_not_starve_the_others(StreamRig& rig) {
  std::vector<Peer> rude(holder_count);
  std::vector<Recorder*> holders;
  for (Peer& peer : rude) {
    holders.push_back(&rig.reader(peer));
    holders.back()->holds_blocks = true;
  }
  std::vector<Peer> peers(5);
  std::vector<Recorder*> readers;
  for (Peer& peer : peers) readers.push_back(&rig.reader(peer));
  for (std::size_t round = 1; round <= 20; ++round) {
    for (Peer& peer : peers) peer.send(2000);
    AWAIT(rig, [&] {
      for (Peer& peer : rude) peer.send_some(100'000);
      for (const Recorder* reader : readers) {
        if (reader->bytes.size() != round * 2000) return false;
      }
      return true;
    }());
  }
  for (std::size_t i = 0; i < rude.size(); ++i) {
    Recorder& holder = *holders[i];
    holder.holds_blocks = false;
    AWAIT(rig, (holder.held.clear(), holder.bytes.size() == rude[i].sent_bytes()));
    DEMAND_EQ(rig, first_difference(holder.bytes), std::string::npos);
  }
}

// Twenty streams share memory for a few blocks.
void little_memory_loses_nothing(StreamRig& rig) {
  std::vector<Peer> peers(20);
  std::vector<Recorder*> readers;
  for (Peer& peer : peers) {
    readers.push_back(&rig.reader(peer));
    peer.send(30'000);
    peer.finish();
  }
  AWAIT(rig, [&] {
    for (const Recorder* reader : readers) {
      if (reader->end_count == 0) return false;
    }
    return true;
  }());
  for (const Recorder* reader : readers) {
    DEMAND_EQ(rig, reader->bytes.size(), 30'000u);
    DEMAND_EQ(rig, first_difference(reader->bytes), std::string::npos);
  }
}

void half_closed_by_the_peer(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.reader(peer);
  peer.finish();
  AWAIT(rig, reader.end_count == 1);
  for (std::size_t i = 0; i < 5; ++i) {
    Buf bytes = rig.bytes(i * 1000, 1000);
    rig.call([&] { static_cast<void>(reader.stream.try_write(bytes)); });
    AWAIT(rig, (peer.read_some(), peer.received().size() == (i + 1) * 1000));
  }
  DEMAND_EQ(rig, peer.received(), pattern(0, 5000));
}

void half_closed_by_us(StreamRig& rig) {
  Peer peer;
  Recorder& reader = rig.reader(peer);
  rig.call([&] { reader.stream.end_writing(); });
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  peer.send(50'000);
  AWAIT(rig, reader.bytes.size() == 50'000);
  peer.finish();
  AWAIT(rig, reader.close_count == 1);
  DEMAND(rig, reader.close_error.ok());
  DEMAND_EQ(rig, reader.bytes, pattern(0, 50'000));
}

const StreamRow kRows[] = {
    {"ReadToTheEnd", 1, to_the_end},
    {"LittleMemoryLosesNothing", 6, little_memory_loses_nothing, kLittleMemory},
    {"HeldBlocksPauseIt",
     6,
     held_blocks_pause_it,
     {.block_bytes = 4096, .blocks = 128, .loan_blocks = 8}},
    {"AHolderDoesNotStarveTheOthers",
     6,
     holders_do_not_starve_the_others<1>,
     {.block_bytes = 1024, .blocks = 64, .loan_blocks = 16}},
    {"ManyHoldersDoNotStarveTheOthers",
     6,
     holders_do_not_starve_the_others<30>,
     {.block_bytes = 4096, .blocks = 64, .overflow_blocks = 192}},
    {"BytesAndTheEndAtOnce", 7, bytes_and_the_end_at_once},
    {"BytesAndTheEndInOneEdge", 7, bytes_and_the_end_in_one_edge},
    {"BytesAndTheEndWithLittleMemory", 7, bytes_and_the_end_in_one_edge, kLittleMemory},
    {"BytesThenAReset", 7, bytes_then_a_reset},
    {"PausedThenResumed", 7, paused_then_resumed},
    {"PausedAndResumedEachTurn", 7, paused_and_resumed_each_turn},
    {"PausedInItsOwnCallback", 7, paused_in_its_own_callback},
    {"HalfClosedByThePeer", 7, half_closed_by_the_peer},
    {"HalfClosedByUs", 7, half_closed_by_us},
};

}  // namespace

std::span<const StreamRow> reading_rows() { return kRows; }

}  // namespace weir::test
