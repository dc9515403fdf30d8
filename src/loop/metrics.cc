// What was counted, as text, and the counts that a thread keeps where no loop is at hand.
#include "weir/metrics.h"

namespace weir::inline v0 {

namespace {

struct Field {
  const char* name;
  std::uint64_t Metrics::*value;
};

#define WEIR_FIELD(name) \
  Field { #name, &Metrics::name }
constexpr Field kFields[] = {
    WEIR_FIELD(turns),
    WEIR_FIELD(polls),
    WEIR_FIELD(completions),
    WEIR_FIELD(stale_completions),
    WEIR_FIELD(deliver_budget_hits),
    WEIR_FIELD(socket_budget_hits),
    WEIR_FIELD(accept_budget_hits),
    WEIR_FIELD(timers_fired),
    WEIR_FIELD(timer_budget_hits),
    WEIR_FIELD(posts_run),
    WEIR_FIELD(posts_refused),
    WEIR_FIELD(post_budget_hits),
    WEIR_FIELD(wakes),
    WEIR_FIELD(ticks_run),
    WEIR_FIELD(microtasks_run),
    WEIR_FIELD(immediates_run),
    WEIR_FIELD(demoted_jobs),
    WEIR_FIELD(inline_awaits),
    WEIR_FIELD(system_calls),
    WEIR_FIELD(submissions),
    WEIR_FIELD(completion_overflows),
    WEIR_FIELD(zero_copy_sends),
    WEIR_FIELD(zero_copy_copied),
    WEIR_FIELD(no_buffers),
    WEIR_FIELD(accepted),
    WEIR_FIELD(connected),
    WEIR_FIELD(closed),
    WEIR_FIELD(connections),
    WEIR_FIELD(connections_refused),
    WEIR_FIELD(descriptors_exhausted),
    WEIR_FIELD(accept_rests),
    WEIR_FIELD(bytes_received),
    WEIR_FIELD(bytes_sent),
    WEIR_FIELD(receives),
    WEIR_FIELD(sends),
    WEIR_FIELD(bytes_copied),
    WEIR_FIELD(copy_breaks),
    WEIR_FIELD(heap_allocations),
    WEIR_FIELD(read_pauses),
    WEIR_FIELD(writes_pressured),
    WEIR_FIELD(writes_refused),
    WEIR_FIELD(write_queue_bytes),
    WEIR_FIELD(receive_memory_bytes),
    WEIR_FIELD(overflow_memory_bytes),
    WEIR_FIELD(stuck_ops),
    WEIR_FIELD(offloads),
    WEIR_FIELD(offloads_refused),
    WEIR_FIELD(offloads_waited),
    WEIR_FIELD(offloads_done),
    WEIR_FIELD(offloads_cancelled),
    WEIR_FIELD(offloads_abandoned),
    WEIR_FIELD(offload_timeouts),
    WEIR_FIELD(offloads_pending),
    WEIR_FIELD(offload_wait_ns),
    WEIR_FIELD(offload_run_ns),
    WEIR_FIELD(scopes_failed),
    WEIR_FIELD(exceptions),
};
#undef WEIR_FIELD
static_assert(sizeof(kFields) / sizeof(Field) == sizeof(Metrics) / sizeof(std::uint64_t),
              "every counter has its line");

}  // namespace

Metrics& Metrics::operator+=(const Metrics& other) {
  for (const Field& field : kFields) this->*field.value += other.*field.value;
  return *this;
}

std::string Metrics::to_string() const {
  std::string text;
  for (const Field& field : kFields) {
    text.append(field.name).append(" ").append(std::to_string(this->*field.value)).append("\n");
  }
  return text;
}

ThreadCounts& thread_counts() {
  static constinit thread_local ThreadCounts counts;
  return counts;
}

}  // namespace weir::inline v0
