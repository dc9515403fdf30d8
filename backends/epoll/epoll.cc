// The epoll backend: one epoll_wait a turn into a fixed array, one pass over it. Everything about ops is in
// backends/readiness/; here are the wait, the wake and the registrations.
// Path: Loop -> poll -> epoll_wait -> ReadinessBackend::on_event -> recv -> Sink.
#include "src/os/linux/epoll.h"
#include "backends/readiness/on_event.h"
#include "src/os/wake_gate.h"

namespace weir::inline v0 {

Result<std::unique_ptr<Backend>> make_epoll_backend(std::string_view variant,
                                                    const BackendContext& context);

namespace {

static_assert(int{EPOLLIN} == kReadable && int{EPOLLOUT} == kWritable &&
              int{EPOLLERR} == kPollError && int{EPOLLHUP} == kPollHangup &&
              int{EPOLLRDHUP} == kPeerFinished);

constexpr int kEventsMax = 256;
constexpr std::uint64_t kWakeData =
    0;  // of no handle: its event says nothing, and being an edge it need not be read
static_assert(os::kWaitForever == Backend::kNever);

class EpollBackend final : public ReadinessBackend {
 public:
  EpollBackend(const BackendContext& context, os::Native epoll, os::Native event)
      : ReadinessBackend(
            context,
            {.name = "epoll", .wait_handle = true, .handles_max = SlotTable::kSlotsMax - 1}),
        epoll_(epoll),
        event_(event) {}
  ~EpollBackend() override {
    os::close(event_);
    os::close(epoll_);
  }

  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    std::uint64_t timeout_ns = start_turn(sink) ? deadline_ns : 0;
    if (timeout_ns != 0 && timeout_ns != kNever) timeout_ns = time_until(deadline_ns);
    const std::int64_t count = wait(timeout_ns);
    if (must_queue()) [[unlikely]]
      return queue_up(count, sink);
    const epoll_event* end = events_ + count;
    for (const epoll_event* event = events_; event != end; ++event) {
      on_event(static_cast<std::uint32_t>(event->data.u64), event->events, sink);
    }
  }

  void wake() override {
    if (gate_.wake()) os::event_signal(event_);
  }

  /// Who waits for this descriptor must also ask pending_hint(): leftovers of a turn make it no more readable.
  std::intptr_t wait_handle() const override {
    gate_.stay_asleep();
    return epoll_;
  }

 private:
  static std::uint64_t time_until(std::uint64_t deadline_ns) {
    const std::uint64_t now_ns = os::now_ns();
    return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
  }

  std::int64_t wait(std::uint64_t timeout_ns) {
    const bool sleeps = timeout_ns != 0;
    if (sleeps && !gate_.enter()) timeout_ns = 0;
    const std::int64_t count = os::epoll_wait(epoll_, events_, kEventsMax, timeout_ns);
    if (!sleeps) {
      gate_.rest();
    } else if (gate_.leave()) {
      ++context_.metrics.wakes;
    }
    WEIR_CHECK_GE(count, 0);  // Only a bug or a descriptor closed by others can fail it.
    return count;
  }

  void queue_up(std::int64_t count, Sink& sink) {
    for (std::int64_t i = 0; i < count; ++i) {
      queue_event(static_cast<std::uint32_t>(events_[i].data.u64), events_[i].events, sink);
    }
    serve_queued(sink);
  }

  std::int64_t watch(const Slot& slot, std::uint32_t events, Watch how) override {
    std::uint32_t flags = events;
    if (how == Watch::edge) flags |= EPOLLET | EPOLLRDHUP;
    if (how == Watch::once)
      flags |= EPOLLONESHOT;  // without RDHUP, as poll(2): the peer's end alone is readable
    return slot.has(kRegistered) ? os::epoll_change(epoll_, slot.native, flags, slot.handle)
                                 : os::epoll_add(epoll_, slot.native, flags, slot.handle);
  }
  void unwatch(const Slot& slot) override { os::epoll_remove(epoll_, slot.native); }

  os::Native epoll_;
  os::Native event_;
  mutable WakeGate gate_;
  alignas(64) epoll_event events_[kEventsMax];
};

}  // namespace

Result<std::unique_ptr<Backend>> make_epoll_backend(std::string_view variant,
                                                    const BackendContext& context) {
  if (!variant.empty()) {
    return Error::of_value(Errc::invalid_argument, Operation::open, variant,
                           "epoll without a variant");
  }
  const std::int64_t epoll = os::epoll_open();
  if (epoll < 0) return Error::from_native(static_cast<std::int32_t>(-epoll), Operation::open);
  const std::int64_t event = os::event_open();
  std::int64_t result = event;
  if (event >= 0) result = os::epoll_add(epoll, event, EPOLLIN | EPOLLET, kWakeData);
  if (result < 0) {
    if (event >= 0) os::close(event);
    os::close(epoll);
    return Error::from_native(static_cast<std::int32_t>(-result), Operation::open);
  }
  auto backend = std::make_unique<EpollBackend>(context, epoll, event);
  if (!backend->is_open()) return Error::of(Errc::out_of_memory, Operation::open);
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace weir::inline v0
