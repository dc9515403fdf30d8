// The clock of the os room.
#pragma once
#include <cstdint>

namespace weir::inline v0::os {

std::uint64_t now_ns();       ///< monotonic; no system call where the system offers that
std::uint64_t wall_now_ns();  ///< since 1970, UTC; for reports, never for deadlines

}  // namespace weir::inline v0::os
