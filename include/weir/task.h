// Task: a lazy coroutine over operations. An awaited operation that fails ends the task there with that error:
// locals are destroyed, nothing is thrown, and whoever awaits the task (or its scope) gets the error.
//
//     weir::Task<> echo(weir::Stream peer) {
//       while (weir::Buf bytes = co_await peer.read()) co_await peer.write(std::move(bytes));
//       co_await peer.finish();
//     }
//
// result(op) gives the error as a value instead, throwing(op) as an exception. A suspended chain is destroyed in the
// loop's deliver step, never inside await_suspend. Destroying a task ends its operation at the kernel.
#pragma once
#include <concepts>
#include <coroutine>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "weir/check.h"
#include "weir/error.h"
#include "weir/result.h"

namespace weir::inline v0 {

class LoopCore;
class FullErrorWaiter;
class PromiseBase;
class Scope;
class Waiter;
WEIR_API void wake_soon_on_current_loop(Waiter& waiter);
template <typename T = void>
class Task;

#if defined(__cpp_exceptions)
/// What throwing(op) throws.
struct Failed : std::exception {
  explicit Failed(const Error& why) : error(why), text(why.to_string()) {}
  const char* what() const noexcept override { return text.c_str(); }
  Error error;
  std::string text;
};
#endif

/// An operation that a task waits for. It lies in the coroutine's frame and holds no memory that the kernel sees; the
/// op records belong to sockets. Its owner (a stream, a listener, …) calls wake() from the deliver step, once.
class WEIR_API Waiter {
 public:
  Waiter() = default;
  Waiter(Waiter&&) = default;  // only before it waits
  Waiter& operator=(Waiter&&) = default;

  void fail_with(const Error& error) {
    code_ = static_cast<std::int16_t>(error.code);
    native_ = static_cast<std::int16_t>(error.native);
    operation_ = error.operation;
  }
  Error error() const;
  bool has_failed() const { return code_ != 0; }
  bool is_waiting() const { return task_ != nullptr; }
  PromiseBase* task() const { return task_; }
  void wait_in(PromiseBase& task) { task_ = &task; }
  void stop_waiting() { task_ = nullptr; }
  void set_catches() { set_bit(kCatches); }
  bool catches() const { return has_bit(kCatches); }

  /// Resumes the task, or ends it with the error. Only from the deliver step or a job; `this` may be gone afterwards.
  void wake();
  /// wake() of an operation that has not failed.
  void wake_with_value();
  /// The same, soon: for results known inside await_suspend or inside another's call.
  void wake_soon(LoopCore& loop);

 protected:
  // Each awaiter has room of its own in a coroutine's frame, so all that can be a bit is one.
  enum Bit : std::uint8_t {
    kFull = 1 << 0,     // this is a FullErrorWaiter, which has all of the error
    kCatches = 1 << 1,  // the error is a value for whoever awaits
    kFirstOwn = 1 << 2  // from here on an operation's own
  };
  bool has_bit(int bit) const { return (bits_ & bit) != 0; }
  void set_bit(int bit) { bits_ = static_cast<std::uint8_t>(bits_ | bit); }
  void clear_bit(int bit) { bits_ = static_cast<std::uint8_t>(bits_ & ~bit); }

 private:
  PromiseBase* task_ = nullptr;
  std::int16_t code_ = 0;  // an Errc
  std::int16_t native_ = 0;
  Operation operation_ = Operation::none;
  std::uint8_t bits_ = 0;
};
static_assert(static_cast<std::int32_t>(Errc::unknown) <= 0x7fff);
static_assert(sizeof(void*) != 8 || sizeof(Waiter) == 16);

/// A waiter whose error may name a value and what was expected. Those that a connection has one of stay small.
class FullErrorWaiter : public Waiter {
 public:
  void fail_with(const Error& error) {
    Waiter::fail_with(error);
    set_bit(kFull);
    full_error_ = error;
  }

 private:
  friend class Waiter;
  Error full_error_;
};

inline Error Waiter::error() const {
  if (has_bit(kFull)) return static_cast<const FullErrorWaiter*>(this)->full_error_;
  Error error = Error::of(static_cast<Errc>(code_), operation_);
  error.native = native_;
  return error;
}

/// Who gets the outcome of a task that no coroutine awaits: a scope, when_all, when_any.
class TaskObserver {
 public:
  /// The task reached its end (with a value or an exception) and is suspended there. What to resume next.
  virtual std::coroutine_handle<> on_done(PromiseBase& task) noexcept = 0;
  /// An operation failed: the observer destroys the task. No coroutine of its chain runs.
  virtual void on_failed(PromiseBase& task, const Error& error) = 0;
  /// The promise that waits for the observer, if one does.
  virtual PromiseBase* awaiting() const { return nullptr; }
  /// The scope whose child the task is, if it is one.
  virtual Scope* scope() const { return nullptr; }

 protected:
  ~TaskObserver() = default;
};

/// Resumes or ends a task later, as a microtask or an immediate; forgets it when the task is destroyed first.
struct WakeTicket {
  PromiseBase* task = nullptr;
  Waiter* waiter = nullptr;  ///< null: just resume
};

/// What a task knows of itself and of whoever waits for it.
class WEIR_API PromiseBase {
 public:
  enum class AwaitedBy : std::uint8_t { nobody, task, catcher, observer };
  /// A co_await result(task): takes the error and lets the parent go on.
  struct Catcher {
    PromiseBase* parent = nullptr;
    void (*on_error)(Catcher& catcher, const Error& error) = nullptr;
  };

  PromiseBase() = default;
  ~PromiseBase() {
    if (ticket_ != nullptr) ticket_->task = nullptr;
  }
  PromiseBase(const PromiseBase&) = delete;
  PromiseBase& operator=(const PromiseBase&) = delete;

  static void* operator new(std::size_t size_bytes);
  static void operator delete(void* frame, std::size_t size_bytes) noexcept;

  std::suspend_always initial_suspend() const noexcept { return {}; }
  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
      return handle.promise().finish();
    }
    void await_resume() const noexcept {}
  };
  FinalAwaiter final_suspend() const noexcept { return {}; }
#if defined(__cpp_exceptions)
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }
#else
  void unhandled_exception() noexcept {}
#endif

  void await_by(PromiseBase& parent) {
    by_kind_ = AwaitedBy::task;
    by_.task = &parent;
  }
  void await_by(Catcher& catcher) {
    by_kind_ = AwaitedBy::catcher;
    by_.catcher = &catcher;
  }
  void observe_by(TaskObserver& observer) {
    by_kind_ = AwaitedBy::observer;
    by_.observer = &observer;
  }

  /// Ends the chain of tasks that waits for this one with `error`, up to whoever catches it.
  void fail(const Error& error);
  /// Starts an awaited task. False when it has ended already: who awaits it goes on without being resumed, so that a
  /// loop over tasks that are ready takes no stack, whatever a compiler makes of tail calls.
  bool start_awaited() noexcept {
    is_starting_ = true;
    handle_.resume();
    is_starting_ = false;
    return !handle_.done();
  }
  /// Runs it until it suspends; then what ended meanwhile is cleaned up.
  void resume();
  void rethrow_if_exception() {
#if defined(__cpp_exceptions)
    if (exception_ != nullptr) std::rethrow_exception(exception_);
#endif
  }
  const std::exception_ptr& exception() const { return exception_; }
  std::coroutine_handle<> handle() const { return handle_; }
  /// Who waits for this task, through catchers and observers; null at the root.
  PromiseBase* awaiting() const;
  TaskObserver* observer() const {
    return by_kind_ == AwaitedBy::observer ? by_.observer : nullptr;
  }

  /// Counts an await that was ready at once; false when the task has had `Limits::inline_awaits` in this turn.
  bool may_go_on_inline(std::uint64_t turn, std::uint32_t count_max) {
    if (inline_turn_ != static_cast<std::uint16_t>(turn)) {
      inline_turn_ = static_cast<std::uint16_t>(turn);
      inline_count_ = 0;
    }
    return inline_count_++ < count_max;
  }

 protected:
  std::coroutine_handle<> handle_;

 private:
  friend class Waiter;
  friend void wake_by_ticket(WakeTicket& ticket);
  friend WakeTicket& make_ticket(LoopCore& loop, PromiseBase& task, Waiter* waiter);
  std::coroutine_handle<> finish() noexcept;

  union By {
    PromiseBase* task;
    Catcher* catcher;
    TaskObserver* observer;
  } by_{nullptr};
  WakeTicket* ticket_ = nullptr;
  std::exception_ptr exception_;
  AwaitedBy by_kind_ = AwaitedBy::nobody;
  bool is_starting_ = false;
  std::uint16_t inline_turn_ = 0;
  std::uint16_t inline_count_ = 0;
};

inline void Waiter::wake_with_value() { std::exchange(task_, nullptr)->resume(); }

namespace detail {

template <typename T>
struct TaskValue {
  std::optional<T> value;
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() { return std::move(*value); }
};
template <>
struct TaskValue<void> {
  void return_void() const noexcept {}
  void take() const noexcept {}
};

/// `co_await std::move(result)`: the value, or the end of the task.
template <typename T>
class ResultAwaiter : public FullErrorWaiter {
 public:
  explicit ResultAwaiter(Result<T>&& result) : result_(std::move(result)) {}
  bool await_ready() const noexcept { return result_.ok(); }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    fail_with(result_.error());
    wait_in(handle.promise());
    wake_soon_on_current_loop(*this);
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return std::move(result_).value();
  }

 private:
  Result<T> result_;
};

}  // namespace detail

template <typename T>
class [[nodiscard]] Task {
 public:
  using value_type = T;
  // NOLINTNEXTLINE(readability-identifier-naming): the language looks for this name
  struct promise_type : PromiseBase, detail::TaskValue<T> {
    promise_type() { handle_ = std::coroutine_handle<promise_type>::from_promise(*this); }
    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    // No await_transform: GCC 12 would give what it returns a second place in the frame.
  };

  Task() = default;
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { destroy(); }

  bool valid() const { return handle_ != nullptr; }
  bool is_done() const { return handle_.done(); }
  promise_type& promise() const { return handle_.promise(); }
  /// Ends the task where it waits; its operation is cancelled at the kernel.
  void destroy() {
    if (handle_ != nullptr) std::exchange(handle_, nullptr).destroy();
  }

  /// Awaiting starts the task; an error in it ends the awaiting task too.
  struct Awaiter {
    explicit Awaiter(Task&& awaited) : task(std::move(awaited)) {}
    Awaiter(Awaiter&&) noexcept = default;
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> parent) noexcept {
      task.promise().await_by(parent.promise());
      return task.promise().start_awaited();
    }
    T await_resume() {
      task.promise().rethrow_if_exception();
      return task.promise().take();
    }
    Task task;
  };
  Awaiter operator co_await() && {
    WEIR_CHECK(valid());  // A task that is moved from, or was awaited already.
    return Awaiter(std::move(*this));
  }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

/// co_await result(task)
template <typename T>
class TaskResultAwaiter : PromiseBase::Catcher {
 public:
  explicit TaskResultAwaiter(Task<T>&& task) : task_(std::move(task)) {}
  TaskResultAwaiter(TaskResultAwaiter&&) noexcept = default;
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent_handle) noexcept {
    parent = &parent_handle.promise();
    on_error = [](PromiseBase::Catcher& catcher, const Error& error) {
      auto& self = static_cast<TaskResultAwaiter&>(catcher);
      self.error_ = error;
      self.task_.destroy();
    };
    task_.promise().await_by(static_cast<PromiseBase::Catcher&>(*this));
    return task_.promise().start_awaited();
  }
  Result<T> await_resume() {
    if (!error_.ok()) return error_;
    task_.promise().rethrow_if_exception();
    if constexpr (std::is_void_v<T>) {
      return {};
    } else {
      return task_.promise().take();
    }
  }

 private:
  Task<T> task_;
  Error error_;
};

/// co_await result(operation): the operation is its own awaiter; its value is wrapped.
template <typename Operation>
class OperationResultAwaiter {
 public:
  using Value = decltype(std::declval<Operation&>().await_resume());
  explicit OperationResultAwaiter(Operation&& operation) : operation_(std::move(operation)) {
    operation_.set_catches();
  }
  bool await_ready() { return operation_.await_ready(); }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return operation_.await_suspend(handle);
  }
  Result<Value> await_resume() {
    if (operation_.has_failed()) return operation_.error();
    if constexpr (std::is_void_v<Value>) {
      return {};
    } else {
      return operation_.await_resume();
    }
  }

 private:
  Operation operation_;
};

#if defined(__cpp_exceptions)
template <typename ResultAwaiter>
class ThrowingAwaiter {
 public:
  explicit ThrowingAwaiter(ResultAwaiter&& inner) : inner_(std::move(inner)) {}
  bool await_ready() { return inner_.await_ready(); }
  template <typename Promise>
  auto await_suspend(std::coroutine_handle<Promise> handle) {
    return inner_.await_suspend(handle);
  }
  auto await_resume() {
    auto result = inner_.await_resume();
    if (!result.ok()) throw Failed(result.error());
    return std::move(result).value();
  }

 private:
  ResultAwaiter inner_;
};
#endif

}  // namespace detail

/// `co_await std::move(result)`: the value, or the end of the task with the error.
template <typename T>
detail::ResultAwaiter<T> operator co_await(Result<T>&& result) {
  return detail::ResultAwaiter<T>(std::move(result));
}

/// The outcome as a value: `Result<Buf> got = co_await result(peer.read({.timeout = 5s}));`
template <typename T>
detail::TaskResultAwaiter<T> result(Task<T>&& task) {
  WEIR_CHECK(task.valid());  // A task that is moved from, or was awaited already.
  return detail::TaskResultAwaiter<T>(std::move(task));
}
template <std::derived_from<Waiter> Operation>
detail::OperationResultAwaiter<Operation> result(Operation&& operation) {
  return detail::OperationResultAwaiter<Operation>(std::forward<Operation>(operation));
}

#if defined(__cpp_exceptions)
/// The error as an exception, for code that is written with try and catch.
template <typename Awaitable>
auto throwing(Awaitable&& awaitable) {
  return detail::ThrowingAwaiter(result(std::forward<Awaitable>(awaitable)));
}
#endif

}  // namespace weir::inline v0
