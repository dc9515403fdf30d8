// weir in the table of perf/peers/micro: the same operations under the same names, through the public interface.
// weir_micro BACKEND [NAME [REPEAT]]; weir_micro BACKEND --list
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "perf/peers/micro/micro.h"
#include "weir/weir.h"

namespace {

std::string backend;
std::uint64_t fired_count;

std::unique_ptr<weir::Loop> make_loop() {
  weir::LoopOptions options;
  options.backend = backend;
  auto made = weir::Loop::make(options);
  if (!made.ok()) {
    std::fprintf(stderr, "weir_micro: %s\n", made.error().to_string().c_str());
    std::exit(1);
  }
  fired_count = 0;
  return std::move(made).value();
}

weir::Duration delay_of(long i) {
  return std::chrono::milliseconds(micro_delay[i % MICRO_DELAYS] + i % 997);
}

double per(std::uint64_t ns, long count) {
  return static_cast<double>(ns) / static_cast<double>(count);
}

// `count` timers, armed an hour and less from now.
struct Timers {
  explicit Timers(weir::Loop& loop, long count) {
    for (long i = 0; i < count; ++i) all.emplace_back(loop).arm(delay_of(i), [] { ++fired_count; });
  }
  std::deque<weir::Timer> all;
};

double timer_arm_cancel(long others) {
  const auto loop = make_loop();
  const Timers more(*loop, others);
  weir::Timer timer(*loop);
  const long count = micro_arm_count(others);
  const std::uint64_t begin = micro_now();
  for (long i = 0; i < count; ++i) {
    timer.arm(std::chrono::milliseconds(micro_delay[i % MICRO_DELAYS]), [] { ++fired_count; });
    timer.cancel();
  }
  const std::uint64_t end = micro_now();
  micro_check(fired_count == 0 && !timer.is_armed(), "arm_cancel");
  return per(end - begin, count);
}

double timer_extend(long others) {
  const auto loop = make_loop();
  const Timers more(*loop, others);
  weir::Timer timer(*loop);
  timer.arm(std::chrono::hours(1), [] { ++fired_count; });
  const long count = micro_arm_count(others);
  const std::uint64_t begin = micro_now();
  for (long i = 0; i < count; ++i) timer.extend(std::chrono::milliseconds(3'600'000 + i / 100));
  const std::uint64_t end = micro_now();
  micro_check(fired_count == 0 && timer.is_armed(), "extend");
  return per(end - begin, count);
}

double timers_many(long run) {
  const auto loop = make_loop();
  std::deque<weir::Timer> all;
  for (long i = 0; i < MICRO_MANY; ++i) all.emplace_back(*loop);
  loop->run(weir::RunMode::no_wait);  // so that now is now
  const std::uint64_t begin = micro_now();
  long i = 0;
  for (weir::Timer& timer : all) {
    timer.arm(std::chrono::milliseconds(1 + micro_delay[i++ % MICRO_DELAYS] % 200),
              [] { ++fired_count; });
  }
  const std::uint64_t armed = micro_now();
  micro_sleep_ms(250);
  const std::uint64_t due = micro_now();
  while (fired_count < std::uint64_t{MICRO_MANY}) loop->run(weir::RunMode::no_wait);
  const std::uint64_t end = micro_now();
  return per(run != 0 ? end - due : armed - begin, MICRO_MANY);
}

// Something to wait for, as in the other libraries: a listener to which nobody connects.
class Silent final : public weir::ListenerHandler {
 public:
  explicit Silent(weir::Loop& loop)
      : listener_(weir::Listener::listen(loop, weir::Address::loopback(0)).value()) {
    listener_.start(*this);
  }

 private:
  void on_accept(weir::Stream) override { ++fired_count; }
  void on_error(const weir::Error&) override {}
  weir::Listener listener_;
};

double turn_nowait(long) {
  const auto loop = make_loop();
  const Silent silent(*loop);
  const long count = 500'000;
  const std::uint64_t begin = micro_now();
  for (long i = 0; i < count; ++i) loop->run(weir::RunMode::no_wait);
  const std::uint64_t end = micro_now();
  micro_check(fired_count == 0, "turn_nowait, silent");
  return per(end - begin, count);
}

// `queue(loop)` queues one job that counts.
template <typename Queue>
double run_batches(long batch, Queue queue) {
  const auto loop = make_loop();
  const Silent silent(*loop);
  const long rounds = 500'000 / batch;
  const std::uint64_t begin = micro_now();
  for (long round = 0; round < rounds; ++round) {
    for (long i = 0; i < batch; ++i) queue(*loop);
    loop->run(weir::RunMode::no_wait);
  }
  const std::uint64_t end = micro_now();
  micro_check(fired_count == static_cast<std::uint64_t>(rounds * batch), "every job ran");
  return per(end - begin, rounds * batch);
}
double immediate(long batch) {
  return run_batches(batch, [](weir::Loop& loop) { loop.immediate([] { ++fired_count; }); });
}
double post_same(long batch) {
  return run_batches(batch, [](weir::Loop& loop) {
    micro_check(loop.post([] { ++fired_count; }) == weir::Posted::queued, "post");
  });
}

std::uint64_t ran_count;
void post_to(void* loop, long) {
  weir::Job job([] { __atomic_store_n(&ran_count, ran_count + 1, __ATOMIC_RELEASE); });
  micro_check(static_cast<weir::Loop*>(loop)->post(std::move(job)) == weir::Posted::queued, "post");
}
void stay_busy(weir::Loop& loop) {
  loop.immediate([&loop] { stay_busy(loop); });
}

double cross(long batch, bool is_busy) {  // negative: the sender's time only
  const auto loop = make_loop();
  const Silent silent(*loop);
  ran_count = 0;
  if (is_busy) stay_busy(*loop);
  double result = 0;
  std::thread sender([&] {
    result = micro_cross(post_to, loop.get(), &ran_count, std::labs(batch), batch < 0);
    loop->stop_soon();
  });
  loop->run();
  sender.join();
  return result;
}
double post_cross(long batch) { return cross(batch, false); }
double post_busy(long batch) { return cross(batch, true); }

}  // namespace

int main(int argc, char** argv) {
  static const micro_bench list[] = {{"timer_arm_cancel_0", timer_arm_cancel, 0},
                                     {"timer_arm_cancel_10k", timer_arm_cancel, 10000},
                                     {"timer_arm_cancel_1m", timer_arm_cancel, MICRO_MANY},
                                     {"timer_extend_1m", timer_extend, MICRO_MANY},
                                     {"timers_arm_1m", timers_many, 0},
                                     {"timers_due_1m", timers_many, 1},
                                     {"turn_nowait", turn_nowait, 0},
                                     {"immediate_1", immediate, 1},
                                     {"immediate_64", immediate, 64},
                                     {"post_same_1", post_same, 1},
                                     {"post_same_64", post_same, 64},
                                     {"post_cross_1", post_cross, 1},
                                     {"post_cross_64", post_cross, 64},
                                     {"post_cross_send_1", post_cross, -1},
                                     {"post_cross_send_64", post_cross, -64},
                                     {"post_busy_64", post_busy, 64}};
  if (argc < 2) {
    std::fputs("usage: weir_micro BACKEND [--list | NAME [REPEAT]]\n", stderr);
    return 2;
  }
  backend = argv[1];
  const std::string library = "weir_" + backend;
  const std::string version(weir::version());
  return micro_main(library.c_str(), version.c_str(), list, std::size(list), argc - 1, argv + 1);
}
