// The service of the comparisons, on weir: an echo of 64-byte requests in which each request arms a deadline of 30 s and
// cancels it, is answered in three writes, and every 64th posts to another loop on another thread.
// Read it beside perf/peers/libuv_service.c and asio_service.cc.
#include <chrono>
#include <future>
#include <thread>

#include "examples/options.h"
#include "weir/weir.h"

namespace {

constexpr std::size_t kRequestBytes = 64;
constexpr std::size_t kFirstBytes = 8;
constexpr std::size_t kMiddleBytes = 48;
constexpr weir::Duration kDeadline = std::chrono::seconds(30);
constexpr std::uint64_t kPostEvery = 64;

// A loop on a thread of its own, which does nothing but run what is posted to it.
class OtherLoop {
 public:
  explicit OtherLoop(std::string_view backend) {
    std::promise<weir::Loop*> made;
    thread_ = std::thread([&made, backend] {
      weir::LoopOptions options;
      options.backend = backend;
      auto loop = weir::Loop::make(options);
      made.set_value(loop.ok() ? loop.value().get() : nullptr);
      if (!loop.ok()) return;
      weir::Timer keeps_alive(*loop.value());
      keeps_alive.arm(std::chrono::hours(10'000), [] {});
      loop.value()->run();
    });
    loop_ = made.get_future().get();
  }
  ~OtherLoop() {
    if (loop_ != nullptr) loop_->stop_soon();
    thread_.join();
  }
  OtherLoop(const OtherLoop&) = delete;
  OtherLoop& operator=(const OtherLoop&) = delete;

  void post() {
    weir::Job job([this] { ++ran_count_; });
    if (loop_->post(std::move(job)) != weir::Posted::queued) ++refused_count_;
  }

 private:
  std::thread thread_;
  weir::Loop* loop_ = nullptr;
  std::uint64_t ran_count_ = 0;      // by that loop
  std::uint64_t refused_count_ = 0;  // by this one
};

std::uint64_t served_count = 0;

weir::Task<> serve(weir::Stream peer, OtherLoop& other) {
  weir::Timer deadline(peer.loop());
  for (;;) {
    weir::Result<weir::Buf> got = co_await weir::result(peer.read_exact(kRequestBytes));
    if (!got.ok()) break;
    weir::Buf request = std::move(got).value();
    deadline.arm(kDeadline, [&peer] { peer.reset(); });
    co_await peer.write(request.split_front(kFirstBytes));
    co_await peer.write(request.split_front(kMiddleBytes));
    co_await peer.write(std::move(request));
    deadline.cancel();
    if (++served_count % kPostEvery == 0) other.post();
  }
  co_await peer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  const example::Options options =
      example::parse_options(argc, argv, "The service of the comparisons.");
  OtherLoop other(options.runtime.loop.backend);
  weir::Runtime runtime(options.runtime);
  const weir::Result<weir::Address> bound = runtime.serve(
      options.listen, [&other](weir::Stream peer) { return serve(std::move(peer), other); }, {},
      {.on_error = example::log_error});
  return example::run(runtime, bound, options);
}
