// The neutral client of the comparisons: raw epoll, one thread, knows nothing of weir.
//   echo_client echo   closed loop: --pipeline requests stay out on each connection
//   echo_client churn  connect, one echo, reset; --connections of them at once
//   echo_client idle   one echo on each connection, then hold them until standard input ends
// Every byte that comes back is compared with what was sent; the first wrong byte, an early end or
// a silence of 10 s ends the run with exit code 1. Else it prints one line of JSON.
// With --pid it also says what the server used in exactly the measured time: CPU from schedstat and
// system calls from the raw_syscalls tracepoint. On one shared CPU the server never runs while
// these are read, so they are exact.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common.h"
#include "histogram.h"
#include "server_usage.h"

namespace {

constexpr std::size_t kChunkBytes = 256 * 1024;   // at most this much in one send or recv
constexpr unsigned kConnectionsPerSource = 4500;  // connect() turns slow at half of the ports
constexpr int kSilenceMs = 10'000;

// --- Options -------------------------------------------------------------------------------------

enum class Mode { echo, churn, idle };

struct Options {
  Mode mode = Mode::echo;
  sockaddr_in server{};
  unsigned connections = 1;
  std::size_t size = 64;       // bytes of a request
  unsigned pipeline = 1;       // requests out at once on a connection
  std::uint64_t requests = 0;  // measure this many; 0: measure for duration_ms
  std::uint64_t duration_ms = 1000;
  std::uint64_t warmup = 0;  // requests when `requests` is given, else milliseconds
  pid_t pid = 0;
  bool count_syscalls = false;
};

constexpr char kUsage[] =
    "usage: echo_client echo|churn|idle --connect ADDR:PORT [--connections N] [--size BYTES]\n"
    "                   [--pipeline N] [--duration-ms N | --requests N] [--warmup MS_OR_REQUESTS]\n"
    "                   [--pid SERVER [--syscalls]]\n";

[[noreturn]] void refuse(std::string_view wrong) {
  std::fprintf(stderr, "echo_client: not understood: '%.*s'\n%s", static_cast<int>(wrong.size()),
               wrong.data(), kUsage);
  std::exit(2);
}

std::uint64_t parse_number(const char* text, std::uint64_t least, std::uint64_t most) {
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value < least || value > most) refuse(text);
  return value;
}

sockaddr_in parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (colon == std::string::npos ||
      inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1)
    refuse(text);
  address.sin_port =
      htons(static_cast<std::uint16_t>(parse_number(text.c_str() + colon + 1, 1, 65535)));
  return address;
}

Options parse_options(int argc, char** argv) {
  Options options;
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode != "echo" && mode != "churn" && mode != "idle") refuse(mode);
  options.mode = mode == "echo" ? Mode::echo : mode == "churn" ? Mode::churn : Mode::idle;
  for (int i = 2; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--syscalls") {
      options.count_syscalls = true;
      continue;
    }
    if (i + 1 == argc) refuse(name);
    const char* value = argv[++i];
    if (name == "--connect")
      options.server = parse_address(value);
    else if (name == "--connections")
      options.connections = static_cast<unsigned>(parse_number(value, 1, 1'000'000));
    else if (name == "--size")
      options.size = parse_number(value, 1, 64 << 20);
    else if (name == "--pipeline")
      options.pipeline = static_cast<unsigned>(parse_number(value, 1, 65536));
    else if (name == "--requests")
      options.requests = parse_number(value, 1, UINT64_MAX);
    else if (name == "--duration-ms")
      options.duration_ms = parse_number(value, 1, 86'400'000);
    else if (name == "--warmup")
      options.warmup = parse_number(value, 0, UINT64_MAX);
    else if (name == "--pid")
      options.pid = static_cast<pid_t>(parse_number(value, 1, 1 << 22));
    else
      refuse(name);
  }
  if (options.server.sin_port == 0) refuse("no --connect");
  if (options.mode != Mode::echo && (options.pipeline != 1 || options.size > 64 * 1024)) {
    refuse("churn and idle: --pipeline 1 and at most 64 KiB");
  }
  if (options.count_syscalls && options.pid == 0) refuse("--syscalls without --pid");
  return options;
}

// --- The bytes -----------------------------------------------------------------------------------

// A connection's stream is this sequence from an offset of its own, so bytes lost, doubled or sent
// to a neighbour show. The period is prime, so that no request size falls in step with it, and
// short, so that the client leaves the cache alone.
class Pattern {
 public:
  Pattern() : bytes_(kPeriod + kChunkBytes) {
    std::uint32_t x = 2463534242;
    for (std::size_t i = 0; i < kPeriod; ++i) {
      x ^= x << 13, x ^= x >> 17, x ^= x << 5;
      bytes_[i] = static_cast<char>(x >> 24);
    }
    for (std::size_t i = kPeriod; i < bytes_.size(); ++i) bytes_[i] = bytes_[i - kPeriod];
  }
  /// kChunkBytes of the sequence from `position` on.
  const char* at(std::uint64_t position) const { return bytes_.data() + position % kPeriod; }

 private:
  static constexpr std::size_t kPeriod = 4093;
  std::vector<char> bytes_;
};

// --- The client ----------------------------------------------------------------------------------

struct Connection {
  int fd = -1;
  std::uint64_t offset = 0;  // of its stream in the pattern
  std::uint64_t wanted_bytes = 0, sent_bytes = 0, received_bytes = 0;
  std::size_t partial_bytes = 0;         // received of the oldest answer
  std::vector<std::uint64_t> issued_ns;  // a ring: `out_count` requests from `oldest` on
  unsigned oldest = 0, out_count = 0;
};

class Client {
 public:
  explicit Client(const Options& options);
  void run_load();
  void hold_idle();

 private:
  struct Usage {
    std::uint64_t at_ns, completed, client_cpu_ns, server_cpu_ns, server_syscalls;
  };

  void open(Connection& c);
  void reset(Connection& c);
  void fill(Connection& c, std::uint64_t now);
  void issue(Connection& c, std::uint64_t now);
  void flush(Connection& c);
  void on_readable(Connection& c, bool closing);
  void take(Connection& c, std::size_t got);
  void complete(Connection& c, std::uint64_t now);

  bool is_done() const;
  void drive();
  Usage usage_now() const;
  void print_result(const Usage& begin, const Usage& end) const;

  std::size_t index_of(const Connection& c) const {
    return static_cast<std::size_t>(&c - connections_.data());
  }

  const Options options_;
  const Pattern pattern_;
  std::vector<Connection> connections_;
  std::vector<char> buffer_;
  const int epoll_;
  std::uint64_t opened_ = 0, issued_ = 0, completed_ = 0;
  std::uint64_t issue_limit_ = UINT64_MAX, stop_ns_ = UINT64_MAX;  // when drive() returns
  bool is_measuring_ = false;
  Histogram latency_;
  std::optional<SyscallCounter> syscalls_;
};

Client::Client(const Options& options)
    : options_(options),
      connections_(options.connections),
      buffer_(kChunkBytes),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  for (Connection& c : connections_) c.issued_ns.resize(options.pipeline);
}

// Blocking: on loopback the handshake needs no server, so this returns at once.
void Client::open(Connection& c) {
  const int one = 1;
  c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c.fd < 0) fail("socket: %s", std::strerror(errno));
  setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const std::size_t index = index_of(c);
  if (index >= kConnectionsPerSource && (ntohl(options_.server.sin_addr.s_addr) >> 24) == 127) {
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr =
        htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(index / kConnectionsPerSource));
    setsockopt(c.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c.fd, reinterpret_cast<sockaddr*>(&source), sizeof source) != 0)
      fail("bind: %s", std::strerror(errno));
  }
  if (connect(c.fd, reinterpret_cast<const sockaddr*>(&options_.server), sizeof options_.server) !=
      0) {
    fail("connection %zu: connect: %s", index, std::strerror(errno));
  }
  c.wanted_bytes = c.sent_bytes = c.received_bytes = 0;
  c.offset = 61 * index + 17 * opened_++;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = index;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0) fail("epoll: %s", std::strerror(errno));
}

// Reset instead of a FIN, so that no port waits in TIME_WAIT.
void Client::reset(Connection& c) {
  const linger at_once{1, 0};
  setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(c.fd);
  c.fd = -1;
}

void Client::issue(Connection& c, std::uint64_t now) {
  unsigned slot = c.oldest + c.out_count++;
  if (slot >= options_.pipeline) slot -= options_.pipeline;
  c.issued_ns[slot] = now;
  c.wanted_bytes += options_.size;
  ++issued_;
}

// As many requests as may be out.
void Client::fill(Connection& c, std::uint64_t now) {
  while (c.out_count < options_.pipeline && issued_ < issue_limit_) {
    if (c.fd < 0) open(c);
    issue(c, now);
  }
  flush(c);
}

void Client::flush(Connection& c) {
  while (c.sent_bytes < c.wanted_bytes) {
    const std::size_t size = std::min<std::uint64_t>(c.wanted_bytes - c.sent_bytes, kChunkBytes);
    const ssize_t sent =
        send(c.fd, pattern_.at(c.offset + c.sent_bytes), size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN)
      fail("connection %zu: send: %s", index_of(c), std::strerror(errno));
    if (sent > 0) c.sent_bytes += static_cast<std::uint64_t>(sent);
    if (sent < static_cast<ssize_t>(size)) return;  // full: an edge follows
  }
}

// Compares what is in the buffer with what must come next.
void Client::take(Connection& c, std::size_t got) {
  const char* expected = pattern_.at(c.offset + c.received_bytes);
  if (std::memcmp(buffer_.data(), expected, got) != 0) {
    const auto wrong = std::mismatch(expected, expected + got, buffer_.data()).first - expected;
    fail("connection %zu: byte %llu of the stream is wrong", index_of(c),
         static_cast<unsigned long long>(c.received_bytes + static_cast<std::uint64_t>(wrong)));
  }
  c.received_bytes += got;
  c.partial_bytes += got;
  if (c.received_bytes > c.sent_bytes)
    fail("connection %zu: more came back than was sent", index_of(c));
}

void Client::complete(Connection& c, std::uint64_t now) {
  if (is_measuring_) latency_.record(now - c.issued_ns[c.oldest]);
  if (++c.oldest == options_.pipeline) c.oldest = 0;
  --c.out_count;
  c.partial_bytes -= options_.size;
  ++completed_;
}

// Edge-triggered, registered once: a short read means drained, unless the peer is closing.
void Client::on_readable(Connection& c, bool closing) {
  std::uint64_t now = 0;
  for (;;) {
    const ssize_t got = recv(c.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) fail("connection %zu: recv: %s", index_of(c), std::strerror(errno));
    if (got == 0) fail("connection %zu: the server closed it", index_of(c));
    take(c, static_cast<std::size_t>(got));
    if (c.partial_bytes >= options_.size) now = now_ns();
    while (c.partial_bytes >= options_.size) complete(c, now);
    if (!closing && got < static_cast<ssize_t>(buffer_.size())) break;
  }
  if (options_.mode == Mode::churn && c.out_count == 0) reset(c);
  fill(c, now);
}

// --- The measured time ---------------------------------------------------------------------------

Client::Usage Client::usage_now() const {
  Usage usage{0, completed_, clock_ns(CLOCK_PROCESS_CPUTIME_ID), 0, 0};
  if (options_.pid != 0) usage.server_cpu_ns = cpu_ns_of(options_.pid);
  if (syscalls_) usage.server_syscalls = syscalls_->read_count();
  usage.at_ns = now_ns();
  return usage;
}

bool Client::is_done() const { return completed_ == issue_limit_ || now_ns() >= stop_ns_; }

// Whole batches of events: their edges do not come again.
void Client::drive() {
  for (Connection& c : connections_) fill(c, now_ns());
  static epoll_event events[512];
  while (!is_done()) {
    const int count = epoll_wait(epoll_, events, 512, kSilenceMs);
    if (count == 0) fail("no answer within %d ms", kSilenceMs);
    for (int i = 0; i < count; ++i) {
      Connection& c = connections_[events[i].data.u64];
      const bool closing = events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
      if (closing || (events[i].events & EPOLLIN))
        on_readable(c, closing);
      else
        flush(c);
    }
  }
}

// Counted requests: all answers of the warm-up are in before the first measured request goes out,
// so the server's work is attributed exactly. Timed: the load goes on through both phases.
void Client::run_load() {
  const bool is_counted = options_.requests != 0;
  if (options_.count_syscalls) syscalls_.emplace(options_.pid);
  if (is_counted)
    issue_limit_ = options_.warmup;
  else
    stop_ns_ = now_ns() + options_.warmup * 1'000'000;
  drive();

  const Usage begin = usage_now();
  is_measuring_ = true;
  if (is_counted)
    issue_limit_ += options_.requests;
  else
    stop_ns_ = begin.at_ns + options_.duration_ms * 1'000'000;
  drive();
  print_result(begin, usage_now());

  for (Connection& c : connections_) {
    if (c.fd >= 0) reset(c);
  }
}

void Client::print_result(const Usage& begin, const Usage& end) const {
  const auto requests = static_cast<double>(end.completed - begin.completed);
  const double seconds = static_cast<double>(end.at_ns - begin.at_ns) / 1e9;
  const auto print_per_request = [&](const char* name, std::uint64_t amount, double unit) {
    std::printf(",\"%s\":%.4f", name, static_cast<double>(amount) / unit / requests);
  };
  if (requests == 0) fail("not one answer in the measured time");
  std::printf("{\"mode\":\"%s\",\"connections\":%u,\"size\":%zu,\"pipeline\":%u",
              options_.mode == Mode::churn ? "churn" : "echo", options_.connections, options_.size,
              options_.pipeline);
  std::printf(",\"requests\":%.0f,\"seconds\":%.6f,\"requests_per_second\":%.1f", requests, seconds,
              requests / seconds);
  std::printf(",\"p50_us\":%.3f,\"p99_us\":%.3f", latency_.quantile_us(0.5),
              latency_.quantile_us(0.99));
  print_per_request("client_cpu_us", end.client_cpu_ns - begin.client_cpu_ns, 1e3);
  if (options_.pid != 0)
    print_per_request("server_cpu_us", end.server_cpu_ns - begin.server_cpu_ns, 1e3);
  if (syscalls_)
    print_per_request("server_syscalls", end.server_syscalls - begin.server_syscalls, 1);
  std::puts("}");
}

// --- Idle connections ----------------------------------------------------------------------------

// One echo each, so that a connection has lived before it idles; it also keeps the listener's
// backlog short.
void Client::hold_idle() {
  const timeval limit{kSilenceMs / 1000, 0};
  for (Connection& c : connections_) {
    open(c);
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    issue(c, 0);
    flush(c);
    while (c.received_bytes < options_.size) {
      const ssize_t got = recv(c.fd, buffer_.data(), buffer_.size(), 0);
      if (got <= 0) fail("connection %zu: no answer: %s", index_of(c), std::strerror(errno));
      take(c, static_cast<std::size_t>(got));
    }
  }
  std::printf("{\"mode\":\"idle\",\"connections\":%u,\"size\":%zu}\n", options_.connections,
              options_.size);
  std::fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  for (Connection& c : connections_) reset(c);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (options.connections + 16 > files.rlim_cur) {
    fail("%u connections need more descriptors than the limit of %llu", options.connections,
         static_cast<unsigned long long>(files.rlim_cur));
  }
  Client client(options);
  if (options.mode == Mode::idle)
    client.hold_idle();
  else
    client.run_load();
}
