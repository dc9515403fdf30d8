// The in-memory pair. Each end has a nop op; when either has something for the other, the receiving end's op is
// submitted, and its completion moves the bytes in the deliver step, where callbacks may run.
#include "src/net/pair_core.h"

#include "src/net/net_state.h"

namespace weir::inline v0 {

PairCore::PairCore(LoopCore& loop_core) : StreamCore(loop_core) {
  generation = NetExtension::of(loop_core).next_generation++;
  set(kUncounted);
  turn().kind = OpKind::nop;
  turn().on_complete = [](Op& op, const Completion&) {
    static_cast<PairCore&>(static_cast<PairTurn&>(op)).on_turn();
  };
  loop_core.ops.adopt(turn());
}

void PairCore::join(PairCore& one, PairCore& other) {
  one.peer_ = &other;
  other.peer_ = &one;
}

void PairCore::schedule() {
  if (turn().state == OpState::idle) loop_.submit(turn());
}

void PairCore::arm_read() {
  set(kReadArmed);
  if (has_peer_ended_ || peer_error_ != 0 || (peer_ != nullptr && peer_->is_send_busy()))
    schedule();
}

void PairCore::send_outbox() {
  if (peer_ == nullptr || peer_->is_closing())
    return send_failed(-static_cast<std::int32_t>(Errc::broken_pipe));
  set(kSendBusy);
  if (peer_->is_read_armed()) peer_->schedule();
}

void PairCore::send_fin() {
  if (peer_ != nullptr && !peer_->is_closing()) {
    peer_->has_peer_ended_ = true;
    if (peer_->is_read_armed()) peer_->schedule();
  }
  fin_sent(0);
}

// This end's place in the deliver step: first bytes, then the end, as they were sent; last its own close.
void PairCore::on_turn() {
  if (is_closing()) return closed();
  if (!is_read_armed()) return;
  if (peer_ != nullptr && peer_->is_send_busy()) return move_bytes();
  if (peer_error_ != 0) return read_failed(std::exchange(peer_error_, 0));
  if (has_peer_ended_) {
    has_peer_ended_ = false;
    clear(kReadArmed);
    ended();
  }
}

// At most what a socket may have per turn; one piece at a time, because a receiver may pause or close at any.
void PairCore::move_bytes() {
  PairCore* const sender = peer_;
  sender->clear(kSendBusy);
  BufChain moved = sender->take_outbox(loop_.limits.bytes_per_socket_turn);
  if (!sender->outbox().empty()) sender->set(kSendBusy);
  while (!moved.empty()) received(moved.pop_front());
  if (is_closing() || !is_read_armed()) return;
  if (peer_ != nullptr && peer_->is_send_busy()) schedule();
  if (has_peer_ended_ || peer_error_ != 0) schedule();
}

void PairCore::start_close() {
  if (peer_ != nullptr) {
    PairCore& other = *std::exchange(peer_, nullptr);
    other.peer_ = nullptr;
    if (other.is_send_busy()) {
      other.clear(kSendBusy);
      other.send_failed(-static_cast<std::int32_t>(Errc::broken_pipe));
    }
    if (has(kResetOnClose)) {
      other.peer_error_ = -static_cast<std::int32_t>(Errc::connection_reset);
    } else {
      other.has_peer_ended_ = true;
    }
    if (other.is_read_armed()) other.schedule();
  }
  clear(kSendBusy);
  schedule();
}

void PairCore::free_record() {
  ++generation;
  loop_.ops.abandon(turn());
  NetExtension::of(loop_).pairs.destroy(*this);
}

std::pair<Stream, Stream> make_stream_pair(Loop& loop) {
  NetExtension& net = NetExtension::of(loop.core());
  PairCore& one = net.pairs.make(loop.core());
  PairCore& other = net.pairs.make(loop.core());
  PairCore::join(one, other);
  return {Stream(&one), Stream(&other)};
}

}  // namespace weir::inline v0
