// The clock of the os room.
#pragma once
#include <cstdint>

namespace weir::inline v0::os {

std::uint64_t now_ns();  ///< monotonic; no system call where the system offers that

}  // namespace weir::inline v0::os
