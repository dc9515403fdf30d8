// Limits out of range are refused with their value and what was expected; counters are written as lines.
#include "weir/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "weir/loop.h"
#include "weir/metrics.h"

namespace weir {
namespace {

TEST(Limits, DefaultsAreValid) { EXPECT_TRUE(Limits().validate()); }

struct Row {
  const char* name;
  void (*change)(Limits& limits);
  std::string_view text;  ///< of the error; empty: valid
};
const Row kRows[] = {
    {"CompletionsZero", [](Limits& l) { l.completions_per_turn = 0; },
     "got \"0\", expected completions_per_turn of 1 .. "},
    {"DeliverTimeZero", [](Limits& l) { l.deliver_time_ns = 0; }, "expected deliver_time_ns of 1"},
    {"DescendantsZero", [](Limits& l) { l.descendants_per_drain = 0; }, "descendants_per_drain"},
    {"DemotedTooMany", [](Limits& l) { l.demoted_per_turn = 1 << 25; }, "got \"33554432\""},
    {"TimersZero", [](Limits& l) { l.timers_per_turn = 0; }, "timers_per_turn of 1"},
    {"PostsPerTurnZero", [](Limits& l) { l.posts_per_turn = 0; }, "posts_per_turn of 1"},
    {"AcceptsZero", [](Limits& l) { l.accepts_per_turn = 0; }, "accepts_per_turn of 1"},
    {"SocketBytesZero", [](Limits& l) { l.bytes_per_socket_turn = 0; }, "bytes_per_socket_turn"},
    {"NoInlineAwaits", [](Limits& l) { l.inline_awaits = 0; }, ""},
    {"InlineAwaitsTooMany", [](Limits& l) { l.inline_awaits = 1025; },
     "inline_awaits of 0 .. 1024"},
    {"ConnectionsZero", [](Limits& l) { l.connections_max = 0; }, "connections_max of 1"},
    {"BlockZero", [](Limits& l) { l.block_bytes = 0; }, "got \"0\", expected block_bytes"},
    {"BlockSmall", [](Limits& l) { l.block_bytes = 512; }, "block_bytes, a power of two"},
    {"BlockOdd", [](Limits& l) { l.block_bytes = 3000; }, "got \"3000\", expected block_bytes"},
    {"BlockLarge", [](Limits& l) { l.block_bytes = 512 << 10; }, "block_bytes, a power of two"},
    {"GroupOfOneBlock", [](Limits& l) { l.group_bytes = l.block_bytes; }, "group_bytes of 2"},
    {"GroupOfPartBlocks", [](Limits& l) { l.group_bytes += 1; }, "whole blocks of block_bytes"},
    {"GroupOfTooManyBlocks",
     [](Limits& l) {
       l.block_bytes = 1 << 10;
       l.group_bytes = 64 << 20;
     },
     "group_bytes of 2 .. 32768"},
    {"NoOverflow", [](Limits& l) { l.overflow_bytes = 0; }, ""},
    {"OverflowOfPartBlocks", [](Limits& l) { l.overflow_bytes = 1; }, "overflow_bytes, 0 or"},
    {"LoanUnderABlock", [](Limits& l) { l.loan_bytes_max = 100; }, "loan_bytes_max of block_bytes"},
    {"NoCopyBreak", [](Limits& l) { l.copy_break_bytes = 0; }, "copy_break_bytes of 64"},
    {"CopyBreakOverABlock", [](Limits& l) { l.copy_break_bytes = 1 << 20; },
     "copy_break_bytes of 64 .. block_bytes"},
    {"CopyBreakSmallest", [](Limits& l) { l.copy_break_bytes = 64; }, ""},
    {"HighMarkZero", [](Limits& l) { l.write_high_bytes = 0; }, "write_high_bytes of 1"},
    {"LowMarkNotBelowHigh", [](Limits& l) { l.write_low_bytes = l.write_high_bytes; },
     "write_low_bytes below write_high_bytes"},
    {"CapUnderHighMark", [](Limits& l) { l.write_cap_bytes = l.write_high_bytes - 1; },
     "write_cap_bytes of write_high_bytes or more"},
    {"LoopCapUnderCap", [](Limits& l) { l.write_loop_cap_bytes = l.write_cap_bytes - 1; },
     "write_loop_cap_bytes of write_cap_bytes or more"},
    {"PostsZero", [](Limits& l) { l.posts_max = 0; }, "posts_max of 1"},
    {"CancelReportZero", [](Limits& l) { l.cancel_report_ns = 0; }, "cancel_report_ns of 1"},
    {"ShutdownAtOnce", [](Limits& l) { l.shutdown_ns = 0; }, ""},
    {"ShutdownInAYear", [](Limits& l) { l.shutdown_ns = 31'536'000'000'000'000; }, "shutdown_ns"},
    {"OffloadThreadsZero", [](Limits& l) { l.offload.threads_max = 0; },
     "got \"0\", expected offload.threads_max of 1 .. 1024"},
    {"OffloadQueueZero", [](Limits& l) { l.offload.queue_max = 0; }, "offload.queue_max of 1"},
    {"OffloadCpuZero", [](Limits& l) { l.offload.cpu_max = 0; }, "offload.cpu_max of 1"},
    {"OffloadFileTooMany", [](Limits& l) { l.offload.file_max = 1025; }, "offload.file_max of 1"},
    {"OffloadDnsZero", [](Limits& l) { l.offload.dns_max = 0; }, "offload.dns_max of 1"},
    {"OffloadStopAtOnce", [](Limits& l) { l.offload.stop_ns = 0; }, ""},
    {"OffloadStopInAYear", [](Limits& l) { l.offload.stop_ns = 31'536'000'000'000'000; },
     "offload.stop_ns"},
    {"ZeroCopyNever", [](Limits& l) { l.zero_copy_bytes = 0; }, ""},
};
class LimitsRange : public ::testing::TestWithParam<Row> {};

TEST_P(LimitsRange, IsChecked) {
  Limits limits;
  GetParam().change(limits);
  const Result<void> result = limits.validate();
  EXPECT_EQ(result.ok(), GetParam().text.empty()) << result.error().to_string();
  if (result.ok()) return;
  EXPECT_EQ(result.error(), Errc::invalid_argument);
  EXPECT_THAT(result.error().to_string(),
              ::testing::AllOf(::testing::StartsWith("start: invalid argument: got "),
                               ::testing::HasSubstr(std::string(GetParam().text))));
}
INSTANTIATE_TEST_SUITE_P(All, LimitsRange, ::testing::ValuesIn(kRows),
                         [](const auto& row) { return row.param.name; });

TEST(Metrics, AreOneLineACounterInOrder) {
  Metrics metrics;
  metrics.turns = 7;
  metrics.exceptions = 9;
  const std::string text = metrics.to_string();
  EXPECT_THAT(text, ::testing::StartsWith("turns 7\npolls 0\n"));
  EXPECT_THAT(text, ::testing::EndsWith("exceptions 9\n"));
  EXPECT_EQ(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')),
            sizeof(Metrics) / sizeof(std::uint64_t));
}

TEST(Metrics, ShowTheReceiveMemoryInUseAndWhatIsBeyondTheGroup) {
  Limits limits;
  limits.block_bytes = 4096;
  limits.group_bytes = 2 * 4096;
  limits.overflow_bytes = 2 * 4096;
  auto loop = Loop::make({.backend = "epoll", .limits = limits}).value();
  Buf held[3];
  for (std::uint64_t i = 0; i < 3; ++i) {
    held[i] = loop->receive_group().take();
    EXPECT_EQ(loop->metrics().receive_memory_bytes, (i + 1) * 4096);
    EXPECT_EQ(loop->metrics().overflow_memory_bytes, i < 2 ? 0u : 4096u);
  }
  for (Buf& block : held) block.reset();
  EXPECT_EQ(loop->metrics().receive_memory_bytes, 0u);
  EXPECT_EQ(loop->metrics().overflow_memory_bytes, 0u);
}

}  // namespace
}  // namespace weir
