// Requests and answers: echo, http, and churn (connect, one echo, reset). A closed loop keeps --pipeline requests out on
// each connection; with --rate each request has its time, and waits behind the answers of a slow server: its latency
// counts from when it was due. Every byte that comes back is compared with what must come next.
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "common.h"
#include "http_answers.h"
#include "loads.h"
#include "meter.h"
#include "pattern.h"
#include "sockets.h"

namespace {

struct Connection {
  int fd = -1;
  std::uint64_t offset = 0;  // of its stream in the pattern
  std::uint64_t wanted_bytes = 0, sent_bytes = 0, received_bytes = 0;
  std::size_t partial_bytes = 0;         // received of the oldest answer
  std::vector<std::uint64_t> issued_ns;  // a ring: `out_count` requests from `oldest` on
  unsigned oldest = 0, out_count = 0;
  std::uint64_t issued_count = 0;
  HttpAnswers http;
};

class RequestLoad {
 public:
  explicit RequestLoad(const Options& options);
  void run();

 private:
  bool is_http() const { return options_.mode == Mode::http; }
  bool is_open_loop() const { return options_.rate != 0; }

  void open(Connection& c);
  void open_idle();
  void fill(Connection& c, std::uint64_t now);
  void fill_all();
  void issue(Connection& c, std::uint64_t now);
  void flush(Connection& c);
  void on_readable(Connection& c, bool closing);
  unsigned take(Connection& c, std::size_t got);
  void compare(const Connection& c, std::size_t got) const;
  void complete(Connection& c, std::uint64_t now);

  std::uint64_t due_ns(std::uint64_t request) const {
    return open_start_ns_ + static_cast<std::uint64_t>(static_cast<double>(request) * 1e9 /
                                                       static_cast<double>(options_.rate));
  }
  std::uint64_t due_count(const Connection& c) const {
    const std::size_t index = index_of(c);
    return due_total_ <= index ? 0 : (due_total_ - index - 1) / connections_.size() + 1;
  }
  void issue_due(Connection& c);
  std::uint64_t issue_all_due();
  std::uint64_t count_late();

  bool is_done() const { return completed_ == issue_limit_ || now_ns() >= stop_ns_; }
  void drive();

  std::size_t index_of(const Connection& c) const {
    return static_cast<std::size_t>(&c - connections_.data());
  }

  const Options options_;
  const Pattern pattern_;
  const std::size_t request_bytes_;
  Meter meter_;
  std::vector<Connection> connections_;
  std::vector<int> idle_;
  std::vector<char> buffer_;
  const int epoll_;
  std::uint64_t opened_ = 0, issued_ = 0, completed_ = 0;
  std::uint64_t issue_limit_ = UINT64_MAX, stop_ns_ = UINT64_MAX;  // when drive() returns
  std::uint64_t open_start_ns_ = 0, due_total_ = 0;                // open loop
};

constexpr unsigned kOpenLoopRing = 256;  // requests that may be out on a connection of an open loop

Options with_ring(Options options) {
  if (options.rate != 0) options.pipeline = std::max(options.pipeline, kOpenLoopRing);
  return options;
}

RequestLoad::RequestLoad(const Options& options)
    : options_(with_ring(options)),
      pattern_(options.mode == Mode::http ? std::string(kHttpRequest) : Pattern::noise()),
      request_bytes_(options.mode == Mode::http ? kHttpRequest.size() : options.size),
      meter_(options_),
      connections_(options.connections),
      buffer_(kChunkBytes),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  for (Connection& c : connections_) c.issued_ns.resize(options_.pipeline);
}

void RequestLoad::open(Connection& c) {
  c.fd = open_socket(epoll_, options_.server, index_of(c));
  c.wanted_bytes = c.sent_bytes = c.received_bytes = 0;
  c.offset = is_http() ? 0 : 61 * index_of(c) + 17 * opened_++;
}

// Each has lived before it idles; one echo each also keeps the listener's backlog short.
void RequestLoad::open_idle() {
  std::string byte(1, 'x');
  for (unsigned i = 0; i < options_.idle; ++i) {
    const std::size_t index = connections_.size() + i;
    idle_.push_back(open_socket(-1, options_.server, index));
    if (is_http()) continue;
    send_blocking(idle_.back(), index, byte.data(), 1);
    receive_blocking(idle_.back(), index, byte.data(), 1);
  }
}

void RequestLoad::issue(Connection& c, std::uint64_t now) {
  unsigned slot = c.oldest + c.out_count++;
  if (slot >= options_.pipeline) slot -= options_.pipeline;
  c.issued_ns[slot] = now;
  c.wanted_bytes += request_bytes_;
  ++c.issued_count;
  ++issued_;
}

// As many requests as may be out.
void RequestLoad::fill(Connection& c, std::uint64_t now) {
  while (c.out_count < options_.pipeline && issued_ < issue_limit_) {
    if (c.fd < 0) open(c);
    issue(c, now);
  }
  flush(c);
}

void RequestLoad::fill_all() {
  for (Connection& c : connections_) fill(c, now_ns());
}

void RequestLoad::flush(Connection& c) {
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
void RequestLoad::compare(const Connection& c, std::size_t got) const {
  const char* expected = pattern_.at(c.offset + c.received_bytes);
  if (std::memcmp(buffer_.data(), expected, got) == 0) return;
  const auto wrong = std::mismatch(expected, expected + got, buffer_.data()).first - expected;
  fail("connection %zu: byte %llu of the stream is wrong", index_of(c),
       static_cast<unsigned long long>(c.received_bytes + static_cast<std::uint64_t>(wrong)));
}

// How many answers are complete now.
unsigned RequestLoad::take(Connection& c, std::size_t got) {
  unsigned count = 0;
  if (is_http()) {
    const char* wrong = nullptr;
    count = c.http.take(buffer_.data(), got, wrong);
    if (wrong != nullptr) fail("connection %zu: %s", index_of(c), wrong);
  } else {
    compare(c, got);
    c.partial_bytes += got;
    while (c.partial_bytes >= request_bytes_) c.partial_bytes -= request_bytes_, ++count;
  }
  c.received_bytes += got;
  if (count > c.out_count || (!is_http() && c.received_bytes > c.sent_bytes))
    fail("connection %zu: more came back than was sent", index_of(c));
  return count;
}

void RequestLoad::complete(Connection& c, std::uint64_t now) {
  meter_.record(now - c.issued_ns[c.oldest]);
  if (++c.oldest == options_.pipeline) c.oldest = 0;
  --c.out_count;
  ++completed_;
}

// Edge-triggered, registered once: a short read means drained, unless the peer is closing.
void RequestLoad::on_readable(Connection& c, bool closing) {
  std::uint64_t now = 0;
  for (;;) {
    const ssize_t got = recv(c.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) fail("connection %zu: recv: %s", index_of(c), std::strerror(errno));
    if (got == 0) fail("connection %zu: the server closed it", index_of(c));
    const unsigned count = take(c, static_cast<std::size_t>(got));
    if (count != 0) now = now_ns();
    for (unsigned i = 0; i < count; ++i) complete(c, now);
    if (!closing && got < static_cast<ssize_t>(buffer_.size())) break;
  }
  if (options_.mode == Mode::churn && c.out_count == 0) {
    reset_socket(c.fd);
    c.fd = -1;
    c.partial_bytes = 0;
  }
  if (is_open_loop())
    issue_due(c);
  else if (!options_.in_lockstep)
    fill(c, now);
}

// --- Open loop -----------------------------------------------------------------------------------

void RequestLoad::issue_due(Connection& c) {
  for (std::uint64_t due = due_count(c); c.issued_count < due && c.out_count < options_.pipeline;) {
    issue(c, due_ns(c.issued_count * connections_.size() + index_of(c)));
  }
  flush(c);
}

// Returns how long until the next one is due.
std::uint64_t RequestLoad::issue_all_due() {
  const std::uint64_t now = now_ns();
  const std::uint64_t from = due_total_;
  while (due_ns(due_total_) <= now) ++due_total_;
  const std::uint64_t visits = std::min<std::uint64_t>(due_total_ - from, connections_.size());
  for (std::uint64_t i = 0; i < visits; ++i)
    issue_due(connections_[(from + i) % connections_.size()]);
  const std::uint64_t next = due_ns(due_total_), after = now_ns();
  return next > after ? next - after : 0;
}

// What was due and could not be sent has waited at least until now: left out, it would make a server look fast.
std::uint64_t RequestLoad::count_late() {
  const std::uint64_t now = now_ns();
  std::uint64_t late = 0;
  for (const Connection& c : connections_) {
    for (std::uint64_t i = c.issued_count; is_open_loop() && i < due_count(c); ++i, ++late)
      meter_.record(now - due_ns(i * connections_.size() + index_of(c)));
  }
  return late;
}

// --- The measured time ---------------------------------------------------------------------------

// Whole batches of events: their edges do not come again.
void RequestLoad::drive() {
  constexpr std::uint64_t kNever = std::uint64_t{kSilenceMs} * 1'000'000;
  if (!is_open_loop()) fill_all();
  static epoll_event events[512];
  while (!is_done()) {
    const std::uint64_t wait_ns = is_open_loop() ? issue_all_due() : kNever;
    const int count = wait_events(epoll_, events, 512, wait_ns);
    for (int i = 0; i < count; ++i) {
      Connection& c = connections_[events[i].data.u64];
      const bool closing = events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
      if (closing || (events[i].events & EPOLLIN))
        on_readable(c, closing);
      else
        flush(c);
    }
    if (options_.in_lockstep && completed_ == issued_) fill_all();
  }
}

// A server on the same processor must not run before the last request of a batch has left. Where that is not permitted,
// the batches it sees vary a little.
void go_first() {
  const sched_param least{sched_get_priority_min(SCHED_FIFO)};
  static_cast<void>(sched_setscheduler(0, SCHED_FIFO, &least));
}

// Counted requests: all answers of the warm-up are in before the first measured request goes out,
// so the server's work is attributed exactly. Timed: the load goes on through both phases.
void RequestLoad::run() {
  const bool is_counted = options_.requests != 0;
  if (options_.in_lockstep) go_first();
  open_idle();
  if (is_open_loop()) {
    for (Connection& c : connections_) open(c);
    open_start_ns_ = now_ns();
  }
  if (is_counted)
    issue_limit_ = options_.warmup;
  else
    stop_ns_ = now_ns() + options_.warmup * 1'000'000;
  drive();

  const std::uint64_t began_ns = meter_.begin(completed_);
  if (is_counted)
    issue_limit_ += options_.requests;
  else
    stop_ns_ = began_ns + options_.duration_ms * 1'000'000;
  drive();
  meter_.end(completed_);
  meter_.print(count_late());

  for (Connection& c : connections_) {
    if (c.fd >= 0) reset_socket(c.fd);
  }
  for (const int fd : idle_) reset_socket(fd);
}

}  // namespace

void run_requests(const Options& options) { RequestLoad(options).run(); }
