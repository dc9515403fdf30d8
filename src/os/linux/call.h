// How the Linux room makes a system call: ask the fault hook, count, and turn -1 into -errno.
#pragma once
#include <cerrno>

#include "src/os/fault.h"

namespace weir::inline v0::os {

// Plain loads from the thread's own block, also inside a shared library.
[[gnu::tls_model("initial-exec"),
  gnu::visibility("hidden")]] extern constinit thread_local std::uint64_t call_count;
[[gnu::tls_model("initial-exec"),
  gnu::visibility("hidden")]] extern constinit thread_local bool call_was_faulted;

// Out of line, so that production's path stays short. True when the hook answered, with -errno in `answer`.
bool ask_fault_hook(FaultHook hook, Call call, Native native, std::size_t& size,
                    std::int64_t& answer);

/// Counts one call that was made just now, and turns its -1 into -errno.
inline std::int64_t counted(std::int64_t result) {
  ++call_count;
  return result >= 0 ? result : -std::int64_t{errno};
}

/// Makes `function(size)`, which gives the system's result, once.
template <typename Function>
inline std::int64_t call_once(Call call, Native native, std::size_t size, Function&& function) {
  if (const FaultHook hook = fault_hook.load(std::memory_order_relaxed); hook != nullptr)
      [[unlikely]] {
    std::int64_t answer = 0;
    if (ask_fault_hook(hook, call, native, size, answer)) return answer;
  }
  return counted(function(size));
}

/// The same for calls that are made again after a signal.
template <typename Function>
inline std::int64_t call_again(Call call, Native native, std::size_t size, Function&& function) {
  for (;;) {
    const std::int64_t result = call_once(call, native, size, function);
    if (result != -EINTR) [[likely]]
      return result;
  }
}

/// Calls that no fault is asked about: options, names, limits.
template <typename Function>
inline std::int64_t call_plain(Function&& function) {
  return counted(function());
}

}  // namespace weir::inline v0::os
