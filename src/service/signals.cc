// Signals: the os room gives a descriptor, a poll op watches it, and what came is handed out one by one.
#include "weir/signal.h"

#include <bit>

#include "src/loop/loop_core.h"
#include "src/os/signals.h"

namespace weir::inline v0 {

/// Lives until its poll op and its close have ended, which may be after the Signals object.
struct SignalWatch : PollOp {
  SignalWatch(LoopCore& loop_core, os::SignalSet wanted) : loop(loop_core) {
    const std::int64_t opened = os::open_signals(wanted);
    WEIR_CHECK_GE(opened, 0);  // A signal that cannot be caught, or more than 64 watches.
    native = static_cast<os::Native>(opened);
    Result<Handle> attached = loop.backend().attach(native, false);
    WEIR_CHECK(attached.ok());
    handle = *attached;
    kind = OpKind::poll;
    events = kReadable;
    keeps_alive = false;
    on_complete = [](Op& op, const Completion& completion) {
      static_cast<SignalWatch&>(op).on_event(completion);
    };
    loop.ops.adopt(*this);
    loop.submit(*this);
  }

  void on_event(const Completion& completion) {
    if (is_closing) return finish();
    if (completion.result > 0) pending |= os::take_signals(native);
    loop.submit(*this);
    give();  // last: whoever is woken may destroy the Signals, and this with it
  }

  void give() {
    if (waiter == nullptr || pending == 0) return;
    Signals::Next& woken = *std::exchange(waiter, nullptr);
    loop.add_active(-counted());
    woken.got_ = take();
    woken.wake();
  }

  Signal take() {
    const int number = std::countr_zero(pending);
    pending &= pending - 1;
    return static_cast<Signal>(number);
  }

  bool begin_wait(Signals::Next& asking) {
    loop.check_thread();
    WEIR_CHECK(waiter == nullptr);  // One waiter at a time.
    if (pending != 0) {
      asking.got_ = take();
      asking.stop_waiting();
      return false;
    }
    waiter = &asking;
    loop.add_active(counted());  // somebody waits: that keeps the loop alive
    return true;
  }

  void abandon() {
    waiter = nullptr;
    loop.add_active(-counted());
  }

  // The Signals are gone: who waits is told, and must not come back to this, which may be gone before it runs.
  void release() {
    loop.check_thread();
    is_closing = true;
    if (waiter != nullptr) {
      Signals::Next& told = *waiter;
      abandon();
      told.watch_ = nullptr;
      told.fail_with(Error::of(Errc::closed, Operation::wait));
      told.wake_soon(loop);
    }
    if (state == OpState::idle) return finish();
    loop.cancel(*this);
  }

  void finish() {
    static_cast<void>(loop.backend().detach(handle));
    os::close_signals(native);
    loop.ops.abandon(*this);
    delete this;
  }

  std::int64_t counted() const { return is_unref ? 0 : 1; }

  LoopCore& loop;
  os::Native native = -1;
  os::SignalSet pending = 0;
  Signals::Next* waiter = nullptr;
  bool is_closing = false;
  bool is_unref = false;
};

Signals::Signals(Loop& loop, std::initializer_list<Signal> wanted) {
  os::SignalSet set = 0;
  for (const Signal signal : wanted) set |= os::signal_bit(static_cast<int>(signal));
  watch_ = new SignalWatch(loop.core(), set);
}
Signals::~Signals() { watch_->release(); }

void Signals::unref() {
  WEIR_CHECK(watch_->waiter == nullptr);
  watch_->is_unref = true;
}

bool Signals::Next::suspend() { return watch_->begin_wait(*this); }
void Signals::Next::abandon() {
  if (watch_ != nullptr) watch_->abandon();
}

}  // namespace weir::inline v0
