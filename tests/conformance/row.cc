// Running one row, and the list of them all.
#include "tests/conformance/row.h"

#include <cerrno>

namespace weir::test {

std::vector<Row> all_rows() {
  std::vector<Row> rows;
  for (const auto& part : {terminal_rows(), sink_rows(), cancel_rows(), cancel_edge_rows(),
                           memory_rows(), close_rows(), group_rows(), order_rows(), end_rows(),
                           socket_rows(), connect_rows(), send_rows(), datagram_rows(), poll_rows(),
                           wake_rows(), fairness_rows(), exhaustion_rows()}) {
    rows.insert(rows.end(), part.begin(), part.end());
  }
  return rows;
}

Verdict run_row(const Row& row, std::string_view backend, std::chrono::milliseconds patience) {
  RigOptions options = row.options;
  options.patience = patience;
  Rig rig(backend, options);
  if (rig.is_available()) row.check(rig);
  rig.finish();
  return {rig.verdict(), rig.reason()};
}

bool receive_bytes(Rig& rig, Tracked<RecvOp>& recv, std::size_t total) {
  if (recv.bytes.size() < total && !recv.is_pending()) rig.submit(recv);
  return rig.run_until("bytes received: " + std::to_string(total), [&] {
    if (recv.bytes.size() >= total || recv.terminal().has(kEof)) return true;
    if (recv.is_pending()) return false;
    const bool goes_on = recv.result() > 0 || recv.result() == -ENOBUFS;
    if (!goes_on) {
      rig.fail("a receive ended with " + std::to_string(recv.result()));
      return true;
    }
    rig.submit(recv);
    return false;
  });
}

}  // namespace weir::test
