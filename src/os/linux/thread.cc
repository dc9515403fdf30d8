// Threads and processors.
#include "src/os/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {

void set_thread_name(const char* name) {
  char cut[16] = {};
  std::memcpy(cut, name, std::min(std::strlen(name), sizeof cut - 1));
  call_plain([&] { return pthread_setname_np(pthread_self(), cut); });
}

std::int64_t set_cpu_affinity(std::uint32_t cpu) {
  if (cpu >= CPU_SETSIZE) return -EINVAL;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return call_plain([&] { return sched_setaffinity(0, sizeof set, &set); });
}

std::uint32_t cpu_count() {
  cpu_set_t set;
  if (call_plain([&] { return sched_getaffinity(0, sizeof set, &set); }) < 0) return 1;
  return static_cast<std::uint32_t>(std::max(CPU_COUNT(&set), 1));
}

namespace {
struct Start {
  const char* name;
  void (*body)(void* context);
  void* context;
};

void* run_thread(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  set_thread_name(start->name);
  start->body(start->context);
  return nullptr;
}
}  // namespace

// Signals that are blocked when a thread starts are blocked in it from its first instruction on.
std::int64_t start_thread(const char* name, void (*body)(void* context), void* context,
                          Thread& out) {
  static_assert(sizeof(pthread_t) <= sizeof(Thread));
  auto start = std::make_unique<Start>(Start{name, body, context});
  sigset_t all, former;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &former);
  pthread_t thread{};
  const int error = pthread_create(&thread, nullptr, run_thread, start.get());
  pthread_sigmask(SIG_SETMASK, &former, nullptr);
  if (error != 0) return -error;
  static_cast<void>(start.release());
  out = thread;
  return 0;
}

void join_thread(Thread thread) { pthread_join(thread, nullptr); }
void leave_thread(Thread thread) { pthread_detach(thread); }

}  // namespace weir::inline v0::os
