// What backends of readiness share: a descriptor is said to be ready, an op tries its system call, and what comes of it
// is a completion. The rules are DESIGN 2, "Readiness emulation". A poller (epoll, kqueue) derives from this, waits,
// and hands each event to on_event() of on_event.h; it is asked through two virtual calls when a watch changes.
// Path of received bytes: poller's wait -> on_event -> receive_plain or serve -> os::recv -> Sink::push_data.
#pragma once
#include <cstdint>
#include <vector>

#include "backends/readiness/slot.h"
#include "weir/backend.h"

namespace weir::inline v0 {

class ReadinessBackend : public Backend, private PoolListener {
 public:
  /// False: there was no room for the table of descriptors; the backend is of no use.
  bool is_open() const { return slots_.is_open(); }
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
  std::int64_t send_now(Handle handle, const std::byte* data, std::size_t size) final;
  void cancel(OpId id) final;
  void provide(Pool& group) final;
  void refilled(Pool& group) final;
  std::uint64_t now() const final { return os::now_ns(); }
  bool pending_hint() const final { return has_work(); }

 protected:
  ReadinessBackend(const BackendContext& context, Caps caps);
  ~ReadinessBackend() override;

  // For the poller's poll(), in this order.
  /// Starts a turn: what ended without a system call goes to the sink. True when the wait may sleep.
  bool start_turn(Sink& sink) {
    ++turn_;
    const bool may_sleep = !has_work();
    if (has_news_) [[unlikely]]
      tell_news(sink);
    return may_sleep;
  }
  /// One event: `events` of PollEvent, and kPeerFinished.
  void on_event(std::uint32_t handle, std::uint32_t events, Sink& sink);
  /// When slots wait for their share since the last turn, events queue up behind them and all are served round robin.
  /// Likewise while a fault hook is set: on_event() trusts short counts.
  bool must_queue() const { return !ready_.empty() || os::has_fault_hook(); }
  void queue_event(std::uint32_t handle, std::uint32_t events, Sink& sink);
  void serve_queued(Sink& sink);

  BackendContext context_;
  enum class Watch : std::uint8_t {
    edge,   // reports what becomes so: sockets
    level,  // reports what is so, each time: listeners
    once,   // reports what is so, and then nothing more: poll ops
  };

 private:
  // The poller's own part; both are rare.
  /// Registers the slot, or changes its registration, to report `events`. 0 or -errno.
  virtual std::int64_t watch(const Slot& slot, std::uint32_t events, Watch how) = 0;
  virtual void unwatch(const Slot& slot) = 0;

  bool has_work() const { return has_news_ || !ready_.empty(); }
  void tell_news(Sink& sink);
  Result<Handle> adopt(os::Native native, std::uint32_t bits);
  void release(Slot& slot);
  void queue_ready(Slot& slot);
  void end_later(const Op& op, std::int64_t result);
  bool not_ready(Slot& slot, std::uint32_t bit, std::int64_t native);
  void on_refill(Pool& group) override { refilled(group); }

  // One slot.
  void on_rare_event(Slot& slot, std::uint32_t events, Sink& sink);
  void serve(Slot& slot, Sink& sink);
  void serve_reads(Slot& slot, Sink& sink);
  void serve_writes(Slot& slot, Sink& sink);
  bool has_share(Slot& slot);

  // Reading.
  struct Memory {  // for one receive
    std::byte* data = nullptr;
    std::uint32_t size = 0;
    Block* block = nullptr;
  };
  Submitted submit_read(Slot& slot, Op& op);
  void wait_readable(Slot& slot, Op& op);
  bool is_short_for(const Op& op) const;
  Memory take_memory(Slot& slot, const RecvOp& op);
  void receive_plain(Slot& slot, RecvOp& op, Sink& sink);
  void receive_rest(Slot& slot, RecvOp& op, Memory memory, std::int64_t got, Sink& sink);
  bool complete_receive(Slot& slot, const RecvOp& op, Memory memory, std::int64_t got,
                        Completion& out);
  bool receive(Slot& slot, Op& op, Completion& out);
  bool receive_message(Slot& slot, MsgOp& op, Completion& out);
  bool receive_bulk(Slot& slot, RecvOp& op, Sink& sink);
  bool wants_bulk(const Slot& slot, const RecvOp& op) const;
  void after_receive(Slot& slot, std::size_t got, std::size_t asked, Completion& out);
  void push_read(Slot& slot, Op& op, Completion& completion, Sink& sink);
  void starve(Slot& slot, Pool& group);

  // Accepting.
  Submitted submit_accept(Slot& slot, AcceptOp& op);
  void serve_accepts(Slot& slot, AcceptOp& op, Sink& sink);
  std::uint32_t batch_of(Slot& slot, const AcceptOp& op) const;
  void rest_listener(Slot& slot);
  static void tell_handle(const Result<Handle>& handle, Completion& out);

  // Writing.
  Submitted submit_write(Slot& slot, Op& op);
  std::int64_t end_send_now(Slot& slot, std::size_t asked, std::int64_t sent);
  bool complete_send(Slot& slot, std::size_t asked, std::int64_t sent, Completion& out);
  Submitted submit_connect(Slot& slot, ConnectOp& op);
  Submitted submit_shutdown(Slot& slot, Op& op);
  Submitted submit_close(Slot& slot, CloseOp& op);
  void wait_writable(Slot& slot, Op& op);
  bool transmit(Slot& slot, const SendOp& op, Completion& out);
  bool transmit_message(Slot& slot, const MsgOp& op, Completion& out);

  // Poll ops.
  Submitted submit_poll(Slot& slot, PollOp& op);
  void serve_polls(Slot& slot, std::uint32_t events, Sink& sink);
  void arm_polls(Slot& slot);
  void leave_polled(Slot& slot);
  void rearm();

  SlotTable slots_;
  SlotList<&Slot::next_ready> ready_{
      slots_};                // slots that have something to do without a new event
  std::uint32_t turn_ = 0;    // polls so far
  bool has_news_ = false;     // in ended_ or rearm_
  std::vector<Pool*> pools_;  // by GroupId
  std::vector<SlotList<&Slot::next_other>>
      starved_;  // likewise: slots whose first read found its pool empty
  CountedVector<Completion>
      ended_;                    // terminals that no system call will bring: cancels, closes, nops
  CountedVector<Handle> rearm_;  // polled slots to arm again once their last news was delivered
  Caps caps_;
};

}  // namespace weir::inline v0
