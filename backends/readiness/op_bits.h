// How readiness backends use Op::backend_bits.
#pragma once
#include <cstdint>

namespace weir::inline v0 {

enum OpBit : std::uint8_t {
  kWaiting = 1 << 0,  // in a FIFO of its slot; cleared when its terminal is on the way
  kTrying =
      1
      << 1,  // was not tried at submit because speculation is off; its first try tells whether that was right
};

}  // namespace weir::inline v0
