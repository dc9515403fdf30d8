// How weir carries out each step of a program. What is different from node.js is the task: it waits with co_await.
#include "tests/order/programs/machine.h"

#include <memory>
#include <stdexcept>

#include "src/loop/loop_core.h"

namespace weir::test {

namespace {

ScopeOptions silent() {
  ScopeOptions options;
  options.on_error = [](const Failure&, void*) {};
  return options;
}

/// Waits as long as a microtask: `await null` of JavaScript.
struct Hop : Waiter {
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_in(handle.promise());
    wake_soon_on_current_loop(*this);
  }
  void await_resume() const noexcept {}
};

}  // namespace

// What programs throw is meant to escape, and says nothing.
Machine::Machine(Loop& loop, Inputs& inputs, bool is_for_node)
    : loop_(loop),
      inputs_(inputs),
      is_for_node_(is_for_node),
      scope_(loop.core(), &loop.scope(), silent(), SourceLocation::current()) {
  loop.core().set_escape_hook(
      [](LoopCore&, std::exception_ptr, const SourceLocation&) {});  // NOLINT: the hook's type
}

const char* Machine::file() { return SourceLocation::current().file_name(); }

std::string Machine::run(const Program& program, const std::function<bool()>& turn) {
  program_ = &program;
  trace_.clear();
  pending_ = {};
  ++pending_.immediates;
  loop_.immediate([this] {
    --pending_.immediates;
    body(0, false);
  });
  while (!pending_.is_over() || pending_.endless > 0) {
    if (turn()) continue;
    note("(stuck)");
    break;
  }
  inputs_.reset();
  return trace_;
}

void Machine::note(const std::string& text) { trace_ += (trace_.empty() ? "" : " ") + text; }

void Machine::note_once(const std::string& text) {
  if (!trace_.ends_with(text)) note(text);
}

Job Machine::at(Do what, std::function<void()> function, SourceLocation where) {
  lines_[what] = where.line();
  return Job(std::move(function), where);
}

void Machine::body(int id, bool is_job_of_promise) {
  note(std::to_string(id));
  for (const Step& step : program_->nodes[static_cast<std::size_t>(id)]) {
    if (step.what == Do::fail) {
      fail(id, is_job_of_promise);
    } else {
      queue(step);
    }
  }
}

void Machine::fail(int id, bool is_job_of_promise) {
  if (!pending_.may_fail(is_job_of_promise, is_for_node_)) return;
  note(std::to_string(id) + "x");
#if defined(__cpp_exceptions)
  throw std::runtime_error("a step of a program");
#endif
}

void Machine::queue(const Step& step) {
  const int first = step.first, second = step.second;
  const auto run_node = [this, first] { body(first, false); };
  switch (step.what) {
    case Do::tick:
      ++pending_.ticks;
      return loop_.tick(at(Do::tick, [this, run_node] {
        --pending_.ticks;
        run_node();
      }));
    case Do::microtask:
      ++pending_.microtasks;
      return loop_.microtask(at(Do::microtask, [this, first] {
        --pending_.microtasks;
        body(first, true);
      }));
    case Do::promise:
      ++pending_.microtasks;
      return loop_.microtask(at(Do::promise, [this, first, second] {
        --pending_.microtasks;
        body(first, true);
        queue({Do::microtask, second});
      }));
    case Do::task: ++pending_.microtasks; return scope_.spawn(task(first, false), "a program's");
    case Do::ticks:
    case Do::microtasks: return chain(step.what, second, first);
    case Do::post:
      ++pending_.posts;
      static_cast<void>(loop_.post(at(Do::post, [this, run_node] {
        --pending_.posts;
        run_node();
      })));
      return;
    case Do::endless: ++pending_.endless; return endless(second != 0, first);
    default: return macro(step.what, second, run_node);
  }
}

void Machine::chain(Do what, int left, int last) {
  const bool is_ticks = what == Do::ticks;
  ++(is_ticks ? pending_.ticks : pending_.microtasks);
  const auto link = [this, what, left, last, is_ticks] {
    --(is_ticks ? pending_.ticks : pending_.microtasks);
    if (left == 1) return body(last, !is_ticks);
    chain(what, left - 1, last);
  };
  Job job = at(what, link);
  is_ticks ? loop_.tick(std::move(job)) : loop_.microtask(std::move(job));
}

void Machine::endless(bool is_ticks, int id) {
  const auto link = [this, is_ticks, id] {
    note("e");
    if (pending_.is_over()) {
      --pending_.endless;
    } else {
      endless(is_ticks, id);
    }
  };
  Job job = at(Do::endless, link);
  is_ticks ? loop_.tick(std::move(job)) : loop_.microtask(std::move(job));
}

void Machine::arm(int delay, std::function<void()> job) {
  struct Once {
    Timer timer;
    std::function<void()> job;
  };
  auto* const once = new Once{Timer(loop_), std::move(job)};
  once->timer.arm(delay * kTimerUnit, [once] {
    const std::unique_ptr<Once> owner(once);
    owner->job();
  });
}

void Machine::macro(Do wanted, int delay, std::function<void()> job) {
  const Do what = pending_.macro(wanted, inputs_.has_free(), is_for_node_, program_->is_apart);
  ++pending_.of(what);
  auto counted = [this, what, job = std::move(job)] {
    --pending_.of(what);
    job();
  };
  if (what == Do::microtask) return loop_.microtask(std::move(counted));
  if (what == Do::immediate) return loop_.immediate(std::move(counted));
  if (what == Do::input) return inputs_.await(std::move(counted));
  arm(is_for_node_ ? 1 : delay, std::move(counted));
}

// Each waits in weir's own way, and goes on where the callback would have run; node adds a microtask.
Task<> Machine::wait_for(Do wanted, int delay) {
  const Do what = pending_.macro(wanted, inputs_.has_free(), is_for_node_, program_->is_apart);
  ++pending_.of(what);
  if (what == Do::microtask) co_await Hop();
  if (what == Do::immediate) co_await yield();
  if (what == Do::input) co_await inputs_.read();
  if (what == Do::timer) co_await sleep_for((is_for_node_ ? 1 : delay) * kTimerUnit);
  --pending_.of(what);
}

Task<> Machine::task(int id, bool is_called) {
  if (!is_called) --pending_.microtasks;
  note(std::to_string(id));
  const std::vector<Step>& steps = program_->nodes[static_cast<std::size_t>(id)];
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step step = steps[i];
    bool hops = is_for_node_;
    std::string end;
    switch (step.what) {
      case Do::fail: fail(id, true); continue;
      case Do::hop: hops = true; break;
      case Do::pause: co_await wait_for(Do::immediate, 0); break;
      case Do::read: co_await wait_for(Do::input, 0); break;
      case Do::sleep: co_await wait_for(Do::timer, step.second); break;
      case Do::call:
#if defined(__cpp_exceptions)
        try {
          co_await task(step.first, true);
        } catch (const std::runtime_error&) {
          end = "c";
        }
#else
        co_await task(step.first, true);
#endif
        break;
      default: queue(step); continue;
    }
    if (hops) {
      ++pending_.microtasks;
      co_await Hop();
      --pending_.microtasks;
    }
    note(std::to_string(id) + "." + std::to_string(i) + end);
  }
}

}  // namespace weir::test
