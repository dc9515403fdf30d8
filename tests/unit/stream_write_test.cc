// Writing to a stream: pressure, refusal, flush and finish; over sockets of each backend and in memory.
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class StreamWrite : public StreamTest {
 protected:
  /// Small buffers in the kernel, so that little is taken while nobody reads.
  void make_narrow_streams(const Limits& limits = {}) {
    ConnectOptions options;
    options.send_buffer_bytes = 16 << 10;
    make_streams(limits, options);
  }
  Write put(std::string_view text) {
    Buf bytes = loop().copy_of(text);
    const Write answer = one_.try_write(bytes);
    EXPECT_EQ(bytes.empty(), answer != Write::refused);
    return answer;
  }
  /// Writes blocks until one is refused; what was taken.
  std::string fill() {
    std::string taken;
    for (std::uint32_t i = 0;; ++i) {
      const std::string block = pattern(4000, i);
      Buf bytes = loop().copy_of(block);
      if (one_.try_write(bytes) == Write::refused) {
        EXPECT_EQ(bytes.text(), block);  // still the caller's
        return taken;
      }
      taken += block;
      rig_->turns(1);
    }
  }
};

class StreamWriteInMemory : public StreamWrite {};   // where nobody takes bytes but the reader
class StreamWriteToSockets : public StreamWrite {};  // where the kernel takes some

TEST_P(StreamWrite, GivesTheBytesAwayAndArrives) {
  EXPECT_EQ(put("hello "), Write::flowing);
  Buf nothing;
  EXPECT_EQ(one_.try_write(nothing), Write::flowing);
  BufChain chain;
  chain.append(loop().copy_of("chained "));
  chain.append(loop().copy_of("bytes "));
  EXPECT_EQ(one_.try_write(chain), Write::flowing);
  EXPECT_TRUE(chain.empty());
  const auto writer = [&]() -> Task<> {
    co_await one_.write("text ");
    co_await one_.write(loop().copy_of("buf "));
    BufChain more;
    more.append(loop().copy_of("more "));
    co_await one_.write(std::move(more));
    co_await one_.write(Buf());
    co_await one_.finish();
  };
  const auto reader = [&]() -> Task<> {
    std::string text = co_await read_all(other_);
    EXPECT_EQ(text, "hello chained bytes text buf more ");
  };
  EXPECT_TRUE(run_both(writer, reader).ok());
}

TEST_P(StreamWrite, WritesOfOneCallbackAreOneSend) {
  const std::uint64_t sends = metrics().sends;
  loop().immediate([&] {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(put("part"), Write::flowing);
  });
  const auto reader = [&]() -> Task<> {
    Buf all = co_await other_.read_exact(80);
    EXPECT_EQ(all.size(), 80u);
  };
  EXPECT_TRUE(run(reader).ok());
  EXPECT_EQ(metrics().sends - sends, 1u);
}

TEST_P(StreamWrite, AFinishInACallbackLosesNoOtherStreamsWrites) {
  auto [third, fourth] = make_stream_pair(loop());
  auto [fifth, sixth] = make_stream_pair(loop());
  const auto writer = [&, &other_writer = third, &last_writer = fifth]() -> Task<> {
    co_await one_.write("first");
    co_await other_writer.write("second");
    co_await last_writer.write("third");
    co_await one_.finish();
    co_await one_.flush();
  };
  const auto reader = [&, &second = fourth, &third_reader = sixth]() -> Task<> {
    std::string first_text = co_await read_all(other_);
    EXPECT_EQ(first_text, "first");
    Buf second_text = co_await second.read({5s});
    EXPECT_EQ(second_text.text(), "second");
    Buf third_text = co_await third_reader.read({5s});
    EXPECT_EQ(third_text.text(), "third");
  };
  const Error error = run_both(writer, reader);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamWrite, AboveTheHighMarkItIsPressuredAboveTheCapRefused) {
  make_narrow_streams();
  const std::size_t pinned = loop().copy_of(pattern(4000)).pinned_bytes();
  const auto marks = [&](std::size_t blocks) {
    return static_cast<std::uint32_t>(blocks * pinned);
  };
  one_.set_marks({.high_bytes = marks(2), .low_bytes = marks(1), .cap_bytes = marks(4)});
  const std::string taken = fill();
  EXPECT_LE(one_.queued_bytes(), 4 * 4000u);
  EXPECT_EQ(metrics().writes_refused, 1u);
  EXPECT_GE(metrics().writes_pressured, 1u);
  if (GetParam().is_pair) {
    EXPECT_EQ(taken.size(), 4 * 4000u);  // nobody else takes any
  }
  const auto reader = [&]() -> Task<> {
    Buf all = co_await other_.read_exact(taken.size());
    EXPECT_TRUE(all.text() == taken);
  };
  const Error error = run(reader);
  EXPECT_TRUE(error.ok()) << error.to_string();
  EXPECT_EQ(one_.queued_bytes(), 0u);
  EXPECT_EQ(put("again"), Write::flowing);
}

TEST_P(StreamWriteInMemory, CountsTheMemoryThatItPins) {
  const std::uint32_t block = loop().limits().block_bytes;
  one_.set_marks({.high_bytes = 2 * block, .low_bytes = block, .cap_bytes = 3 * block});
  // One byte each of three blocks, and many slices of one block.
  Buf whole = loop().allocate(block);
  for (int i = 0; i < 100; ++i) {
    Buf slice = whole.split_front(10);
    EXPECT_EQ(one_.try_write(slice), Write::flowing);  // they pin it once
  }
  EXPECT_EQ(metrics().write_queue_bytes, block);
  Buf second = loop().allocate(block), third = loop().allocate(block),
      fourth = loop().allocate(block);
  EXPECT_EQ(one_.try_write(second), Write::flowing);
  EXPECT_EQ(one_.try_write(third), Write::pressured);
  EXPECT_EQ(one_.try_write(fourth), Write::refused);
  EXPECT_EQ(fourth.size(), block);
  EXPECT_EQ(metrics().write_queue_bytes, 3 * block);
}

TEST_P(StreamWrite, WaitsUnderPressureUntilTheLowMark) {
  make_narrow_streams();
  const std::size_t pinned = loop().copy_of(pattern(4000)).pinned_bytes();
  const auto marks = [&](std::size_t blocks) {
    return static_cast<std::uint32_t>(blocks * pinned);
  };
  one_.set_marks({.high_bytes = marks(3), .low_bytes = marks(1), .cap_bytes = marks(8)});
  constexpr int kCount = 100;
  int written = 0;
  const auto writer = [&]() -> Task<> {
    for (; written < kCount; ++written) {
      co_await one_.write(pattern(4000, static_cast<std::uint32_t>(written)));
      EXPECT_LE(one_.queued_bytes(), 3 * 4000u);  // it waited until there was no pressure
    }
    co_await one_.finish();
  };
  const auto reader = [&]() -> Task<> {
    for (int i = 0; i < 5; ++i) co_await yield();
    EXPECT_LT(written, kCount);
    for (std::uint32_t i = 0; i < kCount; ++i) {
      Buf block = co_await other_.read_exact(4000);
      EXPECT_TRUE(block.text() == pattern(4000, i)) << i;
    }
    Buf end = co_await other_.read();
    EXPECT_TRUE(end.empty());
  };
  const Error error = run_both(writer, reader);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamWrite, OneThatWaitsMayBeLargerThanTheCap) {
  Limits limits;
  limits.write_cap_bytes = 128 << 10;
  make_streams(limits);
  const std::string large = pattern(1 << 20);
  const auto writer = [&]() -> Task<> {
    co_await one_.write(large);
    co_await one_.finish();
  };
  const auto reader = [&]() -> Task<> {
    std::string text = co_await read_all(other_);
    EXPECT_TRUE(text == large);
  };
  const Error error = run_both(writer, reader);
  EXPECT_TRUE(error.ok()) << error.to_string();
  Buf refused = loop().copy_of(large);
  EXPECT_EQ(other_.try_write(refused), Write::refused);
  EXPECT_EQ(refused.size(), large.size());
}

// Awaited or not: beyond the cap each stream has its high mark's worth in pieces, or one write up to its own cap.
TEST_P(StreamWrite, AllStreamsOfALoopShareOneCap) {
  constexpr std::uint32_t kBlock = 16 << 10, kHigh = 2 * kBlock, kCap = 16 * kBlock, kStreams = 12;
  Limits limits;
  limits.write_loop_cap_bytes = limits.write_cap_bytes = kCap;
  limits.write_high_bytes = kHigh;
  make_streams(limits);
  std::vector<std::pair<Stream, Stream>> pairs;
  std::uint32_t refused_count = 0;
  const auto put = [&](Stream& stream, std::size_t size_bytes, bool waits) {
    Buf bytes = loop().allocate(size_bytes);
    if (!waits) return stream.try_write(bytes) != Write::refused;
    const std::uint64_t before = metrics().writes_refused;
    static_cast<void>(stream.write(std::move(bytes)));  // taken or not when it is called
    return metrics().writes_refused == before;
  };
  for (std::uint32_t i = 0; i < kStreams; ++i) {
    pairs.push_back(make_stream_pair(loop()));
    Stream& stream = pairs.back().first;
    const bool waits = i % 2 != 0;
    EXPECT_TRUE(put(stream, 5 * kBlock, waits)) << i;  // an empty queue takes it: it can go on
    refused_count += !put(stream, kBlock, waits);
    EXPECT_LE(metrics().write_queue_bytes, kCap + (i + 1) * 5 * kBlock);
  }
  EXPECT_EQ(refused_count, kStreams - 2);  // two of them and the third's first filled it
  pairs.push_back(make_stream_pair(loop()));
  Stream& last = pairs.back().first;
  EXPECT_TRUE(put(last, kBlock, false));
  EXPECT_TRUE(put(last, kBlock, false)) << "the high mark's worth, in pieces";
  EXPECT_FALSE(put(last, kBlock, false));
}

TEST_P(StreamWrite, FlushWaitsUntilEverythingHasLeft) {
  make_narrow_streams();
  const auto writer = [&]() -> Task<> {
    co_await one_.flush();  // nothing there
    for (int i = 0; i < 20; ++i) {
      Buf bytes = loop().copy_of(pattern(40'000));
      EXPECT_NE(one_.try_write(bytes), Write::refused);
    }
    co_await one_.flush();
    EXPECT_EQ(one_.queued_bytes(), 0u);
    co_await one_.write("more");
    co_await one_.flush();
  };
  const auto reader = [&]() -> Task<> {
    for (int i = 0; i < 20; ++i) {
      Buf bytes = co_await other_.read_exact(40'000);
      EXPECT_TRUE(bytes.text() == pattern(40'000));
    }
    Buf more = co_await other_.read_exact(4);
    EXPECT_EQ(more.text(), "more");
  };
  const Error error = run_both(writer, reader);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamWrite, FinishEndsOneDirectionOnly) {
  const auto one = [&]() -> Task<> {
    co_await one_.write("question");
    co_await one_.finish();
    std::string answer = co_await read_all(one_);
    EXPECT_EQ(answer, "answer");
    co_await one_.finish();  // again is nothing
  };
  const auto other = [&]() -> Task<> {
    std::string question = co_await read_all(other_);
    EXPECT_EQ(question, "question");
    for (int i = 0; i < 3; ++i) co_await yield();
    co_await other_.write("answer");
    co_await other_.finish();
  };
  const Error error = run_both(one, other);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamWrite, FinishWithNothingWrittenIsAnEnd) {
  const auto writer = [&]() -> Task<> { co_await one_.finish(); };
  const auto reader = [&]() -> Task<> {
    Buf end = co_await other_.read();
    EXPECT_TRUE(end.empty());
  };
  EXPECT_TRUE(run_both(writer, reader).ok());
}

TEST_P(StreamWrite, AfterFinishAWriteFails) {
  const auto writer = [&]() -> Task<> {
    co_await one_.finish();
    Result<void> wrote = co_await result(one_.write("late"));
    EXPECT_EQ(wrote.error(), Errc::broken_pipe);
    EXPECT_EQ(put("late"), Write::refused);
  };
  EXPECT_TRUE(run(writer).ok());
}

TEST_P(StreamWrite, AfterCloseAWriteFailsWithClosed) {
  one_.close();
  const auto writer = [&]() -> Task<> {
    Result<void> wrote = co_await result(one_.write("late"));
    EXPECT_EQ(wrote.error(), Errc::closed);
    EXPECT_EQ(wrote.error().operation, Operation::write);
    Result<void> flushed = co_await result(one_.flush());
    EXPECT_EQ(flushed.error(), Errc::closed);
    Result<void> finished = co_await result(one_.finish());
    EXPECT_EQ(finished.error(), Errc::closed);
    EXPECT_EQ(put("late"), Write::refused);
    one_.end_writing();
  };
  EXPECT_TRUE(run(writer).ok());
  const auto ends = [&]() -> Task<> { co_await one_.write("late"); };
  EXPECT_EQ(run(ends), Errc::closed);
}

TEST_P(StreamWrite, WhoWaitsIsToldOfAClose) {
  make_narrow_streams();
  for (int kind = 0; kind < 3; ++kind) {
    const auto writer = [&]() -> Task<> {
      Result<void> wrote;
      if (kind == 0) wrote = co_await result(one_.write(pattern(2 << 20)));
      Buf bytes = loop().copy_of(pattern(500'000));
      if (kind != 0) static_cast<void>(one_.try_write(bytes));
      if (kind == 1) wrote = co_await result(one_.flush());
      if (kind == 2) wrote = co_await result(one_.finish());
      EXPECT_EQ(wrote.error(), Errc::closed) << kind;
    };
    const auto closer = [&]() -> Task<> {
      for (int i = 0; i < 3; ++i) co_await yield();
      one_.close();
    };
    const Error error = run_both(writer, closer);
    EXPECT_TRUE(error.ok()) << error.to_string();
    until([&] { return one_.queued_bytes() == 0; });  // what the kernel had is dropped too
    make_narrow_streams();
  }
}

TEST_P(StreamWrite, LateErrorsShowAtTheLatestInFinish) {
  // The peer goes away with a reset while bytes are still queued.
  make_narrow_streams();
  const auto writer = [&]() -> Task<> {
    Buf bytes = loop().copy_of(pattern(500'000));
    EXPECT_NE(one_.try_write(bytes), Write::refused);
    other_.reset();
    Result<void> finished = co_await result(one_.finish());
    EXPECT_THAT(finished.error().code, ::testing::AnyOf(Errc::connection_reset, Errc::broken_pipe));
    finished = co_await result(one_.finish());  // it stays so
    EXPECT_FALSE(finished.ok());
    Result<void> wrote = co_await result(one_.write("more"));
    EXPECT_FALSE(wrote.ok());
  };
  const Error error = run(writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(StreamWrite, AWriterUnderPressureIsToldThatThePeerIsGone) {
  make_narrow_streams();
  const auto writer = [&]() -> Task<> {
    for (;;) co_await one_.write(pattern(100'000));
  };
  const auto peer = [&]() -> Task<> {
    Buf some = co_await other_.read();
    EXPECT_FALSE(some.empty());
    other_ = {};  // with bytes unread
    co_await sleep_for(1h);
  };
  EXPECT_THAT(run_both(writer, peer).code,
              ::testing::AnyOf(Errc::connection_reset, Errc::broken_pipe));
}

TEST_P(StreamWriteToSockets, AFailedWriteSideLeavesReadingAlone) {
  const auto body = [&]() -> Task<> {
    co_await other_.write("still readable");
    co_await other_.flush();
    while (metrics().bytes_sent < 14) co_await yield();
    co_await one_.finish();
    Result<void> wrote = co_await result(one_.write("x"));
    EXPECT_FALSE(wrote.ok());
    Buf bytes = co_await one_.read();
    EXPECT_EQ(bytes.text(), "still readable");
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(StreamWrite, OneSliceMayBeInManySendsAtOnce) {
  std::vector<std::pair<Stream, Stream>> pairs;
  for (int i = 0; i < 10; ++i) pairs.push_back(make_stream_pair(loop()));
  const auto body = [&]() -> Task<> {
    Buf shared = loop().copy_of(pattern(5000));
    for (auto& [from, to] : pairs) co_await from.write(shared.share());
    co_await one_.write(shared.share());
    shared.reset();
    for (auto& [from, to] : pairs) {
      Buf got = co_await to.read_exact(5000);
      EXPECT_TRUE(got.text() == pattern(5000));
    }
    Buf got = co_await other_.read_exact(5000);
    EXPECT_TRUE(got.text() == pattern(5000));
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(StreamWrite, WhatStaysQueuedLeavesTheBigBlocksThatItPins) {
  make_narrow_streams();
  // Short slices of big blocks, behind more than the kernel takes.
  for (int i = 0; i < 40; ++i) {
    Buf block = loop().allocate(16 << 10);
    Buf slice = block.split_front(100);
    block.reset();
    const Write answer = one_.try_write(slice);
    ASSERT_NE(answer, Write::refused) << i;
    if (i == 0) {
      Buf flood = loop().copy_of(pattern(600'000));
      ASSERT_NE(one_.try_write(flood), Write::refused);
      rig_->turns(3);
    }
  }
  EXPECT_LT(metrics().write_queue_bytes, 600'000u + 64 * 1024 + 40 * 2048);
  if (!GetParam().is_pair) {
    EXPECT_GT(metrics().copy_breaks, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(AllMedia, StreamWrite, ::testing::ValuesIn(kMedia), medium_name);
INSTANTIATE_TEST_SUITE_P(Memory, StreamWriteInMemory, ::testing::ValuesIn(kMemory), medium_name);
INSTANTIATE_TEST_SUITE_P(Sockets, StreamWriteToSockets, ::testing::ValuesIn(kSockets), medium_name);

}  // namespace
}  // namespace weir::test
