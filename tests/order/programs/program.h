// Random nested programs of jobs, I/O and exceptions, as a text that three readers understand: a weir loop (machine.h),
// Node.js (node.js in this folder) and a model written from docs/internals/turn.md (model.h). Each says in which order
// the parts ran; the orders must be equal.
//
// A program is nodes between ";", the first is the main script. A node is the steps of one callback: a letter, then the
// node or nodes that it is about. "t1 m2;x;" queues a tick, which throws, and a microtask, which does nothing.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace weir::test {

/// Unit of a timer's delay. Node.js has no finer one.
inline constexpr std::chrono::milliseconds kTimerUnit{1};

enum class Do : char {
  tick = 't',        ///< run node `first` as a tick
  microtask = 'm',   ///< … as a microtask
  promise = 'p',     ///< … as a promise job, and then node `second` as the job that its end makes
  task = 'a',        ///< … as a task, or asynchronous function: it may wait
  ticks = 'k',       ///< `second` ticks, each queued by the one before; the last runs node `first`
  microtasks = 'n',  ///< the same of microtasks
  immediate = 'i',   ///< run node `first` as an immediate
  input = 'o',       ///< … when bytes come that are written now
  timer = 'd',       ///< … as a timer after `second` units of time
  post = 's',        ///< … as a posted callback; weir only
  endless =
      'e',  ///< jobs that queue themselves until the rest is over: microtasks or, `second`, ticks; weir only
  fail = 'x',  ///< throw
  // Only in a task, which goes on behind them.
  hop = 'w',    ///< wait for a promise that is fulfilled already
  pause = 'y',  ///< wait for an immediate
  read = 'r',   ///< wait for bytes that are written now
  sleep = 'z',  ///< wait for a timer
  call = 'c',   ///< wait for the task of node `first`, and catch what it throws
};

struct Step {
  Do what;
  int first = 0;
  int second = 0;
};

struct Program {
  std::uint64_t seed = 0;
  bool is_apart = true;  ///< its text then starts with "|": see the rule `beside`
  std::vector<std::vector<Step>> nodes;
  std::string text() const;
};

/// What programs may be made of.
struct Mix {
  bool throws = true;      ///< not where weir is built without exceptions
  bool weir_only = false;  ///< posts, and timers of different durations
  bool endless = false;    ///< endless jobs: not in OrderPolicy::strict, where they are endless
};

/// The same program for the same seed and mix, on every machine.
Program make_program(std::uint64_t seed, const Mix& mix);

/// The named rules by which programs for Node.js leave out what it does not define, or what weir does otherwise by
/// design. They look at what is pending, so all readers come to the same choice as long as the orders are equal.
///
///   timers      Due timers depend on the clock, and Node.js groups them by duration: all have one duration, and while
///               one is pending immediates and input are timers too; while one of those is pending a timer is an immediate.
///   input       Input is there because the program wrote it, at once, into a socket that nothing else is in.
///   beside      Whether input is delivered before an immediate that is pending depends on when it arrives. In programs that
///               are `is_apart` they are never pending together; the others are for backends whose next poll brings what
///               was written before it, as that of Node.js does.
///   exceptions  After a failed tick, immediate, timer or input Node.js skips the drain, and after a failed immediate it runs
///               those that wait for the next round: these throw only when nothing is left to drain, and no immediate is
///               pending. Microtasks, promise jobs and asynchronous functions throw anywhere.
///   resumed     An asynchronous function goes on one microtask after what it waited for; a weir task goes on in its
///               place. Here a task adds the microtask.
///
/// Without the rules, on weir alone, everything may happen, and the model says what.
struct Pending {
  int ticks = 0;
  int microtasks = 0;
  int immediates = 0;
  int inputs = 0;
  int timers = 0;
  int posts = 0;
  int endless = 0;

  bool is_over() const { return ticks + microtasks + immediates + inputs + timers + posts == 0; }
  /// What an immediate, input or timer becomes.
  Do macro(Do wanted, bool has_free_input, bool is_for_node, bool is_apart) const {
    if (!is_for_node) return wanted == Do::input && !has_free_input ? Do::immediate : wanted;
    if (timers > 0) return Do::timer;
    if (wanted == Do::timer && immediates + inputs > 0) wanted = Do::immediate;
    if (is_apart && inputs > 0) return has_free_input ? Do::input : Do::microtask;
    if (is_apart && immediates > 0) return Do::immediate;
    return wanted == Do::input && !has_free_input ? Do::immediate : wanted;
  }
  bool may_fail(bool is_job_of_promise, bool is_for_node) const {
    return is_job_of_promise || !is_for_node || ticks + microtasks + immediates == 0;
  }
  int& of(Do macro) {
    if (macro == Do::microtask) return microtasks;
    return macro == Do::timer ? timers : macro == Do::input ? inputs : immediates;
  }
};

}  // namespace weir::test
