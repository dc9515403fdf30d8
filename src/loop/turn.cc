// One turn, step by step in the order of docs/internals/turn.md: clock, timers, leftovers and demoted jobs, prepare
// hooks, one poll with its deliveries, immediates, close notifications. After every callback the jobs drain.
#include "src/loop/loop_core.h"

#include <algorithm>

namespace weir::inline v0 {

bool LoopCore::run(RunMode mode) {
  check_thread();
  if (is_running_) {
    check_failed_text(__FILE__, __LINE__, "Loop::run inside run of the same loop",
                      "return from the callback and let the outer run go on");
  }
  is_running_ = true;
  RunningScope running(*this);
  after_callback();
  if (mode == RunMode::until_done) {
    while (is_alive() && !is_stopping()) turn_once(mode);
  } else if (!is_stopping()) {
    turn_once(mode);
  }
  is_running_ = false;
  is_stopped_.store(false, std::memory_order_relaxed);
  return is_alive();
}

void LoopCore::turn_once(RunMode mode) {
  ++metrics.turns;
  budget_ = room_ = limits.completions_per_turn;
  is_now_valid_ = false;
  if (has_work_ || has_returns_.load(std::memory_order_relaxed)) [[unlikely]]
    do_work_before_poll();
  ++metrics.polls;
  telling_ = Telling::allowed;
  backend_->poll(poll_deadline(mode), *this);
  if (telling_ < Telling::begun) {
    deliver_first();
  } else {
    budget_ -= std::min(budget_, static_cast<std::uint32_t>(metrics.completions - told_from_));
    if (has_queued_) deliver_control();
  }
  telling_ = Telling::off;
  if (has_queued_) deliver_data();
  if (has_work_) do_work_after_poll();
}

// What the steps before the poll have to do, and whether anything is left to later ones.
[[gnu::noinline]] void LoopCore::do_work_before_poll() {
  if (!cancels_.empty()) watch_cancels();
  if (has_returns_.load(std::memory_order_relaxed)) collect_returns();
  if (!wheel_.empty()) fire_timers();
  if (!deferred_.empty() || !data_.empty()) deliver_leftovers();
  if (!demoted_.empty()) run_demoted();
  if (prepare_ != nullptr) run_prepare_hooks();
  room_ = budget_ - std::min(budget_, data_.size());
  has_work_ = has_work_left() || !cancels_.empty() || !wheel_.empty() || prepare_ != nullptr;
}

[[gnu::noinline]] void LoopCore::do_work_after_poll() {
  if (!immediates_.empty()) run_immediates();
  if (close_head_ != nullptr) run_close_notifications();
}

inline std::uint64_t LoopCore::poll_deadline(RunMode mode) {
  if (mode == RunMode::no_wait || is_stopping() || active_ == 0 || !posts_.empty()) return 0;
  const std::uint64_t own = backend_->next_deadline();
  return has_work_ ? work_deadline(own) : own;
}

// For a foreign loop, which goes on also when nothing here keeps this one alive: only what is really due is 0.
std::uint64_t LoopCore::next_deadline_ns() {
  const bool is_due = is_stopping() || has_jobs() || flush_head_ != nullptr ||
                      has_returns_.load(std::memory_order_relaxed) || backend_->pending_hint();
  return is_due ? 0 : work_deadline(backend_->next_deadline());
}

// Is anything to do now, or before `own`?
[[gnu::noinline]] std::uint64_t LoopCore::work_deadline(std::uint64_t own) {
  if (has_work_left()) return 0;
  for (const auto& [id, since_ns] : cancels_) {
    if (!is_cancelling(id)) continue;  // it has ended since watch_cancels()
    own = std::min(own, since_ns + limits.cancel_report_ns);
    break;
  }
  return wheel_.empty() ? own : std::min(wheel_.next_deadline_ns(), own);
}

void LoopCore::fire_timers() {
  const std::uint64_t now = now_ns();
  const std::size_t fired = wheel_.expire(now, limits.timers_per_turn, [this](TimerNode& node) {
    callback([&node] { node.on_due(node); });
  });
  metrics.timers_fired += fired;
  if (fired == limits.timers_per_turn) ++metrics.timer_budget_hits;
}

// What sockets and the delivery budget left over: the sockets that had used up their bytes come first, in order.
void LoopCore::deliver_leftovers() {
  for (std::uint32_t count = deferred_.size(); count > 0 && budget_ > 0; --count, --budget_) {
    const Completion completion = deferred_.front();
    ++deferred_.head;
    deliver(completion);
  }
  if (deferred_.empty() && budget_ > 0) deliver_data();
}

// After the poll, or before the first bytes that it tells: control, then posts.
inline void LoopCore::deliver_first() {
  is_now_valid_ = false;
  if (has_queued_) deliver_control();
  if (!posts_.empty()) deliver_posts();
}

// The first bytes of a turn's poll, or some that have to be queued. True: they may be told.
bool LoopCore::begin_telling(const RecvOp& op) {
  if (telling_ == Telling::allowed && room_ != 0 && data_.empty()) {
    deliver_first();
    told_from_ = metrics.completions;
    until_ns_ = 0;
    telling_ = Telling::begun;
    has_queued_ = !data_.empty();
  }
  return may_tell(op);
}

void LoopCore::look_at_budget() {
  if (is_out_of_time()) room_ = budget_ = 0;
  if (room_ == 0) telling_ = Telling::spent;
}

// A look at the clock; the first of a turn only starts the time.
bool LoopCore::is_out_of_time() {
  const std::uint64_t now = backend_->now();
  if (until_ns_ == 0) until_ns_ = now + limits.deliver_time_ns;
  return now >= until_ns_;
}

void LoopCore::deliver_control() {
  for (std::uint32_t count = control_.size(); count > 0; --count) {
    const Completion completion = control_.front();
    ++control_.head;
    deliver(completion);
  }
}

void LoopCore::deliver_posts() {
  const std::size_t count = posts_.drain(limits.posts_per_turn, [this](Job job) { run_job(job); });
  metrics.posts_run += count;
  if (count == limits.posts_per_turn) ++metrics.post_budget_hits;
}

// An exception ends the callback it escapes from; the deliveries go on behind it.
void LoopCore::deliver_data() {
  until_ns_ = 0;
  while (budget_ > 0 && !data_.empty()) {
    guard([this] { deliver_some(); });
    after_callback();
  }
  has_queued_ = !data_.empty() || !control_.empty();
  if (data_.empty()) return;
  has_work_ = true;
  ++metrics.deliver_budget_hits;
}

void LoopCore::deliver_some() {
  do {
    const Completion completion = data_.front();
    ++data_.head;
    --budget_;
    deliver_one(completion);
    is_followed(completion) ? drain_jobs() : after_callback();
    if (budget_ % kClockEvery == 0 && is_out_of_time()) [[unlikely]]
      budget_ = 0;
  } while (budget_ > 0 && !data_.empty());
}

// More bytes of the same receive come next: what their owner writes leaves behind them, in one send.
bool LoopCore::is_followed(const Completion& completion) {
  return completion.has(kMore) && completion.has(kBuf) && budget_ > 0 && !data_.empty() &&
         data_.front().id == completion.id && data_.front().has(kBuf);
}

void LoopCore::deliver(const Completion& completion) {
  callback([&] { deliver_one(completion); });
}

// Hands one completion to its op, unless its socket has had its bytes for this turn: then it waits, in order.
inline void LoopCore::deliver_one(const Completion& completion) {
  Op* const op = ops.find(completion.id);
  if (op == nullptr) return on_unowned(completion);
  if (completion.has(kBuf)) {
    const auto mark = static_cast<std::uint16_t>(metrics.turns);
    if (op->turn_mark != mark) {
      op->turn_mark = mark;
      op->turn_bytes = completion.length;
    } else if (op->turn_bytes < limits.bytes_per_socket_turn) {
      op->turn_bytes += completion.length;
    } else {
      ++metrics.socket_budget_hits;
      return defer(completion);
    }
  } else if (completion.has(kHandle)) {
    if (has_had_its_accepts(*op)) return defer(completion);
  } else if (op->undelivered > 1 && !deferred_.empty() && is_behind_deferred(*op)) {
    return defer(completion);  // an end or an error must not overtake what came before it
  }
  --op->undelivered;
  ++metrics.completions;
  if (completion.is_terminal()) {
    end(*op);
    if (op->is_timed) return deliver_timed(*op, completion);
  }
  op->on_complete(*op, completion);
}

// A kernel that accepts by itself brings more than a listener may give in one turn.
bool LoopCore::has_had_its_accepts(Op& op) {
  const auto mark = static_cast<std::uint16_t>(metrics.turns);
  if (std::exchange(op.turn_mark, mark) != mark) op.turn_bytes = 0;
  const std::uint32_t own_max = static_cast<const AcceptOp&>(op).accepts_max;
  const std::uint32_t accepts_max = own_max != 0 ? own_max : limits.accepts_per_turn;
  if (++op.turn_bytes <= accepts_max) return false;
  metrics.accept_budget_hits += op.turn_bytes == accepts_max + 1;
  return true;
}

bool LoopCore::is_behind_deferred(const Op& op) {
  for (std::uint32_t at = deferred_.head; at != deferred_.tail; ++at) {
    if (deferred_.slots[at & (deferred_.slots.size() - 1)].id == op.id) return true;
  }
  return false;
}

// The terminal of an op with a deadline: if the deadline cancelled it and nothing moved, it timed out.
void LoopCore::deliver_timed(Op& op, Completion completion) {
  auto& deadline = static_cast<OpDeadline&>(ops.take_timed(op));
  if (deadline.has_fired && completion.result == -static_cast<std::int32_t>(Errc::cancelled)) {
    completion.result = -static_cast<std::int32_t>(Errc::timed_out);
  }
  drop_deadline(deadline);
  op.on_complete(op, completion);
}

// No owner: the memory goes home, and the counter says that it happened.
void LoopCore::on_unowned(const Completion& completion) {
  if (completion.has(kBuf) && completion.group == group->group()) {
    group->loan(&group->at(completion.buffer), completion.offset, completion.length, nullptr)
        .reset();
  }
  if (completion.has(kNotif)) {
    metrics.zero_copy_copied += completion.has(kCopied);
  } else {
    ++metrics.stale_completions;
  }
}

void LoopCore::run_demoted() {
  const std::size_t count = std::min<std::size_t>(demoted_.size(), limits.demoted_per_turn);
  for (std::size_t i = 0; i < count; ++i) {
    Job job = demoted_.pop();
    run_job(job);
  }
}

void LoopCore::run_prepare_hooks() {
  for (PrepareHook* hook = prepare_; hook != nullptr;) {
    prepare_next_ = hook->next_;  // a hook may unhook itself or its successor
    callback([hook] { hook->job_(); });
    hook = prepare_next_;
  }
}

void LoopCore::run_immediates() {
  const std::size_t count = immediates_.size();
  for (std::size_t i = 0; i < count; ++i) {
    Job job = immediates_.pop();
    run_job(job);
  }
  metrics.immediates_run += count;
}

void LoopCore::run_close_notifications() {
  LoopClient* const last = close_tail_;
  for (LoopClient* client = nullptr; client != last && close_head_ != nullptr;) {
    client = &take(close_head_);
    LoopClient* const current = client;
    callback([current] { current->close_notification(); });
  }
}

void LoopCore::run_job(Job& job) {
  running_ = job.where();
  callback([&job] { job.run(); });
}

// After a callback: all ticks, then all microtasks, and again while there are any. What the callback itself queued
// always runs; of what those jobs queue in turn, `descendants_per_drain` run here and the rest is demoted.
void LoopCore::drain() {
  has_jobs_due_ = false;
  std::size_t own_ticks = ticks_.size();
  std::size_t own_microtasks = microtasks_.size();
  std::uint64_t left =
      order_ == OrderPolicy::strict ? ~std::uint64_t{0} : limits.descendants_per_drain;
  const auto run_all = [&](JobQueue& queue, std::size_t& own, std::uint64_t& counter) {
    while (!queue.empty()) {
      Job job = queue.pop();
      if (own > 0) {
        --own;
      } else if (left > 0) {
        --left;
      } else {
        demote(std::move(job));
        continue;
      }
      ++counter;
      running_ = job.where();
      guard([&job] { job.run(); });
    }
  };
  do {
    run_all(ticks_, own_ticks, metrics.ticks_run);
    run_all(microtasks_, own_microtasks, metrics.microtasks_run);
  } while (!ticks_.empty());
  has_jobs_due_ = false;
}

void LoopCore::demote(Job job) {
  ++metrics.demoted_jobs;
  last_demoted_ = job.where();
  demoted_.push(std::move(job));
  has_work_ = true;
}

// An op with no terminal long after its cancel is a bug of the backend or the kernel: say so once, by name.
void LoopCore::watch_cancels() {
  std::size_t done = 0;
  for (; done < cancels_.size(); ++done) {
    const auto [id, since_ns] = cancels_[done];
    if (!is_cancelling(id)) continue;
    if (now_ns() - since_ns < limits.cancel_report_ns) break;
    ++metrics.stuck_ops;
    print_stuck(*ops.find(id), now_ns() - since_ns);
  }
  cancels_.erase(cancels_.begin(), cancels_.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace weir::inline v0
