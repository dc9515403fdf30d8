// Runtime: N loops on N threads, each with its own listener on the same port (SO_REUSEPORT), and an orderly stop.
// Nothing that is shared is written on the path of a request.
//
//     weir::Runtime runtime({.loop_count = 2, .loop = {.backend = "auto"}});
//     auto where = runtime.serve(weir::Address::loopback(0), echo);      // Task<> echo(Stream peer)
//     runtime.run();                                                     // until SIGTERM, SIGINT or stop()
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "weir/listener.h"
#include "weir/loop.h"
#include "weir/scope.h"
#include "weir/stream.h"

namespace weir::inline v0 {

struct RuntimeOptions {
  std::uint32_t loop_count = 1;  ///< 0: one a processor
  LoopOptions loop{};
  Duration drain = std::chrono::seconds(10);  ///< how long sessions may take to finish after stop
  bool pins_cpus = false;                     ///< loop i on processor i
  bool raises_descriptors = true;  ///< allow as many open descriptors as the process may have
  bool stops_on_signals = true;    ///< SIGTERM and SIGINT; a second one ends the drain
};

/// A task a connection. Called on every loop's thread: what it captures must be safe to share.
using Session = std::function<Task<>(Stream peer)>;
/// For services that accept by themselves, with handlers: called on each loop's thread with that loop's listener, which
/// the runtime owns and closes when it stops.
using Setup = std::function<void(Loop& loop, Listener& listener)>;

/// Threads: make it, serve, run and destroy it on one thread; stop() on any.
class WEIR_API Runtime {
 public:
  explicit Runtime(const RuntimeOptions& options = {});
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// Makes the loops, if they are not made yet. Errors: those of Loop::make; then there are none, and
  /// another start() begins afresh.
  Result<void> start();

  /// Listens at `address` on every loop and runs `session` for each connection, at most `scope.max_count` a loop.
  /// Returns the address with the port that was bound. Errors: those of Listener::listen.
  /// What ends a session, or the accepting itself (tag "accept"), is told to `scope.on_error`.
  /// While the runtime stops, a session's read that waits with nothing received sees the end of stream, so that
  /// `while (Buf b = co_await peer.read())` finishes by itself; what is not through after `drain` is ended.
  Result<Address> serve(const Address& address, Session session, const ListenOptions& options = {},
                        const ScopeOptions& scope = {});
  Result<Address> serve_with(const Address& address, Setup setup,
                             const ListenOptions& options = {});

  /// Runs until a signal or stop(), drains, and returns. Loop 0 runs on the calling thread.
  void run();
  /// From any thread; coalesced. Before run(), and before start() too, it is remembered: run() then drains at once.
  void stop();
  bool is_stopping() const;

  std::uint32_t loop_count() const;
  std::string backend() const;  ///< of loop 0
  std::string backend_reason() const;
  /// Of all loops together; complete after run() has returned.
  Metrics metrics() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weir::inline v0
