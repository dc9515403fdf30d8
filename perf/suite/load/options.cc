// The command line: a table of options, each with what it takes.
#include "perf/suite/load/options.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "examples/options.h"

namespace load {

namespace {

using example::parse_number;
using example::refuse;

constexpr std::uint64_t kConnectionsMax = 60'000;
constexpr std::uint64_t kPipelineMax = 4096;
constexpr std::uint64_t kSizeBytesMax = 16 << 20;
constexpr std::uint64_t kSourcesMax = 250;
constexpr std::uint64_t kRateMax = 10'000'000;
constexpr double kSecondsMax = 86'400;

constexpr const char kHelp[] =
    R"(usage: load --connect ADDR:PORT [OPTION...]
Puts an echo or HTTP/1.1 server under load, compares every byte that comes back, and prints what it took.

  --connect ADDR:PORT  the server; required
  --protocol NAME      echo or http (echo)
  --connections N      at once (32)
  --pipeline N         requests that a connection may have under way (1)
  --size BYTES         of each request (echo: 64); http: 0 is GET, else the body of a POST (0)
  --path PATH          http: what to ask for (/ or, with a body, /echo)
  --duration S         seconds, after the warm-up (5)
  --requests N         so many requests instead of a duration
  --warmup S           seconds that do not count (0)
  --rate N             open loop: N requests/s whatever the server does, latency from when each should
                       have left; without it the next request follows each answer (closed loop)
  --sources N          connect from N addresses, 127.0.0.1 …, when the ports of one do not suffice (1)
  --timeout S          to connect, and for answers that are missing at the end (5)
  --backend NAME       auto, epoll, io_uring, io_uring:6.1, io_uring:5.10 (auto)
  --json               print JSON
  --progress           print a line that follows the run (on by itself on a terminal)
  --help               print this

Exit status: 0, or 1 if anything went wrong on any connection, or 2 for a wrong option.)";

weir::Duration parse_seconds(std::string_view option, std::string_view text) {
  const std::string copy(text);
  char* end = nullptr;
  const double seconds = std::strtod(copy.c_str(), &end);
  if (copy.empty() || *end != 0 || !std::isfinite(seconds) || seconds < 0 ||
      seconds > kSecondsMax) {
    refuse(option, text, "seconds, such as 0.5, up to a day");
  }
  return weir::Duration(static_cast<std::int64_t>(seconds * 1e9));
}

Protocol parse_protocol(std::string_view option, std::string_view text) {
  if (text != "echo" && text != "http") refuse(option, text, "echo or http");
  return text == "echo" ? Protocol::echo : Protocol::http;
}

std::string parse_path(std::string_view option, std::string_view text) {
  if (text.empty() || text.front() != '/' || text.find_first_of(" \r\n") != text.npos) {
    refuse(option, text, "a path that starts with / and has no spaces");
  }
  return std::string(text);
}

struct Row {
  std::string_view name;
  void (*set)(Options& options, std::string_view name, std::string_view text);
};
constexpr Row kRows[] = {
    {"--connect",
     [](Options& o, auto name, auto text) { o.server = example::parse_address(name, text); }},
    {"--protocol",
     [](Options& o, auto name, auto text) { o.protocol = parse_protocol(name, text); }},
    {"--connections",
     [](Options& o, auto name, auto text) {
       o.connections = parse_number(name, text, 1, kConnectionsMax);
     }},
    {"--pipeline", [](Options& o, auto name,
                      auto text) { o.pipeline = parse_number(name, text, 1, kPipelineMax); }},
    {"--size", [](Options& o, auto name,
                  auto text) { o.size_bytes = parse_number(name, text, 0, kSizeBytesMax); }},
    {"--path", [](Options& o, auto name, auto text) { o.path = parse_path(name, text); }},
    {"--duration",
     [](Options& o, auto name, auto text) { o.duration = parse_seconds(name, text); }},
    {"--requests", [](Options& o, auto name,
                      auto text) { o.requests_max = parse_number(name, text, 1, 1ull << 40); }},
    {"--warmup", [](Options& o, auto name, auto text) { o.warmup = parse_seconds(name, text); }},
    {"--rate",
     [](Options& o, auto name, auto text) { o.rate = parse_number(name, text, 1, kRateMax); }},
    {"--sources", [](Options& o, auto name,
                     auto text) { o.source_count = parse_number(name, text, 1, kSourcesMax); }},
    {"--timeout", [](Options& o, auto name, auto text) { o.timeout = parse_seconds(name, text); }},
    {"--backend", [](Options& o, auto, auto text) { o.backend = text; }},
};

const Row& find_row(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row;
  }
  refuse("option", name, "one of load's");
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  bool has_size = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--help") {
      std::puts(kHelp);
      std::exit(0);
    } else if (name == "--json") {
      options.prints_json = true;
    } else if (name == "--progress") {
      options.shows_progress = true;
    } else {
      const Row& row = find_row(name);
      if (++i == argc) refuse(name, "", "a value after it");
      row.set(options, name, argv[i]);
      has_size |= name == "--size";
    }
  }
  if (options.server.family == weir::Family::none) refuse("--connect", "", "ADDR:PORT");
  if (options.protocol == Protocol::echo) {
    if (!has_size) options.size_bytes = 64;
    if (options.size_bytes == 0) refuse("--size", "0", "1 byte or more for an echo");
    if (!options.path.empty()) refuse("--path", options.path, "--protocol http with it");
  }
  if (options.requests_max != 0 && options.warmup.count() != 0) {
    refuse("--warmup", "with --requests", "a --duration, so that both are times");
  }
  if (options.path.empty()) options.path = options.size_bytes == 0 ? "/" : "/echo";
  return options;
}

}  // namespace load
