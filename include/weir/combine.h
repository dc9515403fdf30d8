// Several tasks as one: when_all, when_any, with_deadline; and waiting for time: sleep_for, sleep_until, yield.
//
//     co_await weir::when_all(weir::pipe(client, server), weir::pipe(server, client));
#pragma once
#include <array>
#include <cstddef>
#include <tuple>
#include <utility>
#include <variant>

#include "weir/loop.h"
#include "weir/task.h"

namespace weir::inline v0 {

namespace detail {

/// Starts several tasks, and wakes one waiter when they are through.
template <typename... Ts>
class Group : public FullErrorWaiter {
 public:
  explicit Group(Task<Ts>&&... tasks) : tasks_(std::move(tasks)...) {}
  Group(Group&& other) noexcept
      : FullErrorWaiter(std::move(other)), tasks_(std::move(other.tasks_)) {}

 protected:
  static constexpr std::size_t kCount = sizeof...(Ts);

  struct Slot final : TaskObserver {
    Group* group = nullptr;
    std::coroutine_handle<> on_done(PromiseBase& task) noexcept override {
      return group->child_done(*this, task);
    }
    void on_failed(PromiseBase&, const Error& error) override { group->child_failed(error); }
    PromiseBase* awaiting() const override { return group->task(); }
  };

  /// Runs every task until it first suspends. False: the group is through already.
  template <typename Promise>
  bool start(std::coroutine_handle<Promise> parent, std::size_t needed_count) {
    wait_in(parent.promise());
    left_count_ = needed_count;
    is_starting_ = true;
    start_each(std::make_index_sequence<kCount>{});
    is_starting_ = false;
    if (left_count_ != 0) return true;
    stop_waiting();
    return false;
  }
  void destroy_tasks() {
    std::apply([](auto&... task) { (task.destroy(), ...); }, tasks_);
  }

  std::tuple<Task<Ts>...> tasks_;
  std::size_t winner_ = kCount;  // the first that was done

 private:
  template <std::size_t... I>
  void start_each(std::index_sequence<I...>) {
    const auto start_one = [this](Slot& slot, PromiseBase& promise) {
      if (left_count_ == 0) return;
      slot.group = this;
      promise.observe_by(slot);
      promise.handle().resume();
    };
    (start_one(slots_[I], std::get<I>(tasks_).promise()), ...);
  }
  /// An exception ends the others as an error does; await_resume() throws it on.
  std::coroutine_handle<> child_done(Slot& slot, PromiseBase& child) noexcept {
    if (left_count_ == 0) return std::noop_coroutine();
    if (winner_ == kCount) winner_ = static_cast<std::size_t>(&slot - slots_.data());
    left_count_ = child.exception() != nullptr ? 0 : left_count_ - 1;
    if (left_count_ != 0 || is_starting_) return std::noop_coroutine();
    PromiseBase* const parent = task();
    stop_waiting();
    return parent->handle();
  }
  /// The first error ends the others: their operations are cancelled, and it goes to whoever awaits.
  void child_failed(const Error& error) {
    left_count_ = 0;
    fail_with(error);
    destroy_tasks();
    wake();
  }

  std::array<Slot, kCount> slots_;
  std::size_t left_count_ = 0;
  bool is_starting_ = false;
};

template <typename T>
T take_value(Task<T>& task) {
  task.promise().rethrow_if_exception();
  return task.promise().take();
}

}  // namespace detail

/// All of them. The first error or exception ends the others and the awaiting task. Its value: a tuple of theirs, with
/// std::monostate for a void one; void if all are void.
template <typename... Ts>
class [[nodiscard]] AllOf : public detail::Group<Ts...> {
 public:
  using detail::Group<Ts...>::Group;
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent) {
    return this->start(parent, sizeof...(Ts));
  }
  auto await_resume() {
    std::apply([](auto&... task) { (task.promise().rethrow_if_exception(), ...); }, this->tasks_);
    if constexpr (!(std::is_void_v<Ts> && ...)) {
      return std::apply([](auto&... task) { return std::make_tuple(value_of(task)...); },
                        this->tasks_);
    }
  }

 private:
  template <typename T>
  static auto value_of(Task<T>& task) {
    if constexpr (std::is_void_v<T>) {
      return std::monostate();
    } else {
      return task.promise().take();
    }
  }
};

/// The first that is done; the others are ended. Its value: which one.
template <typename... Ts>
class [[nodiscard]] AnyOf : public detail::Group<Ts...> {
 public:
  using detail::Group<Ts...>::Group;
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent) {
    return this->start(parent, 1);
  }
  std::size_t await_resume() {
    rethrow(std::make_index_sequence<sizeof...(Ts)>{});
    this->destroy_tasks();
    return this->winner_;
  }

 private:
  template <std::size_t... I>
  void rethrow(std::index_sequence<I...>) {
    ((I == this->winner_ ? std::get<I>(this->tasks_).promise().rethrow_if_exception() : void()),
     ...);
  }
};

template <typename... Ts>
AllOf<Ts...> when_all(Task<Ts>... tasks) {
  return AllOf<Ts...>(std::move(tasks)...);
}
template <typename... Ts>
AnyOf<Ts...> when_any(Task<Ts>... tasks) {
  return AnyOf<Ts...>(std::move(tasks)...);
}

/// Waits until a point on the loop's clock; never early.
class [[nodiscard]] WEIR_API Sleep : public Waiter {
 public:
  explicit Sleep(std::uint64_t deadline_ns) : deadline_ns_(deadline_ns) {}
  Sleep(Sleep&& other) noexcept : Waiter(std::move(other)), deadline_ns_(other.deadline_ns_) {}
  ~Sleep();
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    arm();
  }
  void await_resume() const noexcept {}

 private:
  void arm();
  struct Node : TimerNode {
    Sleep* owner = nullptr;
    LoopCore* loop = nullptr;
  };
  std::uint64_t deadline_ns_;
  Node node_;
};
WEIR_API Sleep sleep_for(Duration delay);
WEIR_API Sleep sleep_until(std::uint64_t deadline_ns);

/// Lets the turn go on: the task continues in step 6 of this turn, or of the next when it runs in step 6.
class [[nodiscard]] WEIR_API Yield : public Waiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    queue();
  }
  void await_resume() const noexcept {}

 private:
  void queue();
};
inline Yield yield() { return {}; }

namespace detail {
/// Fails once the time is up.
inline Task<> alarm(Duration timeout) {
  co_await sleep_for(timeout);
  co_await Result<void>(Error::of(Errc::timed_out, Operation::wait));
}
}  // namespace detail

/// The value of a task, or Errc::timed_out when it is not through in time; it is ended then.
template <typename T>
class [[nodiscard]] WithDeadline : public detail::Group<T, void> {
 public:
  WithDeadline(Task<T>&& task, Duration timeout)
      : detail::Group<T, void>(std::move(task), detail::alarm(timeout)) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent) {
    return this->start(parent, 1);
  }
  T await_resume() {
    std::get<1>(this->tasks_).destroy();
    return detail::take_value(std::get<0>(this->tasks_));
  }
};
template <typename T>
WithDeadline<T> with_deadline(Task<T> task, Duration timeout) {
  return WithDeadline<T>(std::move(task), timeout);
}

}  // namespace weir::inline v0
