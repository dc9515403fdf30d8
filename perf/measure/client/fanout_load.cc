// One publisher and --connections subscribers: a message goes out, and when everybody has it the next one does
// (--pipeline: so many on their way). What is counted is deliveries. --slow more subscribers never read.
// The protocol is that of examples/fanout: "SUB" or "PUB" in a line, answered by "OK"; then the publisher's lines go to
// every subscriber.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common.h"
#include "loads.h"
#include "meter.h"
#include "pattern.h"
#include "sockets.h"

namespace {

struct Subscriber {
  int fd = -1;
  std::uint64_t received_bytes = 0;
};

class FanOutLoad {
 public:
  explicit FanOutLoad(const Options& options)
      : options_(options),
        pattern_(Pattern::line(options.size)),
        meter_(options_),
        subscribers_(options.connections),
        issued_ns_(options.pipeline),
        buffer_(kChunkBytes),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  void run();

 private:
  int join(const char* role, int epoll, std::size_t index);
  void publish();
  void on_readable(std::size_t index);
  void drive();
  bool is_done() const { return completed_ == limit_ || now_ns() >= stop_ns_; }

  const Options options_;
  const Pattern pattern_;
  Meter meter_;
  std::vector<Subscriber> subscribers_;
  std::vector<int> slow_;
  std::vector<std::uint64_t> issued_ns_;  // of message i at i % pipeline
  std::vector<char> buffer_;
  const int epoll_;
  int publisher_ = -1;
  std::uint64_t published_ = 0, completed_ = 0;  // messages; deliveries
  std::uint64_t limit_ = UINT64_MAX, stop_ns_ = UINT64_MAX;
};

int FanOutLoad::join(const char* role, int epoll, std::size_t index) {
  const int fd = open_socket(epoll, options_.server, index);
  char answer[3];
  send_blocking(fd, index, role, 4);
  receive_blocking(fd, index, answer, sizeof answer);
  if (std::memcmp(answer, "OK\n", 3) != 0) fail("connection %zu: the answer is not OK", index);
  return fd;
}

// As many messages as may be on their way and are still wanted. They are small against a socket's buffer, so sending
// them does not block for long.
void FanOutLoad::publish() {
  const std::uint64_t count = subscribers_.size();
  while (published_ * count < limit_ &&
         published_ * count < completed_ + options_.pipeline * count) {
    issued_ns_[published_ % options_.pipeline] = now_ns();
    send_blocking(publisher_, subscribers_.size(), pattern_.at(0), options_.size);
    ++published_;
  }
}

void FanOutLoad::on_readable(std::size_t index) {
  Subscriber& s = subscribers_[index];
  for (;;) {
    const ssize_t got = recv(s.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) fail("connection %zu: recv: %s", index, std::strerror(errno));
    if (got == 0) fail("connection %zu: the server closed it", index);
    const auto size = static_cast<std::size_t>(got);
    if (std::memcmp(buffer_.data(), pattern_.at(s.received_bytes), size) != 0)
      fail("connection %zu: not what was published", index);
    const std::uint64_t before = s.received_bytes / options_.size;
    s.received_bytes += size;
    const std::uint64_t after = s.received_bytes / options_.size;
    if (s.received_bytes > published_ * options_.size)
      fail("connection %zu: more came than was published", index);
    for (std::uint64_t i = before; i < after; ++i)
      meter_.record(now_ns() - issued_ns_[i % options_.pipeline]);
    completed_ += after - before;
    if (size < buffer_.size()) return;
  }
}

void FanOutLoad::drive() {
  static epoll_event events[512];
  publish();
  while (!is_done()) {
    const int count = wait_events(epoll_, events, 512, std::uint64_t{kSilenceMs} * 1'000'000);
    for (int i = 0; i < count; ++i) {
      if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        on_readable(events[i].data.u64);
    }
    publish();
  }
}

// Counts are in deliveries, and rounded up to whole messages.
void FanOutLoad::run() {
  const std::uint64_t count = subscribers_.size();
  const auto whole = [&](std::uint64_t deliveries) {
    return (deliveries + count - 1) / count * count;
  };
  for (std::size_t i = 0; i < subscribers_.size(); ++i)
    subscribers_[i].fd = join("SUB\n", epoll_, i);
  for (unsigned i = 0; i < options_.slow; ++i) {
    slow_.push_back(join("SUB\n", -1, count + 1 + i));
    const int least = 4096;  // so that it is full soon
    setsockopt(slow_.back(), SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
  }
  publisher_ = join("PUB\n", -1, count);
  if (options_.requests != 0)
    limit_ = whole(options_.warmup);
  else
    stop_ns_ = now_ns() + options_.warmup * 1'000'000;
  drive();
  const std::uint64_t began_ns = meter_.begin(completed_);
  if (options_.requests != 0)
    limit_ += whole(options_.requests);
  else
    stop_ns_ = began_ns + options_.duration_ms * 1'000'000;
  drive();
  meter_.end(completed_);
  meter_.print();
  for (const Subscriber& s : subscribers_) reset_socket(s.fd);
  for (const int fd : slow_) reset_socket(fd);
  reset_socket(publisher_);
}

}  // namespace

void run_fanout(const Options& options) { FanOutLoad(options).run(); }
