// Names to addresses, with the system's resolver on the threads of an offload pool: a name server that does not answer
// delays whoever asks, and no socket.
//
//     std::vector<weir::Address> found = co_await weir::resolve("example.org", "https", {.timeout = 2s});
//     weir::Stream peer = co_await weir::connect(found.front());
#pragma once
#include <string>
#include <vector>

#include "weir/address.h"
#include "weir/offload.h"
#include "weir/result.h"
#include "weir/task.h"

namespace weir::inline v0 {

struct ResolveOptions {
  Duration timeout{0};           ///< 0: the system's, which may be long
  Family family = Family::none;  ///< none: any
  bool is_numeric = false;       ///< only addresses: no name server is asked
  OffloadPool* pool = nullptr;   ///< null: the loop's own
};

/// The addresses of `host`, a name or an address, with the port of `service`, a name or a number: at least one, in the
/// order of the system, best first.
/// Errors: not_found: no such name, or none of this family; try_again: no name server answered; invalid_argument: no such
///         service; io_error: a name server failed; with what was asked in the text; those of offload(). It waits for room
///         in the queue of class dns. A lookup that timed out keeps its thread until the system gives up.
WEIR_API Task<std::vector<Address>> resolve(std::string host, std::string service,
                                            ResolveOptions options = {});
/// The same at once, on this thread: for work with a callback (OffloadCall).
WEIR_API Result<std::vector<Address>> resolve_blocking(const std::string& host,
                                                       const std::string& service,
                                                       const ResolveOptions& options = {});

}  // namespace weir::inline v0
