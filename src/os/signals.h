// Signals of the process as a descriptor that a loop can poll. Several watches may want the same signal; each hears of
// it. A handler is installed while anybody watches, so it works whatever signals the threads of the program block or not.
#pragma once
#include <cstdint>

#include "src/os/fault.h"

namespace weir::inline v0::os {

/// A set of signal numbers: bit n for signal n, 1 .. 63.
using SignalSet = std::uint64_t;
constexpr SignalSet signal_bit(int number) { return SignalSet{1} << number; }

/// Starts to watch. A descriptor that becomes readable when one of `wanted` came, or -errno: EINVAL for a signal that
/// cannot be caught, ENOSPC when 64 watches are open. While it is open the signals do not do what they do by default.
/// Threads: any.
std::int64_t open_signals(SignalSet wanted);
/// Which came since the last call; the descriptor is not readable afterwards. Signals of one kind that come together
/// count once.
SignalSet take_signals(Native watch);
/// Ends the watch and closes its descriptor. The last watch of a signal puts back what was there before.
void close_signals(Native watch);

}  // namespace weir::inline v0::os
