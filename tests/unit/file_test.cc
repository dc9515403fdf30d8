// Files and names on the threads of a pool: what is read, what fails and how it says so, and that a disk or a name server
// that hangs delays nobody else.
#include <netdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "src/os/fault.h"
#include "tests/unit/offload_rig.h"

namespace weir::test {
namespace {

/// What the fault hook does, on whichever thread asks.
struct Faults {
  os::Call call = os::Call::read_file;
  std::int64_t error = 0;
  std::size_t size_max = ~std::size_t{0};
  Gate* gate = nullptr;  ///< the call waits until it is open
};
Faults faults;

class FaultGuard {
 public:
  explicit FaultGuard(const Faults& wanted) {
    faults = wanted;
    os::set_fault_hook([](os::Call call, os::Native) -> os::Fault {
      if (call != faults.call) return {};
      if (faults.gate != nullptr) faults.gate->pass();
      return {faults.error, faults.size_max};
    });
  }
  ~FaultGuard() { os::set_fault_hook(nullptr); }
};

class FileTest : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    std::string pattern = ::testing::TempDir() + "weir-file-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    rig_.reset();
    for (const std::string& path : made_) ::unlink(path.c_str());
    ::rmdir(folder_.c_str());
  }
  std::string make_file(const std::string& content) {
    made_.push_back(folder_ + "/file" + std::to_string(made_.size()));
    std::ofstream(made_.back(), std::ios::binary) << content;
    return made_.back();
  }
  Error error_of_reading(const std::string& path, const FileOptions& options = {}) {
    Error error;
    const auto body = [&]() -> Task<> {
      Result<Buf> got = co_await result(read_file(path, options));
      error = got.error();
    };
    EXPECT_TRUE(run(body).ok());
    return error;
  }
  std::string read(const std::string& path) {
    std::string text;
    const auto body = [&]() -> Task<> {
      Buf whole = co_await read_file(path);
      text = whole.text();
    };
    EXPECT_TRUE(run(body).ok());
    return text;
  }

  std::string folder_;
  std::vector<std::string> made_;
};

std::string bytes_of(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  return text;
}

TEST_P(FileTest, AreReadWhole) {
  for (const std::size_t size : {0u, 1u, 4095u, 4096u, 4097u, 100'000u, 3'000'000u}) {
    const std::string content = bytes_of(size);
    EXPECT_TRUE(read(make_file(content)) == content) << size;
  }
}

TEST_P(FileTest, AreReadWholeAlsoInShortPieces) {
  const std::string content = bytes_of(10'000);
  const std::string path = make_file(content);
  const FaultGuard guard({.call = os::Call::read_file, .size_max = 100});
  EXPECT_TRUE(read(path) == content);
}

TEST_P(FileTest, OfProcAreReadAlthoughTheySayThatTheyAreEmpty) {
  EXPECT_THAT(read("/proc/self/status"), ::testing::HasSubstr("VmPeak"));
}

TEST_P(FileTest, AreReadInPartsAtOnce) {
  const std::string content = bytes_of(100'000);
  const std::string path = make_file(content);
  const auto body = [&]() -> Task<> {
    File file = co_await File::open(path);
    EXPECT_EQ(file.size_bytes(), content.size());
    const auto part = [&](std::uint64_t offset, std::size_t size) -> Task<> {
      Buf got = co_await file.read_at(offset, size);
      EXPECT_TRUE(got.text() == content.substr(offset, size)) << offset << " " << size;
    };
    co_await when_all(part(0, 10), part(99'990, 10), part(500, 50'000), part(99'999, 4096));
    Buf behind = co_await file.read_at(100'000, 10);
    EXPECT_TRUE(behind.empty());
    Buf nothing = co_await file.read_at(5, 0);
    EXPECT_TRUE(nothing.empty());
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(FileTest, AReadMayOutliveItsFile) {
  const std::string path = make_file("content");
  std::string text;
  const auto body = [&]() -> Task<> {
    Task<Buf> reads;
    {
      File file = co_await File::open(path);
      reads = file.read_at(0, 100);
    }
    Buf got = co_await std::move(reads);
    text = got.text();
  };
  EXPECT_TRUE(run(body).ok());
  EXPECT_EQ(text, "content");
}

TEST_P(FileTest, FailuresAreClear) {
  const std::string path = make_file("content");
  EXPECT_EQ(error_of_reading("/nowhere/at/all/file").to_string(),
            "open: not found (errno 2): got \"/nowhere/at/all/file\"");
  EXPECT_EQ(error_of_reading(path + "/below"), Errc::not_a_directory);
  EXPECT_EQ(error_of_reading("/etc").to_string(),
            "open: is a directory: got \"/etc\", expected a regular file");
  EXPECT_EQ(error_of_reading("/dev/null"), Errc::not_supported);
  EXPECT_EQ(error_of_reading(std::string("/dev/null\0x", 11)), Errc::invalid_argument);
  EXPECT_EQ(error_of_reading("/" + std::string(300, 'x')), Errc::name_too_long);
  EXPECT_EQ(error_of_reading(""), Errc::not_found);
  EXPECT_THAT(error_of_reading(path, {.bytes_max = 6}).to_string(),
              ::testing::AllOf(::testing::StartsWith("read: message too long"),
                               ::testing::EndsWith("expected a file of at most bytes_max")));
  EXPECT_TRUE(error_of_reading(path, {.bytes_max = 7}).ok());
  EXPECT_EQ(error_of_reading("/proc/self/status", {.bytes_max = 10}), Errc::message_too_long);
  {
    const FaultGuard guard({.call = os::Call::open_file, .error = -EACCES});  // root may read all
    EXPECT_THAT(error_of_reading(path).to_string(),
                ::testing::StartsWith("open: access denied (errno 13): got \""));
  }
  const FaultGuard guard({.call = os::Call::read_file, .error = -EIO});
  EXPECT_THAT(error_of_reading(path).to_string(),
              ::testing::StartsWith("read: input/output error (errno 5): got \""));
}

TEST_P(FileTest, AFifoWithoutAWriterIsRefusedAtOnce) {
  const std::string path = folder_ + "/fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  made_.push_back(path);
  EXPECT_EQ(error_of_reading(path), Errc::not_supported);
}

TEST_P(FileTest, AReadMayTimeOutOrBeCancelledAndItsMemoryStays) {
  const std::string path = make_file(bytes_of(5000));
  Gate gate;
  Error timed_out;
  Scope scope;
  const auto opened = [&]() -> Task<File> { co_return co_await File::open(path); };
  const auto times_out = [&]() -> Task<> {
    File file = co_await opened();
    Result<Buf> got = co_await result(file.read_at(0, 5000, {.timeout = 1ms}));
    timed_out = got.error();
  };
  const auto is_cancelled = [&]() -> Task<> {
    static_cast<void>(co_await read_file(path));
    ADD_FAILURE() << "went on";
  };
  const FaultGuard guard({.gate = &gate});
  scope.spawn(is_cancelled(), "is cancelled");
  EXPECT_TRUE(run(times_out).ok());
  EXPECT_EQ(timed_out, Errc::timed_out);
  gate.wait_for(1);
  scope.cancel();
  gate.open();
  until([&] { return metrics().offloads_pending == 0; });
  EXPECT_GE(metrics().offloads_abandoned, 1u);
  EXPECT_EQ(metrics().offloads_abandoned + metrics().offloads_cancelled, 2u);
}

TEST_P(FileTest, ADiskThatHangsDelaysNoSocket) {
  const std::string path = make_file("content");
  Gate gate;
  const FaultGuard guard({.gate = &gate});
  Scope scope;
  int read_count = 0;
  const auto reads = [&]() -> Task<> {
    Buf got = co_await read_file(path);
    ++read_count;
  };
  for (int i = 0; i < 10; ++i) scope.spawn(reads(), "reads");
  rig_->turns(2);
  gate.wait_for(3);  // all that the class may have
  Stream one, other;
  std::tie(one, other) = connect_streams(*rig_);
  int round_count = 0;
  const auto asks = [&]() -> Task<> {
    for (; round_count < 50; ++round_count) {
      co_await one.write("ping");
      Buf there = co_await other.read_exact(4);
      co_await other.write(std::move(there));
      Buf back = co_await one.read_exact(4);
    }
  };
  EXPECT_TRUE(run(asks).ok());
  EXPECT_EQ(round_count, 50);
  EXPECT_EQ(read_count, 0);
  EXPECT_EQ(gate.entered_count(), 3);
  gate.open();
  until([&] { return read_count == 10; });
}

TEST_P(FileTest, AreReadForACallbackToo) {
  const std::string path = make_file("content");
  OffloadCall call(loop());
  std::string text;
  EXPECT_EQ(call.start(
                Work::file, [path] { return read_file_blocking(path); },
                [&](Result<Buf> got) { text = got.value().text(); }),
            Posted::queued);
  loop().run();
  EXPECT_EQ(text, "content");
}

class ResolveTest : public LoopTest {
 protected:
  struct Answer {
    std::vector<Address> found;
    Error error;
  };
  Answer ask(const std::string& host, const std::string& service,
             const ResolveOptions& options = {}) {
    Answer answer;
    const auto body = [&]() -> Task<> {
      Result<std::vector<Address>> got = co_await result(resolve(host, service, options));
      answer.error = got.error();
      if (got.ok()) answer.found = *got;
    };
    EXPECT_TRUE(run(body).ok());
    return answer;
  }
};

// A system that was just installed may have no /etc/hosts.
bool knows_localhost() {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  addrinfo* found = nullptr;
  if (::getaddrinfo("localhost", nullptr, &hints, &found) != 0) return false;
  ::freeaddrinfo(found);
  return true;
}

TEST_P(ResolveTest, GivesAddressesWithTheirPort) {
  if (knows_localhost()) {
    EXPECT_THAT(ask("localhost", "80", {.family = Family::ipv4}).found,
                ::testing::Contains(Address::loopback(80)));
  }
  EXPECT_THAT(ask("127.0.0.1", "8080").found, ::testing::ElementsAre(Address::loopback(8080)));
  EXPECT_THAT(ask("::1", "7", {.is_numeric = true}).found,
              ::testing::ElementsAre(Address::parse("[::1]:7").value()));
}

TEST_P(ResolveTest, FailuresAreClear) {
  EXPECT_EQ(ask("no-address", "80", {.is_numeric = true}).error.to_string(),
            "resolve: not found: got \"no-address\", expected a known name, or an address");
  EXPECT_EQ(ask("::1", "80", {.family = Family::ipv4, .is_numeric = true}).error, Errc::not_found);
  EXPECT_EQ(
      ask("127.0.0.1", "no-such-service").error.to_string(),
      "resolve: invalid argument: got \"no-such-service\", expected a known service or a port");
  EXPECT_EQ(ask("", "80").error, Errc::invalid_argument);
  EXPECT_EQ(ask("localhost", "").error, Errc::invalid_argument);
  EXPECT_EQ(ask(std::string("local\0host", 10), "80").error, Errc::invalid_argument);
}

TEST_P(ResolveTest, WhatNameServersSayIsPassedOn) {
  const std::pair<int, std::string> rows[] = {
      {ENOENT, "resolve: not found: got \"host\", expected a known name, or an address"},
      {EAGAIN, "resolve: try again: got \"host\", expected an answer of a name server"},
      {EIO, "resolve: input/output error: got \"host\", expected an answer of a name server"},
      {EMFILE, "resolve: too many open files (errno 24)"},
  };
  for (const auto& [native, text] : rows) {
    const FaultGuard guard({.call = os::Call::resolve, .error = -native});
    EXPECT_EQ(ask("host", "80").error.to_string(), text);
  }
}

TEST_P(ResolveTest, ANameServerThatHangsDelaysNeitherFilesNorTheTask) {
  Gate gate;
  const FaultGuard guard({.call = os::Call::resolve, .gate = &gate});
  Scope scope;
  int answered_count = 0;
  const auto asks = [&]() -> Task<> {
    co_await resolve("127.0.0.1", "80");
    ++answered_count;
  };
  for (int i = 0; i < 5; ++i) scope.spawn(asks(), "asks");
  rig_->turns(2);
  gate.wait_for(2);
  std::size_t read_bytes = 0;
  const auto reads = [&]() -> Task<> {
    Buf got = co_await read_file("/proc/self/status");
    read_bytes = got.size();
  };
  EXPECT_TRUE(run(reads).ok());
  EXPECT_GT(read_bytes, 0u);
  EXPECT_EQ(ask("127.0.0.1", "80", {.timeout = 1ms}).error, Errc::timed_out);
  EXPECT_EQ(gate.entered_count(), 2);  // dns_max
  EXPECT_EQ(answered_count, 0);
  gate.open();
  until([&] { return answered_count == 5; });
}

INSTANTIATE_TEST_SUITE_P(AllBackends, FileTest, ::testing::ValuesIn(kBackends), backend_name);
INSTANTIATE_TEST_SUITE_P(AllBackends, ResolveTest, ::testing::ValuesIn(kBackends), backend_name);

}  // namespace
}  // namespace weir::test
