// load: puts an echo or HTTP server under load and compares every byte. weir's client side is all it uses, so it also
// shows what that costs; the server's figures are the server's to tell.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "perf/suite/load/driver.h"
#include "perf/suite/load/report.h"

namespace {
// The payload is one block that every queued slice counts whole, so weir's bound on a loop's queues would mean little.
constexpr std::uint64_t kQueuesBytesMax = std::uint64_t{1} << 40;

void raise_descriptors_max() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}
}  // namespace

int main(int argc, char** argv) {
  load::Options options = load::parse_options(argc, argv);
  if (options.protocol == load::Protocol::http && !load::has_http()) {
    std::fputs("load: built without llhttp, so without http\n", stderr);
    return 2;
  }
  options.shows_progress |= isatty(STDERR_FILENO) != 0;

  weir::LoopOptions loop_options;
  loop_options.backend = options.backend;
  loop_options.name = "load";
  loop_options.limits.write_loop_cap_bytes = kQueuesBytesMax;
  raise_descriptors_max();
  weir::Result<std::unique_ptr<weir::Loop>> loop = weir::Loop::make(loop_options);
  if (!loop.ok()) {
    std::fprintf(stderr, "load: could not start: %s\n", loop.error().to_string().c_str());
    return loop.error() == weir::Errc::invalid_argument ? 2 : 1;
  }
  load::Tally tally;
  tally.backend = (*loop)->caps().name;
  {
    load::Driver driver(**loop, options, tally);
    driver.run();
  }
  tally.metrics = (*loop)->metrics();
  options.prints_json ? load::print_json(options, tally) : load::print_table(options, tally);
  return tally.fault_count() == 0 ? 0 : 1;
}
