// Signals as a descriptor: a handler notes the signal in each watch that wants it and writes to that watch's eventfd.
// The handler touches only lock-free atomics and calls write(2), which a handler may.
#include "src/os/signals.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {
namespace {

constexpr int kSignalsMax = 64;

// In use while `wanted` is not 0: written last when a watch opens, and first when it closes.
struct Watch {
  std::atomic<SignalSet> wanted = 0;
  std::atomic<SignalSet> came = 0;
  std::atomic<int> event = -1;
};
std::array<Watch, 64> watches;
std::atomic<int> handlers_running =
    0;  // on any thread: a descriptor is closed when none of them can still write to it
static_assert(std::atomic<SignalSet>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

std::mutex mutex;  // of the two below, never of the handler
std::array<int, kSignalsMax> watcher_counts{};
std::array<struct sigaction, kSignalsMax> former_actions;

void on_signal(int number) {
  const int saved_errno = errno;
  handlers_running.fetch_add(1);
  for (Watch& watch : watches) {
    if ((watch.wanted.load() & signal_bit(number)) == 0) continue;
    watch.came.fetch_or(signal_bit(number));
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t ignored = ::write(watch.event.load(), &one, sizeof one);
  }
  handlers_running.fetch_sub(1);
  errno = saved_errno;
}

std::int64_t start_catching(int number) {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  return call_plain([&] {
    return sigaction(number, &action, &former_actions[static_cast<std::size_t>(number)]);
  });
}

void release(SignalSet wanted) {
  for (int number = 1; number < kSignalsMax; ++number) {
    const auto index = static_cast<std::size_t>(number);
    if ((wanted & signal_bit(number)) == 0 || --watcher_counts[index] > 0) continue;
    call_plain([&] { return sigaction(number, &former_actions[index], nullptr); });
  }
}

// Catches each wanted signal, or none.
std::int64_t acquire(SignalSet wanted) {
  SignalSet acquired = 0;
  for (int number = 1; number < kSignalsMax; ++number) {
    if ((wanted & signal_bit(number)) == 0) continue;
    int& count = watcher_counts[static_cast<std::size_t>(number)];
    const std::int64_t result = count > 0 ? 0 : start_catching(number);
    if (result < 0) {
      release(acquired);
      return result;
    }
    ++count;
    acquired |= signal_bit(number);
  }
  return 0;
}

void close_watch(Watch& watch) {
  watch.wanted.store(0);
  while (handlers_running.load() != 0) std::this_thread::yield();
  const int event = watch.event.exchange(-1);
  call_plain([&] { return ::close(event); });
}

Watch* find_watch(int event) {
  for (Watch& watch : watches) {
    if (watch.event.load() == event) return &watch;
  }
  return nullptr;
}

}  // namespace

std::int64_t open_signals(SignalSet wanted) {
  if (wanted == 0 || (wanted & signal_bit(0)) != 0) return -EINVAL;
  const std::lock_guard lock(mutex);
  Watch* watch = find_watch(-1);
  if (watch == nullptr) return -ENOSPC;
  const std::int64_t event = call_plain([] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
  if (event < 0) return event;
  watch->came.store(0);
  watch->event.store(static_cast<int>(event));
  watch->wanted.store(wanted);
  if (const std::int64_t result = acquire(wanted); result < 0) {
    close_watch(*watch);
    return result;
  }
  return event;
}

// The event is read before the set is taken: a signal between the two is told of twice rather than never.
SignalSet take_signals(Native native) {
  Watch* watch = find_watch(static_cast<int>(native));
  if (watch == nullptr) return 0;
  std::uint64_t count = 0;
  call_plain([&] { return ::read(static_cast<int>(native), &count, sizeof count); });
  return watch->came.exchange(0);
}

void close_signals(Native native) {
  const std::lock_guard lock(mutex);
  Watch* watch = find_watch(static_cast<int>(native));
  if (watch == nullptr) return;
  release(watch->wanted.load());
  close_watch(*watch);
}

}  // namespace weir::inline v0::os
