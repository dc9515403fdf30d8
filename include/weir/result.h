// A value or an Error, for those who ask for the error as a value. `co_await std::move(result)` in a Task takes
// the value or ends the task with the error (weir/task.h).
#pragma once
#include <utility>
#include <variant>

#include "weir/check.h"
#include "weir/error.h"

namespace weir::inline v0 {

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: a value is a result
  Result(Error error) : state_(std::in_place_index<1>, error) {  // NOLINT: an error is a result
    WEIR_CHECK(!error.ok());
  }

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  /// The error, or one with Errc::ok.
  Error error() const { return ok() ? Error{} : *std::get_if<1>(&state_); }

  /// Misuse: asking a failed result for its value aborts with the error's number.
  T& value() & { return checked(); }
  const T& value() const& { return const_cast<Result*>(this)->checked(); }
  T&& value() && { return std::move(checked()); }
  T& operator*() & { return checked(); }
  T* operator->() { return &checked(); }

 private:
  T& checked() {
    WEIR_CHECK_EQ(static_cast<int>(error().code), 0);
    return *std::get_if<0>(&state_);
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(error) {}  // NOLINT: an error is a result
  bool ok() const { return error_.ok(); }
  explicit operator bool() const { return ok(); }
  Error error() const { return error_; }
  void value() const { WEIR_CHECK_EQ(static_cast<int>(error_.code), 0); }

 private:
  Error error_;
};

}  // namespace weir::inline v0
