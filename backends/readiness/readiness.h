// What backends of readiness share: a descriptor is said to be ready, an op tries its system call, and what comes of it
// is a completion. The rules are DESIGN 2, "Readiness emulation". A poller (epoll, kqueue) derives from this, waits,
// and hands each event to on_event(); it is asked through two virtual calls only when a descriptor's watch changes.
// Path of received bytes: poller's wait -> on_event -> serve -> serve_reads -> receive -> os::recv -> Sink::push.
#pragma once
#include <cstdint>
#include <vector>

#include "backends/readiness/slot.h"
#include "weir/backend.h"

namespace weir::inline v0 {

/// Beside PollEvent, what a poller may report: the peer has finished sending, and what is left can be read to its end.
inline constexpr std::uint32_t kPeerFinished = 1 << 5;

class ReadinessBackend : public Backend, private PoolListener {
 public:
  const Caps& caps() const final { return caps_; }
  Result<Handle> open(const SocketSpec& spec) final;
  Result<Handle> attach(std::intptr_t native, bool owned) final;
  std::intptr_t detach(Handle handle) final;
  std::intptr_t native(Handle handle) const final { return slots_.of(handle).native; }
  Result<Address> local_address(Handle handle) const final;
  Result<Address> peer_address(Handle handle) const final;
  Result<void> set_option(Handle handle, SocketOption option, std::int32_t value) final;
  Result<std::int32_t> get_option(Handle handle, SocketOption option) const final;
  Submitted submit(Op& op) final;
  void cancel(OpId id) final;
  void provide(Pool& group) final;
  void refilled(Pool& group) final;
  std::uint64_t now() const final { return os::now_ns(); }
  bool pending_hint() const final { return has_work(); }

 protected:
  ReadinessBackend(const BackendContext& context, Caps caps);
  ~ReadinessBackend() override;

  // For the poller's poll(), in this order.
  /// Starts a turn: what ended by itself goes to the sink. True when the wait may sleep.
  bool start_turn(Sink& sink);
  /// Slots that wait for their turn from before: when there are any, events queue up behind them.
  bool has_leftovers() const { return !ready_.empty(); }
  /// `events` of PollEvent, and kPeerFinished.
  void on_event(std::uint32_t handle, std::uint32_t events, bool behind_leftovers, Sink& sink);
  /// Serves the `count` slots at the head of the ready list, round robin.
  void serve_ready(std::uint32_t count, Sink& sink);
  std::uint32_t ready_count() const { return ready_.size(); }

  BackendContext context_;

 private:
  // The poller's own part; both are rare.
  /// Registers the slot, or changes its registration, to report `events`: each edge, or once and by level.
  virtual std::int64_t watch(const Slot& slot, std::uint32_t events, bool once) = 0;
  virtual void unwatch(const Slot& slot) = 0;

  bool has_work() const { return !ended_.empty() || !rearm_.empty() || !ready_.empty(); }
  Slot& adopt(os::Native native, std::uint16_t bits);
  void release(Slot& slot);
  void queue_ready(Slot& slot);
  void end_later(const Op& op, std::int64_t result);
  void on_refill(Pool& group) override { refilled(group); }

  // One slot.
  void serve(Slot& slot, Sink& sink);
  void serve_reads(Slot& slot, Sink& sink);
  void serve_writes(Slot& slot, Sink& sink);
  bool is_servable(const Slot& slot) const;
  void start_slot_turn(Slot& slot) {
    if (slot.turn == turn_) return;
    slot.turn = turn_;
    slot.turn_bytes = 0;
  }

  // Reading.
  Submitted submit_read(Slot& slot, Op& op);
  void wait_readable(Slot& slot, Op& op);
  bool receive(Slot& slot, RecvOp& op, Completion& out);
  bool receive_message(Slot& slot, MsgOp& op, Completion& out);
  bool receive_bulk(Slot& slot, RecvOp& op, Sink& sink);
  bool wants_bulk(const Slot& slot, const RecvOp& op) const;
  void after_receive(Slot& slot, std::size_t got, std::size_t asked, Completion& out);
  void serve_accepts(Slot& slot, AcceptOp& op, Sink& sink);
  void starve(Slot& slot, Pool& group);

  // Writing.
  Submitted submit_write(Slot& slot, Op& op);
  Submitted submit_connect(Slot& slot, ConnectOp& op);
  Submitted submit_shutdown(Slot& slot, Op& op);
  Submitted submit_close(Slot& slot, CloseOp& op);
  void wait_writable(Slot& slot, Op& op);
  bool transmit(Slot& slot, const SendOp& op, Completion& out);
  bool transmit_message(Slot& slot, const MsgOp& op, Completion& out);
  bool not_ready(Slot& slot, std::uint16_t bit);

  // Poll ops.
  Submitted submit_poll(Slot& slot, PollOp& op);
  void serve_polls(Slot& slot, std::uint32_t events, Sink& sink);
  bool arm_polls(Slot& slot);
  void leave_polled(Slot& slot);
  void rearm(Sink& sink);

  struct Group {
    Pool* pool = nullptr;
    SlotList<&Slot::next_other> starved;
  };

  Caps caps_;
  SlotTable slots_;
  SlotList<&Slot::next_ready> ready_{slots_};  // has something to do without a new event
  std::uint32_t turn_ = 0;                     // polls so far
  std::vector<Group> groups_;                  // by GroupId
  std::vector<Completion>
      ended_;                  // terminals that no system call will bring: cancels, closes, nops
  std::vector<Handle> rearm_;  // polled slots to arm again once their last news was delivered
};

}  // namespace weir::inline v0
