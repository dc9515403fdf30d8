// A rehearsal, at start, of what kernels have got wrong or may get wrong: how a multishot ends, in which order buffers
// are taken, that quiet sends report what they must, that zero-copy memory is given back. About a millisecond.
#pragma once
#include <string>
#include <vector>

#include "backends/io_uring/features.h"

namespace weir::inline v0::uring {

/// Takes from `features` what did not do as it should. What it says is for Caps::notes.
std::vector<std::string> self_test(Features& features, Kernel mask);

}  // namespace weir::inline v0::uring
