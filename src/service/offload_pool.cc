// A pool: a queue a class, and threads that take from the classes in turn. One lock guards all of it; a thread holds it
// for a few instructions before and after a piece of work.
#include <algorithm>
#include <cstdio>

#include "src/os/clock.h"
#include "src/service/offload_state.h"

namespace weir::inline v0 {

namespace detail {

OffloadState::OffloadState(const OffloadLimits& bounds) : limits_(bounds) {
  const std::uint32_t running_max[kWorkCount] = {bounds.cpu_max, bounds.file_max, bounds.dns_max};
  for (std::size_t i = 0; i < kWorkCount; ++i) classes_[i].running_max = running_max[i];
  threads_.reserve(bounds.threads_max);
}

Error OffloadState::enqueue(OffloadRecord& record, WhenFull when_full, bool& has_waited) {
  const std::lock_guard lock(mutex_);
  if (is_stopping_) return Error::of(Errc::closed, Operation::offload);
  Class& own = class_of(record);
  has_waited = own.waiting_count >= limits_.queue_max;
  if (has_waited && when_full == WhenFull::fail)
    return Error::of(Errc::queue_full, Operation::offload);
  record.stage_ = Stage::queued;
  record.stamp_ns_ = os::now_ns();
  record.next_ = nullptr;
  record.previous_ = own.tail;
  (own.tail != nullptr ? own.tail->next_ : own.head) = &record;
  own.tail = &record;
  ++own.waiting_count;
  if (Error failed = provide_thread(); !failed.ok()) {
    unlink(record);
    return failed;
  }
  return {};
}

// Somebody for each piece that could run now: one that sleeps, or a new one while there may be more. Threads that were
// woken and do not run yet still count as idle, as does what they will take.
Error OffloadState::provide_thread() {
  std::uint32_t ready_count = 0;
  for (const Class& one : classes_)
    ready_count += std::min(one.waiting_count, one.running_max - one.running_count);
  if (ready_count == 0) return {};
  if (ready_count > idle_count_ && threads_.size() < limits_.threads_max) {
    auto self = std::make_unique<std::shared_ptr<OffloadState>>(shared_from_this());
    os::Thread thread{};
    const std::int64_t result = os::start_thread("weir-offload", run_thread, self.get(), thread);
    if (result == 0) {
      static_cast<void>(self.release());
      threads_.push_back(thread);
      ++alive_count_;
      return {};
    }
    if (threads_.empty())
      return Error::from_native(static_cast<std::int32_t>(-result), Operation::offload);
  }
  work_came_.notify_one();
  return {};
}

void OffloadState::unlink(OffloadRecord& record) {
  Class& own = class_of(record);
  (record.previous_ != nullptr ? record.previous_->next_ : own.head) = record.next_;
  (record.next_ != nullptr ? record.next_->previous_ : own.tail) = record.previous_;
  --own.waiting_count;
}

OffloadState::Stage OffloadState::withdraw(OffloadRecord& record) {
  const std::lock_guard lock(mutex_);
  const Stage was = record.stage_;
  record.is_stop_asked_.store(true, std::memory_order_relaxed);
  if (was == Stage::queued) {
    unlink(record);
    record.stage_ = Stage::done;
  }
  return was;
}

void OffloadState::silence(OffloadRecord& record) {
  const std::lock_guard lock(mutex_);
  record.is_silent_ = true;
}

bool OffloadState::wait_or_orphan(OffloadRecord& record, std::uint64_t until_ns) {
  std::unique_lock lock(mutex_);
  while (record.stage_ != Stage::done) {
    const std::uint64_t now = os::now_ns();
    if (now >= until_ns) {
      record.port_ = nullptr;
      return false;
    }
    ended_.wait_for(lock, Duration(until_ns - now));
  }
  return true;
}

bool OffloadState::has_ready() const {
  return std::any_of(std::begin(classes_), std::end(classes_),
                     [](const Class& one) { return one.can_run(); });
}

// The next piece of work, from the classes in turn; null when none may run.
OffloadRecord* OffloadState::take() {
  for (std::size_t i = 0; i < kWorkCount; ++i) {
    const std::size_t at = (next_class_ + i) % kWorkCount;
    if (!classes_[at].can_run()) continue;
    next_class_ = at + 1;
    OffloadRecord& record = *classes_[at].head;
    unlink(record);
    ++classes_[at].running_count;
    record.stage_ = Stage::running;
    record.previous_ = nullptr;
    record.next_ = running_;
    if (running_ != nullptr) running_->previous_ = &record;
    running_ = &record;
    return &record;
  }
  return nullptr;
}

void OffloadState::run_thread(void* context) {
  const std::unique_ptr<std::shared_ptr<OffloadState>> state(
      static_cast<std::shared_ptr<OffloadState>*>(context));
  std::unique_lock lock((*state)->mutex_);
  (*state)->serve(lock);
  --(*state)->alive_count_;
  (*state)->ended_.notify_all();
}

void OffloadState::serve(std::unique_lock<std::mutex>& lock) {
  for (;;) {
    OffloadRecord* const record = take();
    if (record == nullptr) {
      if (is_stopping_) return;
      ++idle_count_;
      work_came_.wait(lock);
      --idle_count_;
      continue;
    }
    if (idle_count_ > 0 && has_ready()) work_came_.notify_one();
    lock.unlock();
    const std::uint64_t started_ns = os::now_ns();
    record->wait_ns_ = started_ns - record->stamp_ns_;
    guarded([&] { record->run(); }, [&] { record->exception = std::current_exception(); });
    record->run_ns_ = os::now_ns() - started_ns;
    lock.lock();
    finish(*record, lock);
  }
}

void OffloadState::finish(OffloadRecord& record, std::unique_lock<std::mutex>& lock) {
  --class_of(record).running_count;
  (record.previous_ != nullptr ? record.previous_->next_ : running_) = record.next_;
  if (record.next_ != nullptr) record.next_->previous_ = record.previous_;
  if (record.port_ != nullptr) return hand_over(record);
  lock.unlock();  // its loop is gone: the closure ends here
  delete &record;
  lock.lock();
}

// The last that a thread does with a record: the loop may destroy it at once, but not itself while somebody visits it.
void OffloadState::hand_over(OffloadRecord& record) {
  OffloadPort& port = *record.port_;
  const bool is_silent = record.is_silent_;
  port.visitor_count.fetch_add(1, std::memory_order_relaxed);
  record.stage_ = Stage::done;
  record.next_ = port.done.load(std::memory_order_relaxed);
  while (!port.done.compare_exchange_weak(record.next_, &record, std::memory_order_release,
                                          std::memory_order_relaxed)) {
  }
  if (!is_silent) port.loop.bring();
  port.visitor_count.fetch_sub(1, std::memory_order_release);
  ended_.notify_all();
}

void OffloadState::stop(std::uint64_t until_ns) {
  std::unique_lock lock(mutex_);
  is_stopping_ = true;
  for (Class& one : classes_) {
    while (one.head != nullptr) {
      OffloadRecord& record = *one.head;
      unlink(record);
      record.error = Error::of(Errc::closed, Operation::offload);
      hand_over(record);
    }
  }
  for (OffloadRecord* record = running_; record != nullptr; record = record->next_)
    record->is_stop_asked_.store(true, std::memory_order_relaxed);
  work_came_.notify_all();
  while (alive_count_ > 0) {
    const std::uint64_t now = os::now_ns();
    if (now >= until_ns) break;
    ended_.wait_for(lock, Duration(until_ns - now));
  }
  const std::uint32_t left_count = alive_count_;
  const std::vector<os::Thread> threads = std::move(threads_);
  threads_.clear();
  lock.unlock();
  for (const os::Thread thread : threads) {
    left_count == 0 ? os::join_thread(thread) : os::leave_thread(thread);
  }
  if (left_count == 0) return;
  std::fprintf(stderr, "weir: an offload pool ended while work ran on %u of its threads\n",
               left_count);
}

OffloadStats OffloadState::stats() const {
  const std::lock_guard lock(mutex_);
  OffloadStats stats;
  stats.thread_count = static_cast<std::uint32_t>(threads_.size());
  for (std::size_t i = 0; i < kWorkCount; ++i) {
    stats.running_count[i] = classes_[i].running_count;
    stats.waiting_count[i] = classes_[i].waiting_count;
  }
  return stats;
}

}  // namespace detail

OffloadPool::OffloadPool(const OffloadLimits& limits)
    : state_(std::make_shared<detail::OffloadState>(limits)), stop_ns_(limits.stop_ns) {}

Result<std::unique_ptr<OffloadPool>> OffloadPool::make(const OffloadLimits& limits) {
  if (Result<void> valid = limits.validate(); !valid.ok()) return valid.error();
  return std::unique_ptr<OffloadPool>(new OffloadPool(limits));
}

OffloadPool::~OffloadPool() { state_->stop(os::now_ns() + stop_ns_); }

OffloadStats OffloadPool::stats() const { return state_->stats(); }

}  // namespace weir::inline v0
