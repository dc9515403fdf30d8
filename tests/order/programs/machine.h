// Runs a program (program.h) on a loop and says in which order its parts ran.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "tests/order/programs/program.h"
#include "weir/weir.h"

namespace weir::test {

/// Where a program's input comes from.
class Inputs {
 public:
  virtual ~Inputs() = default;
  virtual bool has_free() const = 0;
  /// Makes input, and calls `on_input` when the loop delivers it.
  virtual void await(std::function<void()> on_input) = 0;
  /// The same for a task.
  virtual Task<> read() = 0;
  /// The program is over: all are free again.
  virtual void reset() = 0;
};

class Machine {
 public:
  Machine(Loop& loop, Inputs& inputs, bool is_for_node);

  /// The ids of the nodes that ran, in order: "4" began, "4.2" went on behind its step 2 ("c": which threw), "4x" threw,
  /// "e" was a link of endless jobs. `turn` does one turn; false: that is all, the program does not get on.
  std::string run(const Program& program, const std::function<bool()>& turn);
  void note(const std::string& text);       ///< into the trace
  void note_once(const std::string& text);  ///< unless that was the last

  /// The line that queues jobs of a kind, as reports name it.
  std::uint32_t line_of(Do what) const { return lines_.at(what); }
  static const char* file();

 private:
  void body(int id, bool is_job_of_promise);
  Task<> task(int id, bool is_called);
  void queue(const Step& step);
  void macro(Do wanted, int delay, std::function<void()> job);
  Task<> wait_for(Do wanted, int delay);
  void chain(Do what, int left, int last);
  void endless(bool is_ticks, int id);
  void fail(int id, bool is_job_of_promise);
  void arm(int delay, std::function<void()> job);
  Job at(Do what, std::function<void()> function, SourceLocation where = SourceLocation::current());

  Loop& loop_;
  Inputs& inputs_;
  bool is_for_node_;
  Scope scope_;
  const Program* program_ = nullptr;
  Pending pending_;
  std::string trace_;
  std::map<Do, std::uint32_t> lines_;
};

}  // namespace weir::test
