// A program outside weir's tree: a proxy before an echo server, and a client that compares what comes back. It uses
// nothing but what weir installs and exports.
#include <weir/weir.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

namespace {

constexpr std::size_t kBytes = 200'000;  // several times the write queue's high mark

void fail(std::string_view what) {
  std::fprintf(stderr, "consumer: %.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

weir::Task<> echo(weir::Stream peer) {
  while (weir::Buf bytes = co_await peer.read()) co_await peer.write(std::move(bytes));
  co_await peer.finish();
}

weir::Task<> proxy(weir::Stream client, weir::Address upstream) {
  weir::Stream server = co_await weir::connect(upstream);
  co_await weir::when_all(weir::pipe(client, server), weir::pipe(server, client));
}

weir::Task<> send(weir::Stream& peer, const std::string& text) {
  for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(1000)) {
    co_await peer.write(rest.substr(0, 1000));
  }
  co_await peer.finish();
}

weir::Task<> receive(weir::Stream& peer, std::string& text) {
  while (weir::Buf bytes = co_await peer.read()) text += bytes.text();
}

weir::Task<> run(weir::Loop& loop, bool& is_right) {
  weir::Listener origin = weir::Listener::listen(loop, weir::Address::loopback(0)).value();
  weir::Listener front = weir::Listener::listen(loop, weir::Address::loopback(0)).value();
  weir::Scope sessions;
  weir::Stream client = co_await weir::connect(front.local_address());
  sessions.spawn(proxy(co_await front.accept(), origin.local_address()), "proxy");
  sessions.spawn(echo(co_await origin.accept()), "echo");

  std::string sent, received;
  for (std::size_t i = 0; i < kBytes; ++i) sent += static_cast<char>('a' + i % 23);
  co_await weir::when_all(send(client, sent), receive(client, received));
  co_await sessions.join();
  is_right = sent == received;
}

}  // namespace

int main() {
  for (const std::string& name : weir::backend_names()) {
    auto loop = weir::Loop::make({.backend = name});
    if (!loop.ok()) {
      std::printf("%s: %s\n", name.c_str(), loop.error().to_string().c_str());
      continue;
    }
    bool is_right = false;
    (*loop)->spawn(run(**loop, is_right), "run");
    (*loop)->run();
    if (!is_right) fail(name + ": not the bytes that were sent");
    std::printf("weir %s, %s: right\n", std::string(weir::version()).c_str(), name.c_str());
  }
}
