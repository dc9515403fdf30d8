// Scopes: children in a list, each with its task, tag and line. A child that ends while it runs is put aside and
// reaped when its resume returns, so that no frame is destroyed under its own feet.
#include "weir/scope.h"

#include <cstdio>
#include <cstdlib>

#include "src/task/task_state.h"

namespace weir::inline v0 {

bool is_running(const ScopeChild& child) {
  for (PromiseBase* promise = thread_tasks.running; promise != nullptr;
       promise = promise->awaiting()) {
    if (promise->observer() == &child) return true;
  }
  return false;
}

void reap_ended() {
  while (thread_tasks.ended != nullptr) {
    ScopeChild* const child = thread_tasks.ended;
    if (is_running(*child)) return;  // an outer resume of the same chain reaps it
    thread_tasks.ended = child->next;
    child->next = nullptr;
    if (child->task.promise().exception() == nullptr || child->is_cancel_asked) {
      child->end(nullptr);
      continue;
    }
    ++child->loop().metrics.exceptions;
    const Failure failure{Error::of(Errc::exception, Operation::run),
                          child->task.promise().exception(), child->tag, child->where};
    child->end(&failure);
  }
}

std::coroutine_handle<> ScopeChild::on_done(PromiseBase&) noexcept {
  if (!is_cancel_asked) {
    unlink();
    next = thread_tasks.ended;
    thread_tasks.ended = this;
  }
  return std::noop_coroutine();
}

void ScopeChild::on_failed(PromiseBase&, const Error& error) {
  const Failure failure{error, nullptr, tag, where};
  if (!is_cancel_asked) unlink();
  end(&failure);
}

void ScopeChild::unlink() {
  (previous != nullptr ? previous->next : belongs.scope->children_) = next;
  if (next != nullptr) next->previous = previous;
  previous = next = nullptr;
}

// Already out of its scope's list. The scope may be gone: then nobody is told, as nobody asked.
void ScopeChild::end(const Failure* failure) {
  Scope* const told = scope();
  LoopCore& core = loop();
  task.destroy();
  TaskExtension::of(core).children.destroy(*this);
  if (told == nullptr) return;
  --told->count_;
  if (failure != nullptr) {
    ++told->loop_.metrics.scopes_failed;
    told->report(*failure);
  }
  told->wake_waiters();
}

namespace {
// On the loop's clock; wraps after 49 days.
std::uint32_t milliseconds(LoopCore& loop) {
  return static_cast<std::uint32_t>(loop.now_ns() / 1'000'000);
}

LoopCore& current_loop() {
  LoopCore* const loop = LoopCore::current();
  if (loop == nullptr)
    check_failed_text(__FILE__, __LINE__, "a Scope without a loop",
                      "make a Loop on this thread first");
  return *loop;
}

// The scope of the task that runs now, else the root.
Scope* current_scope(LoopCore& loop) {
  for (PromiseBase* task = thread_tasks.running; task != nullptr; task = task->awaiting()) {
    Scope* const scope = task->observer() != nullptr ? task->observer()->scope() : nullptr;
    if (scope != nullptr && &scope->loop() == &loop) return scope;
  }
  return TaskExtension::of(loop).root.get();
}
}  // namespace

Scope::Scope(const ScopeOptions& options, SourceLocation where)
    : Scope(current_loop(), current_scope(current_loop()), options, where) {}

Scope::Scope(LoopCore& loop, Scope* parent, const ScopeOptions& options, SourceLocation where)
    : loop_(loop), options_(options), where_(where) {
  set_parent(parent);
}

void Scope::set_parent(Scope* parent) {
  if (parent_ != nullptr) {
    (previous_ != nullptr ? previous_->next_ : parent_->inner_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
  }
  parent_ = parent;
  previous_ = next_ = nullptr;
  if (parent == nullptr) return;
  next_ = std::exchange(parent->inner_, this);
  if (next_ != nullptr) next_->previous_ = this;
}

// An empty one may outlive its loop.
Scope::~Scope() {
  end_children();
  while (inner_ != nullptr) inner_->set_parent(parent_);  // they outlive this one
  set_parent(nullptr);
  if (recheck_ != nullptr) recheck_->scope = nullptr;
  for (Wait* wait = waits_; wait != nullptr; wait = wait->next_) {
    wait->is_listed_ = false;
    wait->fail_with(Error::of(Errc::scope_ended, Operation::wait));
    if (!wait->is_promised_) wait->wake_soon(loop_);
  }
}

ScopeChild* Scope::add(Task<> task, const char* tag, SourceLocation where) {
  ScopeChild* const child = &TaskExtension::of(loop_).children.make();
  child->belongs.scope = this;
  child->task = std::move(task);
  child->tag = tag;
  child->where = where;
  child->started_ms = milliseconds(loop_);
  child->next = children_;
  if (children_ != nullptr) children_->previous = child;
  children_ = child;
  ++count_;
  PromiseBase& promise = child->task.promise();
  promise.observe_by(*child);
  loop_.microtask(wake_job(loop_, promise, nullptr));
  return child;
}

void Scope::spawn(Task<> task, const char* tag, SourceLocation where) {
  loop_.check_thread();
  WEIR_CHECK(task.valid());
  WEIR_CHECK_LT(count_, options_.max_count);
  if (is_cancelled_) return;  // the task ends unstarted, as its siblings did
  add(std::move(task), tag, where);
}

bool Scope::try_spawn(Task<>& task, const char* tag, SourceLocation where) {
  loop_.check_thread();
  if (is_cancelled_ || count_ + promised_count_ >= options_.max_count) return false;
  add(std::move(task), tag, where);
  return true;
}

void Scope::cancel() {
  loop_.check_thread();
  end_children();
}

void Scope::end_children() {
  is_cancelled_ = true;
  if (children_ != nullptr) loop_.check_thread();
  while (children_ != nullptr) {
    ScopeChild* const child = children_;
    child->unlink();
    if (!is_running(*child)) {
      child->end(nullptr);
      continue;
    }
    child->is_cancel_asked = true;
    child->belongs.loop = &loop_;
    --count_;
    child->next = thread_tasks.ended;
    thread_tasks.ended = child;
  }
  wake_waiters();
}

void Scope::report(const Failure& failure) {
  for (Scope* scope = this; scope != nullptr; scope = scope->parent_) {
    if (scope->options_.on_error == nullptr && scope->parent_ != nullptr) continue;
    if (scope->options_.on_error != nullptr) {
      loop_.guard([&] { scope->options_.on_error(failure, scope->options_.context); });
    } else {
      std::fprintf(stderr, "weir: %s, started at %s:%u, ended: %s\n", failure.tag,
                   failure.where.file_name(), failure.where.line(),
                   failure.error.to_string().c_str());
    }
    break;
  }
  if (options_.policy == ScopePolicy::stop_loop) loop_.stop();
  if (options_.policy == ScopePolicy::abort) {
    check_failed_text(failure.where.file_name(), static_cast<int>(failure.where.line()),
                      failure.tag, failure.error.to_string());
  }
}

void Scope::describe(std::string& text) const {
  for (const ScopeChild* child = children_; child != nullptr; child = child->next) {
    char line[256];
    std::snprintf(line, sizeof line, "task \"%s\" from %s:%u, %u ms old\n", child->tag,
                  child->where.file_name(), child->where.line(),
                  milliseconds(loop_) - child->started_ms);
    text += line;
  }
}

// One place wakes one waiter, which stays listed until it has gone on: others must not take the place before.
void Scope::wake_waiters() {
  for (Wait** at = &waits_; *at != nullptr;) {
    Wait* const wait = *at;
    if (wait->is_promised_ || !wait->is_satisfied()) {
      at = &wait->next_;
      continue;
    }
    if (wait->until_empty_) {
      *at = wait->next_;
      wait->is_listed_ = false;
    } else {
      at = &wait->next_;
      wait->is_promised_ = true;
      ++promised_count_;
    }
    wait->wake_soon(loop_);
  }
}

void Scope::recheck_soon() {
  if (recheck_ != nullptr || waits_ == nullptr) return;
  recheck_ = &TaskExtension::of(loop_).rechecks.make();
  recheck_->scope = this;
  loop_.microtask([&loop = loop_, record = recheck_] {
    Scope* const scope = record->scope;
    TaskExtension::of(loop).rechecks.destroy(*record);
    if (scope == nullptr) return;
    scope->recheck_ = nullptr;
    scope->wake_waiters();
  });
}

bool Scope::Wait::is_satisfied() const {
  if (until_empty_) return scope_->count_ == 0;
  return scope_->count_ + scope_->promised_count_ < scope_->options_.max_count;
}

void Scope::Wait::enlist() {
  Wait** at = &scope_->waits_;
  while (*at != nullptr) at = &(*at)->next_;
  *at = this;
  is_listed_ = true;
}

// The end of the awaiting expression. Whether the task then uses its place shows when it next suspends.
Scope::Wait::~Wait() {
  if (!is_listed_) return;
  Wait** at = &scope_->waits_;
  while (*at != this) at = &(*at)->next_;
  *at = next_;
  if (!is_promised_) return;
  --scope_->promised_count_;
  scope_->recheck_soon();
}

}  // namespace weir::inline v0
