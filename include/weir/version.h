// Which weir a program runs with; with a shared library that may not be the one it was compiled
// against.
#pragma once

#include <string_view>

#include "weir/export.h"

namespace weir {

/// The version of the library that is linked, as "major.minor.patch".
[[nodiscard]] WEIR_API std::string_view version() noexcept;

}  // namespace weir
