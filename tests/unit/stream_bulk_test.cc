// Much at once: a receive that fills several blocks is told block by block, what is written meanwhile leaves in one
// send, and its reader may pause, close or throw in the middle of it.
#include <stdexcept>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class StreamBulk : public StreamTest {
 protected:
  /// Puts `text` behind one_, so that other_ finds much of it at once: nothing turns the loop meanwhile.
  void put(const std::string& text) {
    for (std::size_t at = 0; at < text.size(); at += kPiece) {
      Buf bytes = loop().copy_of(std::string_view(text).substr(at, kPiece));
      ASSERT_NE(one_.try_write(bytes), Write::refused);
    }
  }
  static constexpr std::size_t kPiece = 16 << 10;
  static constexpr std::size_t kBulk = 40 * kPiece;
};

struct Echo final : StreamHandler {
  explicit Echo(Stream& its_peer) : peer(its_peer) {}
  void on_read(Buf bytes) override { EXPECT_NE(peer.try_write(bytes), Write::refused); }
  void on_close(const Error&) override {}
  Stream& peer;
};

TEST_P(StreamBulk, ComesBackInFewSends) {
  Echo echo(other_);
  other_.start(echo);
  const std::string text = pattern(kBulk, 1);
  put(text);
  const auto reader = [&]() -> Task<> {
    Buf all = co_await one_.read_exact(kBulk);
    EXPECT_TRUE(all.text() == text);
  };
  EXPECT_TRUE(run(reader).ok());
  if (GetParam().is_pair) return;  // it moves blocks, and sends nothing
  EXPECT_LT(metrics().sends, metrics().receives / 2)
      << metrics().bytes_sent << " bytes sent, " << metrics().bytes_received << " received";
}

// Does one thing at its third call.
struct AtThird final : StreamHandler {
  explicit AtThird(std::function<void()> what) : act(std::move(what)) {}
  void on_read(Buf bytes) override {
    text += bytes.text();
    if (++calls == 3) act();
  }
  void on_close(const Error& error) override { close_error = error, is_closed = true; }
  std::function<void()> act;
  int calls = 0;
  std::string text;
  Error close_error;
  bool is_closed = false;
};

TEST_P(StreamBulk, PausedInTheMiddleGoesOnWhereItWas) {
  AtThird reader([&] { other_.pause(); });
  other_.start(reader);
  const std::string text = pattern(kBulk, 2);
  put(text);
  until([&] { return reader.calls == 3; });
  rig_->turns(5);
  EXPECT_EQ(reader.calls, 3);
  other_.resume();
  until([&] { return reader.text.size() == kBulk; });
  EXPECT_TRUE(reader.text == text);
}

TEST_P(StreamBulk, ClosedInTheMiddleIsOverAtOnce) {
  AtThird reader([&] { other_.close(); });
  other_.start(reader);
  put(pattern(kBulk, 3));
  until([&] { return reader.is_closed; });
  EXPECT_EQ(reader.calls, 3);
  EXPECT_EQ(metrics().stale_completions, 0u);
}

TEST_P(StreamBulk, DestroyedInTheMiddleIsOverAtOnce) {
  AtThird reader([&] { other_ = {}; });
  other_.start(reader);
  put(pattern(kBulk, 4));
  until([&] { return metrics().closed != 0; });
  EXPECT_EQ(reader.calls, 3);
}

#if defined(__cpp_exceptions)
TEST_P(StreamBulk, AThrowInTheMiddleClosesThatStream) {
  AtThird reader([] { throw std::runtime_error("third"); });
  other_.start(reader);
  put(pattern(kBulk, 5));
  until([&] { return reader.is_closed; });
  EXPECT_EQ(reader.calls, 3);
  EXPECT_FALSE(reader.close_error.ok());
}
#endif

INSTANTIATE_TEST_SUITE_P(AllMedia, StreamBulk, ::testing::ValuesIn(kMedia), medium_name);

}  // namespace
}  // namespace weir::test
