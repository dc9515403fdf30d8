// Neighbours: an echo service with one client that never stops sending, or with two hundred that never read, must serve
// the polite ones all the while, within the memory that it was given.
#include <algorithm>

#include "tests/conformance/streams/stream_rig.h"

namespace weir::test {
namespace {

constexpr std::size_t kMessage = 64;
// So far below the limit that many are accepted at a time.
constexpr StreamRigOptions kService{
    .block_bytes = 16 << 10, .blocks = 1024, .overflow_blocks = 3072, .connections_max = 10'000};

Task<> echo(Stream peer) {
  while (Buf bytes = co_await peer.read()) co_await peer.write(std::move(bytes));
  co_await peer.finish();
}

Task<> serve(Listener listener, Scope* sessions) {
  for (;;) sessions->spawn(echo(co_await listener.accept()), "echo");
}

// Clients whose connection breaks at the end are no news.
ScopeOptions quiet() {
  ScopeOptions options;
  options.on_error = [](const Failure&, void*) {};
  return options;
}

struct Service {
  explicit Service(StreamRig& rig) : sessions(quiet()) {
    Listener listener = rig.listen();
    address = listener.local_address();
    accepting.spawn(serve(std::move(listener), &sessions), "serve");
  }
  Address address;
  Scope sessions;
  Scope accepting{quiet()};
};

// Each of `polite` sends a message and waits for its echo, `rounds` times; `mischief` goes on meanwhile.
void serve_the_polite(StreamRig& rig, std::vector<Peer>& polite, std::size_t rounds,
                      const std::function<void()>& mischief) {
  for (std::size_t round = 1; round <= rounds; ++round) {
    for (Peer& peer : polite) peer.send(kMessage);
    AWAIT(rig, [&] {
      mischief();
      bool is_served = true;
      for (Peer& peer : polite) {
        peer.read_some();
        is_served = is_served && peer.received().size() == round * kMessage;
      }
      return is_served;
    }());
    DEMAND(rig, rig.loop().receive_group().in_use() <= rig.loop().receive_group().blocks_max());
    DEMAND(rig, rig.metrics().write_queue_bytes <= rig.loop().limits().write_loop_cap_bytes);
  }
  for (const Peer& peer : polite)
    DEMAND_EQ(rig, first_difference(peer.received()), std::string::npos);
}

std::vector<Peer> clients(const Address& to, std::size_t count) {
  std::vector<Peer> peers;
  for (std::size_t i = 0; i < count; ++i) peers.push_back(Peer::connect(to));
  return peers;
}

// It reads what comes back, and sends 256 KiB at a time without end.
void one_that_never_stops(StreamRig& rig) {
  Service service(rig);
  std::vector<Peer> polite = clients(service.address, 200);
  Peer flood = Peer::connect(service.address);
  std::size_t flood_bytes = 0;
  serve_the_polite(rig, polite, 10, [&] {
    flood.send_some(256 << 10);
    flood_bytes += flood.read_some();
  });
  DEMAND(rig, flood_bytes > 0);
  DEMAND_EQ(rig, first_difference(flood.received()), std::string::npos);
}

void two_hundred_that_never_read(StreamRig& rig) {
  Service service(rig);
  std::vector<Peer> rude = clients(service.address, 200);
  std::vector<Peer> polite = clients(service.address, 20);
  serve_the_polite(rig, polite, 3, [&] {
    for (Peer& peer : rude) peer.send_some(64 << 10);
  });
}

const StreamRow kRows[] = {
    {"OneThatNeverStops", 0, one_that_never_stops, kService},
    {"TwoHundredThatNeverRead", 0, two_hundred_that_never_read, kService},
};

}  // namespace

std::span<const StreamRow> neighbour_rows() { return kRows; }

}  // namespace weir::test
