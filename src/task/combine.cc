// Waiting for time and for the turn.
#include "weir/combine.h"

#include "src/task/task_state.h"

namespace weir::inline v0 {

Sleep sleep_until(std::uint64_t deadline_ns) { return Sleep(deadline_ns); }
Sleep sleep_for(Duration delay) { return Sleep(LoopCore::current()->deadline_after(delay)); }

void Sleep::arm() {
  node_.owner = this;
  node_.loop = LoopCore::current();
  node_.on_due = [](TimerNode& node) {
    auto& due = static_cast<Node&>(node);
    due.loop->timer_fired(true);
    due.owner->wake();
  };
  node_.loop->arm(node_, deadline_ns_, true);
}

Sleep::~Sleep() {
  if (node_.is_armed()) node_.loop->disarm(node_, true);
}

void Yield::queue() {
  LoopCore& loop = *LoopCore::current();
  loop.immediate(wake_job(loop, *task(), this));
}

Scope& Loop::scope() { return *TaskExtension::of(*core_).root; }

void Loop::spawn(Task<> task, const char* tag, SourceLocation where) {
  scope().spawn(std::move(task), tag, where);
}

}  // namespace weir::inline v0
