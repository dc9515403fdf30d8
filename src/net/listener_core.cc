// Listening sockets. Path: backend -> on_completion -> on_accepted -> the waiting task, the handler, or the queue.
#include "src/net/listener_core.h"

#include "src/net/net_state.h"
#include "src/os/os.h"

namespace weir::inline v0 {

namespace {
// How long accepting rests without descriptors or memory, when nothing of ours closes before.
constexpr std::uint64_t kRetryNs = 100'000'000;

// What an accept's error says about the listener.
enum class AcceptError : std::uint8_t {
  for_good,
  this_connection,
  without_descriptors,
  without_memory
};

AcceptError sort_failure(std::int32_t result) {
  switch (static_cast<Errc>(-result)) {
    case Errc::too_many_open_files:
    case Errc::too_many_open_files_system: return AcceptError::without_descriptors;
    case Errc::out_of_memory:
    case Errc::no_buffers: return AcceptError::without_memory;
    case Errc::connection_aborted:                                  // that client went away,
    case Errc::not_permitted: return AcceptError::this_connection;  // or a filter refused it
    default: return AcceptError::for_good;
  }
}
}  // namespace

ListenerCore::ListenerCore(LoopCore& loop_core, Handle listening, const ListenOptions& options)
    : loop_(loop_core), options_(options), reserve_(os::open_reserve()) {
  op().kind = OpKind::accept;
  op().multishot = true;
  op().handle = listening;
  op().accepts_max = loop_.limits.accepts_per_turn;
  op().on_complete = [](Op& op, const Completion& completion) {
    static_cast<ListenerCore&>(static_cast<ListenerAccept&>(op)).on_completion(completion);
  };
  loop_.ops.adopt(op());
}

ListenerCore::~ListenerCore() {
  if (reserve_ >= 0) os::close(static_cast<os::Native>(reserve_));
}

bool ListenerCore::wants_more() const {
  if (is_paused_ || is_closing_ || failed_ != 0 || is_waiting_for_room_) return false;
  return handler_ != nullptr || waiter_ != nullptr || queue_.size() < loop_.limits.accepts_per_turn;
}

void ListenerCore::arm() {
  if (op().state != OpState::idle || !wants_more()) return;
  if (options_.at_connection_limit == Overload::wait && !NetExtension::of(loop_).has_room())
    return wait_for_room();
  op().kind = OpKind::accept;
  op().multishot = !is_near_limit();
  loop_.submit(op());
}

// A multishot may bring all that waits in the kernel's queue before it can be stopped.
bool ListenerCore::is_near_limit() const {
  const std::uint64_t queued_max = static_cast<std::uint32_t>(options_.backlog);
  return options_.at_connection_limit == Overload::wait &&
         loop_.metrics.connections + queued_max >= loop_.limits.connections_max;
}

void ListenerCore::wait_for_room() {
  if (is_waiting_for_room_) return;
  note_waiting(true);
  NetExtension& net = NetExtension::of(loop_);
  next_waiting = net.waiting_listeners;
  net.waiting_listeners = this;
  if (op().state != OpState::idle) loop_.cancel(op());
}

// A listener that waits to accept keeps the loop alive, whether an op is in flight for it or not.
void ListenerCore::note_waiting(bool is_waiting) {
  if (is_waiting == is_waiting_for_room_) return;
  is_waiting_for_room_ = is_waiting;
  if (is_ref_) loop_.add_active(is_waiting ? 1 : -1);
}

void ListenerCore::stop_waiting() {
  if (is_waiting_for_room_) NetExtension::of(loop_).stop_waiting(*this);
  end_wait();
}

void ListenerCore::end_wait() {
  note_waiting(false);
  if (retry_ != nullptr) loop_.drop_deadline(*std::exchange(retry_, nullptr));
}

void ListenerCore::go_on() {
  end_wait();
  arm();
}

void ListenerCore::on_completion(const Completion& completion) {
  if (op().kind == OpKind::close) return loop_.notify_close(*this);
  if (completion.result >= 0) {
    on_accepted(Handle{completion.buffer});
  } else if (completion.result != -static_cast<std::int32_t>(Errc::cancelled)) {
    on_failed(completion.result);
  }
  if (is_closing_) return close_when_idle();
  if (!wants_more()) {
    if (op().state != OpState::idle) loop_.cancel(op());
  } else if (options_.at_connection_limit == Overload::wait &&
             !NetExtension::of(loop_).has_room()) {
    wait_for_room();
  } else {
    if (op().state != OpState::idle && op().multishot && is_near_limit()) loop_.cancel(op());
    arm();
  }
}

void ListenerCore::on_accepted(Handle accepted) {
  NetExtension& net = NetExtension::of(loop_);
  if (is_shedding_) {  // unless there are descriptors again: an empty queue answers EMFILE too
    reserve_ = os::open_reserve();
    is_shedding_ = reserve_ < 0;
  }
  const bool is_refused = is_closing_ || is_shedding_ ||
                          (options_.at_connection_limit == Overload::reset && !net.has_room());
  Stream stream(&net.sockets.make(loop_, accepted));
  if (!is_refused) {
    ++loop_.metrics.accepted;
    return give(std::move(stream));
  }
  stream.reset();
  if (!is_shedding_) {
    loop_.metrics.connections_refused += !is_closing_;
    return;
  }
  is_shedding_ = false;
  reserve_ = os::open_reserve();
}

void ListenerCore::give(Stream stream) {
  if (waiter_ != nullptr) {
    Listener::Accept* const waiter = std::exchange(waiter_, nullptr);
    waiter->stream_ = std::move(stream);
    waiter->wake();
  } else if (handler_ != nullptr) {
    loop_.guard([&] { handler_->on_accept(std::move(stream)); });  // the next one may be fine
  } else {
    queue_.push_back(std::move(stream));
  }
}

void ListenerCore::on_failed(std::int32_t result) {
  switch (sort_failure(result)) {
    case AcceptError::without_descriptors: return on_descriptors_exhausted();
    case AcceptError::without_memory: return rest();
    case AcceptError::this_connection: return;
    case AcceptError::for_good: return fail(result);
  }
}

// No descriptor is left for the connection that waits. With the reserve it is accepted and reset, so that its client
// hears; without, accepting rests until something closes.
void ListenerCore::on_descriptors_exhausted() {
  ++loop_.metrics.descriptors_exhausted;
  if (options_.at_descriptor_limit == Overload::reset && reserve_ >= 0) {
    os::close(static_cast<os::Native>(std::exchange(reserve_, -1)));
    is_shedding_ = true;
    return;
  }
  if (reserve_ < 0) {
    reserve_ = os::open_reserve();
    is_shedding_ = false;
  }
  rest();
}

// The connection stays in the kernel's queue; it is asked for again when something of ours closes, or a while later.
void ListenerCore::rest() {
  ++loop_.metrics.accept_rests;
  wait_for_room();
  if (retry_ != nullptr) return;
  retry_ = &loop_.make_deadline(loop_.now_ns() + kRetryNs, this, [](TimerNode& node) {
    auto& core = *static_cast<ListenerCore*>(static_cast<OpDeadline&>(node).owner);
    NetExtension::of(core.loop_).stop_waiting(core);
    core.go_on();
  });
}

void ListenerCore::fail(std::int32_t result) {
  if (is_closing_) return;
  failed_ = result;
  const Error error = Error::from_native(-result, Operation::accept);
  if (waiter_ != nullptr) {
    Listener::Accept* const waiter = std::exchange(waiter_, nullptr);
    waiter->fail_with(error);
    waiter->wake();
  } else if (handler_ != nullptr) {
    handler_->on_error(error);
  }
}

bool ListenerCore::begin_accept(Listener::Accept& waiter) {
  loop_.check_thread();
  WEIR_CHECK(waiter_ == nullptr);   // One accept at a time.
  WEIR_CHECK(handler_ == nullptr);  // A handler takes the streams.
  if (!queue_.empty()) {
    waiter.stream_ = std::move(queue_.front());
    queue_.erase(queue_.begin());
    arm();
    if (waiter.task()->may_go_on_inline(loop_.turn(), loop_.limits.inline_awaits)) {
      ++loop_.metrics.inline_awaits;
      waiter.stop_waiting();
      return false;
    }
    waiter.wake_soon(loop_);
    return true;
  }
  if (failed_ != 0) {
    waiter.fail_with(Error::from_native(-failed_, Operation::accept));
    if (waiter.catches()) {
      waiter.stop_waiting();
      return false;
    }
    waiter.wake_soon(loop_);
    return true;
  }
  waiter_ = &waiter;
  arm();
  return true;
}

void ListenerCore::abandon_accept(Listener::Accept& waiter) {
  if (waiter_ == &waiter) waiter_ = nullptr;
}

void ListenerCore::start(ListenerHandler& handler) {
  WEIR_CHECK(handler_ == nullptr && waiter_ == nullptr);
  handler_ = &handler;
  arm();
}

void ListenerCore::pause() {
  is_paused_ = true;
  stop_waiting();
  if (op().state != OpState::idle) loop_.cancel(op());
}

void ListenerCore::resume() {
  is_paused_ = false;
  arm();
}

void ListenerCore::set_ref(bool is_ref) {
  if (is_ref == is_ref_) return;
  is_ref_ = is_ref;
  if (op().state != OpState::idle) loop_.add_active(is_ref ? 1 : -1);
  if (is_waiting_for_room_) loop_.add_active(is_ref ? 1 : -1);
  op().keeps_alive = is_ref;
}

void ListenerCore::release() {
  loop_.check_thread();
  is_closing_ = true;
  handler_ = nullptr;
  if (waiter_ != nullptr) {
    Listener::Accept* const waiter = std::exchange(waiter_, nullptr);
    waiter->fail_with(Error::of(Errc::closed, Operation::accept));
    waiter->wake_soon(loop_);
  }
  for (Stream& stream : queue_) stream.reset();
  queue_.clear();
  stop_waiting();
  if (op().state != OpState::idle) loop_.cancel(op());
  close_when_idle();
}

void ListenerCore::close_when_idle() {
  if (op().state != OpState::idle || op().kind == OpKind::close) return;
  op().kind = OpKind::close;
  op().multishot = false;
  op().keeps_alive = true;
  loop_.submit(op());
}

void ListenerCore::close_notification() {
  loop_.ops.abandon(op());
  NetExtension::of(loop_).listeners.destroy(*this);
}

Address ListenerCore::local_address() const {
  Result<Address> address = loop_.backend().local_address(op().handle);
  return address.ok() ? *address : Address{};
}

// ---- The handle.

Result<Listener> Listener::listen(Loop& loop, const Address& address,
                                  const ListenOptions& options) {
  if (address.family == Family::none) {
    return Error::of_value(Errc::invalid_argument, Operation::listen, "no address",
                           "an IPv4 or IPv6 address");
  }
  if (options.backlog < 1) {
    return Error::of_value(Errc::invalid_argument, Operation::listen,
                           std::to_string(options.backlog), "a backlog of 1 or more");
  }
  SocketSpec spec;
  spec.family = address.family;
  spec.bind = address;
  spec.backlog = options.backlog;
  spec.reuse_address = true;
  spec.reuse_port = options.reuse_port;
  spec.ipv6_only = options.ipv6_only;
  spec.no_delay = options.no_delay;
  spec.keep_alive = options.keep_alive;
  spec.send_buffer_bytes = options.send_buffer_bytes;
  spec.receive_buffer_bytes = options.receive_buffer_bytes;
  LoopCore& core = loop.core();
  core.check_thread();
  Result<Handle> handle = core.backend().open(spec);
  if (!handle.ok()) return handle.error();
  return Listener(&NetExtension::of(core).listeners.make(core, *handle, options));
}

namespace {
// Of this thread's loop, and open.
ListenerCore& mine(ListenerCore* core) {
  if (core == nullptr) [[unlikely]] {
    check_failed_text(__FILE__, __LINE__,
                      "a Listener was used that is closed, moved from or was never opened",
                      "ask valid()");
  }
  core->loop().check_thread();
  return *core;
}
}  // namespace

bool Listener::Accept::suspend() {
  if (core_ != nullptr) return core_->begin_accept(*this);
  fail_with(Error::of(Errc::closed, Operation::accept));
  wake_soon_on_current_loop(*this);
  return true;
}
void Listener::Accept::abandon() {
  if (core_ != nullptr) core_->abandon_accept(*this);
}
void Listener::start(ListenerHandler& handler) { mine(core_).start(handler); }
void Listener::pause() { mine(core_).pause(); }
void Listener::resume() { mine(core_).resume(); }
void Listener::close() {
  if (core_ != nullptr) std::exchange(core_, nullptr)->release();
}
Address Listener::local_address() const { return mine(core_).local_address(); }
void Listener::unref() { mine(core_).set_ref(false); }
void Listener::ref() { mine(core_).set_ref(true); }

}  // namespace weir::inline v0
