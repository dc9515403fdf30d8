// The command line: a table of options that take a number, and the few others.
#include "options.h"

#include <arpa/inet.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

constexpr char kUsage[] =
    "usage: perf_client echo|http|churn|idle|fanout --connect ADDR:PORT [--connections N]\n"
    "                   [--size BYTES] [--pipeline N] [--idle N] [--slow N] [--lockstep | --rate "
    "PER_SECOND]\n"
    "                   [--duration-ms N | --requests N] [--warmup MS_OR_REQUESTS]\n"
    "                   [--pid SERVER [--syscalls]]\n";

[[noreturn]] void refuse(std::string_view wrong) {
  std::fprintf(stderr, "perf_client: not understood: '%.*s'\n%s", static_cast<int>(wrong.size()),
               wrong.data(), kUsage);
  std::exit(2);
}

std::uint64_t parse_number(const char* text, std::uint64_t least, std::uint64_t most) {
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value < least || value > most) refuse(text);
  return value;
}

sockaddr_in parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (colon == std::string::npos ||
      inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1)
    refuse(text);
  address.sin_port =
      htons(static_cast<std::uint16_t>(parse_number(text.c_str() + colon + 1, 1, 65535)));
  return address;
}

struct Row {
  std::string_view name;
  std::uint64_t least, most;
  void (*set)(Options& options, std::uint64_t value);
};
constexpr Row kRows[] = {
    {"--connections", 1, 1'000'000,
     [](Options& o, auto value) { o.connections = static_cast<unsigned>(value); }},
    {"--size", 1, 64 << 20, [](Options& o, auto value) { o.size = value; }},
    {"--pipeline", 1, 65536,
     [](Options& o, auto value) { o.pipeline = static_cast<unsigned>(value); }},
    {"--first", 0, 1'000'000,
     [](Options& o, auto value) { o.first = static_cast<unsigned>(value); }},
    {"--idle", 0, 1'000'000, [](Options& o, auto value) { o.idle = static_cast<unsigned>(value); }},
    {"--slow", 0, 1'000'000, [](Options& o, auto value) { o.slow = static_cast<unsigned>(value); }},
    {"--rate", 1, 100'000'000, [](Options& o, auto value) { o.rate = value; }},
    {"--requests", 1, UINT64_MAX, [](Options& o, auto value) { o.requests = value; }},
    {"--duration-ms", 1, 86'400'000, [](Options& o, auto value) { o.duration_ms = value; }},
    {"--warmup", 0, UINT64_MAX, [](Options& o, auto value) { o.warmup = value; }},
    {"--pid", 1, 1 << 22, [](Options& o, auto value) { o.pid = static_cast<pid_t>(value); }},
};

Mode parse_mode(std::string_view text) {
  constexpr std::string_view kModes[] = {"echo", "http", "churn", "idle", "fanout"};
  for (std::size_t i = 0; i < std::size(kModes); ++i) {
    if (kModes[i] == text) return static_cast<Mode>(i);
  }
  refuse(text);
}

void check(const Options& o) {
  const bool is_one_by_one = o.mode == Mode::churn || o.mode == Mode::idle;
  if (o.server.sin_port == 0) refuse("no --connect");
  if (is_one_by_one && (o.pipeline != 1 || o.size > 64 * 1024 || o.rate != 0)) {
    refuse("churn and idle: --pipeline 1, at most 64 KiB, no --rate");
  }
  if (o.in_lockstep && (o.rate != 0 || o.mode == Mode::churn))
    refuse("--lockstep with --rate or churn");
  if (o.mode == Mode::fanout && (o.rate != 0 || o.idle != 0)) refuse("fanout: --rate or --idle");
  if (o.mode != Mode::fanout && o.slow != 0) refuse("--slow without fanout");
  if (o.first != 0 && o.mode != Mode::idle) refuse("--first without idle");
  if (o.rate != 0 && o.requests != 0) refuse("--rate with --requests");
  if (o.count_syscalls && o.pid == 0) refuse("--syscalls without --pid");
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  options.mode = parse_mode(argc > 1 ? argv[1] : "");
  for (int i = 2; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--syscalls" || name == "--lockstep") {
      (name == "--syscalls" ? options.count_syscalls : options.in_lockstep) = true;
      continue;
    }
    if (i + 1 == argc) refuse(name);
    const char* value = argv[++i];
    if (name == "--connect") {
      options.server = parse_address(value);
      continue;
    }
    const Row* row = std::begin(kRows);
    while (row != std::end(kRows) && row->name != name) ++row;
    if (row == std::end(kRows)) refuse(name);
    row->set(options, parse_number(value, row->least, row->most));
  }
  check(options);
  return options;
}
