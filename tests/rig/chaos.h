// "chaos:<seed>:<inner>": a correct backend at its least convenient. Sends and receives are cut short, results that were
// there at once come later, results of different ops overtake each other. What the contract promises still holds: within
// one op the order stays, and every byte is there. The same seed makes the same choices for the same calls.
#pragma once

namespace weir::test {

/// Makes the name "chaos" known to make_backend(). May be called again.
void register_chaos();

}  // namespace weir::test
