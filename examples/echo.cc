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
  std::string_view style = "task";
  const example::Options options = example::parse_options(
      argc, argv, "An echo server.", {{"--style", "STYLE       task or handler (task)", &style}});
  if (style != "task" && style != "handler") example::refuse("--style", style, "task or handler");

  weir::Runtime runtime(options.runtime);
  const weir::Result<weir::Address> bound =
      style == "task" ? runtime.serve(options.listen, echo, {}, {.on_error = example::log_error})
                      : runtime.serve_with(options.listen, example::start_echo_handlers);
  return example::run(runtime, bound, options);
}
