// Asio fan-out: a coroutine a connection; what publishers send becomes one shared message, and each subscriber has a queue
// of those with one async_write under way. write_some is tried first. A subscriber with 1 MiB queued misses what comes.
//   asio_fanout PORT
#include "asio_common.h"

#include <deque>
#include <string>
#include <string_view>
#include <vector>

using Message = std::shared_ptr<const std::string>;
constexpr size_t kQueueMax = 1 << 20;

struct Subscriber : std::enable_shared_from_this<Subscriber> {
  explicit Subscriber(Socket s) : socket(std::move(s)) {}
  Socket socket;
  std::deque<Message> queue;
  size_t queued = 0;
  size_t sent_of_first = 0;
  size_t place = 0;
  bool gone = false;

  void write_next() {
    const Message& first = queue.front();
    asio::async_write(socket, asio::buffer(first->data() + sent_of_first, first->size() - sent_of_first),
                      [self = shared_from_this()](Error e, size_t) {
                        if (e || self->gone) return;
                        self->queued -= self->queue.front()->size();
                        self->queue.pop_front();
                        self->sent_of_first = 0;
                        if (!self->queue.empty()) self->write_next();
                      });
  }
};
static std::vector<std::shared_ptr<Subscriber>> subscribers;

static void deliver(const char* data, size_t size) {
  Message copy;
  for (const auto& s : subscribers) {
    if (s->queued > kQueueMax) continue;
    size_t n = 0;
    if (s->queue.empty()) {
      Error e;
      n = s->socket.write_some(asio::buffer(data, size), e);  // the socket does not block
      if (n == size) continue;
      if (e && e != asio::error::would_block) continue;  // broken: its read tells
    }
    if (!copy) copy = std::make_shared<const std::string>(data, size);
    const bool idle = s->queue.empty();
    s->queue.push_back(copy);
    s->queued += size;
    if (!idle) continue;
    s->sent_of_first = n;
    s->write_next();
  }
}

static Awaitable<> subscribe(Socket socket) {
  auto self = std::make_shared<Subscriber>(std::move(socket));
  self->socket.non_blocking(true);
  self->place = subscribers.size();
  subscribers.push_back(self);
  char byte[64];
  for (;;) {
    auto [e, n] = co_await self->socket.async_read_some(asio::buffer(byte));
    if (e) break;
  }
  self->gone = true;
  subscribers[self->place] = subscribers.back();
  subscribers[self->place]->place = self->place;
  subscribers.pop_back();
  self->socket.close();
}

static Awaitable<> serve(Socket s) {
  char role[4];
  auto [re, n] = co_await asio::async_read(s, asio::buffer(role));
  if (re) co_return;
  auto [we, w] = co_await asio::async_write(s, asio::buffer("OK\n", 3));
  if (we) co_return;
  if (std::string_view(role, 4) != "PUB\n") co_return co_await subscribe(std::move(s));
  std::unique_ptr<char[]> buffer(new char[kBufferSize]);
  for (;;) {
    auto [e, got] = co_await s.async_read_some(asio::buffer(buffer.get(), kBufferSize));
    if (e) co_return;
    deliver(buffer.get(), got);
  }
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  asio::io_context ctx(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO);
  return run_server(ctx, atoi(argv[1]), serve);
}
