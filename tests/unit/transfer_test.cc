// Large transfers both ways at once, byte for byte: on each medium, and on a correct backend at its least convenient.
#include <random>

#include "tests/rig/chaos.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

/// Writes `text` in pieces of changing size, then ends.
Task<> send_in_pieces(Stream& to, const std::string& text, std::uint32_t seed) {
  std::mt19937 random(seed);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = std::min<std::size_t>(text.size() - at, 1 + random() % 40'000);
    if (random() % 2 == 0) {
      co_await to.write(std::string_view(text).substr(at, size));
    } else {
      BufChain chain;
      const std::size_t half = size / 2;
      if (half != 0) chain.append(to.loop().copy_of(std::string_view(text).substr(at, half)));
      chain.append(to.loop().copy_of(std::string_view(text).substr(at + half, size - half)));
      co_await to.write(std::move(chain));
    }
    at += size;
    if (random() % 8 == 0) co_await yield();
    if (random() % 16 == 0) co_await to.flush();
  }
  co_await to.finish();
}

/// Reads `text` in one of several ways, whichever comes; then the end.
Task<> expect_text(Stream& from, const std::string& text, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::size_t at = 0;
  std::vector<Buf> held;  // for a while, so that loans and pauses come into it
  while (at < text.size()) {
    Buf bytes;
    if (random() % 3 == 0) {
      held.clear();  // else it may hold so much that no more is read for it
      const std::size_t wanted = std::min<std::size_t>(text.size() - at, 1 + random() % 50'000);
      bytes = co_await from.read_exact(wanted);
    } else {
      bytes = co_await from.read();
    }
    if (bytes.empty() || text.compare(at, bytes.size(), bytes.text()) != 0) {
      ADD_FAILURE() << "at byte " << at << ": " << bytes.size() << " others";
      co_return;
    }
    at += bytes.size();
    held.push_back(std::move(bytes));
    if (random() % 6 == 0) held.clear();
    if (random() % 8 == 0) co_await yield();
  }
  Buf end = co_await from.read();
  EXPECT_TRUE(end.empty()) << end.size();
}

class Transfer : public StreamTest {
 protected:
  void exchange(std::size_t size_bytes, std::uint32_t seed) {
    const std::string there = pattern(size_bytes, seed), back = pattern(size_bytes, seed + 1);
    const auto all = [&]() -> Task<> {
      co_await when_all(send_in_pieces(one_, there, seed), expect_text(one_, back, seed + 2),
                        send_in_pieces(other_, back, seed + 3),
                        expect_text(other_, there, seed + 4));
    };
    const Error error = run(all);
    EXPECT_TRUE(error.ok()) << error.to_string();
  }
};

TEST_P(Transfer, BothWaysAtOnceIsExact) { exchange(3'000'000, 1); }

TEST_P(Transfer, WithTightLimitsToo) {
  Limits limits;
  limits.block_bytes = 4 << 10;
  limits.group_bytes = 256 << 10;
  limits.overflow_bytes = 0;
  limits.loan_bytes_max = 64 << 10;
  limits.bytes_per_socket_turn = 10'000;
  limits.completions_per_turn = 3;
  limits.write_high_bytes = 10'000;
  limits.write_low_bytes = 2'000;
  limits.write_cap_bytes = 50'000;
  limits.inline_awaits = 1;
  ConnectOptions narrow;
  narrow.send_buffer_bytes = narrow.receive_buffer_bytes = 16 << 10;
  make_streams(limits, narrow);
  exchange(600'000, 2);
}

INSTANTIATE_TEST_SUITE_P(AllMedia, Transfer, ::testing::ValuesIn(kMedia), medium_name);

constexpr std::string_view kChaos[] = {"chaos:11:epoll", "chaos:12:epoll", "chaos:13:io_uring"};

class ChaosTransfer : public LoopTest {
 protected:
  static void SetUpTestSuite() { register_chaos(); }
};

TEST_P(ChaosTransfer, IsExact) {
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    Stream near, far;
    std::tie(near, far) = connect_streams(*rig_);
    const std::string there = pattern(200'000, seed), back = pattern(200'000, seed + 1);
    const auto all = [&]() -> Task<> {
      co_await when_all(send_in_pieces(near, there, seed), expect_text(near, back, seed + 2),
                        send_in_pieces(far, back, seed + 3), expect_text(far, there, seed + 4));
    };
    const Error error = run(all);
    EXPECT_TRUE(error.ok()) << error.to_string();
  }
}

TEST_P(ChaosTransfer, HandlersEchoExactly) {
  struct Echo final : StreamHandler {
    Stream stream;
    BufChain waiting;  // what was refused
    bool has_ended = false;
    void send() {
      while (!waiting.empty()) {
        Buf piece = waiting.pop_front();
        if (stream.try_write(piece) != Write::refused) continue;
        BufChain rest;
        rest.append(std::move(piece));
        rest.append(std::move(waiting));
        waiting = std::move(rest);
        return stream.pause();
      }
      stream.resume();
      if (has_ended) stream.end_writing();
    }
    void on_read(Buf bytes) override {
      waiting.append(std::move(bytes));
      send();
    }
    void on_end() override {
      has_ended = true;
      send();
    }
    void on_writable() override { send(); }
    void on_close(const Error& error) override { EXPECT_TRUE(error.ok()) << error.to_string(); }
  } echo;
  Stream near;
  std::tie(near, echo.stream) = connect_streams(*rig_);
  echo.stream.set_marks({.high_bytes = 20'000, .low_bytes = 5'000, .cap_bytes = 60'000});
  echo.stream.start(echo);
  const std::string text = pattern(400'000, 9);
  const auto both = [&]() -> Task<> {
    co_await when_all(send_in_pieces(near, text, 5), expect_text(near, text, 6));
  };
  const Error error = run(both);
  EXPECT_TRUE(error.ok()) << error.to_string();
  near = {};
  until([&] { return !echo.stream.is_open(); });
  echo.stream = {};
}

INSTANTIATE_TEST_SUITE_P(Seeds, ChaosTransfer, ::testing::ValuesIn(kChaos), backend_name);

}  // namespace
}  // namespace weir::test
