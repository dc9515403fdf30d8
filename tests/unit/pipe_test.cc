// pipe() from one stream to another: a proxy between two pairs, on each medium; and loans, which bound what a stream
// that is read faster than it is used may hold.
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

/// client_ == one_ -> other_ == pipe == server_ -> far_.
class Pipe : public StreamTest {
 protected:
  void SetUp() override {
    StreamTest::SetUp();
    if (rig_->is_available()) connect_server();
  }
  void TearDown() override {
    server_ = {};
    far_ = {};
    StreamTest::TearDown();
  }
  void connect_server() {
    std::tie(server_, far_) =
        GetParam().is_pair ? make_stream_pair(loop()) : connect_streams(*rig_);
  }
  /// Both directions, as a proxy does it; the error that ended it.
  Task<> proxy() { co_await when_all(pipe(other_, server_), pipe(server_, other_)); }

  Stream server_, far_;
};

TEST_P(Pipe, MovesEverythingAndTheEnd) {
  const std::string text = pattern(300'000);
  const auto client = [&]() -> Task<> {
    co_await one_.write(text);
    co_await one_.finish();
  };
  const auto far = [&]() -> Task<> {
    std::string got = co_await read_all(far_);
    EXPECT_TRUE(got == text);
  };
  const auto all = [&]() -> Task<> { co_await when_all(client(), far(), pipe(other_, server_)); };
  const Error error = run(all);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(Pipe, CopiesNothing) {
  const auto client = [&]() -> Task<> {
    for (int i = 0; i < 20; ++i) {
      Buf block = loop().allocate(16 << 10);
      co_await one_.write(std::move(block));
    }
    co_await one_.finish();
  };
  std::uint64_t got = 0;
  const auto far = [&]() -> Task<> {
    while (Buf bytes = co_await far_.read()) got += bytes.size();
  };
  const auto all = [&]() -> Task<> { co_await when_all(client(), far(), pipe(other_, server_)); };
  EXPECT_TRUE(run(all).ok());
  EXPECT_EQ(got, 20u * (16 << 10));
  // A short tail of a block may be copied out of it; nothing else is.
  EXPECT_LE(metrics().bytes_copied, 20u * loop().limits().copy_break_bytes);
}

TEST_P(Pipe, CarriesHalfClosesBothWays) {
  const auto client = [&]() -> Task<> {
    co_await one_.write("question");
    co_await one_.finish();
    std::string answer = co_await read_all(one_);
    EXPECT_EQ(answer, "answer");
  };
  const auto far = [&]() -> Task<> {
    std::string question = co_await read_all(far_);
    EXPECT_EQ(question, "question");
    for (int i = 0; i < 3; ++i) co_await yield();
    co_await far_.write("answer");
    co_await far_.finish();
  };
  const auto all = [&]() -> Task<> { co_await when_all(client(), far(), proxy()); };
  const Error error = run(all);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(Pipe, CarriesPressureBack) {
  // Nobody reads at the far end: what the proxy holds is bounded, and the client's writes end up waiting.
  std::size_t sent = 0;
  const auto client = [&]() -> Task<> {
    for (std::uint32_t i = 0;; ++i) {
      co_await one_.write(pattern(50'000, i));
      sent += 50'000;
    }
  };
  Scope scope;
  scope.spawn(client(), "client");
  scope.spawn(proxy(), "proxy");
  std::size_t before = 1;
  for (int rounds = 0; rounds < 1000 && before != sent; ++rounds) {
    before = sent;
    rig_->turns(50);
  }
  EXPECT_EQ(before, sent);  // it waits
  EXPECT_LE(server_.queued_bytes(),
            loop().limits().write_high_bytes + loop().limits().loan_bytes_max);
  EXPECT_LE(other_.loaned_bytes(), loop().limits().loan_bytes_max +
                                       loop().limits().bytes_per_socket_turn +
                                       loop().limits().block_bytes);
  const auto far = [&]() -> Task<> {
    while (sent == before) static_cast<void>(co_await far_.read({5s}));
  };
  EXPECT_TRUE(run(far).ok());  // and goes on
  EXPECT_GT(sent, before);
}

TEST_P(Pipe, AResetEndsItWithThatError) {
  const auto client = [&]() -> Task<> {
    co_await one_.write("bytes");
    Buf echo = co_await one_.read();
    EXPECT_EQ(echo.text(), "back");
    one_.reset();
  };
  const auto far = [&]() -> Task<> {
    Buf bytes = co_await far_.read();
    EXPECT_EQ(bytes.text(), "bytes");
    co_await far_.write("back");
    Result<Buf> got = co_await result(far_.read());
    EXPECT_EQ(got.error(), Errc::connection_reset);
  };
  const auto carry_on = [&]() -> Task<> {
    Result<void> ended = co_await result(proxy());
    EXPECT_EQ(ended.error(), Errc::connection_reset);
    server_.reset();
    other_.reset();
  };
  const auto all = [&]() -> Task<> { co_await when_all(client(), far(), carry_on()); };
  const Error error = run(all);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(Pipe, AFarEndThatIsGoneEndsIt) {
  far_.reset();
  const auto client = [&]() -> Task<> {
    for (;;) co_await one_.write(pattern(10'000));
  };
  const auto ends = [&]() -> Task<> {
    Result<void> ended = co_await result(pipe(other_, server_));
    EXPECT_THAT(ended.error().code, ::testing::AnyOf(Errc::connection_reset, Errc::broken_pipe));
    other_.reset();
    co_await sleep_for(1h);
  };
  EXPECT_THAT(run_both(client, ends).code,
              ::testing::AnyOf(Errc::connection_reset, Errc::broken_pipe));
}

INSTANTIATE_TEST_SUITE_P(AllMedia, Pipe, ::testing::ValuesIn(kMedia), medium_name);

// ---- Loans: what sockets receive into the loop's group.

class Loans : public StreamTest {
 protected:
  static Limits tight() {
    Limits limits;
    limits.group_bytes = 1 << 20;
    limits.overflow_bytes = 1 << 20;
    limits.loan_bytes_max = 256 << 10;
    return limits;
  }
  Task<> flood(std::size_t total) {
    for (std::size_t sent = 0; sent < total; sent += 16'000) co_await one_.write(pattern(16'000));
    co_await one_.finish();
  }
};

TEST_P(Loans, HeldBytesPauseReadingAndReleasedOnesResumeIt) {
  make_streams(tight());
  constexpr std::size_t kTotal = 2'000'000;
  std::vector<Buf> held;
  std::size_t got = 0;
  const auto reader = [&]() -> Task<> {
    while (Buf bytes = co_await other_.read()) {
      got += bytes.size();
      held.push_back(std::move(bytes));
    }
  };
  Scope scope;
  scope.spawn(reader(), "reader");
  scope.spawn(flood(kTotal), "flood");
  ASSERT_TRUE(rig_->until([&] { return other_.loaned_bytes() >= 256u << 10; }));
  rig_->turns(200);  // nothing more comes, however often it is asked
  EXPECT_LT(got, kTotal);
  EXPECT_GE(metrics().read_pauses, 1u);
  // One socket's share of a turn may come on top of the cap.
  EXPECT_LE(other_.loaned_bytes(), (256u << 10) + 2 * (64u << 10) + loop().limits().block_bytes);
  EXPECT_LE(loop().receive_group().in_use(), loop().receive_group().blocks_max());
  held.clear();
  EXPECT_EQ(other_.loaned_bytes(), 0u);
  EXPECT_TRUE(rig_->until([&] {
    held.clear();
    return scope.count() == 0;
  }));
  EXPECT_EQ(got, kTotal);
}

TEST_P(Loans, AHandlerThatHoldsBytesIsPausedToo) {
  make_streams(tight());
  constexpr std::size_t kTotal = 2'000'000;
  struct Hoarder final : StreamHandler {
    std::vector<Buf> held;
    std::size_t got = 0;
    bool has_ended = false;
    void on_read(Buf bytes) override {
      got += bytes.size();
      held.push_back(std::move(bytes));
    }
    void on_end() override { has_ended = true; }
    void on_close(const Error&) override {}
  } hoarder;
  other_.start(hoarder);
  Scope scope;
  scope.spawn(flood(kTotal), "flood");
  ASSERT_TRUE(rig_->until([&] { return metrics().read_pauses >= 1; }));
  rig_->turns(200);  // nothing more comes, however often it is asked
  EXPECT_LT(hoarder.got, kTotal);
  EXPECT_TRUE(rig_->until([&] {
    hoarder.held.clear();
    return hoarder.has_ended;
  }));
  EXPECT_EQ(hoarder.got, kTotal);
  hoarder.held.clear();
}

TEST_P(Loans, AreReportedWithTheirConnection) {
  Buf kept;
  const auto reader = [&]() -> Task<> { kept = co_await other_.read_exact(5000); };
  const auto writer = [&]() -> Task<> { co_await one_.write(pattern(5000)); };
  EXPECT_TRUE(run_both(reader, writer).ok());
  const std::vector<Ledger::Entry> held = loop().ledger().entries();
  const auto loan = std::find_if(held.begin(), held.end(), [](const Ledger::Entry& entry) {
    return entry.state == BlockState::loaned;
  });
  ASSERT_NE(loan, held.end());
  const std::string name = "connection " + std::to_string(loan->connection);
  const std::string report = loop().report();
  EXPECT_THAT(report, ::testing::HasSubstr("\n" + name + ": 0 bytes queued, ")) << report;
  EXPECT_THAT(report, ::testing::ContainsRegex("loaned for .*, " + name)) << report;
}

TEST_P(Loans, OutliveTheirStream) {
  Buf kept;
  const auto reader = [&]() -> Task<> { kept = co_await other_.read_exact(5000); };
  const auto writer = [&]() -> Task<> { co_await one_.write(pattern(5000)); };
  EXPECT_TRUE(run_both(reader, writer).ok());
  one_ = {};
  other_ = {};
  rig_->turns(5);
  auto [near, far] = make_stream_pair(loop());  // perhaps in the same record
  EXPECT_EQ(far.loaned_bytes(), 0u);
  EXPECT_TRUE(kept.text() == pattern(5000));
  kept.reset();
  EXPECT_EQ(far.loaned_bytes(), 0u);
}

TEST_P(Loans, ShortBytesThatNobodyTakesLeaveTheirBlocks) {
  std::string expected;
  const auto body = [&]() -> Task<> {
    Result<Buf> nothing = co_await result(other_.read_exact(100'000, {1ms}));  // keeps what comes
    EXPECT_FALSE(nothing.ok());
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t before = metrics().bytes_received;
      const auto waits = [&]() -> Task<> {
        static_cast<void>(co_await other_.read_exact(100'000));
      };
      const auto sends = [&]() -> Task<> {
        co_await one_.write("short");
        while (metrics().bytes_received == before) co_await yield();
      };
      co_await when_any(waits(), sends());
      expected += "short";
    }
  };
  const Error error = run(body);
  EXPECT_TRUE(error.ok()) << error.to_string();
  EXPECT_GE(metrics().copy_breaks, 15u);
  EXPECT_LE(other_.loaned_bytes(), 5 * loop().limits().block_bytes);
  const auto reader = [&]() -> Task<> {
    Buf bytes = co_await other_.read_exact(expected.size());
    EXPECT_EQ(bytes.text(), expected);
  };
  EXPECT_TRUE(run(reader).ok());
}

TEST_P(Loans, AnEmptyGroupStopsNobodyForEver) {
  Limits limits = tight();
  limits.group_bytes = 8 * limits.block_bytes;
  limits.overflow_bytes = 0;
  make_streams(limits);
  std::vector<Buf> hoard;
  for (;;) {  // somebody holds every block but those that the backend has
    Buf block = loop().receive_group().take();
    if (block.empty()) break;
    hoard.push_back(std::move(block));
  }
  const auto reader = [&]() -> Task<> {
    std::string text = co_await read_all(other_);
    EXPECT_TRUE(text == pattern(300'000));
  };
  const auto writer = [&]() -> Task<> {
    co_await one_.write(pattern(300'000));
    co_await one_.finish();
  };
  Timer release(loop());
  release.arm(5ms, [&] { hoard.clear(); });
  const Error error = run_both(reader, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(Loans, AnExactReadMayTakeMoreThanAStreamMayHold) {
  make_streams(tight());
  constexpr std::size_t kTotal = 3'000'000;
  const std::string sent = pattern(kTotal);
  const auto reader = [&]() -> Task<> {
    Buf head = co_await other_.read_exact(100'000);
    EXPECT_TRUE(head.text() == std::string_view(sent).substr(0, head.size()));
    Buf tail = co_await other_.read_exact(kTotal - head.size());
    EXPECT_TRUE(tail.text() == std::string_view(sent).substr(head.size()));
    EXPECT_EQ(other_.loaned_bytes(), 0u);
  };
  const auto writer = [&]() -> Task<> {
    for (std::size_t at = 0; at < kTotal; at += 50'000) {
      co_await one_.write(std::string_view(sent).substr(at, 50'000));
    }
  };
  const Error error = run_both(reader, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(Loans, ALineMayBeLongerThanAStreamMayHold) {
  make_streams(tight());
  const std::string line = std::string(700'000, 'x') + "\r\n";
  const auto reader = [&]() -> Task<> {
    Buf got = co_await other_.read_until("\r\n", 1'000'000);
    EXPECT_TRUE(got.text() == line);
    Buf next = co_await other_.read_until("\r\n", 100);
    EXPECT_EQ(next.text(), "next\r\n");
  };
  const auto writer = [&]() -> Task<> {
    co_await one_.write(line);
    co_await one_.write("next\r\n");
  };
  const Error error = run_both(reader, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
}

TEST_P(Loans, BytesThatComeOneByOneShareABlock) {
  constexpr std::size_t kCount = 2000;
  const std::string sent = pattern(kCount);
  std::uint64_t most_loaned = 0;
  const auto reader = [&]() -> Task<> {
    Buf all = co_await other_.read_exact(kCount);
    EXPECT_TRUE(all.text() == sent);
  };
  const auto writer = [&]() -> Task<> {
    for (std::size_t i = 0; i < kCount; ++i) {
      const std::uint64_t received = metrics().bytes_received;
      co_await one_.write(std::string_view(sent).substr(i, 1));
      while (metrics().bytes_received == received) co_await yield();
      most_loaned = std::max<std::uint64_t>(most_loaned, other_.loaned_bytes());
    }
  };
  const Error error = run_both(reader, writer);
  EXPECT_TRUE(error.ok()) << error.to_string();
  EXPECT_LE(most_loaned, 4 * loop().limits().copy_break_bytes);
}

INSTANTIATE_TEST_SUITE_P(Sockets, Loans, ::testing::ValuesIn(kSockets), medium_name);

}  // namespace
}  // namespace weir::test
