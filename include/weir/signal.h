// Signals of the process as something a task waits for.
//
//     weir::Signals signals(*loop, {weir::Signal::terminate, weir::Signal::interrupt});
//     weir::Signal got = co_await signals.next();
#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>

#include "weir/loop.h"
#include "weir/task.h"

namespace weir::inline v0 {

enum class Signal : std::uint8_t {
  hangup = 1,
  interrupt = 2,
  quit = 3,
  user1 = 10,
  user2 = 12,
  terminate = 15
};

struct SignalWatch;

/// While it lives these signals do not do what they do by default. Several may watch the same one; each hears of it.
/// Keeps the loop alive only while somebody waits.
/// Owner:   whoever made it; destroy it before its Loop.
/// Threads: the loop's own.
class WEIR_API Signals {
 public:
  Signals(Loop& loop, std::initializer_list<Signal> wanted);
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  class [[nodiscard]] Next : public Waiter {
   public:
    explicit Next(SignalWatch* watch) : watch_(watch) {}
    Next(Next&& other) noexcept : Waiter(std::move(other)), watch_(other.watch_) {}
    ~Next() {
      if (is_waiting()) abandon();
    }
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      wait_in(handle.promise());
      return suspend();
    }
    Signal await_resume() const noexcept { return got_; }

   private:
    friend struct SignalWatch;
    WEIR_API bool suspend();
    WEIR_API void abandon();
    SignalWatch* watch_;
    Signal got_{};
  };
  /// The next signal; those that come together are given one after another, lowest number first. One waiter at a time.
  /// Errors: closed, when the Signals are destroyed while it waits.
  Next next() { return Next(watch_); }
  void unref();  ///< from now on not even then; call it while nobody waits

 private:
  SignalWatch* watch_;
};

}  // namespace weir::inline v0
