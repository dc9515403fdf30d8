// How tasks wait, go on and end. Path of a failure: Waiter::wake -> PromiseBase::fail -> up the chain of awaiting tasks
// -> a catcher's parent goes on, or an observer destroys the chain. Always from the deliver step or a job.
#include "src/task/frame_pool.h"
#include "src/task/task_state.h"

namespace weir::inline v0 {

constinit thread_local ThreadTasks thread_tasks;

void* PromiseBase::operator new(std::size_t size_bytes) { return take_frame(size_bytes); }
void PromiseBase::operator delete(void* frame, std::size_t size_bytes) noexcept {
  give_frame(frame, size_bytes);
}

void Waiter::wake() {
  PromiseBase* const task = std::exchange(task_, nullptr);
  if (has_failed() && !catches()) {
    const Error error = this->error();  // `this` lies in a frame that goes away
    task->fail(error);
  } else {
    task->resume();
  }
}

void Waiter::wake_soon(LoopCore& loop) { loop.microtask(wake_job(loop, *task_, this)); }

void wake_soon_on_current_loop(Waiter& waiter) { waiter.wake_soon(*LoopCore::current()); }

std::coroutine_handle<> PromiseBase::finish() noexcept {
  // Whoever awaits goes on in the same resume(), and this frame goes.
  if (thread_tasks.running == this) thread_tasks.running = awaiting();
  if (is_starting_)
    return std::noop_coroutine();  // who awaits goes on when start_awaited() returns
  switch (by_kind_) {
    case AwaitedBy::task: return by_.task->handle_;
    case AwaitedBy::catcher: return by_.catcher->parent->handle_;
    case AwaitedBy::observer: return by_.observer->on_done(*this);
    case AwaitedBy::nobody: break;
  }
  return std::noop_coroutine();
}

void PromiseBase::fail(const Error& error) {
  PromiseBase* top = this;
  while (top->by_kind_ == AwaitedBy::task) top = top->by_.task;
  if (top->by_kind_ == AwaitedBy::catcher) {
    Catcher& catcher = *top->by_.catcher;
    PromiseBase* const parent = catcher.parent;
    catcher.on_error(catcher, error);
    return parent->resume();
  }
  WEIR_CHECK(top->by_kind_ == AwaitedBy::observer);
  top->by_.observer->on_failed(*top, error);
}

void PromiseBase::resume() {
  PromiseBase* const outer = std::exchange(thread_tasks.running, this);
  handle_.resume();
  thread_tasks.running = outer;
  if (thread_tasks.ended != nullptr) reap_ended();
}

PromiseBase* PromiseBase::awaiting() const {
  switch (by_kind_) {
    case AwaitedBy::task: return by_.task;
    case AwaitedBy::catcher: return by_.catcher->parent;
    case AwaitedBy::observer: return by_.observer->awaiting();
    case AwaitedBy::nobody: break;
  }
  return nullptr;
}

WakeTicket& make_ticket(LoopCore& loop, PromiseBase& task, Waiter* waiter) {
  WEIR_CHECK(task.ticket_ == nullptr);  // a task waits for one thing at a time
  WakeTicket* const ticket = &TaskExtension::of(loop).tickets.make();
  ticket->task = &task;
  ticket->waiter = waiter;
  task.ticket_ = ticket;
  return *ticket;
}

void wake_by_ticket(WakeTicket& ticket) {
  PromiseBase* const task = ticket.task;
  Waiter* const waiter = ticket.waiter;
  TaskExtension::of(*LoopCore::current()).tickets.destroy(ticket);
  if (task == nullptr) return;  // destroyed while it waited
  task->ticket_ = nullptr;
  if (waiter != nullptr) {
    waiter->wake();
  } else {
    task->resume();
  }
}

TaskExtension::TaskExtension(LoopCore& loop_core) : loop(loop_core) {
  root = std::make_unique<Scope>(loop, nullptr, ScopeOptions{}, SourceLocation::current());
  loop.set_escape_hook(
      [](LoopCore& core, std::exception_ptr exception, const SourceLocation& where) {
        Failure failure{Error::of(Errc::exception, Operation::run), std::move(exception),
                        "callback", where};
        TaskExtension::of(core).root->report(failure);
      });
}

TaskExtension::~TaskExtension() = default;

TaskExtension& TaskExtension::of(LoopCore& loop) {
  std::unique_ptr<LoopExtension>& slot = loop.extensions[static_cast<int>(Extension::task)];
  if (slot == nullptr) slot = std::make_unique<TaskExtension>(loop);
  return static_cast<TaskExtension&>(*slot);
}

}  // namespace weir::inline v0
