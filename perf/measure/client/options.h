// What the client is to do.
#pragma once
#include <netinet/in.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

enum class Mode { echo, http, churn, idle, fanout };

struct Options {
  Mode mode = Mode::echo;
  sockaddr_in server{};
  unsigned connections = 1;
  std::size_t size = 64;   // bytes of a request, or of a message
  unsigned pipeline = 1;   // requests out at once on a connection, or messages on their way
  unsigned first = 0;      // idle: number of the first connection, which tells where it comes from
  unsigned idle = 0;       // more connections, which echo once and then do nothing
  unsigned slow = 0;       // more subscribers, which never read
  std::uint64_t rate = 0;  // requests/s, whatever the server does; 0: one follows each answer
  std::uint64_t requests = 0;  // measure this many; 0: measure for duration_ms
  std::uint64_t duration_ms = 1000;
  std::uint64_t warmup = 0;  // requests when `requests` is given, else milliseconds
  pid_t pid = 0;
  bool in_lockstep = false;  // the next requests leave together, when all answers are in
  bool count_syscalls = false;
};

Options parse_options(int argc, char** argv);
