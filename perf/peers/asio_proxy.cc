// Asio proxy: joins each connection to one of its own to 127.0.0.1:UPSTREAM; a coroutine a direction.
//   asio_proxy PORT UPSTREAM
#include "asio_common.h"

static asio::ip::tcp::endpoint upstream;

struct Pair {
  Socket client, server;
};

static Awaitable<> carry(std::shared_ptr<Pair> pair, Socket& from, Socket& to) {
  std::unique_ptr<char[]> buffer(new char[kBufferSize]);
  Error end;
  for (;;) {
    auto [re, n] = co_await from.async_read_some(asio::buffer(buffer.get(), kBufferSize));
    if ((end = re)) break;
    auto [we, w] = co_await asio::async_write(to, asio::buffer(buffer.get(), n));
    if ((end = we)) break;
  }
  Error ignored;
  if (end == asio::error::eof) {
    to.shutdown(asio::socket_base::shutdown_send, ignored);
  } else {
    from.close(ignored);
    to.close(ignored);
  }
}

static Awaitable<> serve(Socket client) {
  auto executor = client.get_executor();
  auto pair = std::make_shared<Pair>(Pair{std::move(client), Socket(executor)});
  auto [e] = co_await pair->server.async_connect(upstream);
  if (e) co_return;
  pair->server.set_option(asio::ip::tcp::no_delay(true));
  asio::co_spawn(executor, carry(pair, pair->server, pair->client), asio::detached);
  co_await carry(pair, pair->client, pair->server);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  upstream = {asio::ip::address_v4::loopback(), asio::ip::port_type(atoi(argv[2]))};
  asio::io_context ctx(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO);
  return run_server(ctx, atoi(argv[1]), serve);
}
