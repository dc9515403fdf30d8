// Joins each connection to one of its own to --upstream, and carries everything over: bytes without a copy, pressure,
// the end of each direction by itself, and a reset as a reset.
#include "examples/options.h"
#include "weir/weir.h"

// The first error of either direction ends the other one too.
static weir::Task<> relay(weir::Stream& client, weir::Stream& server, weir::Address upstream) {
  server = co_await weir::connect(upstream, {.timeout = std::chrono::seconds(5)});
  co_await weir::when_all(weir::pipe(client, server), weir::pipe(server, client));
}

// What broke on one side must not look like a clean end on the other.
static weir::Task<> proxy(weir::Stream client, weir::Address upstream) {
  weir::Stream server;
  weir::Result<void> relayed = co_await weir::result(relay(client, server, upstream));
  if (relayed.ok()) co_return;
  client.reset();
  if (server.valid()) server.reset();
  co_await std::move(relayed);  // ends this task with the error, so that the scope hears of it
}

int main(int argc, char** argv) {
  std::string_view upstream_text;
  const example::Options options = example::parse_options(
      argc, argv, "A TCP proxy.",
      {{"--upstream", "ADDR:PORT where each connection is carried on to; required",
        &upstream_text}});
  const weir::Address upstream = example::parse_address("--upstream", upstream_text);

  weir::Runtime runtime(options.runtime);
  const weir::Result<weir::Address> bound =
      runtime.serve(options.listen,
                    [upstream](weir::Stream client) { return proxy(std::move(client), upstream); },
                    {}, {.on_error = example::log_error});
  return example::run(runtime, bound, options);
}
