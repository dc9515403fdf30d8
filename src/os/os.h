// The one room for system calls, clock, threads and descriptors: everything above asks here, and faults are injected
// here. One concept a header, none of them names a system; implemented once per system in src/os/<system>/.
// Beside those below there are memory.h, process.h, signals.h and thread.h for the few that need them. What only one
// system has (epoll, sockaddr) lies in that system's folder, for backends of that system.
#pragma once
#include "src/os/clock.h"   // IWYU pragma: export
#include "src/os/fault.h"   // IWYU pragma: export
#include "src/os/socket.h"  // IWYU pragma: export
