// What the system knows of this process.
#pragma once
#include <cstdint>

namespace weir::inline v0::os {

/// Memory that is really there, in bytes; 0 where the system does not tell.
std::uint64_t resident_bytes();
/// Allows as many open descriptors as an unprivileged process may have. The number now allowed, or -errno.
std::int64_t raise_descriptors_max();

}  // namespace weir::inline v0::os
