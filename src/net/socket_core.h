// A stream over a socket: two ops in one record. The send op also carries the FIN and the close, one after another.
#pragma once
#include "src/net/stream_core.h"

namespace weir::inline v0 {

// The two ops are bases, so that an Op& leads back to its socket.
struct SocketRecv : RecvOp {};
struct SocketSend : SendOp {};

class SocketCore final : public StreamCore, private SocketRecv, private SocketSend {
 public:
  SocketCore(LoopCore& loop_core, Handle handle);

  Handle handle() const override { return recv().handle; }
  Address local_address() const override;
  Address peer_address() const override;
  Result<void> set_option(SocketOption option, std::int32_t value) override;
  Result<std::int32_t> get_option(SocketOption option) const override;
  void after_callback() override;

  // For LoopCore::tell.
  void take_bytes(Block& block, std::uint32_t length);
  void flush();
  using StreamCore::threw;

 protected:
  void arm_read() override;
  void disarm_read() override;
  void send_outbox() override;
  void send_fin() override;
  void start_close() override;
  void free_record() override;
  void on_ref_changed(bool is_ref) override;
  bool was_quiet_for(std::uint16_t turns) const override;
  bool has_undelivered() const override { return recv().undelivered != 0; }
  void hurry_send() override { send().lazy = false; }

 private:
  friend struct NetExtension;
  static void on_bytes(Sink& sink, RecvOp& op, Block& block, std::uint32_t length);
  static void on_first_bytes(LoopCore& loop, RecvOp& op, Block& block, std::uint32_t length);
  static void on_run(Sink& sink, RecvOp& op, const LoopCore::Run& run);
  static SocketCore& of(RecvOp& op) {
    return static_cast<SocketCore&>(static_cast<SocketRecv&>(op));
  }
  static void on_sent_at_once(Sink& sink, SendOp& op, std::uint32_t bytes);
  void send_slice();
  void send_rest(std::int64_t taken);
  /// A receive that keeps the loop alive will bring the next event; until then nobody needs to hear of a send.
  bool may_be_lazy() const { return is_read_armed() && recv().keeps_alive && !is_send_awaited(); }
  void on_received(const Completion& completion);
  void on_sent(const Completion& completion);
  void close_when_idle();
  Buf take_buffer(const Completion& completion);

  RecvOp& recv() { return static_cast<SocketRecv&>(*this); }
  const RecvOp& recv() const { return static_cast<const SocketRecv&>(*this); }
  SendOp& send() { return static_cast<SocketSend&>(*this); }
  const SendOp& send() const { return static_cast<const SocketSend&>(*this); }
};

/// A connect in flight: it outlives the task that asked, if that goes away.
struct ConnectRecord : ConnectOp {
  LoopCore* loop = nullptr;
  ConnectAwait* waiter = nullptr;  // null: nobody wants it any more
};

}  // namespace weir::inline v0
