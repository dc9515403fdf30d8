// A loop's side of offloading: what was asked for, its deadlines, and the outcomes that come back. They are told in the
// step in which blocks from other threads come home, before the timers, oldest first.
#include "weir/offload.h"

#include <cstdio>
#include <thread>

#include "src/os/clock.h"
#include "src/service/offload_state.h"
#include "src/task/frame_pool.h"

namespace weir::inline v0 {

namespace detail {

OffloadRecord::OffloadRecord() = default;
OffloadRecord::~OffloadRecord() = default;
void* OffloadRecord::operator new(std::size_t size_bytes) { return take_frame(size_bytes); }
void OffloadRecord::operator delete(void* memory, std::size_t size_bytes) noexcept {
  give_frame(memory, size_bytes);
}

// The awaiter destroys the record when it ends.
void AwaitedRecord::tell() {
  if (!error.ok()) waiter->fail_with(error);
  waiter->wake();
}

void AwaitedRecord::tell_early(const Error& why) {
  *holder = nullptr;
  waiter->fail_with(why);
  waiter->wake();
}

void CalledRecord::tell() {
  const std::unique_ptr<CalledRecord> self(this);
  call->record_ = nullptr;
  give();
}

void CalledRecord::tell_early(const Error& why) {
  call->record_ = nullptr;
  give_error(why);
}

Error CalledRecord::own_error() const {
#if defined(__cpp_exceptions)
  if (exception == nullptr) return error;
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& thrown) {
    return Error::of_value(Errc::exception, Operation::offload, thrown.what(), nullptr);
  } catch (...) {
    return Error::of(Errc::exception, Operation::offload);
  }
#else
  return error;
#endif
}

OffloadPort& OffloadPort::of(LoopCore& loop) {
  std::unique_ptr<LoopExtension>& slot = loop.extensions[static_cast<int>(Extension::offload)];
  if (slot == nullptr) slot = std::make_unique<OffloadPort>(loop);
  return static_cast<OffloadPort&>(*slot);
}

OffloadPool& OffloadPort::own_pool() {
  if (own_pool_ == nullptr) own_pool_ = OffloadPool::make(loop.limits.offload).value();
  return *own_pool_;
}

Error OffloadPort::start(const OffloadOptions& options, std::unique_ptr<OffloadRecord> owned) {
  loop.check_thread();
  if (is_closed_) return Error::of(Errc::stopped, Operation::offload);
  OffloadRecord& record = *owned;
  record.pool_ = (options.pool != nullptr ? *options.pool : own_pool()).state_;
  record.port_ = this;
  record.work_ = options.work;
  bool has_waited = false;
  if (const Error refused = record.pool_->enqueue(record, options.when_full, has_waited);
      !refused.ok()) {
    loop.metrics.offloads_refused += refused == Errc::queue_full;
    return refused;
  }
  static_cast<void>(owned.release());
  record.live_next_ = live_;
  if (live_ != nullptr) live_->live_previous_ = &record;
  live_ = &record;
  ++loop.metrics.offloads;
  ++loop.metrics.offloads_pending;
  loop.metrics.offloads_waited += has_waited;
  loop.add_active(1);
  if (options.timeout.count() != 0) {
    record.deadline_ =
        &loop.make_deadline(loop.deadline_after(options.timeout), &record, on_deadline);
  }
  return {};
}

void OffloadPort::on_deadline(TimerNode& node) {
  auto& record = *static_cast<OffloadRecord*>(static_cast<OpDeadline&>(node).owner);
  record.port_->end_early(record, Error::of(Errc::timed_out, Operation::offload));
}

// Nobody waits for it any more: it does not keep the loop alive.
void OffloadPort::forget(OffloadRecord& record) {
  record.is_wanted_ = false;
  loop.add_active(-1);
  if (record.deadline_ != nullptr) loop.drop_deadline(*std::exchange(record.deadline_, nullptr));
}

void OffloadPort::remove(OffloadRecord& record) {
  (record.live_previous_ != nullptr ? record.live_previous_->live_next_ : live_) =
      record.live_next_;
  if (record.live_next_ != nullptr) record.live_next_->live_previous_ = record.live_previous_;
  --loop.metrics.offloads_pending;
}

// The awaiter or the call ends while it waits.
void OffloadPort::drop(OffloadRecord& record) {
  forget(record);
  if (record.pool_->withdraw(record) != OffloadRecord::Stage::queued) {
    ++loop.metrics.offloads_abandoned;
    return;
  }
  ++loop.metrics.offloads_cancelled;
  remove(record);
  delete &record;
}

// Its outcome is `why`, unless the real one is on its way already.
void OffloadPort::end_early(OffloadRecord& record, const Error& why) {
  const OffloadRecord::Stage was = record.pool_->withdraw(record);
  if (was == OffloadRecord::Stage::done) return;
  forget(record);
  loop.metrics.offload_timeouts += why == Errc::timed_out;
  if (was == OffloadRecord::Stage::running) {
    ++loop.metrics.offloads_abandoned;
    return loop.callback([&] { record.tell_early(why); });
  }
  ++loop.metrics.offloads_cancelled;
  remove(record);
  record.error = why;
  loop.callback([&] { record.tell(); });
}

// Threads push at the front; told is the oldest first.
void OffloadPort::take_done() {
  OffloadRecord* newest = done.exchange(nullptr, std::memory_order_acquire);
  OffloadRecord* taken = nullptr;
  while (newest != nullptr) {
    OffloadRecord* const next = newest->next_;
    newest->next_ = taken;
    taken = newest;
    newest = next;
  }
  OffloadRecord** end = &ready_;
  while (*end != nullptr) end = &(*end)->next_;
  *end = taken;
}

void OffloadPort::collect() {
  take_done();
  for (std::uint32_t left = loop.limits.posts_per_turn; left > 0 && ready_ != nullptr; --left) {
    OffloadRecord& record = *ready_;
    ready_ = record.next_;
    deliver(record);
  }
  if (ready_ != nullptr) loop.bring();  // the rest next turn
}

void OffloadPort::deliver(OffloadRecord& record) {
  remove(record);
  loop.metrics.offload_wait_ns += record.wait_ns_;
  loop.metrics.offload_run_ns += record.run_ns_;
  if (!record.is_wanted_) {
    delete &record;
    return;
  }
  forget(record);
  ++(record.error == Errc::closed ? loop.metrics.offloads_cancelled : loop.metrics.offloads_done);
  loop.callback([&] { record.tell(); });
}

// Who waits is told `stopped`; what runs goes on, and does not touch the loop any more.
void OffloadPort::on_shutdown() {
  is_closed_ = true;
  const auto wanted = [this] {
    OffloadRecord* record = live_;
    while (record != nullptr && !record->is_wanted_) record = record->live_next_;
    return record;
  };
  while (OffloadRecord* const record = wanted()) {
    end_early(*record, Error::of(Errc::stopped, Operation::offload));
    collect();
  }
  for (OffloadRecord* record = live_; record != nullptr; record = record->live_next_) {
    record->pool_->silence(*record);
  }
  wait_for_visitors();
}

// A few instructions each. From a visitor that brought the last record nothing else would be heard.
void OffloadPort::wait_for_visitors() const {
  while (visitor_count.load(std::memory_order_acquire) != 0) std::this_thread::yield();
}

// What the work captured goes while the loop is still there, if it ends in time.
OffloadPort::~OffloadPort() {
  const std::uint64_t until_ns = os::now_ns() + loop.limits.shutdown_ns;
  std::uint32_t left_count = 0;
  for (OffloadRecord* record = live_; record != nullptr;) {
    OffloadRecord* const next = record->live_next_;
    const std::shared_ptr<OffloadState> pool = record->pool_;
    left_count += !pool->wait_or_orphan(*record, until_ns);
    record = next;
  }
  wait_for_visitors();
  take_done();
  while (ready_ != nullptr) delete std::exchange(ready_, ready_->next_);
  if (left_count != 0) {
    if (own_pool_ != nullptr) own_pool_->stop_ns_ = 0;  // It had its time.
    std::fprintf(stderr, "weir: loop \"%s\" ended while %u pieces of its offloaded work ran\n",
                 loop.name(), left_count);
  }
}

Error begin_offload(LoopCore* loop, const OffloadOptions& options,
                    std::unique_ptr<OffloadRecord> record) {
  if (loop == nullptr) loop = LoopCore::current();
  if (loop == nullptr) {
    check_failed_text(__FILE__, __LINE__, "offload() without a loop",
                      "make a Loop on this thread first");
  }
  return OffloadPort::of(*loop).start(options, std::move(record));
}

void drop_offload(OffloadRecord& record) noexcept { OffloadPort::of(record).drop(record); }

}  // namespace detail

OffloadPool& Loop::offload_pool() {
  core_->check_thread();
  return detail::OffloadPort::of(*core_).own_pool();
}

OffloadCall::OffloadCall(Loop& loop) : loop_(&loop.core()) {}

void OffloadCall::cancel() noexcept {
  if (record_ != nullptr) detail::drop_offload(*std::exchange(record_, nullptr));
}

Posted OffloadCall::begin(const OffloadOptions& options,
                          std::unique_ptr<detail::CalledRecord> record) {
  WEIR_CHECK(record_ == nullptr);  // One piece of work at a time.
  record->call = this;
  detail::CalledRecord* const started = record.get();
  OffloadOptions own = options;
  own.when_full = WhenFull::fail;
  const Error refused = detail::begin_offload(loop_, own, std::move(record));
  if (!refused.ok()) return refused == Errc::queue_full ? Posted::full : Posted::ended;
  record_ = started;
  return Posted::queued;
}

}  // namespace weir::inline v0
