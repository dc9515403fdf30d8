// Programming errors stop the program, at the place and with the values: a wrong state that goes on running
// loses bytes later, where nobody can tell why. The environment's errors are weir::Error and never come here.
#pragma once
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "weir/export.h"

namespace weir::inline v0 {

/// Prints `file:line: what` with both values, then aborts. Called by the macros below only.
[[noreturn]] WEIR_API void check_failed(const char* file, int line, const char* what);
[[noreturn]] WEIR_API void check_failed(const char* file, int line, const char* what,
                                        std::int64_t left, std::int64_t right);
/// The same with a text that says which value was wrong and what was expected.
[[noreturn]] WEIR_API void check_failed_text(const char* file, int line, const char* what,
                                             std::string_view detail);

namespace detail {
template <typename T>
constexpr std::int64_t check_value(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return value != nullptr;
  } else {
    return static_cast<std::int64_t>(value);
  }
}
}  // namespace detail
}  // namespace weir::inline v0

#define WEIR_CHECK(condition)                        \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::weir::check_failed(__FILE__, __LINE__, #condition))
#define WEIR_CHECK_OP(left, op, right)                                      \
  (__builtin_expect(static_cast<bool>((left)op(right)), 1)                  \
       ? static_cast<void>(0)                                               \
       : ::weir::check_failed(__FILE__, __LINE__, #left " " #op " " #right, \
                              ::weir::detail::check_value(left),            \
                              ::weir::detail::check_value(right)))
#define WEIR_CHECK_EQ(left, right) WEIR_CHECK_OP(left, ==, right)
#define WEIR_CHECK_NE(left, right) WEIR_CHECK_OP(left, !=, right)
#define WEIR_CHECK_LE(left, right) WEIR_CHECK_OP(left, <=, right)
#define WEIR_CHECK_LT(left, right) WEIR_CHECK_OP(left, <, right)
#define WEIR_CHECK_GE(left, right) WEIR_CHECK_OP(left, >=, right)
#define WEIR_CHECK_GT(left, right) WEIR_CHECK_OP(left, >, right)
#define WEIR_UNREACHABLE(what, value) \
  ::weir::check_failed(__FILE__, __LINE__, what, ::weir::detail::check_value(value), 0)
