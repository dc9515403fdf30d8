// Reading from a stream, in tasks: the same rows over sockets of each backend and in memory.
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class StreamRead : public StreamTest {
 protected:
  /// Writes each piece once the one before has been received, so that they come one by one.
  Task<> send_apart(std::vector<std::string> pieces) {
    for (const std::string& piece : pieces) {
      const std::uint64_t received = metrics().bytes_received;
      co_await one_.write(piece);
      while (metrics().bytes_received - received < piece.size()) co_await yield();
    }
  }
  /// A list in the awaiting expression itself is more than GCC 12 can do.
  template <typename... Texts>
  static std::vector<std::string> pieces(Texts... texts) {
    return {texts...};
  }
  void send(std::string_view text) {
    Buf bytes = loop().copy_of(text);
    ASSERT_EQ(one_.try_write(bytes), Write::flowing);
  }
};

TEST_P(StreamRead, GivesBytesAsTheyComeThenNothingAtTheEnd) {
  const auto reader = [&]() -> Task<> {
    Buf first = co_await other_.read();
    EXPECT_EQ(first.text(), "first");
    Buf second = co_await other_.read();
    EXPECT_EQ(second.text(), "second");
    EXPECT_FALSE(other_.has_ended());
    for (int i = 0; i < 3; ++i) {
      Buf bytes = co_await other_.read();
      EXPECT_TRUE(bytes.empty());
      EXPECT_TRUE(other_.has_ended());
    }
  };
  const auto writer = [&]() -> Task<> {
    co_await send_apart(pieces("first", "second"));
    co_await one_.finish();
  };
  const Error error = run_both(reader, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
  EXPECT_EQ(metrics().bytes_received, 11u);
}

TEST_P(StreamRead, GivesBytesThatCameBeforeItWasAsked) {
  send("early");
  one_.end_writing();
  rig_->turns(3);
  const auto reader = [&]() -> Task<> {
    std::string text = co_await read_all(other_);
    EXPECT_EQ(text, "early");
  };
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(StreamRead, ExactGivesSoManyBytesAndLeavesTheRest) {
  const auto reader = [&]() -> Task<> {
    Buf three = co_await other_.read_exact(3);
    EXPECT_EQ(three.text(), "abc");
    Buf four = co_await other_.read_exact(4);  // from two pieces
    EXPECT_EQ(four.text(), "defg");
    Buf rest = co_await other_.read();
    EXPECT_EQ(rest.text(), "h");
    Buf large = co_await other_.read_exact(100'000);
    EXPECT_EQ(large.text(), pattern(100'000));
  };
  const auto writer = [&]() -> Task<> {
    co_await send_apart(pieces("abcde", "fgh"));
    co_await one_.write(pattern(100'000));
  };
  const Error error = run_both(reader, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamRead, ExactMayBeMoreThanAConnectionMayHold) {
  Limits limits;
  limits.loan_bytes_max = 2 * limits.block_bytes;
  make_streams(limits);
  const std::string text = pattern(10 * limits.block_bytes);
  const auto send = [&]() -> Task<> { co_await one_.write(std::string_view(text)); };
  const auto receive = [&]() -> Task<> {
    co_await sleep_for(1ms);  // so that what came first is held already
    Buf all = co_await other_.read_exact(text.size());
    EXPECT_EQ(all.text(), text);
  };
  const Error error = run_both(send, receive);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamRead, ExactInOnePieceCopiesNothing) {
  const std::uint64_t copied = metrics().bytes_copied;
  const auto reader = [&]() -> Task<> {
    for (int i = 0; i < 4; ++i) {
      Buf part = co_await other_.read_exact(2048);
      EXPECT_EQ(part.size(), 2048u);
    }
  };
  const auto writer = [&]() -> Task<> { co_await one_.write(loop().allocate(8192)); };
  EXPECT_TRUE(run_both(reader, writer).ok());
  EXPECT_EQ(metrics().bytes_copied, copied);
}

TEST_P(StreamRead, ExactFailsWhenTheEndComesBeforeAndLeavesWhatCame) {
  const auto reader = [&]() -> Task<> {
    Result<Buf> got = co_await result(other_.read_exact(10));
    EXPECT_EQ(got.error(), Errc::end_of_stream);
    Buf rest = co_await other_.read();
    EXPECT_EQ(rest.text(), "short");
    Buf end = co_await other_.read();
    EXPECT_TRUE(end.empty());
    got = co_await result(other_.read_exact(1));
    EXPECT_EQ(got.error(), Errc::end_of_stream);
  };
  const auto writer = [&]() -> Task<> {
    co_await send_apart(pieces("short"));
    co_await one_.finish();
  };
  EXPECT_TRUE(run_both(reader, writer).ok());
}

struct UntilRow {
  const char* name;
  std::vector<std::string> pieces;
  std::string delimiter;
  std::size_t size_bytes_max;
  std::string line;  // up to and with the delimiter
  std::string rest;  // what stays readable
  Errc error = Errc::ok;
};
const UntilRow kUntilRows[] = {
    {"in one piece", {"line\nrest"}, "\n", 100, "line\n", "rest"},
    {"at the start", {"\nrest"}, "\n", 100, "\n", "rest"},
    {"at the end", {"line\n"}, "\n", 100, "line\n", ""},
    {"in the second piece", {"li", "ne\nrest"}, "\n", 100, "line\n", "rest"},
    {"across two pieces", {"line\r", "\nrest"}, "\r\n", 100, "line\r\n", "rest"},
    {"across four pieces",
     {"line\r", "\n", "\r", "\nrest"},
     "\r\n\r\n",
     100,
     "line\r\n\r\n",
     "rest"},
    {"a false start", {"a\r", "b\r\nrest"}, "\r\n", 100, "a\rb\r\n", "rest"},
    {"a false start that overlaps", {"aa", "ab", "rest"}, "aab", 100, "aaab", "rest"},
    {"a longer overlap", {"abab", "abac", "x"}, "abac", 100, "abababac", "x"},
    {"as long as may be", {"1234\n"}, "\n", 5, "1234\n", ""},
    {"too long with the delimiter", {"12345\n"}, "\n", 5, "", "12345\n", Errc::message_too_long},
    {"too long without", {"123", "456"}, "\n", 5, "", "123456", Errc::message_too_long},
    {"the end comes before", {"line"}, "\n", 100, "", "line", Errc::end_of_stream},
    {"half a delimiter at the end", {"line\r"}, "\r\n", 100, "", "line\r", Errc::end_of_stream},
    {"nothing at all", {}, "\n", 100, "", "", Errc::end_of_stream},
};

TEST_P(StreamRead, UntilGivesEverythingUpToADelimiter) {
  for (const UntilRow& row : kUntilRows) {
    SCOPED_TRACE(row.name);
    make_streams({});
    const auto reader = [&]() -> Task<> {
      Result<Buf> got = co_await result(other_.read_until(row.delimiter, row.size_bytes_max));
      EXPECT_EQ(got.error(), row.error) << got.error().to_string();
      EXPECT_EQ(got.ok() ? got->text() : "", row.line);
      std::string rest = co_await read_all(other_);
      EXPECT_EQ(rest, row.rest);
    };
    const auto writer = [&]() -> Task<> {
      co_await send_apart(row.pieces);
      co_await one_.finish();
    };
    const Error error = run_both(reader, writer);
    EXPECT_TRUE(error.ok()) << error.to_string();
  }
}

TEST_P(StreamRead, UntilReadsManyLinesOfOnePiece) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::to_string(i) + "\n";
  const auto reader = [&]() -> Task<> {
    for (int i = 0; i < 1000; ++i) {
      Buf line = co_await other_.read_until("\n", 10);
      EXPECT_EQ(line.text(), std::to_string(i) + "\n");
    }
  };
  const auto writer = [&]() -> Task<> { co_await one_.write(text); };
  const Error error = run_both(reader, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamRead, TimesOutWhenNoByteComesAndGoesOnAfterwards) {
  const auto reader = [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t start = loop().now_ns();
      Result<Buf> got = co_await result(other_.read({1ms}));
      EXPECT_EQ(got.error(), Errc::timed_out);
      EXPECT_EQ(got.error().operation, Operation::read);
      EXPECT_GE(loop().now_ns(), start + 1'000'000);
    }
    co_await one_.write("late");
    Buf bytes = co_await other_.read({1h});
    EXPECT_EQ(bytes.text(), "late");
  };
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(StreamRead, ATimeoutEndsATaskThatDoesNotAskForTheError) {
  const auto reader = [&]() -> Task<> {
    Buf bytes = co_await other_.read({1ms});
    ADD_FAILURE() << "got " << bytes.size();
  };
  EXPECT_EQ(run(reader), Errc::timed_out);
}

TEST_P(StreamRead, ATimeoutOfAnExactReadLeavesWhatCame) {
  send("part");
  const auto reader = [&]() -> Task<> {
    Result<Buf> got = co_await result(other_.read_exact(10, {5ms}));
    EXPECT_EQ(got.error(), Errc::timed_out);
    Buf part = co_await other_.read();
    EXPECT_EQ(part.text(), "part");
  };
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(StreamRead, ATimelyReadLeavesNoTimerBehind) {
  send("timely");
  const auto reader = [&]() -> Task<> {
    Buf bytes = co_await other_.read({1h});
    EXPECT_EQ(bytes.text(), "timely");
  };
  EXPECT_TRUE(run(reader).ok());
  EXPECT_EQ(loop().next_deadline_ns() == 0 || loop().next_deadline_ns() == Backend::kNever, true);
}

TEST_P(StreamRead, AnEndedReadTakesNoByteFromThePeer) {
  const auto reads = [&]() -> Task<> {
    Buf bytes = co_await other_.read();
    ADD_FAILURE() << "got " << bytes.size();
  };
  {
    Scope scope;
    scope.spawn(reads(), "reads");
    rig_->turns(3);
  }
  rig_->turns(3);
  send("for the next one");
  rig_->turns(5);
  EXPECT_EQ(metrics().bytes_received, 0u);  // they wait where the peer put them
  const auto next = [&]() -> Task<> {
    Buf bytes = co_await other_.read();
    EXPECT_EQ(bytes.text(), "for the next one");
  };
  EXPECT_TRUE(run(next).ok());
}

TEST_P(StreamRead, AReadEndedWhileItsBytesAreComingLosesNone) {
  // The bytes and the cancel cross at each of several distances.
  for (int turns = 0; turns < 4; ++turns) {
    SCOPED_TRACE(turns);
    const auto reads = [&]() -> Task<> {
      Buf bytes = co_await other_.read_exact(7);
      ADD_FAILURE() << "got " << bytes.size();
    };
    {
      Scope scope;
      scope.spawn(reads(), "reads");
      rig_->turns(2);
      send("abc");
      rig_->turns(turns);
    }
    send("def");
    const auto next = [&]() -> Task<> {
      Buf bytes = co_await other_.read_exact(6);
      EXPECT_EQ(bytes.text(), "abcdef");
    };
    EXPECT_TRUE(run(next).ok());
  }
}

TEST_P(StreamRead, FailsWithClosedOnAStreamThatIsClosed) {
  other_.close();
  EXPECT_FALSE(other_.is_open());
  EXPECT_TRUE(other_.valid());
  const auto reader = [&]() -> Task<> {
    Result<Buf> got = co_await result(other_.read());
    EXPECT_EQ(got.error(), Errc::closed);
    got = co_await result(other_.read_exact(1));
    EXPECT_EQ(got.error(), Errc::closed);
    got = co_await result(other_.read_until("\n", 10));
    EXPECT_EQ(got.error(), Errc::closed);
  };
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(StreamRead, OneThatWaitsIsToldOfAClose) {
  const auto reader = [&]() -> Task<> {
    Result<Buf> got = co_await result(other_.read({1h}));
    EXPECT_EQ(got.error(), Errc::closed);
  };
  const auto closer = [&]() -> Task<> {
    co_await yield();
    other_.close();
    other_.close();  // again is nothing
  };
  EXPECT_TRUE(run_both(reader, closer).ok());
}

TEST_P(StreamRead, AResetComesBehindWhatWasReceived) {
  const auto reader = [&]() -> Task<> {
    Buf bytes = co_await other_.read();
    EXPECT_EQ(bytes.text(), "before");
    one_.reset();
    Result<Buf> got = co_await result(other_.read());
    EXPECT_EQ(got.error(), Errc::connection_reset) << got.error().to_string();
    got = co_await result(other_.read());  // and again
    EXPECT_EQ(got.error(), Errc::connection_reset);
  };
  send("before");
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(StreamRead, AResetDoesNotOvertakeBytesThatNobodyHasRead) {
  const auto reader = [&]() -> Task<> {
    Buf first = co_await other_.read_exact(1);
    one_.reset();
    rig_->loop().immediate([] {});
    co_await yield();
    co_await yield();
    Buf rest = co_await other_.read_exact(5);
    EXPECT_EQ(rest.text(), "efore");
    Result<Buf> got = co_await result(other_.read());
    EXPECT_EQ(got.error(), Errc::connection_reset);
  };
  send("before");
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(StreamRead, AStreamMayMoveWhileItIsRead) {
  Stream moved;
  const auto reader = [&]() -> Task<> {
    Buf bytes = co_await other_.read();
    EXPECT_EQ(bytes.text(), "bytes");
  };
  const auto mover = [&]() -> Task<> {
    co_await yield();
    moved = std::move(other_);
    co_await one_.write("bytes");
  };
  EXPECT_TRUE(run_both(reader, mover).ok());
}

// Both readers' bytes come with one poll, of which one is delivered a turn; whoever is first takes so long that the
// other's deadline has passed by the next turn.
TEST_P(StreamRead, BytesThatCameInTimeAreNotTimedOutWhileTheyWaitForTheirTurn) {
  Limits limits;
  limits.completions_per_turn = 1;
  make_streams(limits);
  if (GetParam().is_pair) return;  // its bytes wait at the other end
  auto [near, far] = connect_streams(*rig_);
  int read_count = 0;
  const auto reader = [&](Stream& from) -> Task<> {
    const auto deadline = std::chrono::steady_clock::now() + 40ms;
    Buf bytes = co_await from.read({20ms});
    EXPECT_EQ(bytes.text(), "in time");
    ++read_count;
    while (std::chrono::steady_clock::now() < deadline) {
    }
  };
  const auto both = [&, &other_far = far]() -> Task<> {
    co_await when_all(reader(other_), reader(other_far));
  };
  const auto writer = [&, &second = near]() -> Task<> {
    co_await one_.write("in time");
    co_await second.write("in time");
  };
  const Error error = run_both(both, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
  EXPECT_EQ(read_count, 2);
}

INSTANTIATE_TEST_SUITE_P(AllMedia, StreamRead, ::testing::ValuesIn(kMedia), medium_name);

}  // namespace
}  // namespace weir::test
