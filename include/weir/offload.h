// Offload: work that blocks or computes runs on the threads of a pool, and its outcome comes back on the loop that asked.
//
//     std::string digest = co_await weir::offload(digest_of, text);                   // on the loop's own pool
//     co_await weir::offload(pool, weir::Work::file, [](std::string& path) { return sync(path); }, path);
//     co_await weir::offload({.work = weir::Work::dns, .timeout = 1s}, look_up, name);
//
// An exception of the work is thrown where it is awaited; a Result that it returns is the outcome of the operation. The
// work may outlive the task that asked for it, so what it needs is given as arguments, by value. Those, and what it
// returns, are made and destroyed on the loop's thread; only the call is not.
#pragma once
#include <atomic>
#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "weir/limits.h"
#include "weir/loop.h"
#include "weir/result.h"
#include "weir/task.h"

namespace weir::inline v0 {

class OffloadCall;
class OffloadPool;
struct OpDeadline;

/// Classes of work. Each has a queue and a number of threads that it may use, so one that is stuck leaves the others going.
enum class Work : std::uint8_t { cpu, file, dns };
inline constexpr std::size_t kWorkCount = 3;

enum class WhenFull : std::uint8_t {
  wait,  ///< the task waits for room, behind those that wait already
  fail,  ///< Errc::queue_full
};

struct OffloadOptions {
  Work work = Work::cpu;
  Duration timeout{0};  ///< from the call to the outcome; then timed_out. 0: none
  WhenFull when_full = WhenFull::wait;
  OffloadPool* pool = nullptr;  ///< null: the loop's own
};

/// For work that can end early: `[](const weir::StopAsked& stop, …) { while (!stop.asked()) … }`. Asked when its task was
/// cancelled, its deadline has come, or its loop or pool ends.
class StopAsked {
 public:
  explicit StopAsked(const std::atomic<bool>& is_asked) : is_asked_(is_asked) {}
  bool asked() const { return is_asked_.load(std::memory_order_relaxed); }

 private:
  const std::atomic<bool>& is_asked_;
};

/// How a pool is doing just now.
struct OffloadStats {
  std::uint32_t thread_count = 0;
  std::uint32_t running_count[kWorkCount] = {};
  std::uint32_t waiting_count[kWorkCount] = {};
};

namespace detail {

struct OffloadPort;
struct OffloadState;

/// One piece of work on its way: from the loop into a queue of the pool, to a thread, and back. The loop's thread makes
/// and destroys it.
class WEIR_API OffloadRecord {
 public:
  virtual ~OffloadRecord();
  OffloadRecord(const OffloadRecord&) = delete;
  OffloadRecord& operator=(const OffloadRecord&) = delete;
  static void* operator new(std::size_t size_bytes);
  static void operator delete(void* memory, std::size_t size_bytes) noexcept;

  virtual void run() = 0;  ///< on a thread of the pool
  virtual void
  tell() = 0;  ///< whoever asked hears the outcome; the record is then no longer the loop's
  virtual void tell_early(const Error& why) = 0;  ///< the same, while the work runs on

  void rethrow_if_exception() {
#if defined(__cpp_exceptions)
    if (exception != nullptr) std::rethrow_exception(exception);
#endif
  }
  Error error;
  std::exception_ptr exception;

 protected:
  OffloadRecord();
  StopAsked stop() const { return StopAsked(is_stop_asked_); }

 private:
  friend struct OffloadPort;
  friend struct OffloadState;
  enum class Stage : std::uint8_t { queued, running, done };

  // The pool's, under its lock.
  std::shared_ptr<OffloadState> pool_;
  OffloadPort* port_ = nullptr;  // null: the loop has ended
  OffloadRecord* next_ = nullptr;
  OffloadRecord* previous_ = nullptr;
  bool is_silent_ = false;  // the loop ends: do not wake it
  Work work_ = Work::cpu;
  Stage stage_ = Stage::queued;
  std::atomic<bool> is_stop_asked_{false};
  std::uint64_t stamp_ns_ = 0;  // queued, then started
  std::uint64_t wait_ns_ = 0;
  std::uint64_t run_ns_ = 0;
  // The loop's.
  bool is_wanted_ = true;
  OpDeadline* deadline_ = nullptr;
  OffloadRecord* live_next_ = nullptr;
  OffloadRecord* live_previous_ = nullptr;
};

/// Work that a task waits for; the awaiter holds it.
class WEIR_API AwaitedRecord : public OffloadRecord {
 public:
  FullErrorWaiter* waiter = nullptr;
  OffloadRecord** holder = nullptr;
  void tell() final;
  void tell_early(const Error& why) final;
};

/// Work with a callback; its OffloadCall points to it.
class WEIR_API CalledRecord : public OffloadRecord {
 public:
  OffloadCall* call = nullptr;
  void tell() final;
  void tell_early(const Error& why) final;
  virtual void give() = 0;                 ///< the outcome to the callback
  virtual void give_error(Error why) = 0;  ///< an error to the callback
  Error own_error() const;                 ///< of the work, exceptions among them
};

template <typename T>
struct Unwrapped {
  using Value = T;
};
template <typename T>
struct Unwrapped<Result<T>> {
  using Value = T;
};
template <typename Function>
decltype(auto) call_work(Function& function, [[maybe_unused]] const StopAsked& stop) {
  if constexpr (std::invocable<Function&, const StopAsked&>) {
    return function(stop);
  } else {
    return function();
  }
}
template <typename Function>
using WorkReturn = decltype(call_work(std::declval<Function&>(), std::declval<const StopAsked&>()));
/// What awaiting the work gives: what it returns, or what is in the Result that it returns.
template <typename Function>
using WorkValue = typename Unwrapped<WorkReturn<Function>>::Value;

template <typename Function, typename Record>
class Working : public Record {
 public:
  using Value = WorkValue<Function>;
  static_assert(!std::is_reference_v<Value>, "work returns a value");
  explicit Working(Function&& work) : function_(std::move(work)) {}

  void run() final {
    using Return = WorkReturn<Function>;
    if constexpr (std::is_void_v<Return>) {
      call_work(function_, this->stop());
    } else if constexpr (std::is_same_v<Return, Value>) {
      value_.emplace(call_work(function_, this->stop()));
    } else {
      Return got = call_work(function_, this->stop());
      this->error = got.error();
      if constexpr (!std::is_void_v<Value>) {
        if (got.ok()) value_.emplace(std::move(got).value());
      }
    }
  }
  Value take() {
    if constexpr (!std::is_void_v<Value>) return std::move(*value_);
  }

 private:
  Function function_;
  std::optional<std::conditional_t<std::is_void_v<Value>, std::monostate, Value>> value_;
};

template <typename Function, typename OnDone>
class Called final : public Working<Function, CalledRecord> {
 public:
  using Value = WorkValue<Function>;
  Called(Function&& work, OnDone&& done)
      : Working<Function, CalledRecord>(std::move(work)), on_done_(std::move(done)) {}
  void give() override {
    const Error failed = this->own_error();
    if (!failed.ok()) return give_error(failed);
    if constexpr (std::is_void_v<Value>) {
      on_done_(Result<void>());
    } else {
      on_done_(Result<Value>(this->take()));
    }
  }
  void give_error(Error why) override { on_done_(Result<Value>(why)); }

 private:
  OnDone on_done_;
};

/// A function and what it is called with; it may want a StopAsked first.
template <typename Function, typename... Args>
class Bound {
 public:
  explicit Bound(Function&& function, Args&&... args)
      : function_(std::move(function)), args_(std::move(args)...) {}
  decltype(auto) operator()(const StopAsked& stop) {
    return std::apply(
        [&](Args&... args) -> decltype(auto) {
          if constexpr (std::invocable<Function&, const StopAsked&, Args&...>) {
            return function_(stop, args...);
          } else {
            return function_(args...);
          }
        },
        args_);
  }

 private:
  Function function_;
  std::tuple<Args...> args_;
};
template <typename Function, typename... Args>
concept WorkFor = std::invocable < std::decay_t<Function>
&, std::decay_t<Args>&... > ||
       std::invocable<std::decay_t<Function>&, const StopAsked&, std::decay_t<Args>&...>;

/// Puts the record into a queue. What refused it, or an error that is ok.
[[nodiscard]] WEIR_API Error begin_offload(LoopCore* loop, const OffloadOptions& options,
                                           std::unique_ptr<OffloadRecord> record);
/// Nobody wants its outcome any more.
WEIR_API void drop_offload(OffloadRecord& record) noexcept;

}  // namespace detail

/// Threads for work that blocks, and its queues: for one loop or for several. Threads start when there is work for them.
/// Owner:   whoever made it. Destroying it ends what waits with `closed`, asks what runs to stop, and waits for that
///          up to OffloadLimits::stop_ns; threads that still run then are left to themselves and reported.
/// Threads: any; work is given to it on the threads of loops.
class WEIR_API OffloadPool {
 public:
  /// Errors: invalid_argument, a limit out of range.
  static Result<std::unique_ptr<OffloadPool>> make(const OffloadLimits& limits = {});
  ~OffloadPool();
  OffloadPool(const OffloadPool&) = delete;
  OffloadPool& operator=(const OffloadPool&) = delete;

  OffloadStats stats() const;

 private:
  friend struct detail::OffloadPort;
  explicit OffloadPool(const OffloadLimits& limits);
  std::shared_ptr<detail::OffloadState> state_;
  std::uint64_t stop_ns_;
};

/// `co_await offload(…)`. Destroying it takes back work that still waits; work that runs is asked to stop, and its outcome
/// is dropped when it comes.
template <typename Function>
class [[nodiscard]] Offload : public FullErrorWaiter {
 public:
  using Record = detail::Working<Function, detail::AwaitedRecord>;
  Offload(Function&& function, const OffloadOptions& options)
      : function_(std::move(function)), options_(options) {}
  Offload(Offload&& other) noexcept
      : FullErrorWaiter(std::move(other)),
        function_(std::move(other.function_)),
        options_(other.options_) {}
  ~Offload() {
    if (record_ == nullptr) return;
    is_waiting() ? detail::drop_offload(*record_) : delete record_;
  }
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    auto record = std::make_unique<Record>(std::move(function_));
    record->waiter = this;
    record->holder = &record_;
    record_ = record.get();
    const Error refused = detail::begin_offload(nullptr, options_, std::move(record));
    if (refused.ok()) return true;
    record_ = nullptr;
    fail_with(refused);
    wake_soon_on_current_loop(*this);
    return true;
  }
  detail::WorkValue<Function> await_resume() {
    record_->rethrow_if_exception();
    return static_cast<Record*>(record_)->take();
  }

 private:
  Function function_;
  detail::OffloadRecord* record_ = nullptr;
  OffloadOptions options_;
};

/// Calls `function(args…)`, or `function(stop, args…)` with a StopAsked, on a thread of a pool, and gives what it returns.
/// The arguments are copied or moved into the operation, and passed to the function as they lie there.
/// Errors: timed_out; queue_full, if asked for; closed when the pool ends, stopped when the loop ends; what the function's
///         Result says; the system's, when no thread can be started.
/// Owner:  neither the function nor the arguments may refer to what the task owns, unless that outlives the work.
/// Misuse: without a loop on this thread it aborts. A lambda written inside the call may capture plain values only, for
///         GCC 12 destroys other captures twice in a co_await expression: give them as arguments.
template <typename Function, typename... Args>
requires detail::WorkFor<Function, Args...>
auto offload(const OffloadOptions& options, Function&& function, Args&&... args) {
  static_assert(std::is_lvalue_reference_v<Function> || std::is_trivially_destructible_v<Function>,
                "give what the lambda captures as arguments, or name the lambda first");
  using Call = detail::Bound<std::decay_t<Function>, std::decay_t<Args>...>;
  return Offload<Call>(Call(std::decay_t<Function>(std::forward<Function>(function)),
                            std::decay_t<Args>(std::forward<Args>(args))...),
                       options);
}
template <typename Function, typename... Args>
requires detail::WorkFor<Function, Args...>
auto offload(OffloadPool& pool, Work work, Function&& function, Args&&... args) {
  OffloadOptions options;
  options.pool = &pool;
  options.work = work;
  return offload(options, std::forward<Function>(function), std::forward<Args>(args)...);
}
/// On the pool that the loop makes for itself, within Limits::offload.
template <typename Function, typename... Args>
requires detail::WorkFor<Function, Args...>
auto offload(Work work, Function&& function, Args&&... args) {
  OffloadOptions options;
  options.work = work;
  return offload(options, std::forward<Function>(function), std::forward<Args>(args)...);
}
template <typename Function, typename... Args>
requires detail::WorkFor<Function, Args...>
auto offload(Function&& function, Args&&... args) {
  return offload(OffloadOptions(), std::forward<Function>(function), std::forward<Args>(args)...);
}

/// One piece of work at a time for a handler, which is called with a Result when it is through.
/// Owner:   whoever made it. Destroying it is cancel(): the callback does not run. Destroy it before its Loop.
/// Threads: the loop's own.
class WEIR_API OffloadCall {
 public:
  explicit OffloadCall(Loop& loop);
  ~OffloadCall() { cancel(); }
  OffloadCall(const OffloadCall&) = delete;
  OffloadCall& operator=(const OffloadCall&) = delete;

  /// Calls `function()`, or `function(stop)`, on a thread of a pool. `on_done(Result<…>)` runs on the loop, never inside this
  /// call. An exception of the work is Errc::exception with its text. Unless it is queued, nothing was started, and both
  /// functions are gone. It never waits for room.
  /// Errors:  those of offload(), in the Result; `ended` for a loop or pool that ends, or has no thread.
  /// Misuse:  starting while one is pending aborts.
  template <typename Function, typename OnDone>
  [[nodiscard]] Posted start(const OffloadOptions& options, Function function, OnDone on_done) {
    return begin(options, std::make_unique<detail::Called<Function, OnDone>>(std::move(function),
                                                                             std::move(on_done)));
  }
  template <typename Function, typename OnDone>
  [[nodiscard]] Posted start(OffloadPool& pool, Work work, Function function, OnDone on_done) {
    OffloadOptions options;
    options.pool = &pool;
    options.work = work;
    return start(options, std::move(function), std::move(on_done));
  }
  template <typename Function, typename OnDone>
  [[nodiscard]] Posted start(Work work, Function function, OnDone on_done) {
    OffloadOptions options;
    options.work = work;
    return start(options, std::move(function), std::move(on_done));
  }
  bool is_pending() const { return record_ != nullptr; }
  void cancel() noexcept;

 private:
  friend class detail::CalledRecord;
  Posted begin(const OffloadOptions& options, std::unique_ptr<detail::CalledRecord> record);
  LoopCore* loop_;
  detail::CalledRecord* record_ = nullptr;
};

}  // namespace weir::inline v0
