// The neutral client of the comparisons: raw epoll, one thread, knows nothing of weir.
//   perf_client echo    closed loop: --pipeline requests stay out on each connection; --rate: an open one
//   perf_client http    the same with GET / over HTTP/1.1
//   perf_client churn   connect, one echo, reset; --connections of them at once
//   perf_client fanout  one publisher, --connections subscribers; counts deliveries
//   perf_client idle    one echo on each connection, then hold them until standard input ends
// Every byte that comes back is compared with what must come; the first wrong byte, an early end or a silence of 10 s
// ends the run with exit code 1. Else it prints one line of JSON.
// With --pid it also says what the server used in exactly the measured time: CPU from schedstat and, with --syscalls,
// system calls from the raw_syscalls tracepoint.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "common.h"
#include "loads.h"
#include "pattern.h"
#include "sockets.h"

void hold_idle(const Options& options) {
  const Pattern pattern(Pattern::noise());
  std::vector<int> connections;
  std::string answer(options.size, '\0');
  for (std::size_t i = 0; i < options.connections; ++i) {
    connections.push_back(open_socket(-1, options.server, options.first + i));
    send_blocking(connections.back(), i, pattern.at(61 * i), options.size);
    receive_blocking(connections.back(), i, answer.data(), options.size);
    if (std::memcmp(answer.data(), pattern.at(61 * i), options.size) != 0)
      fail("connection %zu: the answer is wrong", i);
  }
  std::printf("{\"connections\":%u,\"size\":%zu}\n", options.connections, options.size);
  std::fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  for (const int fd : connections) reset_socket(fd);
}

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  raise_descriptors(options.connections + options.idle + options.slow + 16);
  switch (options.mode) {
    case Mode::idle: hold_idle(options); break;
    case Mode::fanout: run_fanout(options); break;
    case Mode::echo:
    case Mode::http:
    case Mode::churn: run_requests(options); break;
  }
}
