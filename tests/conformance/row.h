// A row is one behaviour that every backend must show, as a function that drives a rig and leaves its verdict there.
// Being a plain function it can be run on a backend that is broken on purpose, and be seen to fail.
#pragma once
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/rig/rig.h"

namespace weir::test {

/// The contract's sentence that a row belongs to (weir/backend.h); 0: what the calls themselves promise.
struct Row {
  std::string_view name;
  int sentence = 0;
  void (*check)(Rig& rig) = nullptr;
  RigOptions options = {};
};

/// For GoogleTest, which prints parameters.
inline std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }

std::span<const Row> terminal_rows();
std::span<const Row> sink_rows();
std::span<const Row> cancel_rows();
std::span<const Row> cancel_edge_rows();
std::span<const Row> memory_rows();
std::span<const Row> close_rows();
std::span<const Row> group_rows();
std::span<const Row> order_rows();
std::span<const Row> end_rows();
std::span<const Row> socket_rows();
std::span<const Row> connect_rows();
std::span<const Row> send_rows();
std::span<const Row> datagram_rows();
std::span<const Row> poll_rows();
std::span<const Row> wake_rows();
std::span<const Row> fairness_rows();
std::span<const Row> exhaustion_rows();

/// All of the above, in the order of the contract.
std::vector<Row> all_rows();

/// What came of a row on a backend: `text` is empty when it holds.
struct Verdict {
  std::string text;
  std::string skipped;  ///< why it could not be run
};
Verdict run_row(const Row& row, std::string_view backend, std::chrono::milliseconds patience);

/// Receives until `total` bytes came or the peer ended, submitting again whenever the op ended well or found its group
/// empty. Returns false when it failed.
bool receive_bytes(Rig& rig, Tracked<RecvOp>& recv, std::size_t total);

/// Ends exactly once, and stays ended.
#define ENDS_ONCE(rig, track)                     \
  do {                                            \
    AWAIT(rig, (track).is_done());                \
    (rig).settle();                               \
    DEMAND_EQ(rig, (track).terminal_count(), 1u); \
    DEMAND(rig, !(rig).has_failed());             \
  } while (false)

}  // namespace weir::test
