// What every example takes on its command line, and how it starts, stops and prints what it counted.
#pragma once
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>

#include "weir/runtime.h"

namespace example {

/// One option that only some programs have: its text goes to `value`.
struct Extra {
  std::string_view name;  ///< "--upstream"
  const char* help;       ///< "ADDR:PORT  where to connect to"
  std::string_view* value;
};

struct Options {
  weir::Address listen = weir::Address::loopback(0);
  weir::RuntimeOptions runtime;
  bool prints_stats = false;
};

inline constexpr std::uint32_t kLoopsMax = 256;

/// Ends the program: an option's value was wrong.
[[noreturn]] inline void refuse(std::string_view option, std::string_view value,
                                std::string_view expected) {
  std::fprintf(stderr, "%.*s: got \"%.*s\", expected %.*s (--help lists the options)\n",
               static_cast<int>(option.size()), option.data(), static_cast<int>(value.size()),
               value.data(), static_cast<int>(expected.size()), expected.data());
  std::exit(2);
}

/// A whole number in the range, or the end of the program.
inline std::uint64_t parse_number(std::string_view option, std::string_view text, std::uint64_t min,
                                  std::uint64_t max) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < min || number > max) {
    refuse(option, text, "a number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return number;
}

inline weir::Address parse_address(std::string_view option, std::string_view text) {
  const weir::Result<weir::Address> address = weir::Address::parse(text);
  if (!address.ok()) refuse(option, text, "ADDR:PORT, such as 127.0.0.1:8080 or [::1]:8080");
  return address.value();
}

inline void print_help(const char* program, const char* purpose,
                       std::initializer_list<Extra> extras) {
  std::printf("usage: %s [OPTION...]\n%s\n\n", program, purpose);
  std::puts("  --listen ADDR:PORT  where to listen; port 0 takes a free one (127.0.0.1:0)");
  std::puts("  --backend NAME      auto, epoll, io_uring, io_uring:6.1, io_uring:5.10 (auto)");
  std::puts("  --loops N           loops, each on a thread of its own; 0: one a processor (1)");
  for (const Extra& extra : extras) std::printf("  %s %s\n", extra.name.data(), extra.help);
  std::puts("  --stats             print every counter at the end, not only the main ones");
  std::puts("  --help              print this");
  std::puts(
      "\nSIGTERM and SIGINT stop accepting and let connections finish; a second one ends them.");
}

/// Reads the command line. A wrong one ends the program with status 2, --help with 0.
inline Options parse_options(int argc, char** argv, const char* purpose,
                             std::initializer_list<Extra> extras = {}) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--help") {
      print_help(argv[0], purpose, extras);
      std::exit(0);
    }
    if (name == "--stats") {
      options.prints_stats = true;
      continue;
    }
    std::string_view extra_value;
    std::string_view* value = &extra_value;
    bool is_known = name == "--listen" || name == "--backend" || name == "--loops";
    for (const Extra& extra : extras) {
      if (extra.name != name) continue;
      is_known = true;
      value = extra.value;
    }
    if (!is_known) refuse("option", name, "one of this program's");
    if (++i == argc) refuse(name, "", "a value after it");
    *value = argv[i];
    if (name == "--listen") {
      options.listen = parse_address(name, *value);
    } else if (name == "--backend") {
      options.runtime.loop.backend = *value;
    } else if (name == "--loops") {
      options.runtime.loop_count =
          static_cast<std::uint32_t>(parse_number(name, *value, 0, kLoopsMax));
    }
  }
  return options;
}

/// What ended one connection: not worth a line when the peer went away.
inline void log_error(const weir::Failure& failure, void*) {
  const weir::Error& error = failure.error;
  if (error == weir::Errc::connection_reset || error == weir::Errc::broken_pipe) return;
  std::fprintf(stderr, "%s ended: %s\n", failure.tag, error.to_string().c_str());
}

/// Says where it listens, runs until it is told to stop, and prints what was counted. The program's exit status.
inline int run(weir::Runtime& runtime, const weir::Result<weir::Address>& bound,
               const Options& options) {
  if (!bound.ok()) {
    std::fprintf(stderr, "could not start: %s\n", bound.error().to_string().c_str());
    return bound.error() == weir::Errc::invalid_argument ? 2 : 1;
  }
  std::printf("listening %s backend=%s\n", bound.value().to_string().c_str(),
              runtime.backend().c_str());
  std::fflush(stdout);
  runtime.run();
  const weir::Metrics metrics = runtime.metrics();
  if (options.prints_stats) {
    std::fputs(metrics.to_string().c_str(), stdout);
  } else {
    std::printf(
        "connections %llu received %llu sent %llu system_calls %llu copied %llu allocations %llu\n",
        static_cast<unsigned long long>(metrics.accepted),
        static_cast<unsigned long long>(metrics.bytes_received),
        static_cast<unsigned long long>(metrics.bytes_sent),
        static_cast<unsigned long long>(metrics.system_calls),
        static_cast<unsigned long long>(metrics.bytes_copied),
        static_cast<unsigned long long>(metrics.heap_allocations));
  }
  return 0;
}

}  // namespace example
