// Chains of jobs that would starve everybody else, and chains of results that are there at once: J4, J5 and J6 of
// docs/internals/turn.md with sockets, on each backend. What is asserted is counted: turns, and jobs between a byte's
// departure and its delivery.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "tests/unit/loop_rig.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define WEIR_IS_SLOW 1
#else
#define WEIR_IS_SLOW 0
#endif

namespace weir::test {
namespace {

constexpr int kLinks = WEIR_IS_SLOW ? 200'000 : 10'000'000;
constexpr int kAwaits = WEIR_IS_SLOW ? 100'000 : 1'000'000;

class Starving : public LoopTest {
 protected:
  enum class Kind : std::uint8_t { ticks, microtasks };

  void queue(Kind kind, Job job) {
    kind == Kind::ticks ? loop().tick(std::move(job)) : loop().microtask(std::move(job));
  }
  /// A job that queues itself until `left_` is 0.
  void link(Kind kind) {
    if (--left_ > 0) queue(kind, [this, kind] { link(kind); });
  }
  std::uint64_t jobs_run() { return metrics().ticks_run + metrics().microtasks_run; }
  void write(Stream& to, std::string_view text) {
    Buf bytes = loop().copy_of(text);
    ASSERT_NE(to.try_write(bytes), Write::refused);
  }

  void let_input_through(Kind kind);
  void starve_input(Kind kind);

  int left_ = kLinks;
};

void Starving::let_input_through(Kind kind) {
  auto [near, far] = connect_streams(*rig_);
  Recorder handler;
  std::uint64_t turn = 0, jobs = 0, turns_most = 0, jobs_most = 0;
  int served = 0;
  const auto send = [&, &from = near] {
    turn = metrics().turns;
    jobs = jobs_run();
    write(from, "x");
  };
  handler.on_bytes = [&] {
    turns_most = std::max(turns_most, metrics().turns - turn);
    jobs_most = std::max(jobs_most, jobs_run() - jobs);
    ++served;
    if (left_ > 0) send();
  };
  far.start(handler);
  rig_->turns(3);
  loop().immediate([&] {
    queue(kind, [this, kind] { link(kind); });
    send();
  });
  until([&] { return left_ == 0; });

  // A byte is there one or two turns after it left. A turn runs one demoted job, the one that it queues, and the
  // descendants of that.
  const std::uint64_t drain = 2 + loop().limits().descendants_per_drain;
  EXPECT_LE(turns_most, 3u);
  EXPECT_LE(jobs_most, 4 * drain);
  EXPECT_GE(static_cast<std::uint64_t>(served) * 4 * drain, static_cast<std::uint64_t>(kLinks));
  EXPECT_GE(metrics().demoted_jobs * drain, static_cast<std::uint64_t>(kLinks) - drain);
  EXPECT_THAT(loop().report(), ::testing::HasSubstr("starving_test.cc"));
}

// The byte is in the kernel, readable, before the first link runs; still it comes behind the last.
void Starving::starve_input(Kind kind) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  Stream stream = adopt_stream(loop(), ends[0]).value();
  Recorder handler;
  int left_when_served = -1;
  handler.on_bytes = [&] { left_when_served = left_; };
  stream.start(handler);
  rig_->turns(3);
  left_ = kLinks / 10;
  std::uint64_t first_turn = 0, last_turn = 0;
  loop().immediate([&, kind] {
    EXPECT_EQ(::write(ends[1], "x", 1), 1);
    first_turn = metrics().turns;
    queue(kind, [this, kind] { link(kind); });
  });
  loop().immediate([&] { last_turn = metrics().turns; });
  until([&] { return !handler.bytes.empty(); });
  EXPECT_EQ(left_when_served, 0);
  EXPECT_EQ(first_turn, last_turn);
  EXPECT_GE(jobs_run(), static_cast<std::uint64_t>(kLinks / 10));
  EXPECT_EQ(metrics().demoted_jobs, 0u);
  ::close(ends[1]);
}

TEST_P(Starving, J5_BoundedTicksOfTicksLetInputThrough) { let_input_through(Kind::ticks); }
TEST_P(Starving, J5_BoundedMicrotasksOfMicrotasksLetInputThrough) {
  let_input_through(Kind::microtasks);
}

TEST_P(Starving, J6_StrictTicksOfTicksStarveInput) {
  make_loop({}, OrderPolicy::strict);
  starve_input(Kind::ticks);
}
TEST_P(Starving, J6_StrictMicrotasksOfMicrotasksStarveInput) {
  make_loop({}, OrderPolicy::strict);
  starve_input(Kind::microtasks);
}

TEST_P(Starving, J4_AFullTurnOfInputWithTwentyMicrotasksEachDemotesNothing) {
  constexpr int kSockets = 256, kRounds = 20, kJobs = 20;
  struct Socket {
    Recorder handler;
    Stream stream;
    int far = -1;
  };
  std::vector<Socket> sockets(kSockets);
  int ran = 0, bytes = 0;
  for (Socket& socket : sockets) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    socket.far = ends[1];
    socket.stream = adopt_stream(loop(), ends[0]).value();
    socket.handler.on_bytes = [&] {
      ++bytes;
      for (int i = 0; i < kJobs; ++i) loop().microtask([&] { loop().microtask([&] { ++ran; }); });
    };
    socket.stream.start(socket.handler);
  }
  ASSERT_EQ(static_cast<std::uint32_t>(kSockets), loop().limits().completions_per_turn);
  for (int round = 1; round <= kRounds; ++round) {
    for (const Socket& socket : sockets) ASSERT_EQ(::write(socket.far, "x", 1), 1);
    until([&] { return bytes == round * kSockets; });
  }
  EXPECT_EQ(ran, kRounds * kSockets * kJobs);
  EXPECT_EQ(metrics().demoted_jobs, 0u);
  for (const Socket& socket : sockets) ::close(socket.far);
}

/// How deep the stack is, at most, where look() is called.
class Depth {
 public:
  void look() {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    lowest_ = std::min(lowest_, here);
    highest_ = std::max(highest_, here);
  }
  std::uintptr_t bytes() const { return highest_ - lowest_; }

 private:
  std::uintptr_t lowest_ = ~std::uintptr_t{0};
  std::uintptr_t highest_ = 0;
};
constexpr std::uintptr_t kDepthMax = 16 << 10;

TEST_P(Starving, J8_AMillionAwaitsThatAreReadyAtOnceTakeNoStack) {
  Depth depth;
  const auto child = [&]() -> Task<int> {
    depth.look();
    co_return 1;
  };
  int sum = 0;
  const auto parent = [&]() -> Task<> {
    for (int i = 0; i < kAwaits; ++i) sum += co_await child();
    for (int i = 0; i < kAwaits; ++i) sum += co_await Result<int>(1);
  };
  EXPECT_TRUE(run(parent).ok());
  EXPECT_EQ(sum, 2 * kAwaits);
  EXPECT_LE(depth.bytes(), kDepthMax);
}

TEST_P(Starving, J8_AMillionReadsAndWritesOfAPairTakeNoStack) {
  Limits limits;
  limits.inline_awaits = 1024;  // so many are ready at once as can be
  make_loop(limits);
  constexpr int kPiece = 1000;
  auto [near, far] = make_stream_pair(loop());
  Depth depth;
  const auto writer = [&, &to = near]() -> Task<> {
    for (int i = 0; i < kAwaits / kPiece; ++i) {
      depth.look();
      co_await to.write(loop().copy_of(pattern(kPiece)));
    }
    co_await to.finish();
  };
  std::size_t bytes = 0;
  const auto reader = [&, &from = far]() -> Task<> {
    for (int i = 0; i < kAwaits; ++i) {
      depth.look();
      bytes += (co_await from.read_exact(1)).size();
    }
  };
  const auto both = [&]() -> Task<> { co_await when_all(writer(), reader()); };
  EXPECT_TRUE(run(both).ok());
  EXPECT_EQ(bytes, std::size_t{kAwaits});
  EXPECT_GT(metrics().inline_awaits, std::uint64_t{kAwaits} / 4);
  EXPECT_LE(depth.bytes(), kDepthMax);
}

TEST_P(Starving, J10_HandlersThatAnswerEachOtherTakeNoStack) {
  auto ends = make_stream_pair(loop());
  Depth depth;
  Recorder handlers[2];
  int left = kAwaits;
  const auto answer = [&](Stream& to) {
    depth.look();
    if (--left > 0) write(to, "x");
  };
  handlers[0].on_bytes = [&] { answer(ends.first); };
  handlers[1].on_bytes = [&] { answer(ends.second); };
  ends.first.start(handlers[0]);
  ends.second.start(handlers[1]);
  write(ends.first, "x");
  until([&] { return left <= 0; });
  EXPECT_LE(depth.bytes(), kDepthMax);
  EXPECT_EQ(metrics().demoted_jobs, 0u);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, Starving, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
