// Every bound of a loop, with a finite default. Each row says what happens when it is hit; docs/reference/limits.md says
// which counter or gauge of weir/metrics.h shows it. Checked when the loop is made: a value out of range is an Error.
#pragma once
#include <cstdint>

#include "weir/export.h"
#include "weir/result.h"

namespace weir::inline v0 {

/// Bounds of a pool of threads for work that blocks (weir/offload.h).
struct WEIR_API OffloadLimits {
  std::uint32_t threads_max = 4;   ///< started when there is work for them
  std::uint32_t queue_max = 1024;  ///< work that waits, in each class; then `full`, or tasks wait
  std::uint32_t cpu_max = 3;       ///< work of class cpu that runs at once; the rest waits
  std::uint32_t file_max = 3;      ///< of class file
  std::uint32_t dns_max = 2;       ///< of class dns
  std::uint64_t stop_ns = 5'000'000'000;  ///< how long a pool's destructor waits for what runs

  /// As Limits::validate().
  Result<void> validate() const;
};

struct WEIR_API Limits {
  // The turn.
  std::uint32_t completions_per_turn = 256;    ///< data completions delivered; the rest next turn
  std::uint64_t deliver_time_ns = 2'000'000;   ///< time for them; the rest next turn
  std::uint32_t descendants_per_drain = 1024;  ///< jobs queued by jobs of one drain; then demoted
  std::uint32_t demoted_per_turn = 1024;       ///< demoted jobs run in step 3
  std::uint32_t timers_per_turn = 1024;        ///< due timers fired; the rest next turn
  std::uint32_t posts_per_turn = 1024;         ///< posted callbacks run; the rest next turn
  std::uint32_t accepts_per_turn = 32;         ///< per listener; the rest next turn
  std::uint32_t bytes_per_socket_turn = 128 << 10;  ///< received per socket; then round robin
  std::uint32_t inline_awaits = 8;  ///< awaits ready at once, per task and turn; then it suspends
  // Connections.
  std::uint32_t connections_max = 65'536;  ///< per loop; the listener waits or resets
  /// Sockets in a table of the backend's own instead of descriptors of the process, where it can (io_uring from Linux
  /// 6.0): accepted ones, connected ones. They have no addresses, no options, no native descriptor; a reset is a close.
  std::uint32_t direct_accepts = 0;   ///< 0: none; else connections_max + 2048 or more
  std::uint32_t direct_connects = 0;  ///< further ones have descriptors
  // Memory.
  std::uint32_t block_bytes = 16 << 10;  ///< one receive buffer; a power of two, 1 KiB .. 256 KiB
  std::uint32_t group_bytes = 16 << 20;  ///< receive memory of a loop
  std::uint32_t overflow_bytes = 48 << 20;  ///< more of it, for connections that hold little
  std::uint32_t loan_bytes_max = 1
                                 << 20;  ///< received bytes one connection may hold; then it pauses
  std::uint32_t copy_break_bytes =
      1 << 10;  ///< a kept slice shorter than this is copied out of its block
  std::uint32_t write_high_bytes = 64 << 10;  ///< above: pressured
  std::uint32_t write_low_bytes = 16 << 10;   ///< at or below: flowing again
  std::uint32_t write_cap_bytes = 1 << 20;    ///< per stream; above: refused, nothing queued
  std::uint64_t write_loop_cap_bytes = 256
                                       << 20;  ///< all of a loop, but the first high_bytes of each
  // Between threads.
  std::uint32_t posts_max = 65'536;  ///< posted callbacks waiting; then `full` to the producer
  // Time.
  std::uint64_t cancel_report_ns =
      3'000'000'000;  ///< an op with no terminal this long after cancel is reported
  std::uint64_t shutdown_ns =
      5'000'000'000;  ///< how long a loop's destructor pumps before it leaks and reports
  std::uint32_t zero_copy_bytes =
      32 << 10;  ///< sends of at least this try zero-copy where caps() has it; 0 never
  // Work that blocks.
  OffloadLimits offload{};  ///< of the loop's own pool

  /// The first field that is out of range or contradicts another, with its value and what was expected.
  Result<void> validate() const;
};

}  // namespace weir::inline v0
