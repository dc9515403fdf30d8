// What one loop counted. Counters only rise; gauges say so. Written by the loop's thread alone.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "weir/export.h"

namespace weir::inline v0 {

struct MetricInfo;

struct WEIR_API Metrics {
  // The turn.
  std::uint64_t turns = 0;
  std::uint64_t polls = 0;
  std::uint64_t completions = 0;          ///< delivered
  std::uint64_t stale_completions = 0;    ///< of ops that were gone: dropped
  std::uint64_t deliver_budget_hits = 0;  ///< turns that left completions for the next
  std::uint64_t socket_budget_hits = 0;   ///< sockets that left bytes for the next turn
  std::uint64_t accept_budget_hits = 0;   ///< listeners that left connections for the next turn
  std::uint64_t timers_fired = 0;
  std::uint64_t timer_budget_hits = 0;
  std::uint64_t posts_run = 0;
  std::uint64_t posts_refused = 0;
  std::uint64_t post_budget_hits = 0;
  std::uint64_t wakes = 0;  ///< wake-ups of a sleeping loop
  std::uint64_t ticks_run = 0;
  std::uint64_t microtasks_run = 0;
  std::uint64_t immediates_run = 0;
  std::uint64_t demoted_jobs = 0;
  std::uint64_t inline_awaits = 0;
  // The kernel.
  std::uint64_t system_calls = 0;          ///< made by this loop's thread through weir
  std::uint64_t submissions = 0;           ///< io_uring: entries handed over
  std::uint64_t completion_overflows = 0;  ///< io_uring: times the completion queue overflowed
  std::uint64_t zero_copy_sends = 0;
  std::uint64_t zero_copy_copied = 0;  ///< of those, copied by the kernel after all
  std::uint64_t no_buffers = 0;        ///< receives that found their group empty
  // Connections and bytes.
  std::uint64_t accepted = 0;
  std::uint64_t connected = 0;
  std::uint64_t closed = 0;
  std::uint64_t connections = 0;            ///< gauge
  std::uint64_t connections_refused = 0;    ///< by policy, at the connection limit
  std::uint64_t descriptors_exhausted = 0;  ///< EMFILE or ENFILE at accept
  std::uint64_t accept_rests = 0;           ///< times accepting rested: no descriptors, no memory
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t receives = 0;
  std::uint64_t sends = 0;
  std::uint64_t bytes_copied = 0;  ///< in user space, of payload
  std::uint64_t copy_breaks = 0;
  std::uint64_t heap_allocations = 0;  ///< made by weir on this loop's thread
  std::uint64_t read_pauses = 0;       ///< a connection reached its loan cap
  std::uint64_t writes_pressured = 0;
  std::uint64_t writes_refused = 0;
  std::uint64_t write_queue_bytes = 0;      ///< gauge: pinned, all streams of the loop
  std::uint64_t receive_memory_bytes = 0;   ///< gauge: blocks of the receive group that are in use
  std::uint64_t overflow_memory_bytes = 0;  ///< gauge: of those, beyond Limits::group_bytes
  std::uint64_t stuck_ops = 0;              ///< ops with no terminal long after their cancel
  // Work that blocks.
  std::uint64_t offloads = 0;            ///< pieces of work given to a pool
  std::uint64_t offloads_refused = 0;    ///< not taken: the queue was full
  std::uint64_t offloads_waited = 0;     ///< found the queue full and waited for room
  std::uint64_t offloads_done = 0;       ///< outcomes told to who asked
  std::uint64_t offloads_cancelled = 0;  ///< taken back before they ran
  std::uint64_t offloads_abandoned = 0;  ///< nobody waits for them any more, but they run
  std::uint64_t offload_timeouts = 0;    ///< of those two, at their deadline
  std::uint64_t offloads_pending = 0;    ///< gauge: given and not back yet
  std::uint64_t offload_wait_ns = 0;     ///< in queues, of what ran
  std::uint64_t offload_run_ns = 0;      ///< on threads
  // Failure isolation.
  std::uint64_t scopes_failed = 0;
  std::uint64_t exceptions = 0;

  /// `name value` lines, in this order.
  std::string to_string() const;
  Metrics& operator+=(const Metrics& other);
  /// Every counter and gauge, in this order.
  static std::span<const MetricInfo> table();
};

/// What is known of one counter or gauge.
struct MetricInfo {
  const char* name;
  const char* help;  ///< as docs/reference/metrics.md says it
  bool is_gauge;
  std::uint64_t Metrics::*value;
};

/// What buffers count where no loop is at hand. A loop adds what its thread counted since the last turn to its Metrics.
struct ThreadCounts {
  std::uint64_t heap_allocations = 0;
  std::uint64_t bytes_copied = 0;
};
WEIR_API ThreadCounts& thread_counts();

}  // namespace weir::inline v0
