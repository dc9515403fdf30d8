// Sends back what it receives: a task a connection, or with --style handler an object a connection.
#include "examples/echo_handler.h"
#include "examples/options.h"
#include "weir/weir.h"

// The slice that was received is the slice that is sent. An error ends the task, and with it the connection.
static weir::Task<> echo(weir::Stream peer) {
  while (weir::Buf bytes = co_await peer.read()) {  // empty: the peer's end of stream
    co_await peer.write(std::move(bytes));          // waits while the peer does not read
  }
  co_await peer.finish();  // all of it is with the kernel, then FIN
}

int main(int argc, char** argv) {
  std::string_view style = "task", direct_text = "0";
  example::Options options = example::parse_options(
      argc, argv, "An echo server.",
      {{"--style", "STYLE       task or handler (task)", &style},
       {"--direct",
        "N          connections a loop, without a descriptor each (io_uring); 0: like others (0)",
        &direct_text}});
  if (style != "task" && style != "handler") example::refuse("--style", style, "task or handler");
  if (const auto direct = example::parse_number("--direct", direct_text, 0, 1'000'000)) {
    weir::Limits& limits = options.runtime.loop.limits;
    limits.connections_max = static_cast<std::uint32_t>(direct);
    limits.direct_accepts = limits.connections_max + 2048;
  }

  weir::Runtime runtime(options.runtime);
  const weir::Result<weir::Address> bound =
      style == "task" ? runtime.serve(options.listen, echo, {}, {.on_error = example::log_error})
                      : runtime.serve_with(options.listen, example::start_echo_handlers);
  return example::run(runtime, bound, options);
}
