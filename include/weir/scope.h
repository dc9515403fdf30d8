// Scope: the only way to start something that outlives the line. Each child is a task with a tag and a source line;
// an error or exception that escapes from it ends that child only, and the scope's on_error hears of it. A scope ends
// when its children have ended; destroying it ends them.
#pragma once
#include <cstdint>

#include "weir/loop.h"
#include "weir/source_location.h"
#include "weir/task.h"

namespace weir::inline v0 {

class Scope;
struct ScopeChild;
struct ScopeRecheck;

/// What ended a child.
struct Failure {
  Error error;                   ///< Errc::exception when an exception escaped
  std::exception_ptr exception;  ///< null for an error
  const char* tag = "";
  SourceLocation where;  ///< the line that spawned it
};

enum class ScopePolicy : std::uint8_t {
  close,      ///< end the child, tell on_error, go on
  stop_loop,  ///< and stop the loop
  abort,      ///< and abort the process, with the failure's text
};

struct ScopeOptions {
  std::uint32_t max_count = 65'536;  ///< children at once
  void (*on_error)(const Failure& failure,
                   void* context) = nullptr;  ///< null: the parent's, at the root standard error
  void* context = nullptr;
  ScopePolicy policy = ScopePolicy::close;
};

/// Owner:   whoever made it; usually a local of the task that spawns into it.
/// Threads: the loop's own.
class WEIR_API Scope {
 public:
  /// Under the scope of the task that runs, else under the loop's root.
  explicit Scope(const ScopeOptions& options = {},
                 SourceLocation where = SourceLocation::current());
  Scope(LoopCore& loop, Scope* parent, const ScopeOptions& options, SourceLocation where);
  ~Scope();  ///< cancels what still runs
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  /// Starts `task` as a child, after the current callback. `tag` is static text.
  /// Misuse: more than max_count children abort; ask has_room() first, or try_spawn.
  void spawn(Task<> task, const char* tag, SourceLocation where = SourceLocation::current());
  /// False when the scope is full or was cancelled: the task is untouched.
  bool try_spawn(Task<>& task, const char* tag, SourceLocation where = SourceLocation::current());

  /// Operations: `co_await scope.has_room()`, `co_await scope.join()`.
  class [[nodiscard]] Wait : public Waiter {
   public:
    Wait(Scope& scope, bool until_empty) : scope_(&scope), until_empty_(until_empty) {}
    Wait(Wait&& other) noexcept = default;
    ~Wait();
    bool await_ready() const { return is_satisfied(); }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      wait_in(handle.promise());
      enlist();
      return true;
    }
    void await_resume() const noexcept {}

   private:
    friend class Scope;
    bool is_satisfied() const;
    WEIR_API void enlist();
    Scope* scope_;
    Wait* next_ = nullptr;
    bool until_empty_;
    bool is_listed_ = false;
    bool is_promised_ = false;  // a place is kept for it until it has gone on
  };
  /// A place that comes free is kept for who waited first, until its task has gone on.
  Wait has_room() { return Wait(*this, false); }
  Wait join() { return Wait(*this, true); }

  /// Ends all children; the one that runs now ends at its next suspension. New ones are refused from here on.
  void cancel();
  std::uint32_t count() const { return count_; }
  bool is_cancelled() const { return is_cancelled_; }
  LoopCore& loop() const { return loop_; }

  // For the task layer.
  void report(const Failure& failure);
  void describe(std::string& text) const;  ///< a line a child, with its age

 private:
  friend struct ScopeChild;
  ScopeChild* add(Task<> task, const char* tag, SourceLocation where);
  void set_parent(Scope* parent);
  void end_children();
  void wake_waiters();
  void recheck_soon();

  LoopCore& loop_;
  Scope* parent_ = nullptr;
  Scope* inner_ = nullptr;     // scopes whose parent this is
  Scope* previous_ = nullptr;  // among those of its parent
  Scope* next_ = nullptr;
  ScopeOptions options_;
  SourceLocation where_;
  ScopeChild* children_ = nullptr;
  Wait* waits_ = nullptr;  // oldest first
  ScopeRecheck* recheck_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t promised_count_ = 0;
  bool is_cancelled_ = false;
};

}  // namespace weir::inline v0
