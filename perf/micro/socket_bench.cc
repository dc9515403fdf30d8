// Single operations on sockets, on each backend: the floor for latency. The other end is a plain blocking socket, and what
// it does is in the time: read them beside each other, and beside system calls/op, not by themselves.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>

#include "perf/micro/make_loop.h"
#include "weir/listener.h"
#include "weir/scope.h"
#include "weir/stream.h"

namespace weir {
namespace {

sockaddr_in native_address(const Address& address) {
  sockaddr_in native{};
  native.sin_family = AF_INET;
  native.sin_port = htons(address.port);
  native.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return native;
}
int connect_plain(const Address& address) {
  const sockaddr_in native = native_address(address);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&native), sizeof native) == 0 ? fd : -1;
}
void reset_plain(int fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(fd);
}

struct Counter final : StreamHandler {
  void on_read(Buf bytes) override { received_bytes += bytes.size(); }
  void on_close(const Error&) override { ++closed_count; }
  std::uint64_t received_bytes = 0;
  std::uint64_t closed_count = 0;
};

struct Acceptor final : ListenerHandler {
  void on_accept(Stream stream) override {
    accepted = std::move(stream);
    ++accepted_count;
  }
  void on_error(const Error&) override {}
  Stream accepted;
  std::uint64_t accepted_count = 0;
};

// A connected pair: a stream of the loop's and a plain socket.
struct Pair {
  explicit Pair(Loop& loop) {
    Listener listener = Listener::listen(loop, Address::loopback(0)).value();
    listener.start(acceptor);
    fd = connect_plain(listener.local_address());
    while (!acceptor.accepted.valid()) loop.run(RunMode::once);
    stream = std::move(acceptor.accepted);
  }
  ~Pair() { reset_plain(fd); }
  Acceptor acceptor;
  Stream stream;
  int fd = -1;
};

void report_system_calls(benchmark::State& state, Loop& loop, std::uint64_t before) {
  state.counters["syscalls"] =
      benchmark::Counter(static_cast<double>(loop.metrics().system_calls - before),
                         benchmark::Counter::kAvgIterations);
}

// The bytes are there before the loop looks.
void BM_RecvReady(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  Pair pair(*loop);
  Counter counter;
  pair.stream.start(counter);
  const std::array<char, 64> bytes{};
  std::uint64_t wanted = 0;
  const std::uint64_t before = loop->metrics().system_calls;
  for (auto _ : state) {
    wanted += bytes.size();
    if (::send(pair.fd, bytes.data(), bytes.size(), 0) != ssize_t{bytes.size()}) return;
    while (counter.received_bytes != wanted) loop->run(RunMode::once);
  }
  report_system_calls(state, *loop, before);
}
BENCHMARK(BM_RecvReady)->ArgName("backend")->DenseRange(0, 1);

void BM_Send(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  Pair pair(*loop);
  std::array<char, 64> bytes{};
  const std::uint64_t before = loop->metrics().system_calls;
  for (auto _ : state) {
    Buf buf = loop->allocate(bytes.size());
    if (pair.stream.try_write(buf) != Write::flowing) return state.SkipWithError("pressure");
    while (pair.stream.queued_bytes() != 0) loop->run(RunMode::once);
    if (::recv(pair.fd, bytes.data(), bytes.size(), MSG_WAITALL) != ssize_t{bytes.size()}) return;
  }
  report_system_calls(state, *loop, before);
}
BENCHMARK(BM_Send)->ArgName("backend")->DenseRange(0, 1);

void BM_AcceptClose(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  Listener listener = Listener::listen(*loop, Address::loopback(0)).value();
  Acceptor acceptor;
  listener.start(acceptor);
  std::uint64_t wanted = 0;
  const std::uint64_t before = loop->metrics().system_calls;
  for (auto _ : state) {
    const int fd = connect_plain(listener.local_address());
    ++wanted;
    while (acceptor.accepted_count != wanted) loop->run(RunMode::once);
    acceptor.accepted = Stream();
    loop->run(RunMode::no_wait);
    reset_plain(fd);
  }
  report_system_calls(state, *loop, before);
}
BENCHMARK(BM_AcceptClose)->ArgName("backend")->DenseRange(0, 1);

Task<> connect_once(Address address, std::uint64_t& count) {
  Stream stream = co_await connect(address);
  ++count;
  stream.reset();
}
void BM_ConnectReset(benchmark::State& state) {
  const auto loop = make_loop(state);
  if (loop == nullptr) return;
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in native = native_address(Address::loopback(0));
  socklen_t size = sizeof native;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&native), size) != 0 ||
      ::listen(listener, 64) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&native), &size) != 0)
    return state.SkipWithError("no listener");
  const Address address = Address::loopback(ntohs(native.sin_port));
  std::uint64_t connected_count = 0, wanted = 0;
  const std::uint64_t before = loop->metrics().system_calls;
  for (auto _ : state) {
    loop->spawn(connect_once(address, connected_count), "connect once");
    ++wanted;
    while (connected_count != wanted)  // NOLINT(bugprone-infinite-loop): the task counts
      loop->run(RunMode::once);
    loop->run(RunMode::no_wait);
    ::close(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  }
  report_system_calls(state, *loop, before);
  ::close(listener);
}
BENCHMARK(BM_ConnectReset)->ArgName("backend")->DenseRange(0, 1);

}  // namespace
}  // namespace weir
