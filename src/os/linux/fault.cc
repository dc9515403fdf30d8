// Counters and the fault hook of the Linux room.
#include "src/os/fault.h"

#include <algorithm>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {

constinit thread_local std::uint64_t call_count = 0;
constinit thread_local bool call_was_faulted = false;

std::uint64_t& system_calls() { return call_count; }
void set_fault_hook(FaultHook hook) { fault_hook.store(hook, std::memory_order_relaxed); }
bool ask_if_faulted() { return call_was_faulted; }

bool ask_fault_hook(FaultHook hook, Call call, Native native, std::size_t& size,
                    std::int64_t& answer) {
  const Fault fault = hook(call, native);
  call_was_faulted = fault.error != 0 || fault.size_max < size;
  if (fault.size_max < size)
    size = std::max<std::size_t>(fault.size_max, 1);  // 0 would look like an end of stream
  answer = fault.error;
  return fault.error != 0;
}

}  // namespace weir::inline v0::os
