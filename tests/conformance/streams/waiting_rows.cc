// Tasks that wait, and stop waiting: deadlines against bytes, a task that goes away in the middle, a close under a task
// that waits (sentences 3, 5 and 8). Whatever was there for one that no longer waits is there for the next.
#include <random>

#include "tests/conformance/streams/stream_rig.h"
#include "weir/combine.h"

namespace weir::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// What a task was told. It outlives the task.
struct Log {
  std::string bytes;
  std::vector<Errc> errors;
  std::size_t done_count = 0;
  bool is_end = false;

  void take(Result<Buf> got) {
    if (!got.ok()) {
      errors.push_back(got.error().code);
    } else if (got.value().empty()) {
      is_end = true;
    } else {
      bytes.append(got.value().text());
    }
    ++done_count;
  }
};

Task<> read_once(Stream* stream, Log* log, Duration timeout) {
  log->take(co_await result(stream->read(timeout)));
}

Task<> read_until_total(Stream* stream, Log* log, std::size_t total, Duration timeout) {
  while (log->bytes.size() < total && !log->is_end)
    log->take(co_await result(stream->read(timeout)));
}

Task<> read_exactly(Stream* stream, Log* log, std::size_t count, Duration timeout) {
  log->take(co_await result(stream->read_exact(count, timeout)));
}

Task<> flush_once(Stream* stream, Log* log) {
  Result<void> got = co_await result(stream->flush());
  if (!got.ok()) log->errors.push_back(got.error().code);
  ++log->done_count;
}

void a_deadline_without_bytes(StreamRig& rig) {
  Peer peer;
  Stream stream = rig.connected(peer);
  Log log;
  const std::uint64_t start = rig.loop().backend().now();
  rig.loop().spawn(read_once(&stream, &log, milliseconds(20)), "read");
  AWAIT(rig, log.done_count == 1);
  DEMAND_EQ(rig, log.errors.size(), 1u);
  DEMAND(rig, log.errors[0] == Errc::timed_out);
  DEMAND(rig, rig.loop().backend().now() - start >= 20'000'000);
  peer.send(100);
  rig.loop().spawn(read_once(&stream, &log, Duration(0)), "read");
  AWAIT(rig, log.done_count == 2);
  DEMAND_EQ(rig, log.bytes, pattern(0, 100));
}

// Short deadlines race with bytes that come in pieces: each read is bytes or timed_out, never both, never neither.
template <std::uint32_t seed>
void deadlines_against_bytes(StreamRig& rig) {
  std::mt19937 random(seed);
  Peer peer;
  Stream stream = rig.connected(peer);
  Log log;
  const std::size_t total = 200'000;
  rig.loop().spawn(read_until_total(&stream, &log, total, microseconds(200)), "read");
  AWAIT(rig, [&] {
    if (random() % 3 != 0)
      peer.send_some(std::min<std::size_t>(total - peer.sent_bytes(), random() % 5000));
    return log.bytes.size() == total;
  }());
  DEMAND_EQ(rig, first_difference(log.bytes), std::string::npos);
  for (const Errc error : log.errors) DEMAND(rig, error == Errc::timed_out);
}

// What had come of an exact read that ran out of time is there for the next read.
void an_exact_read_out_of_time(StreamRig& rig) {
  Peer peer;
  Stream stream = rig.connected(peer);
  Log log;
  peer.send(5);
  rig.loop().spawn(read_exactly(&stream, &log, 10, milliseconds(20)), "read");
  AWAIT(rig, log.done_count == 1);
  DEMAND_EQ(rig, log.errors.size(), 1u);
  DEMAND(rig, log.errors[0] == Errc::timed_out);
  peer.send(10);
  rig.loop().spawn(read_exactly(&stream, &log, 15, Duration(0)), "read");
  AWAIT(rig, log.done_count == 2);
  DEMAND_EQ(rig, log.bytes, pattern(0, 15));
}

// The task goes away while it reads, at every point of the read's life.
void an_abandoned_read_loses_nothing(StreamRig& rig) {
  Peer peer;
  Stream stream = rig.connected(peer);
  Log log;
  for (std::size_t round = 0; round < 100; ++round) {
    Scope scope;
    scope.spawn(read_once(&stream, &log, Duration(0)), "read");
    if (round % 2 == 0) rig.step();
    peer.send(1 + round);
    if (round % 3 == 0) rig.step();
    scope.cancel();
  }
  rig.loop().spawn(read_until_total(&stream, &log, peer.sent_bytes(), Duration(0)), "read");
  AWAIT(rig, log.bytes.size() == peer.sent_bytes());
  DEMAND_EQ(rig, first_difference(log.bytes), std::string::npos);
  DEMAND(rig, log.errors.empty());
}

void a_close_under_those_who_wait(StreamRig& rig) {
  Peer peer;
  Stream stream = rig.connected(peer);
  for (int i = 0; i < 200; ++i) {
    Buf bytes = rig.bytes(0, 60'000);
    if (stream.try_write(bytes) == Write::refused) break;
    rig.step();
  }
  DEMAND(rig, stream.queued_bytes() > 0);
  Log reading;
  Log flushing;
  rig.loop().spawn(read_once(&stream, &reading, Duration(0)), "read");
  rig.loop().spawn(flush_once(&stream, &flushing), "flush");
  rig.settle();
  DEMAND_EQ(rig, reading.done_count + flushing.done_count, 0u);
  stream.close();
  DEMAND_EQ(rig, reading.done_count + flushing.done_count, 0u);
  AWAIT(rig, reading.done_count + flushing.done_count == 2);
  DEMAND(rig, reading.errors.size() == 1 && reading.errors[0] == Errc::closed);
  DEMAND(rig, flushing.errors.size() == 1 && flushing.errors[0] == Errc::closed);
  rig.settle();
  DEMAND_EQ(rig, reading.done_count + flushing.done_count, 2u);
}

Task<> write_all(Stream* stream, StreamRig* rig, std::size_t total, std::size_t* accepted) {
  while (*accepted < total) {
    const std::size_t count = std::min<std::size_t>(50'000, total - *accepted);
    Buf bytes = rig->bytes(*accepted, count);
    *accepted += count;
    co_await stream->write(std::move(bytes));
  }
}

// Bytes that were accepted are sent though nobody waits for them any more.
void an_abandoned_write_is_still_sent(StreamRig& rig) {
  Peer peer;
  Stream stream = rig.connected(peer);
  std::size_t accepted = 0;
  {
    Scope scope;
    scope.spawn(write_all(&stream, &rig, 64 << 20, &accepted), "write");
    AWAIT(rig, stream.queued_bytes() > rig.loop().limits().write_high_bytes);
    rig.settle();
  }
  AWAIT(rig, (peer.read_some(), peer.received().size() == accepted));
  DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

Task<> connect_once(Address to, Duration timeout, Log* log, Stream* stream) {
  ConnectOptions options;
  options.timeout = timeout;
  Result<Stream> got = co_await result(connect(to, options));
  if (got.ok()) {
    *stream = std::move(got).value();
  } else {
    log->errors.push_back(got.error().code);
  }
  ++log->done_count;
}

void a_connect_out_of_time(StreamRig& rig) {
  FullListener full;
  Log log;
  Stream stream;
  rig.loop().spawn(connect_once(full.address(), milliseconds(30), &log, &stream), "connect");
  AWAIT(rig, log.done_count == 1);
  DEMAND(rig, log.errors.size() == 1 && log.errors[0] == Errc::timed_out);
}

void an_abandoned_connect(StreamRig& rig) {
  FullListener full;
  Log log;
  Stream stream;
  for (int round = 0; round < 10; ++round) {
    Scope scope;
    scope.spawn(connect_once(full.address(), Duration(0), &log, &stream), "connect");
    if (round % 2 == 0) rig.settle();
  }
  rig.settle();
  DEMAND_EQ(rig, log.done_count, 0u);
}

void connects(StreamRig& rig) {
  PeerListener listener;
  Log log;
  Stream stream;
  rig.loop().spawn(connect_once(listener.address(), Duration(0), &log, &stream), "connect");
  AWAIT(rig, log.done_count == 1);
  DEMAND(rig, stream.is_open());
  DEMAND(rig, stream.peer_address() == listener.address());
  Peer peer;
  AWAIT(rig, (peer = listener.accept()).is_open());
  peer.send(100);
  rig.loop().spawn(read_once(&stream, &log, Duration(0)), "read");
  AWAIT(rig, log.done_count == 2);
  DEMAND_EQ(rig, log.bytes, pattern(0, 100));
}

void connect_refused(StreamRig& rig) {
  Log log;
  Stream stream;
  rig.loop().spawn(connect_once(refused_address(), Duration(0), &log, &stream), "connect");
  AWAIT(rig, log.done_count == 1);
  DEMAND(rig, log.errors.size() == 1 && log.errors[0] == Errc::connection_refused);
}

// Two tasks move bytes both ways between two connections, with their ends.
Task<> proxy(Stream client, Stream server, bool* is_done) {
  co_await when_all(pipe(client, server), pipe(server, client));
  *is_done = true;
}

void piped_both_ways(StreamRig& rig) {
  constexpr std::size_t kTotal = 2 << 20;
  Peer client;
  Peer server;
  Stream to_client = rig.connected(client);
  Stream to_server = rig.connected(server);
  bool is_done = false;
  rig.loop().spawn(proxy(std::move(to_client), std::move(to_server), &is_done), "proxy");
  AWAIT(rig, [&] {
    client.send_some(std::min<std::size_t>(kTotal - client.sent_bytes(), 100'000));
    server.send_some(std::min<std::size_t>(kTotal - server.sent_bytes(), 300'000));
    client.read_some(150'000);
    server.read_some(90'000);
    return client.received().size() == kTotal && server.received().size() == kTotal;
  }());
  DEMAND(rig, !is_done);
  client.finish();
  AWAIT(rig, (server.read_some(), server.is_eof()));
  DEMAND(rig, !is_done);
  server.finish();
  AWAIT(rig, (client.read_some(), client.is_eof()));
  AWAIT(rig, is_done);
  DEMAND_EQ(rig, first_difference(client.received()), std::string::npos);
  DEMAND_EQ(rig, first_difference(server.received()), std::string::npos);
}

const StreamRow kRows[] = {
    {"Connect", 1, connects},
    {"ConnectRefused", 1, connect_refused},
    {"AnAbandonedReadLosesNothing", 3, an_abandoned_read_loses_nothing},
    {"AnAbandonedWriteIsStillSent", 3, an_abandoned_write_is_still_sent},
    {"AnAbandonedConnect", 3, an_abandoned_connect},
    {"ACloseUnderThoseWhoWait", 5, a_close_under_those_who_wait},
    {"ADeadlineWithoutBytes", 8, a_deadline_without_bytes},
    {"DeadlinesAgainstBytesSeed1", 8, deadlines_against_bytes<1>},
    {"DeadlinesAgainstBytesSeed2", 8, deadlines_against_bytes<2>},
    {"AnExactReadOutOfTime", 8, an_exact_read_out_of_time},
    {"AConnectOutOfTime", 8, a_connect_out_of_time},
    {"PipedBothWays", 0, piped_both_ways},
};

}  // namespace

std::span<const StreamRow> waiting_rows() { return kRows; }

}  // namespace weir::test
