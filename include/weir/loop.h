// The loop: one thread's turn over timers, I/O and jobs, in an order that docs/internals/turn.md states sentence by
// sentence. It knows ops, timers and jobs, and no socket.
//
//     auto loop = weir::Loop::make().value();           // or .make({.backend = "io_uring"})
//     loop->spawn(serve(std::move(listener)), "serve");
//     loop->run();
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "weir/backend.h"
#include "weir/job.h"
#include "weir/ledger.h"
#include "weir/limits.h"
#include "weir/metrics.h"
#include "weir/result.h"
#include "weir/source_location.h"
#include "weir/timer_node.h"

namespace weir::inline v0 {

class LoopCore;
class OffloadPool;
class Scope;
template <typename T>
class Task;

enum class RunMode : std::uint8_t {
  until_done,  ///< turns until nothing keeps the loop alive, or stop()
  once,        ///< one turn, which may wait
  no_wait,     ///< one turn that does not wait: for stepping by a foreign loop
};

enum class OrderPolicy : std::uint8_t {
  bounded,  ///< endless descendants of a callback's jobs are demoted to step 3 of the turn, counted and named
  strict,  ///< never demoted: Node.js's order exactly, starvation included
};

enum class Posted : std::uint8_t {
  queued,
  full,   ///< Limits::posts_max are waiting; the job was not taken
  ended,  ///< the loop no longer runs; the job was not taken
};

/// How long from now, or a point on the loop's clock; both in nanoseconds.
using Duration = std::chrono::nanoseconds;

/// A slot for one prepare hook; unhooks itself when destroyed. It may outlive the loop.
class WEIR_API PrepareHook {
 public:
  PrepareHook() = default;
  ~PrepareHook() { unhook(); }
  PrepareHook(const PrepareHook&) = delete;
  PrepareHook& operator=(const PrepareHook&) = delete;
  void unhook();

 private:
  friend class LoopCore;
  friend class Loop;
  LoopCore* loop_ = nullptr;
  PrepareHook* next_ = nullptr;
  PrepareHook* previous_ = nullptr;
  Job job_;
};

struct LoopOptions {
  std::string_view backend =
      "auto";  ///< "auto", or a registered name, with a variant: "io_uring:5.10"
  OrderPolicy order = OrderPolicy::bounded;
  LedgerLevel ledger = LedgerLevel::sampled;
  Limits limits{};
  const char* name = "loop";  ///< static text, for reports and the thread's name
};

/// Owner:   whoever made it. Streams, listeners, signals and armed timers of it are destroyed before it.
/// Threads: the one that made it; only post(), stop_soon() and the wake inside them are safe elsewhere, and what never changes:
///          limits(), caps(), backend_reason(). Others abort; what ops(), ledger(), backend() and receive_group() give out
///          does not look.
class WEIR_API Loop {
 public:
  /// Errors: a limit out of range; an unknown backend (the text lists those there are); what the backend said.
  static Result<std::unique_ptr<Loop>> make(const LoopOptions& options = {});
  /// Cancels every op, pumps until Limits::shutdown_ns, then leaks and reports what never ended.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Runs turns. Returns whether something still keeps the loop alive.
  /// Misuse: run() inside run() of the same loop, or on another thread than the one that made it, aborts.
  bool run(RunMode mode = RunMode::until_done);
  void stop();  ///< run() returns after the turn. On the loop's thread; stop_soon() elsewhere
  bool is_running() const;
  bool is_alive() const;  ///< would run(until_done) do another turn?

  /// The loop that runs on this thread, else the one made last here; null when there is none.
  static Loop* current();

  // Jobs. What they are queued by is their source in reports.
  void tick(Job job);       ///< before microtasks, after the callback that runs now
  void microtask(Job job);  ///< after the ticks
  void immediate(Job job);  ///< step 6 of this turn, or of the next when queued in step 6
  void prepare(PrepareHook& hook, Job job);  ///< step 4 of each turn; does not keep the loop alive
  /// From any thread. Bounded; wakes the loop only when it sleeps. Unless it is queued, `job` is left as it was.
  [[nodiscard]] Posted post(Job&& job);
  void stop_soon();  ///< stop(), from any thread

  std::uint64_t now_ns() const;  ///< sampled at the start of the turn
  bool should_yield() const;     ///< has this callback's turn used its time, or is I/O waiting?
  const Limits& limits() const;
  const Metrics& metrics() const;  ///< brought up to date by the call; copy it for other threads
  const Caps& caps() const;
  const std::string& backend_reason() const;  ///< why this backend: what `auto` passed over
  Backend& backend();
  OpTable& ops();
  Ledger& ledger();
  Pool& receive_group();  ///< received bytes come from here
  Buf allocate(std::size_t size_bytes,
               SourceLocation where = SourceLocation::current());  ///< app memory for sending
  Buf copy_of(std::string_view text,
              SourceLocation where = SourceLocation::current());  ///< allocate and fill; counted
  Scope& scope();                                                 ///< the root scope
  /// Starts a task in the root scope, after the current callback.
  void spawn(Task<void> task, const char* tag, SourceLocation where = SourceLocation::current());
  OffloadPool& offload_pool();  ///< its own, made at the first call; for offload(), files and names
  std::string report() const;   ///< every live op and block with its age

  /// Stepping by a foreign loop: take wait_handle() once; then again and again wait until it is readable or
  /// next_deadline_ns(), asked just before, has come, and run(RunMode::no_wait). What is past is due now.
  std::intptr_t wait_handle() const;
  std::uint64_t next_deadline_ns() const;

  // Raw ops: what everything else is built on.
  /// `op.on_complete` runs in the deliver step, also for what the backend had at once.
  void submit(Op& op, std::uint64_t deadline_ns = Backend::kNever);
  void cancel(Op& op);  ///< never fails, never calls back; idle ops are ignored

  LoopCore& core() { return *core_; }

 private:
  explicit Loop(std::unique_ptr<LoopCore> core);
  std::unique_ptr<LoopCore> core_;
};

/// One timer: arm, extend, cancel in O(1). Never early. Not movable: the wheel links it.
/// Owner:   whoever made it; destroy it before its loop. One that outlives the loop can only be destroyed.
/// Threads: the loop's own.
class WEIR_API Timer {
 public:
  explicit Timer(Loop& loop);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// Arms or re-arms it. A negative delay counts as 0; one that would overflow the clock never comes.
  void arm(Duration delay, Job job);
  void arm_at(std::uint64_t deadline_ns, Job job);
  void extend(
      Duration
          delay);  ///< an armed timer gets a new deadline and keeps its job; others are left alone
  bool cancel();   ///< whether it was armed
  bool is_armed() const;
  void unref();  ///< while armed it does not keep the loop alive
  void ref();

 private:
  friend class LoopCore;
  struct Node : TimerNode {
    Timer* owner = nullptr;
  };
  LoopCore* loop_;
  Node node_;
  Job job_;
  bool is_ref_ = true;
};

}  // namespace weir::inline v0
