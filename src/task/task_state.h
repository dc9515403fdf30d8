// What the task layer keeps: per thread the chain that runs and the children that ended in it; per loop the tickets
// for wake-ups, the records of children, and the root scope.
#pragma once
#include <memory>

#include "src/loop/loop_core.h"
#include "src/loop/record_slab.h"
#include "weir/scope.h"
#include "weir/task.h"

namespace weir::inline v0 {

/// One child of a scope: its task, and whom to tell.
struct ScopeChild final : TaskObserver {
  union Belongs {
    Scope* scope = nullptr;
    LoopCore* loop;  // is_cancel_asked: the scope may be gone while the child still runs
  } belongs;
  ScopeChild* previous = nullptr;
  ScopeChild* next = nullptr;  // in its scope, or among the ended
  Task<> task;
  const char* tag = "";
  SourceLocation where;
  std::uint32_t started_ms = 0;
  bool is_cancel_asked = false;

  std::coroutine_handle<> on_done(PromiseBase& promise) noexcept override;
  void on_failed(PromiseBase& promise, const Error& error) override;
  Scope* scope() const override { return is_cancel_asked ? nullptr : belongs.scope; }
  LoopCore& loop() const { return is_cancel_asked ? *belongs.loop : belongs.scope->loop(); }
  /// Takes it out of its scope, destroys the task, and gives the record back.
  void end(const Failure* failure);
  void unlink();
};

/// A job that looks again whether somebody waits for a place; the scope may be gone by then.
struct ScopeRecheck {
  Scope* scope = nullptr;
};

struct ThreadTasks {
  PromiseBase* running = nullptr;  // the promise that was resumed last and has not suspended yet
  ScopeChild* ended =
      nullptr;  // done or asked to end while running; reaped when the resume returns
};
WEIR_FAST_TLS extern constinit thread_local ThreadTasks thread_tasks;

/// Is `child` in the chain that runs now?
bool is_running(const ScopeChild& child);
void reap_ended();

struct TaskExtension final : LoopExtension {
  explicit TaskExtension(LoopCore& loop_core);
  ~TaskExtension() override;
  void on_shutdown() override { root->cancel(); }
  void describe(std::string& text) const override { root->describe(text); }
  static TaskExtension& of(LoopCore& loop);

  LoopCore& loop;
  RecordSlab<WakeTicket> tickets;
  RecordSlab<ScopeChild> children;
  RecordSlab<ScopeRecheck> rechecks;
  std::unique_ptr<Scope> root;
};

/// A ticket that wakes `task` when passed to wake_by_ticket; freed there.
WakeTicket& make_ticket(LoopCore& loop, PromiseBase& task, Waiter* waiter);
void wake_by_ticket(WakeTicket& ticket);

/// The job that does it.
inline Job wake_job(LoopCore& loop, PromiseBase& task, Waiter* waiter) {
  WakeTicket* const ticket = &make_ticket(loop, task, waiter);
  return Job([ticket] { wake_by_ticket(*ticket); });
}

}  // namespace weir::inline v0
