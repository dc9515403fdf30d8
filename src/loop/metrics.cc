// What was counted, as text, and the counts that a thread keeps where no loop is at hand.
#include "weir/metrics.h"

namespace weir::inline v0 {

namespace {

// The texts are those of docs/reference/metrics.md; ./dev check compares them.
#define WEIR_COUNTER(name, help) \
  MetricInfo { #name, help, false, &Metrics::name }
#define WEIR_GAUGE(name, help) \
  MetricInfo { #name, help, true, &Metrics::name }
constexpr MetricInfo kTable[] = {
    WEIR_COUNTER(turns, "turns of the loop"),
    WEIR_COUNTER(polls, "polls of the backend, one a turn"),
    WEIR_COUNTER(completions, "results delivered to their owners"),
    WEIR_COUNTER(stale_completions,
                 "results of ops that were gone: dropped, and what they brought went home"),
    WEIR_COUNTER(deliver_budget_hits,
                 "turns that left completions for the next: completions_per_turn, deliver_time_ns"),
    WEIR_COUNTER(socket_budget_hits,
                 "times a socket's bytes were left to the next turn: bytes_per_socket_turn"),
    WEIR_COUNTER(accept_budget_hits,
                 "turns in which a listener left connections to the next: accepts_per_turn"),
    WEIR_COUNTER(timers_fired, "timers that ran"),
    WEIR_COUNTER(timer_budget_hits, "turns with as many timers as timers_per_turn"),
    WEIR_COUNTER(posts_run, "posted callbacks that ran"),
    WEIR_COUNTER(posts_refused, "posts that got full: posts_max"),
    WEIR_COUNTER(post_budget_hits, "turns with as many posts as posts_per_turn"),
    WEIR_COUNTER(wakes, "wake-ups of a loop that slept"),
    WEIR_COUNTER(ticks_run, "ticks"),
    WEIR_COUNTER(microtasks_run, "microtasks, tasks that go on as one among them"),
    WEIR_COUNTER(immediates_run, "immediates"),
    WEIR_COUNTER(demoted_jobs,
                 "jobs that descendants_per_drain put off; loop.report() names the line that "
                 "queued the last"),
    WEIR_COUNTER(inline_awaits, "awaits that were ready at once"),
    WEIR_COUNTER(system_calls, "made by the loop's thread through weir"),
    WEIR_COUNTER(submissions, "io_uring: entries handed over"),
    WEIR_COUNTER(completion_overflows, "io_uring: times the completion queue overflowed"),
    WEIR_COUNTER(zero_copy_sends, "sends that asked for it"),
    WEIR_COUNTER(zero_copy_copied, "of those, copied by the kernel after all"),
    WEIR_COUNTER(
        no_buffers,
        "receives that found their group empty: group_bytes and overflow_bytes are in use"),
    WEIR_COUNTER(accepted, "connections given to their owner"),
    WEIR_COUNTER(connected, "connects that succeeded"),
    WEIR_COUNTER(closed, "connections closed"),
    WEIR_GAUGE(connections, "open now"),
    WEIR_COUNTER(connections_refused, "reset at connections_max"),
    WEIR_COUNTER(descriptors_exhausted, "accepts that found no descriptor (EMFILE, ENFILE)"),
    WEIR_COUNTER(accept_rests, "times accepting rested, without a descriptor or memory"),
    WEIR_COUNTER(bytes_received, "of payload"),
    WEIR_COUNTER(bytes_sent, "of payload, taken by the kernel"),
    WEIR_COUNTER(receives, "receives that brought bytes"),
    WEIR_COUNTER(sends, "sends that took bytes"),
    WEIR_COUNTER(bytes_copied, "of payload, in user space"),
    WEIR_COUNTER(copy_breaks,
                 "short slices that were copied out of a long block: copy_break_bytes"),
    WEIR_COUNTER(heap_allocations, "made by weir on the loop's thread; none in the steady state"),
    WEIR_COUNTER(read_pauses, "times a connection stopped reading at its loan cap: loan_bytes_max"),
    WEIR_COUNTER(writes_pressured, "times a stream came above write_high_bytes"),
    WEIR_COUNTER(writes_refused, "writes beyond write_cap_bytes or write_loop_cap_bytes"),
    WEIR_GAUGE(write_queue_bytes, "pinned by all write queues"),
    WEIR_GAUGE(receive_memory_bytes, "blocks of the receive group in use, the kernel's among them"),
    WEIR_GAUGE(overflow_memory_bytes, "of those, beyond group_bytes"),
    WEIR_COUNTER(stuck_ops,
                 "ops with no terminal cancel_report_ns after their cancel: a bug in weir, a "
                 "backend or the kernel"),
    WEIR_COUNTER(offloads, "pieces of work given to a pool"),
    WEIR_COUNTER(offloads_refused, "not taken, because the queue was full: queue_max"),
    WEIR_COUNTER(offloads_waited, "given by a task that found the queue full and waited for room"),
    WEIR_COUNTER(offloads_done, "outcomes told to who asked"),
    WEIR_COUNTER(offloads_cancelled,
                 "taken back before they ran: cancelled, timed out, the pool or the loop ended"),
    WEIR_COUNTER(offloads_abandoned, "still run, although nobody waits for them any more"),
    WEIR_COUNTER(offload_timeouts, "of those two, at their deadline"),
    WEIR_GAUGE(offloads_pending, "given and not back yet, the abandoned among them"),
    WEIR_COUNTER(offload_wait_ns, "nanoseconds in queues, of what ran"),
    WEIR_COUNTER(offload_run_ns, "nanoseconds on threads"),
    WEIR_COUNTER(scopes_failed, "tasks that an error or an exception ended"),
    WEIR_COUNTER(exceptions, "exceptions that escaped from a task or callback"),
};
#undef WEIR_COUNTER
#undef WEIR_GAUGE
static_assert(sizeof(kTable) / sizeof(MetricInfo) == sizeof(Metrics) / sizeof(std::uint64_t),
              "every counter has its line");

}  // namespace

std::span<const MetricInfo> Metrics::table() { return kTable; }

Metrics& Metrics::operator+=(const Metrics& other) {
  for (const MetricInfo& info : kTable) this->*info.value += other.*info.value;
  return *this;
}

std::string Metrics::to_string() const {
  std::string text;
  for (const MetricInfo& info : kTable) {
    text.append(info.name).append(" ").append(std::to_string(this->*info.value)).append("\n");
  }
  return text;
}

ThreadCounts& thread_counts() {
  static constinit thread_local ThreadCounts counts;
  return counts;
}

}  // namespace weir::inline v0
