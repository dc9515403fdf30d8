// Streams with handlers: what is called, how often and in which order; pausing, closing and destroying inside a call.
#include <stdexcept>

#include "src/net/net_state.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

using Calls = std::vector<std::string>;

class StreamHandlers : public StreamTest {
 protected:
  void put(Stream& to, std::string_view text) {
    Buf bytes = loop().copy_of(text);
    ASSERT_NE(to.try_write(bytes), Write::refused);
  }
};

TEST_P(StreamHandlers, HearBytesThenTheEndThenTheClose) {
  Recorder handler;
  other_.start(handler);
  put(one_, "bytes");
  one_.end_writing();
  until([&] { return handler.end_count == 1; });
  EXPECT_EQ(handler.bytes, "bytes");
  put(other_, "answer");  // writing goes on
  other_.end_writing();
  const auto reader = [&]() -> Task<> {
    std::string answer = co_await read_all(one_);
    EXPECT_EQ(answer, "answer");
  };
  EXPECT_TRUE(run(reader).ok());
  until([&] { return handler.close_count == 1; });  // both directions have ended
  EXPECT_TRUE(handler.close_error.ok());
  rig_->turns(3);
  EXPECT_EQ(handler.calls, (Calls{"read", "end", "close"}));
}

TEST_P(StreamHandlers, GetWhatCameBeforeTheyStarted) {
  put(one_, "early");
  one_.end_writing();
  const auto reader = [&]() -> Task<> {
    Buf first = co_await other_.read_exact(2);
    EXPECT_EQ(first.text(), "ea");
  };
  EXPECT_TRUE(run(reader).ok());
  Recorder handler;
  other_.start(handler);
  EXPECT_TRUE(handler.calls.empty());  // not inside start()
  until([&] { return handler.end_count == 1; });
  EXPECT_EQ(handler.bytes, "rly");
  other_.close();
  until([&] { return handler.close_count == 1; });
}

TEST_P(StreamHandlers, ACloseOfTheirOwnComesOnceAndLast) {
  Recorder handler;
  other_.start(handler);
  put(one_, "never delivered");
  other_.close();
  EXPECT_TRUE(handler.calls.empty());  // not inside close()
  EXPECT_FALSE(other_.is_open());
  other_.close();
  other_.reset();
  until([&] { return handler.close_count == 1; });
  EXPECT_TRUE(handler.close_error.ok());
  rig_->turns(5);
  EXPECT_EQ(handler.calls, (Calls{"close"}));
}

TEST_P(StreamHandlers, HearNothingMoreOnceTheirStreamIsDestroyed) {
  Recorder handler;
  other_.start(handler);
  put(one_, "bytes");
  other_ = {};
  rig_->turns(5);
  EXPECT_TRUE(handler.calls.empty());
}

TEST_P(StreamHandlers, AResetOfThePeerIsTheErrorOfTheClose) {
  Recorder handler;
  other_.start(handler);
  put(one_, "bytes");
  until([&] { return handler.bytes == "bytes"; });
  one_.reset();
  until([&] { return handler.close_count == 1; });
  EXPECT_EQ(handler.close_error, Errc::connection_reset);
  EXPECT_EQ(handler.calls, (Calls{"read", "close"}));
}

TEST_P(StreamHandlers, ThePeersDeathInAWriteIsTheErrorOfTheClose) {
  Recorder handler;
  other_.start(handler);
  other_.pause();  // only writing can find out
  rig_->turns(3);
  one_.reset();
  rig_->turns(3);
  for (int i = 0; i < 100 && handler.close_count == 0; ++i) {
    Buf bytes = loop().copy_of("bytes");
    static_cast<void>(other_.try_write(bytes));
    rig_->turns(1);
  }
  until([&] { return handler.close_count == 1; });
  EXPECT_THAT(handler.close_error.code,
              ::testing::AnyOf(Errc::connection_reset, Errc::broken_pipe));
}

TEST_P(StreamHandlers, MayDestroyTheirStreamInAnyCall) {
  for (const char* where : {"read", "end", "writable", "close"}) {
    SCOPED_TRACE(where);
    ConnectOptions narrow;
    narrow.send_buffer_bytes = 16 << 10;
    make_streams({}, narrow);
    auto handler = std::make_unique<Recorder>();
    bool is_destroyed = false;
    const auto destroy = [&] {
      one_ = {};
      loop().tick([&] { handler.reset(); });
      is_destroyed = true;
    };
    if (where == std::string_view("read")) handler->on_bytes = destroy;
    if (where == std::string_view("end")) handler->on_ended = destroy;
    if (where == std::string_view("writable")) handler->on_unblocked = destroy;
    if (where == std::string_view("close")) handler->on_closed = destroy;
    one_.start(*handler);
    put(other_, "bytes");
    put(one_, pattern(600'000));  // more than is taken at once
    if (where == std::string_view("end")) other_.end_writing();
    if (where == std::string_view("close")) one_.close();
    const auto reader = [&]() -> Task<> {
      for (;;) static_cast<void>(co_await other_.read());
    };
    Scope scope;
    if (where == std::string_view("writable")) scope.spawn(reader(), "reader");
    until([&] { return is_destroyed; });
    rig_->turns(3);
  }
}

TEST_P(StreamHandlers, MayDestroyThemselvesWithTheirStream) {
  struct Session final : StreamHandler {
    Session(Stream from, std::unique_ptr<Session>& in, char at)
        : stream(std::move(from)), owner(in), when(at) {
      stream.start(*this);
    }
    void end(char now) {
      if (now == when) owner.reset();
    }
    void on_read(Buf) override { end('r'); }
    void on_end() override { end('e'); }
    void on_close(const Error&) override { end('c'); }
    Stream stream;
    std::unique_ptr<Session>& owner;
    char when;
  };
  for (const char when : {'r', 'e', 'c'}) {
    make_streams({});
    std::unique_ptr<Session> session;
    session = std::make_unique<Session>(std::move(other_), session, when);
    put(one_, "bytes");
    one_.end_writing();
    if (when == 'c') session->stream.end_writing();
    until([&] { return session == nullptr; });
  }
}

TEST_P(StreamHandlers, PauseStopsDeliveryAndLosesNothing) {
  const std::string flood = pattern(700'000);
  Recorder handler;
  bool is_paused = false;
  int pauses = 0;
  handler.on_bytes = [&] {
    EXPECT_FALSE(is_paused);
    if (++pauses % 3 != 0) return;
    is_paused = true;
    other_.pause();
    EXPECT_TRUE(other_.is_paused());
    loop().immediate([&] {
      loop().immediate([&] {
        is_paused = false;
        other_.resume();
      });
    });
  };
  handler.on_ended = [&] { EXPECT_FALSE(is_paused); };
  other_.start(handler);
  put(one_, flood);
  one_.end_writing();
  until([&] { return handler.end_count == 1; });
  EXPECT_TRUE(handler.bytes == flood);
  EXPECT_GE(pauses, 3);
}

TEST_P(StreamHandlers, WhilePausedLittleIsTakenFromThePeer) {
  ConnectOptions narrow;
  narrow.send_buffer_bytes = narrow.receive_buffer_bytes = 16 << 10;
  make_streams({}, narrow);
  Recorder handler;
  other_.start(handler);
  rig_->turns(2);
  other_.pause();
  put(one_, pattern(900'000));
  one_.end_writing();
  rig_->turns(50);
  EXPECT_EQ(handler.bytes, "");
  EXPECT_LE(metrics().bytes_received, 128u << 10);
  other_.resume();
  until([&] { return handler.end_count == 1; });
  EXPECT_TRUE(handler.bytes == pattern(900'000));
}

TEST_P(StreamHandlers, PausedBeforeTheStartTheyGetNothing) {
  Recorder handler;
  other_.pause();
  other_.start(handler);
  put(one_, "bytes");
  rig_->turns(5);
  EXPECT_TRUE(handler.calls.empty());
  other_.resume();
  until([&] { return handler.bytes == "bytes"; });
}

TEST_P(StreamHandlers, ABytesThenResetPairIsDeliveredInOrderAfterAPause) {
  Recorder handler;
  handler.on_bytes = [&] {
    if (handler.bytes.size() == 1) other_.pause();
  };
  other_.start(handler);
  rig_->turns(2);
  put(one_, "1");
  until([&] { return handler.bytes == "1"; });
  put(one_, "2");
  rig_->turns(3);
  other_.resume();
  until([&] { return handler.bytes == "12"; });
  one_.reset();
  until([&] { return handler.close_count == 1; });
  EXPECT_EQ(handler.calls, (Calls{"read", "close"}));
}

TEST_P(StreamHandlers, AnErrorDoesNotOvertakeBytesThatWaitForAResume) {
  const std::string text = pattern(60'000);
  Recorder handler;
  bool is_first = true;
  handler.on_bytes = [&] {
    if (!std::exchange(is_first, false)) return;
    other_.pause();
    one_.reset();
    loop().immediate([&] { loop().immediate([&] { other_.resume(); }); });
  };
  for (std::size_t at = 0; at < text.size(); at += 10'000) put(one_, text.substr(at, 10'000));
  rig_->turns(3);
  other_.start(handler);
  until([&] { return handler.close_count == 1; });
  // In memory, what was not taken yet goes with the reset; what was taken does not.
  EXPECT_TRUE(text.starts_with(handler.bytes));
  EXPECT_GE(handler.bytes.size(), GetParam().is_pair ? 20'000 : text.size());
  EXPECT_EQ(handler.calls, (Calls{"read", "close"}));
  EXPECT_EQ(handler.close_error, Errc::connection_reset);
}

TEST_P(StreamHandlers, StartedOnAStreamThatHasFailedTheyHearOfIt) {
  one_.reset();
  const auto reads = [&]() -> Task<> {
    Result<Buf> got = co_await result(other_.read());
    EXPECT_EQ(got.error(), Errc::connection_reset);
  };
  EXPECT_TRUE(run(reads).ok());
  Recorder handler;
  other_.start(handler);
  until([&] { return handler.close_count == 1; });
  EXPECT_EQ(handler.close_error, Errc::connection_reset);
}

TEST_P(StreamHandlers, OnWritableComesOnceAPressure) {
  ConnectOptions narrow;
  narrow.send_buffer_bytes = 16 << 10;
  make_streams({}, narrow);
  if (!GetParam()
           .is_pair) {  // else the kernel lets the peer's buffer grow until it takes all of the flood
    ASSERT_TRUE(other_.set_option(SocketOption::receive_buffer_bytes, 16 << 10).ok());
  }
  Recorder handler;
  one_.start(handler);
  const std::string flood = pattern(300'000);
  std::size_t read_bytes = 0;
  for (int round = 1; round <= 3; ++round) {
    Buf bytes = loop().copy_of(flood);
    ASSERT_EQ(one_.try_write(bytes), Write::pressured);
    rig_->turns(3);
    EXPECT_EQ(handler.writable_count, round - 1);
    handler.on_unblocked = [&] {
      // At or below the low mark, in pinned memory: one block may be left of a big one.
      EXPECT_LE(one_.queued_bytes(),
                std::max<std::size_t>(loop().limits().write_low_bytes, flood.size()));
    };
    const auto reader = [&]() -> Task<> {
      Buf all = co_await other_.read_exact(flood.size());
      EXPECT_TRUE(all.text() == flood);
      read_bytes += all.size();
    };
    EXPECT_TRUE(run(reader).ok());
    until([&] { return handler.writable_count == round; });
    rig_->turns(3);
    EXPECT_EQ(handler.writable_count, round);
  }
  EXPECT_EQ(read_bytes, 3 * flood.size());
}

TEST_P(StreamHandlers, ARefusedWriteIsFollowedByOnWritable) {
  ConnectOptions narrow;
  narrow.send_buffer_bytes = 16 << 10;
  make_streams({}, narrow);
  one_.set_marks({.high_bytes = 100'000, .low_bytes = 50'000, .cap_bytes = 150'000});
  Recorder handler;
  one_.start(handler);
  std::string sent;
  bool is_refused = false;
  const auto fill = [&] {
    is_refused = false;
    while (!is_refused && sent.size() < 2'000'000) {
      const std::string block = pattern(20'000, static_cast<std::uint32_t>(sent.size()));
      Buf bytes = loop().copy_of(block);
      is_refused = one_.try_write(bytes) == Write::refused;
      if (!is_refused) sent += block;
    }
  };
  handler.on_unblocked = fill;
  fill();
  ASSERT_TRUE(is_refused);
  std::string got;
  const auto reader = [&]() -> Task<> {
    while (got.size() < 2'000'000) {
      Buf bytes = co_await other_.read();
      got += bytes.text();
    }
  };
  const Error error = run(reader);
  EXPECT_TRUE(error.ok()) << error.to_string();
  EXPECT_TRUE(got == sent);
}

TEST_P(StreamHandlers, EndWritingSendsTheFinBehindTheBytes) {
  Recorder handler;
  one_.start(handler);
  put(one_, pattern(300'000));
  one_.end_writing();
  one_.end_writing();
  Buf late = loop().copy_of("late");
  EXPECT_EQ(one_.try_write(late), Write::refused);
  const auto reader = [&]() -> Task<> {
    std::string text = co_await read_all(other_);
    EXPECT_TRUE(text == pattern(300'000));
  };
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(StreamHandlers, TwoHandlersEcho) {
  struct Echo final : StreamHandler {
    Stream* stream = nullptr;
    void on_read(Buf bytes) override { EXPECT_NE(stream->try_write(bytes), Write::refused); }
    void on_end() override { stream->end_writing(); }
    void on_close(const Error& error) override { EXPECT_TRUE(error.ok()) << error.to_string(); }
  } echo;
  echo.stream = &other_;
  other_.start(echo);
  Recorder client;
  std::string sent;
  const auto send_one = [&] {
    if (client.bytes.size() != sent.size()) return;
    if (sent.size() > 20'000) return one_.end_writing();
    const std::string message =
        pattern(1 + sent.size() % 3000, static_cast<std::uint32_t>(sent.size()));
    sent += message;
    put(one_, message);
  };
  client.on_bytes = send_one;
  one_.start(client);
  send_one();
  until([&] { return client.close_count == 1; });
  EXPECT_TRUE(client.bytes == sent);
  EXPECT_EQ(client.calls, (Calls{"read", "end", "close"}));
}

#if defined(__cpp_exceptions)
TEST_P(StreamHandlers, AnExceptionClosesTheirStreamOnly) {
  auto [third, fourth] = make_stream_pair(loop());
  Recorder handler, other_handler;
  handler.on_bytes = [] { throw std::runtime_error("in on_read"); };
  other_.start(handler);
  fourth.start(other_handler);
  put(one_, "bytes");
  put(third, "other bytes");
  ::testing::internal::CaptureStderr();
  until([&] { return handler.close_count == 1 && other_handler.bytes == "other bytes"; });
  EXPECT_NE(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(handler.close_error, Errc::exception);
  EXPECT_EQ(other_handler.close_count, 0);
  EXPECT_EQ(metrics().exceptions, 1u);
}
#endif

// A runtime that stops tells idle streams so; what the peer sends afterwards has no reader any more.
TEST_P(StreamHandlers, HearNothingBehindTheEndThatAStopTells) {
  Recorder handler;
  other_.start(handler);
  rig_->turns(3);
  NetExtension::of(loop().core()).end_idle_reads(0);
  EXPECT_EQ(handler.end_count, 1);
  put(one_, "late");
  one_.end_writing();
  rig_->turns(50);
  EXPECT_EQ(handler.end_count, 1);
  EXPECT_EQ(handler.bytes, "");
}

INSTANTIATE_TEST_SUITE_P(AllMedia, StreamHandlers, ::testing::ValuesIn(kMedia), medium_name);

}  // namespace
}  // namespace weir::test
