// The epoll backend: one epoll_wait a turn into a fixed array, one pass over it. Everything about ops is in
// backends/readiness/; here are the wait, the wake and the registrations.
// Path: Loop -> poll -> epoll_wait -> ReadinessBackend::on_event -> recv -> Sink.
#include "src/os/linux/epoll.h"
#include "backends/epoll/wake_gate.h"
#include "backends/readiness/readiness.h"

namespace weir::inline v0 {

Result<std::unique_ptr<Backend>> make_epoll_backend(std::string_view variant,
                                                    const BackendContext& context);

namespace {

static_assert(int{EPOLLIN} == kReadable && int{EPOLLOUT} == kWritable &&
              int{EPOLLERR} == kPollError && int{EPOLLHUP} == kPollHangup);

constexpr int kEventsMax = 256;
constexpr std::uint64_t kWakeData = ~std::uint64_t{0};  // no handle: those have 32 bits
static_assert(os::kWaitForever == Backend::kNever);

class EpollBackend final : public ReadinessBackend {
 public:
  EpollBackend(const BackendContext& context, os::Native epoll, os::Native event)
      : ReadinessBackend(context, {.name = "epoll", .wait_handle = true}),
        epoll_(epoll),
        event_(event) {}
  ~EpollBackend() override {
    os::close(event_);
    os::close(epoll_);
  }

  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    const bool may_sleep = start_turn(sink) && deadline_ns != 0;
    const std::int64_t count = may_sleep ? sleep(deadline_ns) : look();
    const bool behind_leftovers = has_leftovers();
    for (std::int64_t i = 0; i < count; ++i) {
      const epoll_event& event = events_[i];
      if (event.data.u64 == kWakeData) [[unlikely]]
        continue;  // an edge: nothing to read
      std::uint32_t events = event.events;
      if ((events & EPOLLRDHUP) != 0) events |= kPeerFinished;
      on_event(static_cast<std::uint32_t>(event.data.u64), events, behind_leftovers, sink);
    }
    if (behind_leftovers) serve_ready(ready_count(), sink);
  }

  void wake() override {
    if (gate_.wake()) os::event_signal(event_);
  }

  /// Who waits for this descriptor must also ask pending_hint(): leftovers of a turn make it no more readable.
  std::intptr_t wait_handle() const override {
    is_foreign_ = true;
    gate_.stay_asleep();
    return epoll_;
  }

 private:
  std::int64_t look() {
    if (is_foreign_) gate_.stay_asleep();
    return wait(0);
  }

  std::int64_t sleep(std::uint64_t deadline_ns) {
    std::uint64_t timeout_ns = deadline_ns;
    if (deadline_ns != kNever) {
      const std::uint64_t now_ns = os::now_ns();
      timeout_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    }
    if (is_foreign_ && gate_.leave()) return look();
    if (timeout_ns == 0 || !gate_.enter()) return look();
    const std::int64_t count = wait(timeout_ns);
    if (gate_.leave()) ++context_.metrics.wakes;
    if (is_foreign_) gate_.stay_asleep();
    return count;
  }

  std::int64_t wait(std::uint64_t timeout_ns) {
    const std::int64_t count = os::epoll_wait(epoll_, events_, kEventsMax, timeout_ns);
    WEIR_CHECK_GE(count, 0);  // Only a bug or a descriptor closed by others can fail it.
    return count;
  }

  std::int64_t watch(const Slot& slot, std::uint32_t events, bool once) override {
    // A poll op asks what poll(2) would: there the peer's end alone is readable, not hung up.
    const std::uint32_t flags = events | (once ? EPOLLONESHOT : EPOLLET | EPOLLRDHUP);
    return slot.has(kRegistered) ? os::epoll_change(epoll_, slot.native, flags, slot.handle)
                                 : os::epoll_add(epoll_, slot.native, flags, slot.handle);
  }
  void unwatch(const Slot& slot) override { os::epoll_remove(epoll_, slot.native); }

  os::Native epoll_;
  os::Native event_;
  mutable WakeGate gate_;
  mutable bool is_foreign_ = false;  // somebody waits on wait_handle()
  epoll_event events_[kEventsMax];
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
  return std::unique_ptr<Backend>(std::make_unique<EpollBackend>(context, epoll, event));
}

}  // namespace weir::inline v0
