// What goes out: every accepted byte arrives once and in order, or an error says that it may not have; a refused one is
// still the caller's; memory comes home when the kernel has the bytes (sentences 1, 2 and 4).
#include <algorithm>

#include "tests/conformance/streams/stream_rig.h"

namespace weir::test {
namespace {

// Writes until `total` bytes were accepted; whether one was refused on the way.
struct Writer {
  Recorder& recorder;
  std::size_t total;
  std::size_t accepted = 0;
  std::size_t refused_count = 0;
  std::size_t pressured_count = 0;

  void write_some(StreamRig& rig, std::size_t piece) {
    while (accepted < total) {
      const std::size_t count = std::min(piece, total - accepted);
      Buf bytes = rig.bytes(accepted, count);
      Write answer = Write::flowing;
      rig.call([&] { answer = recorder.stream.try_write(bytes); });
      if (answer == Write::refused) {
        ++refused_count;
        rig.demand_eq(bytes.size(), count, "a refused Buf is whole", __FILE__, __LINE__);
        return;
      }
      rig.demand(bytes.empty(), "an accepted Buf is empty", __FILE__, __LINE__);
      accepted += count;
      if (answer == Write::pressured) {
        ++pressured_count;
        return;
      }
    }
  }
};

void one_message(StreamRig& rig) {
  Peer peer;
  Recorder& writer = rig.reader(peer);
  Buf bytes = rig.bytes(0, 1000);
  rig.call([&] { static_cast<void>(writer.stream.try_write(bytes)); });
  AWAIT(rig, (peer.read_some(), peer.received().size() == 1000));
  DEMAND_EQ(rig, peer.received(), pattern(0, 1000));
  AWAIT(rig, writer.stream.queued_bytes() == 0);  // the completion may be held back
}

// Many writes of one callback are one send, in order.
void gathered(StreamRig& rig) {
  Peer peer;
  Recorder& writer = rig.reader(peer);
  rig.settle();
  const std::uint64_t sends_before = rig.metrics().sends;
  bool is_written = false;
  rig.loop().immediate(Job([&] {
    for (std::size_t i = 0; i < 20; ++i) {
      Buf bytes = rig.bytes(i * 50, 50);
      rig.call([&] { static_cast<void>(writer.stream.try_write(bytes)); });
    }
    is_written = true;
  }));
  AWAIT(rig, is_written);
  AWAIT(rig, (peer.read_some(), peer.received().size() == 1000));
  DEMAND_EQ(rig, peer.received(), pattern(0, 1000));
  DEMAND(rig, rig.metrics().sends - sends_before <= 10);
}

void a_slow_reader(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.reader(peer);
  Writer writer{recorder, 8 << 20};
  AWAIT(rig, [&] {
    if (recorder.stream.queued_bytes() == 0 || recorder.writable_count > 0) {
      recorder.writable_count = 0;
      writer.write_some(rig, 100'000);
    }
    peer.read_some(200'000);
    return peer.received().size() == writer.total;
  }());
  DEMAND(rig, writer.pressured_count > 0);
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

// At the cap bytes are refused and stay the caller's; below the low mark it is told that it may go on.
void refused_at_the_cap(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.reader(peer);
  Writer writer{recorder, 64 << 20};
  AWAIT(rig, (writer.write_some(rig, 50'000), writer.refused_count > 0));
  DEMAND(rig, recorder.stream.queued_bytes() <= rig.loop().limits().write_cap_bytes);
  recorder.writable_count = 0;  // while the kernel still took what was queued
  AWAIT(rig, (peer.read_some(), recorder.writable_count > 0));
  AWAIT(rig, (peer.read_some(), peer.received().size() == writer.accepted));
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

void fin_behind_what_is_queued(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.reader(peer);
  Writer writer{recorder, 600'000};
  while (writer.accepted < writer.total && writer.refused_count == 0)
    writer.write_some(rig, 50'000);
  rig.call([&] { recorder.stream.end_writing(); });
  AWAIT(rig, (peer.read_some(), peer.is_eof()));
  DEMAND_EQ(rig, peer.received().size(), writer.accepted);
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

// What is received is what is sent: the blocks themselves go round.
void echo_of_much(StreamRig& rig) {
  constexpr std::size_t kTotal = 4 << 20;
  Peer peer;
  Recorder& echo = rig.record(rig.connected(peer));
  echo.holds_blocks = true;
  const auto send_held = [&] {
    while (!echo.held.empty()) {
      if (echo.stream.try_write(echo.held.front()) == Write::refused) {
        echo.stream.pause();
        return;
      }
      echo.held.erase(echo.held.begin());
    }
    if (echo.stream.is_paused()) echo.stream.resume();
  };
  echo.when_read = send_held;
  echo.when_writable = send_held;
  rig.call([&] { echo.start(); });
  AWAIT(rig, [&] {
    peer.send_some(std::min<std::size_t>(kTotal - peer.sent_bytes(), 200'000));
    peer.read_some(150'000);
    return peer.received().size() == kTotal;
  }());
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

// Its own reads go on; the error is told once, with the close.
void to_a_dead_peer(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.reader(peer);
  peer.reset();
  Writer writer{recorder, 1 << 20};
  AWAIT(rig, [&] {
    if (recorder.close_count == 0) writer.write_some(rig, 10'000);
    return recorder.close_count == 1;
  }());
  DEMAND(rig, !recorder.close_error.ok());
}

void the_peer_dies_with_bytes_queued(StreamRig& rig) {
  Peer peer;
  Recorder& recorder = rig.reader(peer);
  Writer writer{recorder, 64 << 20};
  AWAIT(rig, (writer.write_some(rig, 50'000), writer.refused_count > 0));
  peer.reset();
  AWAIT(rig, recorder.close_count == 1);
  DEMAND(rig, recorder.close_error == Errc::connection_reset ||
                  recorder.close_error == Errc::broken_pipe);
}

const StreamRow kRows[] = {
    {"WriteOneMessage", 1, one_message},
    {"WritesAreGathered", 1, gathered},
    {"WriteToASlowReader", 1, a_slow_reader},
    {"FinBehindWhatIsQueued", 1, fin_behind_what_is_queued},
    {"EchoOfMuch", 4, echo_of_much},
    {"RefusedAtTheCap", 0, refused_at_the_cap},
    {"WriteToADeadPeer", 3, to_a_dead_peer},
    {"ThePeerDiesWithBytesQueued", 3, the_peer_dies_with_bytes_queued},
};

}  // namespace

std::span<const StreamRow> writing_rows() { return kRows; }

}  // namespace weir::test
