// Each part names the sentences that it is.
#include "tests/order/programs/model.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace weir::test {

namespace {
template <typename T>
T pop(std::deque<T>& queue) {
  T front = std::move(queue.front());
  queue.pop_front();
  return front;
}
}  // namespace

std::string Model::run(const Program& program) {
  program_ = &program;
  ++pending_.immediates;
  immediates_.emplace_back([this] {
    --pending_.immediates;
    body(0);
  });
  while (!pending_.is_over() || pending_.endless > 0) turn();
  return trace_;
}

void Model::turn() {  // T1
  delivered_ = 0;
  run_timers();
  deliver_data();
  run_demoted();
  poll();
  deliver_posts();  // T11
  deliver_data();
  run_immediates();
}

void Model::run_timers() {  // T3, T4, T6
  const std::uint64_t armed_before = timer_number_;
  for (std::uint32_t count = 0; count < limits_.timers_per_turn; ++count) {
    const auto is_due = [&](const Timer& timer) {
      return timer.deadline_ns <= now_ns_ && timer.number < armed_before;
    };
    const auto first =
        std::min_element(timers_.begin(), timers_.end(), [&](const Timer& a, const Timer& b) {
          return std::tuple(!is_due(a), a.deadline_ns, a.number) <
                 std::tuple(!is_due(b), b.deadline_ns, b.number);
        });
    if (first == timers_.end() || !is_due(*first)) return;
    const Function run = std::move(first->run);
    timers_.erase(first);
    callback(run);
  }
}

void Model::run_demoted() {  // T8
  const std::size_t count = std::min<std::size_t>(demoted_.size(), limits_.demoted_per_turn);
  for (std::size_t i = 0; i < count; ++i) callback(pop(demoted_).run);
}

void Model::poll() {  // T10
  if (!trace_.ends_with('|')) note("|");
  const auto next = std::min_element(
      timers_.begin(), timers_.end(),
      [](const Timer& a, const Timer& b) { return a.deadline_ns < b.deadline_ns; });
  if (!has_something_to_do() && arriving_.empty() && next != timers_.end() &&
      next->deadline_ns > now_ns_) {
    now_ns_ = next->deadline_ns;
  } else {
    now_ns_ += kBusyPollNs;
  }
  while (!arriving_.empty()) data_.push_back(pop(arriving_));
}

bool Model::has_something_to_do() const {
  return !immediates_.empty() || !demoted_.empty() || !data_.empty() || !posts_.empty();
}

void Model::deliver_posts() {  // T12
  for (std::uint32_t count = 0; count < limits_.posts_per_turn && !posts_.empty(); ++count)
    callback(pop(posts_));
}

void Model::deliver_data() {  // T7, T13
  for (; delivered_ < limits_.completions_per_turn && !data_.empty(); ++delivered_)
    callback(pop(data_));
}

void Model::run_immediates() {  // T15
  for (std::size_t count = immediates_.size(); count > 0; --count) callback(pop(immediates_));
}

void Model::callback(const Function& function) {
  function();
  drain();
}

void Model::drain() {  // J1, J2
  is_draining_ = true;
  descendants_run_ = 0;
  while (!ticks_.empty() || !microtasks_.empty()) {
    take_jobs(ticks_);
    take_jobs(microtasks_);
  }
  is_draining_ = false;
}

void Model::take_jobs(std::deque<Job>& jobs) {  // J4, J5, J6
  while (!jobs.empty()) {
    Job job = pop(jobs);
    if (!job.is_own && order_ == OrderPolicy::bounded) {
      if (descendants_run_ == limits_.descendants_per_drain) {
        ++demoted_count_;
        last_demoted_ = job.what;
        demoted_.push_back(std::move(job));
        continue;
      }
      ++descendants_run_;
    }
    job.run();
  }
}

bool Model::body(int id) {
  note(std::to_string(id));
  for (const Step& step : program_->nodes[static_cast<std::size_t>(id)]) {
    if (step.what == Do::fail) {  // J7: it ends, and nothing else does
      note(std::to_string(id) + "x");
      return false;
    }
    queue(step);
  }
  return true;
}

void Model::queue_job(std::deque<Job>& jobs, Do what, Function run) {
  jobs.push_back({what, std::move(run), !is_draining_});
}

void Model::queue(const Step& step) {
  const int first = step.first, second = step.second;
  switch (step.what) {
    case Do::tick:
      ++pending_.ticks;
      return queue_job(ticks_, Do::tick, [this, first] {
        --pending_.ticks;
        body(first);
      });
    case Do::microtask:
      ++pending_.microtasks;
      return queue_job(microtasks_, Do::microtask, [this, first] {
        --pending_.microtasks;
        body(first);
      });
    case Do::promise:
      ++pending_.microtasks;
      return queue_job(microtasks_, Do::promise, [this, first, second] {
        --pending_.microtasks;
        if (body(first)) queue({Do::microtask, second});
      });
    case Do::task:  // J9
      ++pending_.microtasks;
      return queue_job(microtasks_, Do::task, [this, first] {
        --pending_.microtasks;
        note(std::to_string(first));
        go_on(std::make_shared<Frame>(Frame{first}));
      });
    case Do::ticks:
    case Do::microtasks: return chain(step.what, second, first);
    case Do::post:
      ++pending_.posts;
      posts_.emplace_back([this, first] {
        --pending_.posts;
        body(first);
      });
      return;
    case Do::endless: ++pending_.endless; return endless(second != 0);
    default: return macro(step.what, second, [this, first] { body(first); });
  }
}

void Model::chain(Do what, int left, int last) {
  const bool is_ticks = what == Do::ticks;
  int& count = is_ticks ? pending_.ticks : pending_.microtasks;
  ++count;
  queue_job(is_ticks ? ticks_ : microtasks_, what, [this, what, left, last, &count] {
    --count;
    left == 1 ? static_cast<void>(body(last)) : chain(what, left - 1, last);
  });
}

void Model::endless(bool is_ticks) {
  queue_job(is_ticks ? ticks_ : microtasks_, Do::endless, [this, is_ticks] {
    note("e");
    pending_.is_over() ? static_cast<void>(--pending_.endless) : endless(is_ticks);
  });
}

void Model::macro(Do wanted, int delay, Function run) {
  const Do what = pending_.macro(wanted, inputs_used_ < inputs_max_, false, false);
  ++pending_.of(what);
  Function counted = [this, what, run = std::move(run)] {
    --pending_.of(what);
    run();
  };
  if (what == Do::immediate) return immediates_.push_back(std::move(counted));
  if (what == Do::timer) {
    timers_.push_back({now_ns_ + static_cast<std::uint64_t>(Duration(delay * kTimerUnit).count()),
                       timer_number_++, std::move(counted)});
    return;
  }
  ++inputs_used_;
  arriving_.push_back(std::move(counted));
}

// J8: a task goes on where the callback of what it waits for would run; a hop is a microtask, a pause an immediate.
void Model::go_on(const FramePtr& frame) {
  const std::vector<Step>& steps = program_->nodes[static_cast<std::size_t>(frame->id)];
  while (frame->step < steps.size()) {
    const Step& step = steps[frame->step];
    if (step.what == Do::fail) {
      note(std::to_string(frame->id) + "x");
      if (frame->caller != nullptr) end_of_wait(frame->caller, "c");
      return;
    }
    if (wait(frame, step)) return;
    queue(step);
    ++frame->step;
  }
  if (frame->caller != nullptr) end_of_wait(frame->caller, "");
}

void Model::end_of_wait(const FramePtr& frame, const std::string& how) {
  note(std::to_string(frame->id) + "." + std::to_string(frame->step) + how);
  ++frame->step;
  go_on(frame);
}

bool Model::wait(const FramePtr& frame, const Step& step) {
  const auto end = [this, frame] { end_of_wait(frame, ""); };
  switch (step.what) {
    case Do::hop:
      ++pending_.microtasks;
      queue_job(microtasks_, Do::hop, [this, end] {
        --pending_.microtasks;
        end();
      });
      return true;
    case Do::pause: macro(Do::immediate, 0, end); return true;
    case Do::read: macro(Do::input, 0, end); return true;
    case Do::sleep: macro(Do::timer, step.second, end); return true;
    case Do::call: {
      note(std::to_string(step.first));
      go_on(std::make_shared<Frame>(Frame{step.first, 0, frame}));
      return true;
    }
    default: return false;
  }
}

}  // namespace weir::test
