// Loop and Timer: the public face of LoopCore.
#include "weir/loop.h"

#include <cstring>

#include "src/loop/loop_core.h"

namespace weir::inline v0 {

Loop::Loop(std::unique_ptr<LoopCore> core) : core_(std::move(core)) { core_->facade = this; }
Loop::~Loop() = default;

Result<std::unique_ptr<Loop>> Loop::make(const LoopOptions& options) {
  if (Result<void> valid = options.limits.validate(); !valid.ok()) return valid.error();
  auto core = std::make_unique<LoopCore>(options);
  if (Result<void> started = core->start(options.backend); !started.ok()) return started.error();
  return std::unique_ptr<Loop>(new Loop(std::move(core)));
}

bool Loop::run(RunMode mode) { return core_->run(mode); }
void Loop::stop() {
  core_->check_thread();
  core_->stop();
}
void Loop::stop_soon() { core_->stop_soon(); }
bool Loop::is_running() const {
  core_->check_thread();
  return core_->is_running();
}
bool Loop::is_alive() const {
  core_->check_thread();
  return core_->is_alive();
}
Loop* Loop::current() {
  LoopCore* const core = LoopCore::current();
  return core != nullptr ? core->facade : nullptr;
}

void Loop::tick(Job job) {
  core_->check_thread();
  core_->tick(std::move(job));
}
void Loop::microtask(Job job) {
  core_->check_thread();
  core_->microtask(std::move(job));
}
void Loop::immediate(Job job) {
  core_->check_thread();
  core_->immediate(std::move(job));
}
void Loop::prepare(PrepareHook& hook, Job job) {
  core_->check_thread();
  core_->add_prepare(hook, std::move(job));
}
Posted Loop::post(Job&& job) { return core_->post(std::move(job)); }

std::uint64_t Loop::now_ns() const {
  core_->check_thread();
  return core_->now_ns();
}
bool Loop::should_yield() const {
  core_->check_thread();
  return core_->should_yield();
}
const Limits& Loop::limits() const { return core_->limits; }
const Metrics& Loop::metrics() const {
  core_->check_thread();
  return core_->current_metrics();
}
const Caps& Loop::caps() const { return core_->backend().caps(); }
const std::string& Loop::backend_reason() const { return core_->backend_reason; }
Backend& Loop::backend() { return core_->backend(); }
OpTable& Loop::ops() { return core_->ops; }
Ledger& Loop::ledger() { return core_->ledger; }
Pool& Loop::receive_group() { return *core_->group; }
Buf Loop::allocate(std::size_t size_bytes, SourceLocation where) {
  core_->check_thread();
  return core_->allocate(size_bytes, where);
}
Buf Loop::copy_of(std::string_view text, SourceLocation where) {
  core_->check_thread();
  return core_->copy_of(text, where);
}
std::string Loop::report() const {
  core_->check_thread();
  return core_->report();
}

std::intptr_t Loop::wait_handle() const {
  core_->check_thread();
  return core_->backend().wait_handle();
}
std::uint64_t Loop::next_deadline_ns() const {
  core_->check_thread();
  return core_->next_deadline_ns();
}

void Loop::submit(Op& op, std::uint64_t deadline_ns) {
  core_->check_thread();
  core_->submit(op, deadline_ns);
}
void Loop::cancel(Op& op) {
  core_->check_thread();
  core_->cancel(op);
}

Timer::Timer(Loop& loop) : loop_(&loop.core()) {
  node_.owner = this;
  node_.on_due = [](TimerNode& node) {
    Timer& timer = *static_cast<Node&>(node).owner;
    timer.loop_->timer_fired(timer.is_ref_);
    Job job = std::move(timer.job_);  // which may arm the timer again, or destroy it
    job.run();
  };
}

void Timer::arm(Duration delay, Job job) {
  loop_->check_thread();
  arm_at(loop_->deadline_after(delay), std::move(job));
}

void Timer::arm_at(std::uint64_t deadline_ns, Job job) {
  loop_->check_thread();
  job_ = std::move(job);
  loop_->arm(node_, deadline_ns, is_ref_);
}

void Timer::extend(Duration delay) {
  loop_->check_thread();
  if (node_.is_armed()) loop_->arm(node_, loop_->deadline_after(delay), is_ref_);
}

bool Timer::cancel() {
  loop_->check_thread();
  job_.reset();
  return node_.is_armed() && loop_->disarm(node_, is_ref_);
}

// The loop may be gone, and has disarmed it then.
Timer::~Timer() {
  if (node_.is_armed()) cancel();
}

bool Timer::is_armed() const { return node_.is_armed(); }

void Timer::unref() {
  loop_->check_thread();
  if (is_ref_ && node_.is_armed()) loop_->add_active(-1);
  is_ref_ = false;
}
void Timer::ref() {
  loop_->check_thread();
  if (!is_ref_ && node_.is_armed()) loop_->add_active(1);
  is_ref_ = true;
}

}  // namespace weir::inline v0
