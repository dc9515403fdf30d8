// Every bound of a loop has a range, and some must agree with others. One table says both.
#include "weir/limits.h"

#include <bit>
#include <string>

namespace weir::inline v0 {

namespace {

constexpr std::uint64_t kDayNs = 86'400'000'000'000;
constexpr std::uint32_t kCountMax = 1 << 24;
constexpr std::uint32_t kGroupBlocksMax = 1 << 15;  // A kernel's buffer ring has no more entries.

Error out_of_range(std::uint64_t value, const char* expected) {
  return Error::of_value(Errc::invalid_argument, Operation::start, std::to_string(value), expected);
}

struct Rule {
  std::uint64_t value;
  bool holds;
  const char* expected;
};

// Connections that a listener's queue may bring before it hears that there are enough: a kernel that finds its table full
// drops them.
constexpr std::uint64_t kAcceptsUnderWay = 2048;

// A divisor of 0 is refused by its own rule.
bool is_whole(std::uint64_t bytes, std::uint64_t block_bytes) {
  return block_bytes != 0 && bytes % block_bytes == 0;
}

bool is_in(std::uint64_t value, std::uint64_t min, std::uint64_t max) {
  return value >= min && value <= max;
}

template <std::size_t count>
Result<void> check(const Rule (&rules)[count]) {
  for (const Rule& rule : rules) {
    if (!rule.holds) return out_of_range(rule.value, rule.expected);
  }
  return {};
}

}  // namespace

Result<void> OffloadLimits::validate() const {
  const Rule rules[] = {
      {threads_max, is_in(threads_max, 1, 1024), "offload.threads_max of 1 .. 1024"},
      {queue_max, is_in(queue_max, 1, kCountMax), "offload.queue_max of 1 .. 16777216"},
      {cpu_max, is_in(cpu_max, 1, 1024), "offload.cpu_max of 1 .. 1024"},
      {file_max, is_in(file_max, 1, 1024), "offload.file_max of 1 .. 1024"},
      {dns_max, is_in(dns_max, 1, 1024), "offload.dns_max of 1 .. 1024"},
      {stop_ns, is_in(stop_ns, 0, kDayNs), "offload.stop_ns of 0 ns .. one day"},
  };
  return check(rules);
}

Result<void> Limits::validate() const {
  const std::uint64_t group_blocks = block_bytes == 0 ? 0 : group_bytes / block_bytes;
  const Rule rules[] = {
      {completions_per_turn, is_in(completions_per_turn, 1, kCountMax),
       "completions_per_turn of 1 .. 16777216"},
      {deliver_time_ns, is_in(deliver_time_ns, 1, kDayNs), "deliver_time_ns of 1 ns .. one day"},
      {descendants_per_drain, is_in(descendants_per_drain, 1, kCountMax),
       "descendants_per_drain of 1 .. 16777216"},
      {demoted_per_turn, is_in(demoted_per_turn, 1, kCountMax),
       "demoted_per_turn of 1 .. 16777216"},
      {timers_per_turn, is_in(timers_per_turn, 1, kCountMax), "timers_per_turn of 1 .. 16777216"},
      {posts_per_turn, is_in(posts_per_turn, 1, kCountMax), "posts_per_turn of 1 .. 16777216"},
      {accepts_per_turn, is_in(accepts_per_turn, 1, kCountMax),
       "accepts_per_turn of 1 .. 16777216"},
      {bytes_per_socket_turn, bytes_per_socket_turn >= 1, "bytes_per_socket_turn of 1 or more"},
      {inline_awaits, is_in(inline_awaits, 0, 1024), "inline_awaits of 0 .. 1024"},
      {connections_max, is_in(connections_max, 1, kCountMax), "connections_max of 1 .. 16777216"},
      {direct_accepts,
       direct_accepts == 0 || is_in(direct_accepts, connections_max + kAcceptsUnderWay, kCountMax),
       "direct_accepts of 0, or of connections_max + 2048 .. 16777216"},
      {direct_connects, is_in(direct_connects, 0, kCountMax), "direct_connects of 0 .. 16777216"},
      {block_bytes, is_in(block_bytes, 1 << 10, 256 << 10) && std::has_single_bit(block_bytes),
       "block_bytes, a power of two of 1024 .. 262144"},
      {group_bytes, is_in(group_blocks, 2, kGroupBlocksMax) && is_whole(group_bytes, block_bytes),
       "group_bytes of 2 .. 32768 whole blocks of block_bytes"},
      {overflow_bytes, is_whole(overflow_bytes, block_bytes),
       "overflow_bytes, 0 or whole blocks of block_bytes"},
      {loan_bytes_max, loan_bytes_max >= block_bytes, "loan_bytes_max of block_bytes or more"},
      {copy_break_bytes, is_in(copy_break_bytes, 64, block_bytes),
       "copy_break_bytes of 64 .. block_bytes"},
      {write_high_bytes, write_high_bytes >= 1, "write_high_bytes of 1 or more"},
      {write_low_bytes, write_low_bytes < write_high_bytes,
       "write_low_bytes below write_high_bytes"},
      {write_cap_bytes, write_cap_bytes >= write_high_bytes,
       "write_cap_bytes of write_high_bytes or more"},
      {write_loop_cap_bytes, write_loop_cap_bytes >= write_cap_bytes,
       "write_loop_cap_bytes of write_cap_bytes or more"},
      {posts_max, is_in(posts_max, 1, kCountMax), "posts_max of 1 .. 16777216"},
      {cancel_report_ns, is_in(cancel_report_ns, 1, kDayNs), "cancel_report_ns of 1 ns .. one day"},
      {shutdown_ns, is_in(shutdown_ns, 0, kDayNs), "shutdown_ns of 0 ns .. one day"},
  };
  if (Result<void> valid = check(rules); !valid.ok()) return valid;
  return offload.validate();
}

}  // namespace weir::inline v0
