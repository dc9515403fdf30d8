// Where a call was written, for reports. It is std::source_location where the compiler has it; clang before 16 does not,
// and gets the part of it that weir uses. (The two link separately: a call across them fails to link, it never misreads.)
#pragma once
#include <cstdint>
#include <source_location>

namespace weir::inline v0 {

#if defined(__cpp_lib_source_location)

using SourceLocation = std::source_location;

#else

struct SourceLocation {
  static constexpr SourceLocation current(const char* file = __builtin_FILE(),
                                          const char* function = __builtin_FUNCTION(),
                                          std::uint32_t line = __builtin_LINE()) noexcept {
    SourceLocation location;
    location.file_ = file;
    location.function_ = function;
    location.line_ = line;
    return location;
  }
  constexpr const char* file_name() const noexcept { return file_; }
  constexpr const char* function_name() const noexcept { return function_; }
  constexpr std::uint32_t line() const noexcept { return line_; }

 private:
  const char* file_ = "";
  const char* function_ = "";
  std::uint32_t line_ = 0;
};

#endif

}  // namespace weir::inline v0
