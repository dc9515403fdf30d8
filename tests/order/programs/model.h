// What docs/internals/turn.md says about a program (program.h), sentence by sentence, and nothing of how weir does it: no
// loop, no backend, no coroutine. Its clock moves in polls: to the
// next timer in those that wait, a little in the others.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/order/programs/program.h"
#include "weir/loop.h"

namespace weir::test {

class Model {
 public:
  static constexpr std::uint64_t kBusyPollNs = 400'000;

  Model(const Limits& limits, OrderPolicy order, int inputs_max)
      : limits_(limits), order_(order), inputs_max_(inputs_max) {}

  /// The trace that a Machine has to have, with a "|" where it polls once or, with nothing between, more often.
  std::string run(const Program& program);

  std::uint64_t demoted_count() const { return demoted_count_; }
  /// What the job that was demoted last had been queued as.
  std::optional<Do> last_demoted() const { return last_demoted_; }

 private:
  using Function = std::function<void()>;
  struct Job {
    Do what;
    Function run;
    bool is_own;  // queued by a callback, not by a tick or microtask of its drain
  };
  struct Timer {
    std::uint64_t deadline_ns;
    std::uint64_t number;  // in order of arming
    Function run;
  };
  struct Frame {  // a task: where it goes on, and who waits for it
    int id;
    std::size_t step = 0;
    std::shared_ptr<Frame> caller{};
  };
  using FramePtr = std::shared_ptr<Frame>;

  // The turn.
  void turn();
  void run_timers();
  void run_demoted();
  void poll();
  void deliver_posts();
  void deliver_data();
  void run_immediates();
  bool has_something_to_do() const;
  void callback(const Function& function);
  void drain();
  void take_jobs(std::deque<Job>& jobs);

  // The steps of a program.
  bool body(int id);  // false: it threw
  void queue(const Step& step);
  void queue_job(std::deque<Job>& jobs, Do what, Function run);
  void chain(Do what, int left, int last);
  void endless(bool is_ticks);
  void macro(Do wanted, int delay, Function run);
  void go_on(const FramePtr& frame);
  bool wait(const FramePtr& frame, const Step& step);
  void end_of_wait(const FramePtr& frame, const std::string& how);
  void note(const std::string& text) { trace_ += (trace_.empty() ? "" : " ") + text; }

  Limits limits_;
  OrderPolicy order_;
  int inputs_max_;
  int inputs_used_ = 0;
  const Program* program_ = nullptr;
  Pending pending_;
  std::string trace_;
  std::uint64_t now_ns_ = 0;
  std::uint64_t timer_number_ = 0;
  std::uint64_t demoted_count_ = 0;
  std::optional<Do> last_demoted_;
  bool is_draining_ = false;
  std::uint64_t descendants_run_ = 0;
  std::uint32_t delivered_ = 0;  // in this turn
  std::deque<Job> ticks_, microtasks_, demoted_;
  std::deque<Function> immediates_, posts_, arriving_, data_;
  std::vector<Timer> timers_;
};

}  // namespace weir::test
