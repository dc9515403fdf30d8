// An echo over the seam, both ends weir's, in one rig: what the fault tests put under stress. Each end is a small state
// machine that is looked at between polls. It keeps the books: which error reached which end, and whether what each end
// received is what the other sent, to the last byte that an error allows.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tests/rig/rig.h"

namespace weir::test {

struct EchoOptions {
  std::size_t clients = 4;
  std::size_t bytes_each = 60'000;
  bool errors_allowed = false;  ///< faults may break a connection; else every byte must come back
};

class Echo {
 public:
  Echo(Rig& rig, const EchoOptions& options);
  ~Echo();
  /// Until every end is closed; what went wrong is the rig's verdict.
  void run();
  /// Errors that reached an owner: ends that failed, and clients that could not be opened.
  std::size_t error_count() const;

 private:
  enum class Receives { memory, group, multishot };
  struct End;

  void start_client(std::size_t number);
  void take_accepted();
  std::unique_ptr<End> make_end(Handle handle, std::size_t number);
  void advance(End& end);
  void look_at_receive(End& end);
  void look_at_send(End& end);
  void end_writing(End& end);
  void close(End& end);
  bool is_over() const;
  void settle_accounts();

  Rig& rig_;
  EchoOptions options_;
  Handle listener_;
  Tracked<AcceptOp>* accept_ = nullptr;
  Tracked<CloseOp>* close_listener_ = nullptr;
  std::size_t taken_count_ = 0;
  std::size_t refused_count_ = 0;
  std::vector<std::unique_ptr<End>> clients_;
  std::vector<std::unique_ptr<End>> servers_;
};

}  // namespace weir::test
