// "faulty:<seed>:<inner>": now and then an op ends in an error that the inner backend never saw, and a multishot ends
// early. Faults at src/os cannot do that where the kernel carries out the ops; here every backend gets them.
#pragma once

namespace weir::test {

/// Makes the name "faulty" known to make_backend(). May be called again.
void register_faulty();

}  // namespace weir::test
