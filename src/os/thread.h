// Threads and processors, as the os room offers them.
#pragma once
#include <cstdint>

namespace weir::inline v0::os {

/// Names this thread for debuggers and lists of processes; cut to what the system takes (15 bytes on Linux).
void set_thread_name(const char* name);
/// From now on this thread runs on `cpu` alone. 0 or -errno.
std::int64_t set_cpu_affinity(std::uint32_t cpu);
/// Processors that this process may run on: at least 1.
std::uint32_t cpu_count();

/// A thread that was started, until it is joined or left.
using Thread = std::uintptr_t;
/// Starts `body(context)` on a thread named `name`, to which no signals are delivered. 0 or -errno.
std::int64_t start_thread(const char* name, void (*body)(void* context), void* context,
                          Thread& out);
void join_thread(Thread thread);   ///< waits for its end
void leave_thread(Thread thread);  ///< nobody waits for its end

}  // namespace weir::inline v0::os
