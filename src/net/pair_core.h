// A stream in memory: what one end sends, the other receives in its next deliver step, with the same marks, pressure,
// half-close and reset as a socket. Blocks move; nothing is copied.
#pragma once
#include "src/net/stream_core.h"

namespace weir::inline v0 {

/// A nop op: its completion is an end's place in the deliver step.
struct PairTurn : Op {};

class PairCore final : public StreamCore, private PairTurn {
 public:
  explicit PairCore(LoopCore& loop_core);
  static void join(PairCore& one, PairCore& other);

 protected:
  void arm_read() override;
  void disarm_read() override { clear(kReadArmed); }
  void send_outbox() override;
  void send_fin() override;
  void start_close() override;
  void free_record() override;
  void on_ref_changed(bool) override {}
  bool was_quiet_for(std::uint16_t) const override { return true; }  // nothing is under way unseen
  bool has_undelivered() const override { return false; }

 private:
  PairTurn& turn() { return *this; }
  void schedule();
  void on_turn();
  void move_bytes();

  PairCore* peer_ = nullptr;     // null once the other end has closed
  bool has_peer_ended_ = false;  // the peer's FIN waits to be delivered
  std::int32_t peer_error_ = 0;  // the peer reset
};

}  // namespace weir::inline v0
