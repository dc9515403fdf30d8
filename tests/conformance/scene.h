// A scene is an op that cannot end by itself, and the means to let it: what the rows about cancelling share.
#pragma once
#include <memory>

#include "tests/rig/rig.h"

namespace weir::test {

/// What it waits for.
enum class Waits {
  recv_memory,  ///< one-shot, into memory of its own
  recv_group,   ///< one-shot, into a block
  recv_multishot,
  accept_once,
  accept_multishot,
  connect,  ///< to a listener whose queue is full
  send,     ///< on a socket whose buffer is full
  recvmsg,
  poll,
  poll_multishot,
};

class Scene {
 public:
  /// Makes the op; does not submit it.
  Scene(Rig& rig, Waits waits);

  Track& op() { return *op_; }
  bool is_multishot() const { return op_->op().multishot; }
  Handle handle() const { return handle_; }
  /// Now it can end: the peer sends, connects, reads …
  void make_ready();
  /// Nothing may be lost: what make_ready() gave, and the op did not take, a second op must get. Called once, when
  /// the op has ended.
  void demand_conserved();

 private:
  void fill_socket();

  Rig& rig_;
  Waits waits_;
  Handle handle_;
  Track* op_ = nullptr;
  Peer peer_;
  std::unique_ptr<FullListener> full_listener_;
  std::unique_ptr<PeerDatagram> datagram_;
  Descriptor event_;
  Address target_;
  std::size_t filled_bytes_ = 0;
};

}  // namespace weir::test
