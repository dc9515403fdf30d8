// The count of closures that did not fit into their Job.
#include "weir/job.h"

namespace weir::inline v0 {

std::uint64_t& Job::allocations() {
  thread_local std::uint64_t count = 0;
  return count;
}

}  // namespace weir::inline v0
