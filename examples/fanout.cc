// Many subscribers: the lines that a publisher sends go to every subscriber, as one slice in as many sends. A connection's
// first line says what it is, PUB or SUB, and is answered with OK.
// A subscriber that reads too slowly misses lines (--slow skip) or is cut off (--slow drop): what waits for it is bounded
// by Limits::write_cap_bytes, and nobody waits for it.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "examples/options.h"
#include "weir/shared_buffer.h"
#include "weir/weir.h"

namespace {

constexpr std::size_t kLineBytesMax = 64 << 10;
std::atomic<std::uint64_t> skipped_count{0};  // lines, each for one subscriber
std::atomic<std::uint64_t> dropped_count{0};  // subscribers
bool drops_slow = false;

// A subscriber, for as long as its session runs. It stands in the list of its loop.
class Subscriber {
 public:
  explicit Subscriber(weir::Stream& stream) : stream_(stream), place_(here().size()) {
    here().push_back(this);
  }
  ~Subscriber() {
    here()[place_] = here().back();
    here()[place_]->place_ = place_;
    here().pop_back();
  }
  Subscriber(const Subscriber&) = delete;

  static void deliver(const weir::Buf& lines) {
    for (Subscriber* subscriber : here()) subscriber->take(lines);
  }

 private:
  static std::vector<Subscriber*>& here() {
    thread_local std::vector<Subscriber*> all;
    return all;
  }
  // Once refused it gets nothing until its queue is empty: lines in a row, with few gaps.
  void take(const weir::Buf& lines) {
    if (!stream_.is_open()) return;
    if (is_behind_) is_behind_ = stream_.queued_bytes() != 0;
    if (!is_behind_) {
      weir::Buf bytes = lines.share();
      is_behind_ = stream_.try_write(bytes) == weir::Write::refused;
      if (!is_behind_ || stream_.queued_bytes() == 0) return;  // taken, or broken: it will end
    }
    if (!drops_slow) {
      const std::string_view text = lines.text();
      skipped_count += static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
    } else {
      ++dropped_count;
      stream_.reset();  // its session ends in a later callback
    }
  }

  weir::Stream& stream_;
  std::size_t place_;
  bool is_behind_ = false;
};

// Every loop that has had a session. They live as long as the runtime.
class Loops {
 public:
  void add(weir::Loop& loop) {
    thread_local bool is_known = false;
    if (std::exchange(is_known, true)) return;
    const std::lock_guard lock(mutex_);
    loops_.push_back(&loop);
  }
  // To the subscribers here, and through each other loop's queue to those there, unless it is full.
  void publish(weir::Buf lines) {
    Subscriber::deliver(lines);
    const std::lock_guard lock(mutex_);
    if (loops_.size() == 1) return;
    const weir::SharedBuf shared(std::move(lines));
    for (weir::Loop* loop : loops_) {
      if (loop == weir::Loop::current()) continue;
      weir::Job job([shared] { Subscriber::deliver(shared.buf()); });
      if (loop->post(std::move(job)) == weir::Posted::full) ++skipped_count;
    }
  }

 private:
  std::mutex mutex_;
  std::vector<weir::Loop*> loops_;
} loops;

// Whole lines only, so that who misses some sees no torn one. They are copied once, into memory of the loop's: received
// memory is charged to the publisher, and one slow subscriber that holds it would stop all reading from there.
weir::Task<> publish_from(weir::Stream& peer) {
  std::string begun;
  while (weir::Buf bytes = co_await peer.read()) {
    const std::size_t whole_bytes = bytes.text().rfind('\n') + 1;  // npos + 1 is 0
    if (whole_bytes != 0) {
      weir::Buf lines = peer.loop().allocate(begun.size() + whole_bytes);
      char* const at = reinterpret_cast<char*>(lines.writable());
      std::copy_n(bytes.text().data(), whole_bytes, std::copy(begun.begin(), begun.end(), at));
      loops.publish(std::move(lines));
      begun.clear();
      bytes.trim_front(whole_bytes);
    }
    begun += bytes.text();
    if (begun.size() > kLineBytesMax) {
      co_await weir::Result<void>(
          weir::Error::of(weir::Errc::message_too_long, weir::Operation::read));
    }
  }
}

weir::Task<> session(weir::Stream peer) {
  loops.add(peer.loop());
  weir::Result<weir::Buf> line = co_await weir::result(peer.read_until("\n", 16));
  if (!line.ok()) co_return;
  const std::string role(weir::Buf(std::move(line).value()).text());
  const bool is_known = role == "PUB\n" || role == "SUB\n";
  co_await peer.write(is_known ? "OK\n" : "PUB or SUB\n");
  if (role == "PUB\n") {
    co_await publish_from(peer);
  } else if (is_known) {
    const Subscriber subscriber(peer);
    while (co_await peer.read()) continue;  // what it says is of no interest, only its end
  }
  co_await peer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view slow = "skip";
  const example::Options options = example::parse_options(
      argc, argv, "Sends the lines of publishers (PUB) to all subscribers (SUB).",
      {{"--slow", "POLICY       who reads too slowly: skip its lines, or drop it (skip)", &slow}});
  if (slow != "skip" && slow != "drop") example::refuse("--slow", slow, "skip or drop");
  drops_slow = slow == "drop";

  weir::Runtime runtime(options.runtime);
  const weir::Result<weir::Address> bound =
      runtime.serve(options.listen, session, {}, {.on_error = example::log_error});
  const int status = example::run(runtime, bound, options);
  if (options.prints_stats) {
    std::printf("lines_skipped %ju\nsubscribers_dropped %ju\n", std::uintmax_t{skipped_count},
                std::uintmax_t{dropped_count});
  }
  return status;
}
