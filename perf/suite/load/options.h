// The command line of `load`.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/address.h"
#include "weir/loop.h"

namespace load {

enum class Protocol : std::uint8_t { echo, http };

struct Options {
  Protocol protocol = Protocol::echo;
  weir::Address server;
  std::string path;  ///< http; empty: "/" for GET, "/echo" for POST
  std::string_view backend = "auto";
  std::uint64_t size_bytes = 0;  ///< of one request's payload; http: 0 is a GET, else a POST
  std::uint64_t connections = 32;
  std::uint64_t pipeline = 1;      ///< requests that a connection may have under way
  std::uint64_t requests_max = 0;  ///< 0: as many as `duration` allows
  std::uint64_t rate = 0;          ///< requests/s of all connections together; 0: closed loop
  std::uint64_t source_count =
      1;  ///< 127.0.0.1, 127.0.0.2 … to connect from; 1: the system's choice
  weir::Duration duration = std::chrono::seconds(5);
  weir::Duration warmup{0};
  weir::Duration timeout =
      std::chrono::seconds(5);  ///< to connect, and for what is under way at the end
  bool prints_json = false;
  bool shows_progress = false;
};

/// Reads the command line. A wrong one ends the program with status 2, --help with 0.
Options parse_options(int argc, char** argv);

}  // namespace load
