// Asio service: an echo of 64-byte requests in which each request arms a deadline of 30 s and cancels it, is answered in
// three writes, and every 64th posts to another io_context on another thread.
//   asio_service PORT            three async_write calls, as the interface invites
//   asio_service PORT gathered   one, with three buffers
#include "asio_common.h"

#include <array>
#include <string_view>
#include <thread>

constexpr size_t kRequestBytes = 64;
constexpr size_t kFirst = 8, kMiddle = 48;
constexpr auto kDeadline = std::chrono::seconds(30);
constexpr unsigned long kPostEvery = 64;

static asio::io_context other_context;
static unsigned long served, ran;
static bool gathered;

static Awaitable<> serve(Socket s) {
  std::array<char, kRequestBytes> request;
  Timer deadline(s.get_executor());
  for (;;) {
    auto [re, n] = co_await asio::async_read(s, asio::buffer(request));
    if (re) co_return;
    deadline.expires_after(kDeadline);
    deadline.async_wait([&s](Error e) {
      if (!e) s.close();
    });
    const std::array<asio::const_buffer, 3> parts = {
        asio::buffer(request.data(), kFirst), asio::buffer(request.data() + kFirst, kMiddle),
        asio::buffer(request.data() + kFirst + kMiddle, kRequestBytes - kFirst - kMiddle)};
    if (gathered) {
      auto [we, w] = co_await asio::async_write(s, parts);
      if (we) break;
    } else {
      bool broken = false;
      for (const asio::const_buffer& part : parts) {
        auto [we, w] = co_await asio::async_write(s, part);
        if ((broken = bool(we))) break;
      }
      if (broken) break;
    }
    deadline.cancel();
    if (++served % kPostEvery == 0) asio::post(other_context, [] { ++ran; });
  }
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  gathered = argc > 2 && std::string_view(argv[2]) == "gathered";
  auto work = asio::make_work_guard(other_context);
  std::thread other([] { other_context.run(); });
  other.detach();
  asio::io_context ctx(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO);
  return run_server(ctx, atoi(argv[1]), serve);
}
