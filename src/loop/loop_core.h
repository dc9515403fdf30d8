// The inside of a loop: queues, clock, budgets and the turn. Path of one byte's news:
// Backend::poll -> Sink::push -> LoopCore::deliver -> Op::on_complete -> after_callback (ticks, microtasks, flushes);
// mostly it is shorter: Backend::poll -> LoopCore::received -> the stream -> after_callback.
// It knows ops, timers and jobs; sockets and tasks hang on as LoopClient and LoopExtension.
#pragma once
#include <atomic>
#include <exception>
#include <memory>
#include <string>

#include "src/loop/job_queue.h"
#include "src/loop/post_queue.h"
#include "src/loop/record_slab.h"
#include "src/loop/timer_wheel.h"
#include "weir/loop.h"

namespace weir::inline v0 {

/// Something that asks for a call after the current callback (gathered writes), or in step 7 of the turn.
class LoopClient {
 public:
  virtual void after_callback() = 0;
  virtual void close_notification() = 0;
  LoopClient* next_client =
      nullptr;  ///< of one list at a time; while it is in none, it says nothing

 protected:
  ~LoopClient() = default;
};

/// What another layer keeps per loop: connections, offloaded work, tasks. Ended and destroyed in reverse order of
/// `Extension`, tasks first.
class LoopExtension {
 public:
  virtual ~LoopExtension() = default;
  virtual void collect() {}      ///< other threads brought something, and called LoopCore::bring()
  virtual void on_shutdown() {}  ///< end what you have; ops are pumped afterwards
  virtual void describe(std::string&) const {}  ///< for Loop::report
};
enum class Extension : std::uint8_t { net, offload, task, count };

/// Runs what may be user code. `on_throw` is called where an exception that escapes is the current one.
template <typename Function, typename OnThrow>
[[gnu::always_inline]] inline void guarded(Function&& function,
                                           [[maybe_unused]] OnThrow&& on_throw) {
#if defined(__cpp_exceptions)
  try {
    function();
  } catch (...) {
    on_throw();
  }
#else
  function();
#endif
}

/// A deadline of an op or of a wait: a wheel timer. Pooled; its owner has one only while it needs it.
struct OpDeadline : TimerNode, TimedOp {
  LoopCore* loop = nullptr;
  void* owner = nullptr;  // an Op, or what the net layer waits with
  bool has_fired = false;
};

/// Where an escaped exception goes. Set by the task layer; before that, it is printed.
using EscapeHook = void (*)(LoopCore& loop, std::exception_ptr exception,
                            const SourceLocation& where);

/// Its address names the thread.
WEIR_FAST_TLS extern constinit thread_local char thread_anchor;

class LoopCore final : public Sink {
 public:
  explicit LoopCore(const LoopOptions& options);
  ~LoopCore() override;
  Result<void> start(std::string_view backend_name);
  void shut_down();

  // What Loop forwards.
  bool run(RunMode mode);
  void stop() { is_stopped_.store(true, std::memory_order_relaxed); }
  void stop_soon();
  bool is_running() const { return is_running_; }
  bool is_alive() const { return active_ != 0 || has_jobs(); }
  Posted post(Job&& job);
  /// From any thread: an extension has something to collect() before the next poll. Nothing that could be refused.
  void bring();
  void add_prepare(PrepareHook& hook, Job job);
  bool should_yield();
  std::string report() const;
  std::uint64_t next_deadline_ns();

  // Ops.
  void submit(Op& op, std::uint64_t deadline_ns = Backend::kNever);
  /// For callers that can use a result at once: true when `out` is the terminal, which is then not delivered.
  bool submit_inline(Op& op, Completion& out) {
    begin(op);
    const Submitted submitted = backend_->submit(op);
    if (!submitted.done) return false;
    end(op);
    out = submitted.completion;
    return true;
  }
  void cancel(Op& op);

  // Jobs.
  void tick(Job job) {
    has_jobs_due_ = true;
    ticks_.push(std::move(job));
  }
  void microtask(Job job) {
    has_jobs_due_ = true;
    microtasks_.push(std::move(job));
  }
  void immediate(Job job) {
    has_work_ = true;
    immediates_.push(std::move(job));
  }

  // Memory to send from.
  Buf allocate(std::size_t size_bytes, SourceLocation where = SourceLocation::current());
  Buf copy_of(std::string_view text, SourceLocation where = SourceLocation::current());

  // Timers.
  void arm(TimerNode& node, std::uint64_t deadline_ns, bool keeps_alive) {
    if (!node.is_armed()) active_ += keeps_alive;
    has_work_ = true;
    wheel_.arm(node, deadline_ns);
  }
  bool disarm(TimerNode& node, bool keeps_alive) {
    if (!wheel_.cancel(node)) return false;
    active_ -= keeps_alive;
    return true;
  }
  void timer_fired(bool keeps_alive) { active_ -= keeps_alive; }
  /// A pooled timer that calls `on_due` once; give it back with drop_deadline, fired or not.
  OpDeadline& make_deadline(std::uint64_t deadline_ns, void* owner,
                            void (*on_due)(TimerNode& node));
  void postpone(OpDeadline& fired);  ///< it fires again in the next turn
  void drop_deadline(OpDeadline& deadline);
  /// now + delay, saturating.
  std::uint64_t deadline_after(Duration delay) {
    if (delay.count() <= 0) return now_ns();
    const std::uint64_t deadline = now_ns() + static_cast<std::uint64_t>(delay.count());
    return deadline < now_ns_ ? Backend::kNever : deadline;
  }

  // Clients.
  void call_after_callback(LoopClient& client) { append(flush_head_, flush_tail_, client); }
  void notify_close(LoopClient& client) {
    has_work_ = true;
    append(close_head_, close_tail_, client);
  }

  /// Runs `function` as a callback of this loop: exceptions are caught, then jobs and flushes run.
  template <typename Function>
  void callback(Function&& function) {
    guard(function);
    after_callback();
  }
  template <typename Function>
  void guard(Function&& function) {
    guarded(function, [this] { on_escape(std::current_exception()); });
  }

  std::uint64_t now_ns() {
    if (!is_now_valid_) {
      now_ns_ = backend_->now();
      is_now_valid_ = true;
    }
    return now_ns_;
  }
  void add_active(std::int64_t change) { active_ += static_cast<std::uint64_t>(change); }
  const char* name() const { return name_; }
  void check_thread() const {
    if (thread_ != &thread_anchor) [[unlikely]]
      wrong_thread();
  }
  const Metrics& current_metrics();
  void set_escape_hook(EscapeHook hook) { escape_hook_ = hook; }

  // Received bytes go to their owner during the poll, with no record of them, when their turn to be delivered is now:
  // control and posts are through, and all that was reaped before them, and the socket had none in this turn.
  /// Who takes them (Sink::received, Sink::sent): the net layer, in the way that follows.
  void set_direct(OnReceived on_received, OnReceivedRun on_received_run, OnSent on_sent) {
    on_received_ = on_received;
    on_received_run_ = on_received_run;
    on_sent_ = on_sent;
  }
  bool may_tell(const RecvOp& op) const {
    return telling_ == Telling::begun && !has_queued_ &&
           op.turn_mark != static_cast<std::uint16_t>(metrics.turns);
  }
  bool begin_telling(const RecvOp& op);  ///< when they may not: perhaps it is the first of the turn
  /// The end of an op whose owner was told at once.
  void end_direct(Op& op) {
    ++metrics.completions;
    end(op);
  }
  /// Tells `client`, by take_bytes(), of the `length` bytes in `block` that came for its `op`: a callback.
  template <typename Client>
  [[gnu::always_inline]] inline void tell(Client& client, RecvOp& op, Block& block,
                                          std::uint32_t length) {
    op.turn_mark = static_cast<std::uint16_t>(metrics.turns);
    op.turn_bytes = length;
    ++metrics.completions;
#if defined(__cpp_exceptions)
    try {  // not guarded(): its closure would cost every message a dozen instructions
      client.take_bytes(block, length);
    } catch (...) {
      client.threw();
    }
#else
    client.take_bytes(block, length);
#endif
    after_callback_of(client);
    if (--room_ % kClockEvery == 0) [[unlikely]]
      look_at_budget();
  }

  /// The same for bytes in several blocks: a callback each, and one flush behind the last.
  template <typename Client>
  void tell_run(Client& client, RecvOp& op, const Run& run) {
    op.turn_mark = static_cast<std::uint16_t>(metrics.turns);
    op.turn_bytes = run.length;
    for (std::uint32_t i = 0; i < run.count(); ++i) {
      ++metrics.completions;
      guarded([&] { client.take_bytes(*run.blocks[i], run.length_of(i)); },
              [&] { client.threw(); });
      drain_jobs();
    }
    after_callback();
    room_ -= std::min(room_, run.count());
    look_at_budget();
  }

  void on_escape(std::exception_ptr exception);
  static LoopCore* current();

  // Plain parts that the layers above use directly.
  Limits limits;
  Metrics metrics;
  OpTable ops;
  Ledger ledger;
  std::unique_ptr<Pool> group;       ///< receive memory
  std::unique_ptr<Pool> small_pool;  ///< copy-break and small sends
  std::unique_ptr<Pool> app_pool;    ///< sends of up to a block
  std::unique_ptr<LoopExtension> extensions[static_cast<int>(Extension::count)];
  Loop* facade = nullptr;
  bool sends_at_once = false;                     ///< Backend::send_now is worth a try
  std::size_t zero_copy_bytes = ~std::size_t{0};  ///< sends of at least this try it
  std::string backend_reason;
  std::uint64_t turn() const { return metrics.turns; }
  Backend& backend() { return *backend_; }

 private:
  [[noreturn]] void wrong_thread() const;
  // Deliveries between two looks at the clock: a look costs what a delivery does.
  static constexpr std::uint32_t kClockEvery = 32;
  static constexpr std::size_t kCancelsWatched =
      4096;  // more at once are not watched for being stuck

  void begin(Op& op) {
    ops.begin(op);
    active_ += op.keeps_alive;
  }
  void end(Op& op) {
    op.state = OpState::idle;
    active_ -= op.keeps_alive;
  }
  /// Makes the loop the current one of its thread while it runs.
  struct RunningScope {
    explicit RunningScope(LoopCore& loop);
    ~RunningScope();
    LoopCore* previous;
  };
  bool is_stopping() const { return is_stopped_.load(std::memory_order_relaxed); }
  void turn_once(RunMode mode);
  void drop_jobs();
  void pump(std::uint64_t until_ns);
  std::size_t count_pending() const;
  void leak_what_is_pending();
  void do_work_before_poll();
  void do_work_after_poll();
  void watch_returns(bool on);
  void collect_returns();
  void fire_timers();
  void defer(const Completion& completion) {
    has_work_ = true;
    deferred_.push(completion);
  }
  void look_at_budget();
  bool is_out_of_time();
  void deliver_first();
  void deliver_control();
  void deliver_posts();
  void deliver_data();
  void deliver_leftovers();
  void deliver(const Completion& completion);
  void deliver_some();
  void deliver_one(const Completion& completion);
  bool is_followed(const Completion& completion);
  void deliver_timed(Op& op, Completion completion);
  bool is_behind_deferred(const Op& op);
  bool has_had_its_accepts(Op& op);
  void print_stuck(const Op& op, std::uint64_t age_ns) const;
  void on_unowned(const Completion& completion) override;
  void run_demoted();
  void run_prepare_hooks();
  void run_immediates();
  void run_close_notifications();
  std::uint64_t poll_deadline(RunMode mode);
  std::uint64_t work_deadline(std::uint64_t own);
  void watch_cancels();
  bool is_cancelling(OpId id) {
    const Op* const op = ops.find(id);
    return op != nullptr && op->state == OpState::cancelling;
  }
  void run_job(Job& job);
  /// The same between callbacks, when ticks, microtasks and control are done.
  bool has_work_left() const {
    return (immediates_.size() | demoted_.size() | (deferred_.tail - deferred_.head) |
            (data_.tail - data_.head)) != 0 ||
           close_head_ != nullptr || !posts_.empty();
  }
  bool has_jobs() const {
    return !ticks_.empty() || !microtasks_.empty() || !immediates_.empty() || !demoted_.empty() ||
           close_head_ != nullptr || !deferred_.empty() || !data_.empty() || !control_.empty() ||
           !posts_.empty();
  }
  void after_callback() {
    for (;;) {
      drain_jobs();
      if (flush_head_ == nullptr) return;
      take(flush_head_).after_callback();
    }
  }
  /// The same after a callback of `client`, and short when that alone asked for a call.
  template <typename Client>
  [[gnu::always_inline]] inline void after_callback_of(Client& client) {
    if (!has_jobs_due_ && flush_head_ == &client && flush_tail_ == &client) [[likely]] {
      flush_head_ = nullptr;
      client.flush();
      if (!has_jobs_due_ && flush_head_ == nullptr) [[likely]]
        return;
    }
    after_callback();
  }
  void drain();
  void drain_jobs() {
    if (has_jobs_due_) drain();
  }
  void demote(Job job);

  static void append(LoopClient*& head, LoopClient*& tail, LoopClient& client) {
    client.next_client = nullptr;
    (head == nullptr ? head : tail->next_client) = &client;
    tail = &client;
  }
  static LoopClient& take(LoopClient*& head) {  // an empty list's tail says nothing
    LoopClient& client = *head;
    head = client.next_client;
    return client;
  }

  std::unique_ptr<Backend> backend_;
  std::uint64_t active_ =
      0;  // what keeps the loop alive: pending ops, armed timers, owners that asked
  std::uint64_t now_ns_ = 0;
  bool is_now_valid_ = false;
  enum class Telling : std::uint8_t {
    off,      // what comes is queued
    allowed,  // the turn's poll has told nothing yet
    begun,    // control and posts were delivered; bytes go to their owners
    spent,    // so it was, until the budget was used up
  };
  Telling telling_ = Telling::off;  // received bytes to their owner during the poll
  /// Something beside I/O may be due in this turn or a later one: timers, immediates, demoted jobs, leftovers, prepare
  /// hooks, cancels, closes. Set by whoever makes such a thing; the turn that finds none clears it.
  bool has_work_ = false;
  bool has_jobs_due_ = false;  // ticks or microtasks
  bool is_running_ = false;
  const char* name_;
  OrderPolicy order_;
  LoopClient* flush_head_ = nullptr;
  LoopClient* flush_tail_ = nullptr;
  LoopClient* close_head_ = nullptr;
  LoopClient* close_tail_ = nullptr;
  std::uint64_t until_ns_ = 0;   // when this turn's deliveries end, once the clock was read
  std::uint32_t budget_ = 0;     // data completions that this turn may still deliver
  std::uint64_t told_from_ = 0;  // Metrics::completions when telling began
  Queue deferred_;               // of sockets that used up their bytes this turn, in order
  JobQueue ticks_, microtasks_, immediates_, demoted_;
  RecordSlab<OpDeadline> deadlines_;  // longer than the wheel, which disarms what is left
  TimerWheel wheel_;
  PostQueue posts_;
  PrepareHook* prepare_ = nullptr;
  PrepareHook* prepare_next_ = nullptr;  // the one to run after the hook that runs now
  EscapeHook escape_hook_ = nullptr;
  std::atomic<bool> is_post_closed_{false};
  std::atomic<bool> is_stopped_{false};
  std::atomic<bool> has_returns_{false};  // other threads gave blocks back, or bring something
  std::atomic<std::uint64_t> posts_refused_{0};
  CountedVector<std::pair<OpId, std::uint64_t>>
      cancels_;  // asked for, oldest first, until their ops end
  std::uint64_t system_calls_seen_ =
      0;  // this thread's counts when they were last added to the metrics
  std::uint64_t allocations_seen_ = 0;
  std::uint64_t copied_seen_ = 0;
  const void* thread_ = nullptr;
  SourceLocation running_;       // of the job that runs, for reports
  SourceLocation last_demoted_;  // the latest source of endless jobs

  friend class PrepareHook;
  friend class Loop;
};

}  // namespace weir::inline v0
