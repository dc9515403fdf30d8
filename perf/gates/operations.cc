// Does one kind of operation N times, for callgrind to count: `operations timer N` arms and cancels a timer, with a
// thousand others armed; `operations post N` posts 64 jobs at a time to the loop of its own thread and runs a turn.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string_view>

#include "weir/weir.h"

namespace {

using namespace std::chrono_literals;

void run_timers(weir::Loop& loop, long count) {
  constexpr int kOthers = 1000;
  std::deque<weir::Timer> others;
  for (int i = 0; i < kOthers; ++i) others.emplace_back(loop).arm(1s + i * 3600ms, [] {});
  weir::Timer timer(loop);
  for (long i = 0; i < count; ++i) {
    timer.arm(1s + (i % 4096) * 900ms, [] {});
    timer.cancel();
  }
}

bool run_posts(weir::Loop& loop, long count) {
  long ran = 0;
  for (long i = 0; i < count; i += 64) {
    for (int k = 0; k < 64; ++k) {
      if (loop.post([&ran] { ++ran; }) != weir::Posted::queued) return false;
    }
    loop.run(weir::RunMode::no_wait);
  }
  return ran == (count + 63) / 64 * 64;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc == 3 ? argv[1] : "";
  const long count = argc == 3 ? std::atol(argv[2]) : 0;
  if ((what != "timer" && what != "post") || count < 1) {
    std::fputs("usage: operations timer|post COUNT\n", stderr);
    return 2;
  }
  weir::LoopOptions options;
  options.backend = "epoll";
  auto loop = weir::Loop::make(options);
  if (!loop.ok()) {
    std::fprintf(stderr, "operations: %s\n", loop.error().to_string().c_str());
    return 1;
  }
  if (what == "timer") {
    run_timers(*loop.value(), count);
  } else if (!run_posts(*loop.value(), count)) {
    std::fputs("operations: a job was lost\n", stderr);
    return 1;
  }
}
