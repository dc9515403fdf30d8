// How readiness backends use Op::backend_bits, and when they stop trying at submit.
#pragma once
#include "backends/readiness/slot.h"

namespace weir::inline v0 {

enum OpBit : std::uint8_t {
  kWaiting = 1 << 0,  // in a FIFO of its slot; cleared when its terminal is on the way
  kDoubted = 1 << 1,  // was not tried at submit; its first try tells whether that was right
};

/// A try at submit found something, or nothing; or in doubt, one that was put off would have. 4 in a row that found
/// nothing bring doubt, 8 in a row that would have found something end it.
inline void note_try(Slot& slot, std::uint32_t doubt, std::uint8_t& tries, bool found) {
  constexpr int kMissesMax = 4;
  constexpr int kHitsMin = 8;
  const bool in_doubt = slot.has(doubt);
  tries = static_cast<std::uint8_t>(found == in_doubt ? tries + 1 : 0);
  if (tries < (in_doubt ? kHitsMin : kMissesMax)) return;
  in_doubt ? slot.clear(doubt) : slot.set(doubt);
  tries = 0;
}

}  // namespace weir::inline v0
