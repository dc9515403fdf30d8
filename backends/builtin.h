// The backends that this build knows, from the table in backends/meson.build: a generated file fills the list in.
// Each folder defines one factory, make_<name>_backend; where it is left out, a stub does, and says why.
#pragma once

#include <span>

#include "weir/backend.h"

namespace weir::inline v0 {

struct BuiltinBackend {
  const char* name;
  BackendFactory make;
};

/// In the order of the table.
std::span<const BuiltinBackend> builtin_backends();

}  // namespace weir::inline v0
