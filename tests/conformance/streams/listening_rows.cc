// Listeners: each connection comes once, to somebody; pausing, abandoned accepts and exhausted descriptors lose none that
// the owner did not give up.
#include <cerrno>

#include "tests/conformance/streams/stream_rig.h"

namespace weir::test {
namespace {

// Takes what a listener gives.
class Taker final : public ListenerHandler {
 public:
  std::vector<Stream> streams;
  std::vector<Error> errors;

 private:
  void on_accept(Stream stream) override { streams.push_back(std::move(stream)); }
  void on_error(const Error& error) override { errors.push_back(error); }
};

void each_comes_once(StreamRig& rig) {
  Listener listener = rig.listen();
  Taker taker;
  listener.start(taker);
  std::vector<Peer> peers;
  for (std::size_t i = 1; i <= 100; ++i) {
    peers.push_back(Peer::connect(listener.local_address()));
    if (i % 7 == 0) rig.step();
  }
  AWAIT(rig, taker.streams.size() == 100);
  rig.settle();
  DEMAND_EQ(rig, taker.streams.size(), 100u);
  DEMAND(rig, taker.errors.empty());
}

// However many wait, one listener gives its share of them in a turn, and another one's come in between.
void no_more_than_its_share_a_turn(StreamRig& rig) {
  Listener flooded = rig.listen(), polite = rig.listen();
  Taker taker, other;
  flooded.start(taker);
  polite.start(other);
  rig.settle();
  std::vector<Peer> peers;
  for (int i = 0; i < 60; ++i) peers.push_back(Peer::connect(flooded.local_address()));
  peers.push_back(Peer::connect(polite.local_address()));
  std::size_t before = 0;
  AWAIT(rig, [&] {
    rig.demand(taker.streams.size() - before <= rig.options().accepts_per_turn, "its share",
               __FILE__, __LINE__);
    before = taker.streams.size();
    return taker.streams.size() == 60 && other.streams.size() == 1;
  }());
}

void paused(StreamRig& rig) {
  Listener listener = rig.listen();
  Taker taker;
  listener.start(taker);
  std::vector<Peer> peers;
  for (int round = 0; round < 10; ++round) {
    if (round % 2 == 0) rig.step();
    peers.push_back(Peer::connect(listener.local_address()));
    peers.push_back(Peer::connect(listener.local_address()));
    round % 2 == 0 ? listener.pause() : listener.resume();
  }
  listener.resume();
  AWAIT(rig, taker.streams.size() == peers.size());
}

Task<> accept_once(Listener* listener, std::vector<Stream>* streams) {
  streams->push_back(co_await listener->accept());
}

Task<> accept_many(Listener* listener, std::vector<Stream>* streams) {
  for (;;) streams->push_back(co_await listener->accept());
}

void an_abandoned_accept_loses_none(StreamRig& rig) {
  Listener listener = rig.listen();
  std::vector<Stream> streams;
  std::vector<Peer> peers;
  for (int round = 0; round < 30; ++round) {
    Scope scope;
    scope.spawn(accept_once(&listener, &streams), "accept");
    if (round % 2 == 0) rig.step();
    peers.push_back(Peer::connect(listener.local_address()));
    if (round % 3 == 0) rig.step();
  }
  Scope scope;
  scope.spawn(accept_many(&listener, &streams), "accept");
  AWAIT(rig, streams.size() == peers.size());
  for (Stream& stream : streams) DEMAND(rig, stream.is_open());
}

// Beyond the limit the kernel's queue holds them, until one of ours closes.
void at_the_connection_limit_wait(StreamRig& rig) {
  Listener listener = rig.listen();
  Taker taker;
  listener.start(taker);
  std::vector<Peer> peers;
  for (int i = 0; i < 10; ++i) peers.push_back(Peer::connect(listener.local_address()));
  AWAIT(rig, taker.streams.size() == rig.options().connections_max);
  rig.settle();
  DEMAND_EQ(rig, taker.streams.size(), std::size_t{rig.options().connections_max});
  for (std::size_t closed = 0; closed < 6; ++closed) {
    taker.streams[closed].close();
    AWAIT(rig, taker.streams.size() == rig.options().connections_max + closed + 1);
  }
}

void at_the_connection_limit_reset(StreamRig& rig) {
  ListenOptions options;
  options.at_connection_limit = Overload::reset;
  Listener listener = rig.listen(options);
  Taker taker;
  listener.start(taker);
  std::vector<Peer> peers;
  for (int i = 0; i < 10; ++i) peers.push_back(Peer::connect(listener.local_address()));
  AWAIT(rig, [&] {
    std::size_t reset_count = 0;
    for (Peer& peer : peers) {
      peer.read_some();
      reset_count += peer.error() == ECONNRESET;
    }
    return reset_count == 10 - rig.options().connections_max;
  }());
  DEMAND_EQ(rig, taker.streams.size(), std::size_t{rig.options().connections_max});
}

// The reserve descriptor takes the connection and resets it, so that its client knows; later ones are served.
void without_descriptors_reset(StreamRig& rig) {
  Listener listener = rig.listen();
  Taker taker;
  listener.start(taker);
  rig.settle();
  Peer turned_away = Peer::connect(listener.local_address());
  {
    const NoDescriptors none;
    AWAIT(rig, [&] {
      turned_away.read_some();
      return turned_away.error() != 0 || taker.streams.size() == 1;
    }());
  }
  // io_uring may have read the limit when the accept was armed: then it was simply accepted.
  const std::size_t before = taker.streams.size();
  DEMAND(rig, before == 1 || turned_away.error() == ECONNRESET);
  const Peer later = Peer::connect(listener.local_address());
  AWAIT(rig, taker.streams.size() == before + 1);
  DEMAND(rig, taker.errors.empty());
}

void without_descriptors_wait(StreamRig& rig) {
  ListenOptions options;
  options.at_descriptor_limit = Overload::wait;
  Listener listener = rig.listen(options);
  Taker taker;
  listener.start(taker);
  rig.settle();
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) peers.push_back(Peer::connect(listener.local_address()));
  {
    const NoDescriptors none;
    for (int i = 0; i < 5; ++i) rig.step();
  }
  AWAIT(rig, taker.streams.size() == 3);
  for (Peer& peer : peers) {
    peer.read_some();
    DEMAND_EQ(rig, peer.error(), 0);
    DEMAND(rig, !peer.is_eof());
  }
  DEMAND(rig, taker.errors.empty());
}

void closed_with_connections_waiting(StreamRig& rig) {
  Listener listener = rig.listen();
  const Address address = listener.local_address();
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) peers.push_back(Peer::connect(address));
  rig.settle();
  listener.close();
  AWAIT(rig, [&] {
    std::size_t told = 0;
    for (Peer& peer : peers) {
      peer.read_some();
      told += peer.error() != 0 || peer.is_eof();
    }
    return told == peers.size();
  }());
  DEMAND(rig, !Peer::connect(address).is_open());
}

constexpr StreamRigOptions kEightAccepts{.accepts_per_turn = 8};
constexpr StreamRigOptions kFourConnections{.connections_max = 4};

const StreamRow kRows[] = {
    {"AcceptEachOnce", 1, each_comes_once},
    {"NoMoreThanItsShareATurn", 0, no_more_than_its_share_a_turn, kEightAccepts},
    {"AnAbandonedAcceptLosesNone", 3, an_abandoned_accept_loses_none},
    {"ListenerPaused", 7, paused},
    {"ListenerClosedWithConnectionsWaiting", 5, closed_with_connections_waiting},
    {"AtTheConnectionLimitWait", 0, at_the_connection_limit_wait, kFourConnections},
    {"AtTheConnectionLimitReset", 0, at_the_connection_limit_reset, kFourConnections},
    {"WithoutDescriptorsReset", 0, without_descriptors_reset},
    {"WithoutDescriptorsWait", 0, without_descriptors_wait},
};

}  // namespace

std::span<const StreamRow> listening_rows() { return kRows; }

}  // namespace weir::test
