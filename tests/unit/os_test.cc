// The os room by itself: what it counts, what a fault changes, signals, threads and figures of the process.
#include "src/os/os.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "src/os/memory.h"
#include "src/os/process.h"
#include "src/os/signals.h"
#include "src/os/thread.h"

namespace weir::test {
namespace {

// Both ends of a stream, closed at the end.
struct Ends {
  int a = -1, b = -1;
  Ends() {
    std::array<int, 2> fds;
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    a = fds[0];
    b = fds[1];
  }
  ~Ends() {
    ::close(a);
    ::close(b);
  }
};

TEST(OsSocket, CountsEachCallAndGivesErrnoBack) {
  const Ends ends;
  std::array<char, 8> target;
  const std::uint64_t before = os::system_calls();
  EXPECT_EQ(os::recv(ends.a, target.data(), target.size()), -EAGAIN)
      << "never blocks, whatever the descriptor says";
  EXPECT_EQ(os::send(ends.b, "abc", 3), 3);
  EXPECT_EQ(os::recv(ends.a, target.data(), target.size()), 3);
  EXPECT_EQ(os::system_calls(), before + 3);
}

TEST(OsSocket, ASendToNobodyIsAnErrorAndNoSignal) {
  Ends ends;
  ::close(ends.b);
  EXPECT_EQ(os::send(ends.a, "abc", 3), -EPIPE);
  ends.b = ::dup(ends.a);
}

// One decision of a hook and what the call makes of it.
std::vector<os::Fault> decisions;
os::Fault decide(os::Call, os::Native) {
  if (decisions.empty()) return {};
  const os::Fault fault = decisions.back();
  decisions.pop_back();
  return fault;
}

struct FaultRow {
  std::string_view name;
  std::vector<os::Fault> faults;  // the last one is asked for first
  std::int64_t expected;
  bool was_faulted;
};
const FaultRow kFaultRows[] = {
    {"None", {}, 6, false},
    {"Short", {{.size_max = 2}}, 2, true},
    {"ShortOfNothingStillMovesAByte", {{.size_max = 0}}, 1, true},
    {"LongerThanTheCall", {{.size_max = 100}}, 6, false},
    {"Reset", {{.error = -ECONNRESET}}, -ECONNRESET, true},
    {"Again", {{.error = -EAGAIN}}, -EAGAIN, true},
    {"InterruptedIsTriedAgain", {{.error = -EINTR}}, 6, false},
    {"InterruptedThenShort", {{.size_max = 3}, {.error = -EINTR}}, 3, true},
};
class OsFault : public ::testing::TestWithParam<FaultRow> {
 protected:
  ~OsFault() override { os::set_fault_hook(nullptr); }
};

TEST_P(OsFault, ChangesOneReceive) {
  const Ends ends;
  ASSERT_EQ(os::send(ends.b, "abcdef", 6), 6);
  std::array<char, 8> target;
  decisions = GetParam().faults;
  os::set_fault_hook(decide);
  EXPECT_EQ(os::recv(ends.a, target.data(), target.size()), GetParam().expected);
  EXPECT_EQ(os::last_call_was_faulted(), GetParam().was_faulted);
}

TEST_P(OsFault, ChangesOneGatheredSend) {
  const Ends ends;
  char text[] = "abcdef";
  const std::array<os::Segment, 2> segments = {os::Segment{text, 2}, os::Segment{text + 2, 4}};
  decisions = GetParam().faults;
  os::set_fault_hook(decide);
  const std::int64_t sent = os::send_segments(ends.b, segments.data(), segments.size());
  EXPECT_EQ(sent, GetParam().expected);
  os::set_fault_hook(nullptr);
  std::array<char, 8> target;
  const std::int64_t got = os::recv(ends.a, target.data(), target.size());
  EXPECT_EQ(std::string(target.data(), got > 0 ? static_cast<std::size_t>(got) : 0),
            std::string(text, sent > 0 ? static_cast<std::size_t>(sent) : 0));
}
INSTANTIATE_TEST_SUITE_P(Rows, OsFault, ::testing::ValuesIn(kFaultRows),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(OsSocket, AnAddressInUseIsNamedInTheError) {
  SocketSpec spec;
  spec.bind = Address::loopback(0);
  spec.backlog = 1;
  const std::int64_t first = os::open_socket(spec, true);
  ASSERT_GE(first, 0);
  ASSERT_EQ(os::local_address(first, spec.bind), 0);
  const std::int64_t second = os::open_socket(spec, true);
  ASSERT_EQ(second, -EADDRINUSE);
  const Error error = os::error_from_open(second, spec);
  EXPECT_EQ(error, Errc::address_in_use);
  EXPECT_EQ(error.native, EADDRINUSE);
  EXPECT_EQ(error.operation, Operation::bind);
  EXPECT_THAT(error.to_string(), ::testing::HasSubstr(spec.bind.to_string()));
  EXPECT_EQ(os::close(first), 0);
}

TEST(OsSocket, OptionsThatWereSetAreReadBack) {
  const std::int64_t socket = os::open_socket({}, true);
  ASSERT_GE(socket, 0);
  for (const auto& [option, value] : {std::pair{SocketOption::no_delay, 1},
                                      {SocketOption::keep_alive, 1},
                                      {SocketOption::keep_alive_idle_s, 77},
                                      {SocketOption::keep_alive_interval_s, 7},
                                      {SocketOption::keep_alive_count, 3},
                                      {SocketOption::linger_s, 5},
                                      {SocketOption::linger_s, -1},
                                      {SocketOption::unsent_low_bytes, 16384}}) {
    std::int32_t got = -2;
    EXPECT_EQ(os::set_option(socket, option, value), 0);
    EXPECT_EQ(os::get_option(socket, option, got), 0);
    EXPECT_EQ(got, value) << static_cast<int>(option);
  }
  EXPECT_EQ(os::close(socket), 0);
}

TEST(OsSocket, KindsAreTold) {
  const Ends ends;
  SocketSpec listening, datagrams;
  listening.backlog = 1;
  datagrams.type = SocketSpec::Type::datagram;
  const std::int64_t listener = os::open_socket(listening, true);
  const std::int64_t datagram = os::open_socket(datagrams, true);
  const std::int64_t file = os::open_reserve();
  os::NativeKind kind{};
  EXPECT_EQ(os::find_kind(ends.a, kind), 0);
  EXPECT_EQ(kind, os::NativeKind::stream);
  EXPECT_EQ(os::find_kind(listener, kind), 0);
  EXPECT_EQ(kind, os::NativeKind::listener);
  EXPECT_EQ(os::find_kind(datagram, kind), 0);
  EXPECT_EQ(kind, os::NativeKind::datagram);
  EXPECT_EQ(os::find_kind(file, kind), 0);
  EXPECT_EQ(kind, os::NativeKind::other);
  for (const std::int64_t fd : {listener, datagram, file}) EXPECT_EQ(os::close(fd), 0);
  EXPECT_EQ(os::find_kind(file, kind), -EBADF);
}

bool is_readable(std::int64_t native) {
  pollfd asked{.fd = static_cast<int>(native), .events = POLLIN, .revents = 0};
  return ::poll(&asked, 1, 0) == 1;
}

TEST(OsSignals, EachWatchHearsOfItsSignals) {
  const std::int64_t user = os::open_signals(os::signal_bit(SIGUSR1));
  const std::int64_t both = os::open_signals(os::signal_bit(SIGUSR1) | os::signal_bit(SIGUSR2));
  ASSERT_GE(user, 0);
  ASSERT_GE(both, 0);
  ::raise(SIGUSR2);
  EXPECT_FALSE(is_readable(user));
  EXPECT_TRUE(is_readable(both));
  ::raise(SIGUSR1);
  ::raise(SIGUSR1);
  EXPECT_EQ(os::take_signals(user), os::signal_bit(SIGUSR1));
  EXPECT_EQ(os::take_signals(both), os::signal_bit(SIGUSR1) | os::signal_bit(SIGUSR2));
  EXPECT_FALSE(is_readable(both));
  EXPECT_EQ(os::take_signals(both), 0u);
  os::close_signals(user);
  os::close_signals(both);
}

TEST(OsSignals, TheLastWatchPutsBackWhatWasThere) {
  struct sigaction before {
  }, after{};
  ASSERT_EQ(::sigaction(SIGUSR1, nullptr, &before), 0);
  const std::int64_t first = os::open_signals(os::signal_bit(SIGUSR1));
  const std::int64_t second = os::open_signals(os::signal_bit(SIGUSR1));
  os::close_signals(first);
  ::raise(SIGUSR1);  // would end the program if nobody watched
  EXPECT_EQ(os::take_signals(second), os::signal_bit(SIGUSR1));
  os::close_signals(second);
  ASSERT_EQ(::sigaction(SIGUSR1, nullptr, &after), 0);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
}

TEST(OsSignals, WhatCannotBeCaughtIsRefusedWhole) {
  EXPECT_EQ(os::open_signals(os::signal_bit(SIGUSR1) | os::signal_bit(SIGKILL)), -EINVAL);
  EXPECT_EQ(os::open_signals(0), -EINVAL);
  struct sigaction after {};
  ASSERT_EQ(::sigaction(SIGUSR1, nullptr, &after), 0);
  EXPECT_EQ(after.sa_handler, SIG_DFL);
}

TEST(OsThread, RunsWhereItIsToldAndHasItsName) {
  EXPECT_GE(os::cpu_count(), 1u);
  std::thread([] {
    os::set_thread_name("a name that is too long");
    std::array<char, 16> name{};
    pthread_getname_np(pthread_self(), name.data(), name.size());
    EXPECT_STREQ(name.data(), "a name that is ");
    EXPECT_EQ(os::set_cpu_affinity(1u << 20), -EINVAL);
    const int cpu = sched_getcpu();
    EXPECT_EQ(os::set_cpu_affinity(static_cast<std::uint32_t>(cpu)), 0);
    EXPECT_EQ(sched_getcpu(), cpu);
    EXPECT_EQ(os::cpu_count(), 1u);
  }).join();
}

TEST(OsProcess, MemoryCountsWhenItIsTouched) {
  constexpr std::size_t kSize = 32 << 20;
  const std::uint64_t before = os::resident_bytes();
  void* memory = os::map_memory(kSize);
  ASSERT_NE(memory, nullptr);
  EXPECT_LT(os::resident_bytes(), before + kSize / 2);
  std::memset(memory, 1, kSize);
  EXPECT_GE(os::resident_bytes(), before + kSize);
  os::unmap_memory(memory, kSize);
  EXPECT_LT(os::resident_bytes(), before + kSize / 2);
  EXPECT_EQ(os::map_memory(std::size_t{1} << 62), nullptr);
}

}  // namespace
}  // namespace weir::test
