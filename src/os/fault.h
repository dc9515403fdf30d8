// Counting and faults of the os room: each system call counts itself, and before it happens a test may shorten it or
// answer for it. Production pays one add and one predicted branch a call.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weir::inline v0::os {

using Native = std::intptr_t;

/// This thread's count: Metrics::system_calls is what strace would see.
std::uint64_t& system_calls();

/// Which call a fault is asked about.
enum class Call : std::uint8_t {
  open_socket,
  close,
  accept,
  connect,
  recv,
  send,
  shutdown,
  wait,
  ring_enter,
  ring_setup,
  map,
  watch,
  open_file,
  read_file,
  resolve,
};
/// A fault's decision: go on unchanged; go on with at most `size_max` bytes; or answer `error` (-errno) without a call.
struct Fault {
  std::int64_t error = 0;
  std::size_t size_max = ~std::size_t{0};
};
/// Seeded fault injection for tests: asked before each call while set, on the thread that makes the call.
using FaultHook = Fault (*)(Call call, Native native);
inline std::atomic<FaultHook> fault_hook = nullptr;
void set_fault_hook(FaultHook hook);

inline bool has_fault_hook() { return fault_hook.load(std::memory_order_relaxed) != nullptr; }

/// Did a fault shorten or answer this thread's last call? Then its short count, or its EAGAIN, says nothing about
/// the descriptor: no edge will follow, and whoever waits for edges must try again by himself.
bool ask_if_faulted();
inline bool last_call_was_faulted() { return has_fault_hook() && ask_if_faulted(); }

}  // namespace weir::inline v0::os
