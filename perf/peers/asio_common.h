// Shared by the Asio coroutine servers (Boost.Asio): concrete executor type, single-threaded context without I/O locks.
#pragma once
#include <signal.h>
#include <stdlib.h>

#include <boost/asio.hpp>
#include <memory>
#include <utility>

namespace asio = boost::asio;
using Error = boost::system::error_code;
using Executor = asio::io_context::executor_type;
using Token = asio::as_tuple_t<asio::use_awaitable_t<Executor>>;
using Socket = Token::as_default_on_t<asio::basic_stream_socket<asio::ip::tcp, Executor>>;
using Acceptor = Token::as_default_on_t<asio::basic_socket_acceptor<asio::ip::tcp, Executor>>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor>;
template <typename T = void>
using Awaitable = asio::awaitable<T, Executor>;

constexpr size_t kBufferSize = 256 * 1024;  // as much as the other peers read at once

template <typename Serve>
Awaitable<> accept_loop(Acceptor& acceptor, Serve serve) {
  for (;;) {
    auto [e, peer] = co_await acceptor.async_accept();
    if (e) continue;
    Socket s(std::move(peer));
    s.set_option(asio::ip::tcp::no_delay(true));
    asio::co_spawn(acceptor.get_executor(), serve(std::move(s)), asio::detached);
  }
}

/// serve(Socket) is a coroutine a connection.
template <typename Serve>
int run_server(asio::io_context& ctx, int port, Serve serve) {
  signal(SIGPIPE, SIG_IGN);
  Acceptor acceptor(ctx.get_executor());
  acceptor.open(asio::ip::tcp::v4());
  acceptor.set_option(asio::socket_base::reuse_address(true));
  acceptor.bind({asio::ip::address_v4::loopback(), asio::ip::port_type(port)});
  acceptor.listen(4096);
  asio::co_spawn(ctx, accept_loop(acceptor, serve), asio::detached);
  ctx.run();
  return 0;
}
