// Asio and llhttp: answers every request with a hello, keeps connections alive, gathers the answers to what came at once.
//   asio_http PORT
#include <llhttp.h>

#include "asio_common.h"

#include <vector>

static const char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
static llhttp_settings_t settings;

struct Requests {
  llhttp_t parser;
  unsigned due = 0;  // answers to requests that are complete
  bool is_last = false;
};

static int on_message_complete(llhttp_t* parser) {
  auto* r = static_cast<Requests*>(parser->data);
  ++r->due;
  r->is_last = !llhttp_should_keep_alive(parser);
  return 0;
}

static Awaitable<> serve(Socket s) {
  std::unique_ptr<char[]> buffer(new char[kBufferSize]);
  Requests requests;
  llhttp_init(&requests.parser, HTTP_REQUEST, &settings);
  requests.parser.data = &requests;
  std::vector<asio::const_buffer> answers;
  while (!requests.is_last) {
    auto [re, n] = co_await s.async_read_some(asio::buffer(buffer.get(), kBufferSize));
    if (re || llhttp_execute(&requests.parser, buffer.get(), n) != HPE_OK) co_return;
    answers.assign(requests.due, asio::buffer(kAnswer, sizeof kAnswer - 1));
    requests.due = 0;
    auto [we, w] = co_await asio::async_write(s, answers);
    if (we) co_return;
  }
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  llhttp_settings_init(&settings);
  settings.on_message_complete = on_message_complete;
  asio::io_context ctx(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO);
  return run_server(ctx, atoi(argv[1]), serve);
}
