// Sockets under streams: one multishot receive into the loop's group, gathered sends, half-close, and a close that
// comes last.
#include "src/net/socket_core.h"

#include <string>

#include "src/net/net_state.h"
#include "src/os/socket.h"

namespace weir::inline v0 {

SocketCore::SocketCore(LoopCore& loop_core, Handle handle) : StreamCore(loop_core) {
  NetExtension& net = NetExtension::of(loop_core);
  generation = net.next_generation++;
  recv().kind = OpKind::recv;
  recv().handle = handle;
  recv().group = loop_core.group->group();
  recv().multishot = true;
  recv().is_direct = true;
  recv().on_complete = [](Op& op, const Completion& completion) {
    static_cast<SocketCore&>(static_cast<SocketRecv&>(op)).on_received(completion);
  };
  send().kind = OpKind::send;
  send().handle = handle;
  send().is_direct = true;
  send().on_complete = [](Op& op, const Completion& completion) {
    static_cast<SocketCore&>(static_cast<SocketSend&>(op)).on_sent(completion);
  };
  loop_core.ops.adopt(recv());
  loop_core.ops.adopt(send());
  net.connection_opened();
}

Buf SocketCore::take_buffer(const Completion& completion) {
  return loop_.group->loan(&loop_.group->at(completion.buffer), completion.offset,
                           completion.length, this);
}

[[gnu::always_inline]] inline void SocketCore::take_bytes(Block& block, std::uint32_t length) {
  loop_.group->lend_out(block, length, this);
  receive(length, &block, block.base, length);
}

// Gathered writes leave here, after the callback that queued them and its jobs. Mostly they are one slice that the
// kernel takes at once.
[[gnu::always_inline]] inline void SocketCore::flush() {
  clear(kFlushQueued);
  if (!has(kHasSlice)) return flush_now();
  if (!loop_.sends_at_once) return send_slice();
  const Buf& slice = out_.slice;
  const std::int64_t taken = loop_.backend().send_now(handle(), slice.data(), slice.size());
  if (taken == static_cast<std::int64_t>(slice.size())) [[likely]]
    return sent_slice();
  send_rest(taken);
}

void SocketCore::after_callback() { flush(); }

// The short way of bytes (Sink::received): from the backend to their reader, and what that writes to the backend.
void SocketCore::on_bytes(Sink& sink, RecvOp& op, Block& block, std::uint32_t length) {
  auto& loop = static_cast<LoopCore&>(sink);
  if (!loop.may_tell(op)) [[unlikely]]
    return on_first_bytes(loop, op, block, length);
  loop.tell(of(op), op, block, length);
}

[[gnu::noinline]] void SocketCore::on_first_bytes(LoopCore& loop, RecvOp& op, Block& block,
                                                  std::uint32_t length) {
  if (!loop.begin_telling(op)) return loop.queue_received(op, block, length);
  loop.tell(of(op), op, block, length);
}

void SocketCore::on_run(Sink& sink, RecvOp& op, const LoopCore::Run& run) {
  auto& loop = static_cast<LoopCore&>(sink);
  if (!loop.may_tell(op) && !loop.begin_telling(op)) return loop.queue_run(op, run);
  loop.tell_run(of(op), op, run);
}

// The end of a send that nobody waits for runs no code but this stream's own.
void SocketCore::on_sent_at_once(Sink& sink, SendOp& op, std::uint32_t bytes) {
  auto& core = static_cast<SocketCore&>(static_cast<SocketSend&>(op));
  if (!op.lazy || core.is_closing() || core.queued_bytes() != bytes) [[unlikely]]
    return sink.queue_sent(op, bytes);
  static_cast<LoopCore&>(sink).end_direct(op);
  core.clear(kSendBusy);
  if (core.has(kHasSlice)) {
    core.sent_slice();
  } else {
    core.sent(bytes);
  }
}

void SocketCore::arm_read() {
  const auto turn = static_cast<std::uint16_t>(loop_.turn());
  if (recv().turn_mark != turn) recv().turn_bytes = 0;
  recv().turn_mark =
      turn;  // as if bytes had come: the kernel may have some that nobody asked for before
  set(kReadArmed);
  loop_.submit(recv());
}

void SocketCore::disarm_read() {
  if (is_read_armed()) loop_.cancel(recv());
}

void SocketCore::on_received(const Completion& completion) {
  if (completion.is_terminal()) clear(kReadArmed);
  if (completion.result > 0) [[likely]] {
    received(take_buffer(completion));
    if (has(kClosing) && completion.is_terminal()) close_when_idle();
    return;
  }
  if (completion.result == 0) {
    ended();
  } else if (completion.result == -static_cast<std::int32_t>(Errc::cancelled)) {
    if (!is_closing()) continue_reading();  // paused and resumed meanwhile
  } else if (completion.result == -static_cast<std::int32_t>(Errc::no_buffers)) {
    ++loop_.metrics.no_buffers;
    continue_reading();
  } else {
    read_failed(completion.result);
  }
  if (is_closing() && completion.is_terminal()) close_when_idle();
}

// A slice that the kernel will take later stays where it is.
void SocketCore::send_slice() {
  const Buf& slice = out_.slice;
  if (is_send_busy() || slice.size() >= loop_.zero_copy_bytes) return flush_now();
  SendOp& op = send();
  op.kind = OpKind::send;
  op.is_piece = true;
  op.piece = slice.data();
  op.bytes_max = static_cast<std::uint32_t>(slice.size());
  op.zero_copy = false;
  op.lazy = may_be_lazy();
  set(kSendBusy);
  Completion completion;
  if (loop_.submit_inline(op, completion)) on_sent(completion);
}

// What is left of a slice of which the kernel took `taken` bytes.
void SocketCore::send_rest(std::int64_t taken) {
  queue_slice();
  if (taken < 0) return send_failed(static_cast<std::int32_t>(taken));
  if (taken > 0) {
    sent(static_cast<std::size_t>(taken));
    shrink_leftovers();
  }
  send_outbox();
}

void SocketCore::send_outbox() {
  const NetExtension& net = NetExtension::of(loop_);
  SendOp& op = send();
  op.kind = OpKind::send;
  op.is_piece = false;
  op.chain = &outbox();
  op.bytes_max = 0;
  op.lazy = may_be_lazy();
  do {
    op.zero_copy = outbox().bytes() >= loop_.zero_copy_bytes && net.is_zero_copy_worth_it();
    set(kSendBusy);
    Completion completion;
    if (!loop_.submit_inline(op, completion)) return;
    clear(kSendBusy);
    if (completion.result < 0) return send_failed(completion.result);
    sent(static_cast<std::uint32_t>(completion.result));
    if (outbox().empty()) return;
    shrink_leftovers();
  } while (true);
}

void SocketCore::send_fin() {
  send().kind = OpKind::shutdown;
  set(kSendBusy);
  Completion completion;
  if (!loop_.submit_inline(send(), completion)) return;
  clear(kSendBusy);
  fin_sent(completion.result);
}

void SocketCore::on_sent(const Completion& completion) {
  clear(kSendBusy);
  if (send().kind == OpKind::close) return closed();
  if (is_closing()) return close_when_idle();
  if (send().kind == OpKind::shutdown) return fin_sent(completion.result);
  if (completion.result < 0) return send_failed(completion.result);
  queue_slice();
  sent(static_cast<std::uint32_t>(completion.result));
  if (!outbox().empty()) send_outbox();
}

void SocketCore::start_close() {
  if (is_read_armed()) loop_.cancel(recv());
  if (is_send_busy()) loop_.cancel(send());
  close_when_idle();
}

// Both ops have ended: only now may the descriptor go.
void SocketCore::close_when_idle() {
  if (is_read_armed() || is_send_busy() || send().kind == OpKind::close) return;
  if (has(kResetOnClose)) static_cast<void>(set_option(SocketOption::linger_s, 0));
  send().kind = OpKind::close;
  send().keeps_alive = true;
  loop_.submit(send());
}

void SocketCore::free_record() {
  ++generation;  // loans that are still out are charged to nobody from here on
  loop_.ops.abandon(recv());
  loop_.ops.abandon(send());
  NetExtension::of(loop_).sockets.destroy(*this);
}

void SocketCore::on_ref_changed(bool is_ref) {
  if (is_read_armed() && recv().keeps_alive != is_ref) loop_.add_active(is_ref ? 1 : -1);
  recv().keeps_alive = is_ref;
  if (!is_ref) hurry_send();
}

bool SocketCore::was_quiet_for(std::uint16_t turns) const {
  const auto passed = static_cast<std::uint16_t>(loop_.turn() - recv().turn_mark);
  return passed > turns;
}

Address SocketCore::local_address() const {
  Result<Address> address = loop_.backend().local_address(recv().handle);
  return address.ok() ? *address : Address{};
}
Address SocketCore::peer_address() const {
  Result<Address> address = loop_.backend().peer_address(recv().handle);
  return address.ok() ? *address : Address{};
}
Result<void> SocketCore::set_option(SocketOption option, std::int32_t value) {
  return loop_.backend().set_option(recv().handle, option, value);
}
Result<std::int32_t> SocketCore::get_option(SocketOption option) const {
  return loop_.backend().get_option(recv().handle, option);
}

// ---- Connecting.

namespace {
Error connect_error(std::int32_t result, const Address& peer) {
  const Error error = Error::from_result(result, Operation::connect);
  Error named = Error::of_value(error.code, error.operation, peer.to_string(), nullptr);
  named.native = error.native;
  return named;
}
}  // namespace

ConnectAwait connect(const Address& peer, const ConnectOptions& options) {
  Loop* const loop = Loop::current();
  if (loop == nullptr)
    check_failed_text(__FILE__, __LINE__, "connect without a loop",
                      "make a Loop on this thread first");
  return ConnectAwait(*loop, peer, options);
}

bool ConnectAwait::suspend() {
  LoopCore& loop = loop_->core();
  NetExtension& net = NetExtension::of(loop);
  const auto fail = [&](const Error& error) {
    fail_with(error);
    if (catches()) {
      stop_waiting();
      return false;
    }
    wake_soon(loop);
    return true;
  };
  if (peer_.family == Family::none) {
    return fail(Error::of_value(Errc::invalid_argument, Operation::connect, "no address",
                                "an IPv4 or IPv6 address"));
  }
  if (!net.has_room()) return fail(Error::of(Errc::no_buffers, Operation::connect));
  SocketSpec spec;
  spec.family = peer_.family;
  spec.bind = options_.bind;
  spec.no_delay = options_.no_delay;
  spec.keep_alive = options_.keep_alive;
  spec.send_buffer_bytes = options_.send_buffer_bytes;
  spec.receive_buffer_bytes = options_.receive_buffer_bytes;
  Result<Handle> opened = loop.backend().open(spec);
  if (!opened.ok()) return fail(opened.error());
  ConnectRecord& record = net.connects.make();
  record.loop = &loop;
  record.waiter = this;
  record.kind = OpKind::connect;
  record.handle = *opened;
  record.peer = peer_;
  record.on_complete = [](Op& op, const Completion& completion) {
    on_connected(static_cast<ConnectOp&>(op), completion);
  };
  loop.ops.adopt(record);
  record_ = &record;
  loop.submit(record, options_.timeout.count() == 0 ? Backend::kNever
                                                    : loop.deadline_after(options_.timeout));
  return true;
}

void ConnectAwait::abandon() {
  if (record_ == nullptr) return;
  record_->waiter = nullptr;
  record_->loop->cancel(*record_);
}

void ConnectAwait::on_connected(ConnectOp& op, const Completion& completion) {
  auto& record = static_cast<ConnectRecord&>(op);
  LoopCore& loop = *record.loop;
  NetExtension& net = NetExtension::of(loop);
  ConnectAwait* const waiter = record.waiter;
  const Handle handle = op.handle;
  const Address peer = op.peer;
  loop.ops.abandon(op);
  net.connects.destroy(record);
  Stream stream(&net.sockets.make(loop, handle));  // closes itself when nobody takes it
  if (waiter == nullptr) return;
  waiter->record_ = nullptr;
  if (completion.result < 0) {
    waiter->fail_with(connect_error(completion.result, peer));
  } else {
    ++loop.metrics.connected;
    waiter->stream_ = std::move(stream);
  }
  waiter->wake();
}

Result<Stream> adopt_stream(Loop& loop, std::intptr_t native) {
  loop.core().check_thread();
  os::NativeKind kind{};
  if (const std::int64_t result = os::find_kind(native, kind); result < 0) {
    return Error::from_result(static_cast<std::int32_t>(result), Operation::open);
  }
  if (kind != os::NativeKind::stream) {
    return Error::of_value(Errc::invalid_argument, Operation::open, std::to_string(native),
                           "the descriptor of a stream socket");
  }
  Result<Handle> handle = loop.backend().attach(native, true);
  if (!handle.ok()) return handle.error();
  return Stream(&NetExtension::of(loop.core()).sockets.make(loop.core(), *handle));
}

}  // namespace weir::inline v0
