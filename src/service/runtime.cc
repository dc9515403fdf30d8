// Loops on threads. Each loop is made, fed and destroyed on its own thread; the caller's thread hands over jobs and
// waits for their answers only while it sets up. Stopping: listeners close, idle sessions see their end, and a timer
// bounds how long the others may take.
#include "weir/runtime.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include "src/loop/loop_core.h"
#include "src/net/net_state.h"
#include "src/os/process.h"
#include "src/os/thread.h"
#include "weir/signal.h"

namespace weir::inline v0 {

namespace {

constexpr Duration kSweepEvery = std::chrono::milliseconds(20);

/// One loop of the runtime, and what it serves. Used on its own thread only, but for post().
struct Worker {
  std::uint32_t index = 0;
  std::unique_ptr<Loop> loop;
  std::vector<std::unique_ptr<Scope>> sessions;      // one a service
  std::vector<std::unique_ptr<Scope>> acceptors;     // its accept task, under it; ended first
  std::vector<std::unique_ptr<Listener>> listeners;  // of services that accept by themselves
  std::unique_ptr<Timer> drain_timer;
  std::unique_ptr<Timer> sweep_timer;
  std::uint64_t swept_turn = 0;
  Metrics metrics;  // once the loop has ended
  bool is_stopping = false;
};

Task<> accept_sessions(Listener listener, Scope& sessions, const Session& session) {
  for (;;) {
    co_await sessions.has_room();
    Stream peer = co_await listener.accept();
    Task<> task;
    sessions.loop().guard([&] { task = session(std::move(peer)); });
    if (task.valid()) sessions.spawn(std::move(task), "session");
  }
}

using UseListener = std::function<void(Worker& worker, Listener listener)>;

Result<Address> listen_on(Worker& worker, const Address& address, const ListenOptions& options,
                          const UseListener& use) {
  Result<Listener> listener = Listener::listen(*worker.loop, address, options);
  if (!listener.ok()) return listener.error();
  const Address bound = listener->local_address();
  use(worker, std::move(*listener));
  return bound;
}

}  // namespace

struct Runtime::State {
  RuntimeOptions options;
  std::vector<Worker> workers;
  std::vector<std::thread> threads;  // of loops 1 …
  std::vector<std::unique_ptr<Session>> session_functions;
  std::atomic<bool> is_stopping{false};
  std::mutex loops_mutex;  // a loop that ends against a stop that posts to it
  std::string backend;     // of loop 0
  std::string backend_reason;
  bool is_started = false;
  std::atomic<bool> has_run{false};

  Result<void> make_loop(Worker& worker);
  Result<void> start_thread(Worker& worker);
  void undo_start();
  void run_loop(Worker& worker);
  void begin_stop(Worker& worker);
  static void sweep(Worker& worker);
  static void end_drain(Worker& worker);
  Task<> watch_signals(std::unique_ptr<Signals> signals);
  void stop_all();
  void post_stop();
  void post_to(Worker& worker, Job job);
  Result<Address> listen(const Address& address, ListenOptions options, const UseListener& use);
};

Runtime::Runtime(const RuntimeOptions& options) : state_(std::make_unique<State>()) {
  state_->options = options;
  if (state_->options.loop_count == 0) state_->options.loop_count = os::cpu_count();
}

Runtime::~Runtime() {
  if (!state_->is_started || state_->has_run) return;
  stop();
  run();
}

Result<void> Runtime::State::make_loop(Worker& worker) {
  os::set_thread_name(options.loop.name);
  if (options.pins_cpus) os::set_cpu_affinity(worker.index % os::cpu_count());
  Result<std::unique_ptr<Loop>> made = Loop::make(options.loop);
  if (!made.ok()) return made.error();
  worker.loop = std::move(*made);
  worker.loop->core().add_active(1);  // until it is stopped
  return {};
}

Result<void> Runtime::start() {
  State& state = *state_;
  if (state.is_started) return {};
  if (state.options.raises_descriptors) os::raise_descriptors_max();
  state.workers = std::vector<Worker>(state.options.loop_count);
  if (Result<void> made = state.make_loop(state.workers[0]); !made.ok()) return made;
  state.is_started = true;
  state.backend = state.workers[0].loop->caps().name;
  state.backend_reason = state.workers[0].loop->backend_reason();
  if (state.options
          .stops_on_signals) {  // from here on: one that comes before run() must not kill the process
    Loop& first = *state.workers[0].loop;
    first.spawn(state.watch_signals(std::make_unique<Signals>(
                    first, std::initializer_list<Signal>{Signal::terminate, Signal::interrupt})),
                "signals");
  }
  for (std::uint32_t i = 1; i < state.options.loop_count; ++i) {
    state.workers[i].index = i;
    if (Result<void> started = state.start_thread(state.workers[i]); !started.ok()) {
      state.undo_start();
      return started;
    }
  }
  return {};
}

Result<void> Runtime::State::start_thread(Worker& worker) {
  std::promise<Result<void>> answer;
  std::future<Result<void>> answered = answer.get_future();
  threads.emplace_back([this, &worker, answer = std::move(answer)]() mutable {
    Result<void> made = make_loop(worker);
    const bool is_made = made.ok();
    answer.set_value(made);
    if (!is_made) return;
    run_loop(worker);
    post_to(workers[0], [this] { workers[0].loop->core().add_active(-1); });
  });
  Result<void> made = answered.get();
  if (made.ok())
    workers[0].loop->core().add_active(1);  // it ends last: it hears the signals for all
  return made;
}

// One loop could not be made: those that were go again, so that the next start() begins afresh.
void Runtime::State::undo_start() {
  for (std::size_t i = 1; i < workers.size(); ++i)
    post_to(workers[i], [this, &worker = workers[i]] { begin_stop(worker); });
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  workers[0].loop.reset();
  workers.clear();
  is_started = false;
}

// The first loop binds, the others join it on the port that it got.
Result<Address> Runtime::State::listen(const Address& address, ListenOptions listen_options,
                                       const UseListener& use) {
  listen_options.reuse_port |= workers.size() > 1;
  Result<Address> bound = listen_on(workers[0], address, listen_options, use);
  for (std::size_t i = 1; i < workers.size() && bound.ok(); ++i) {
    std::promise<Result<Address>> answer;
    std::future<Result<Address>> answered = answer.get_future();
    const Posted posted = workers[i].loop->post(
        [&, i] { answer.set_value(listen_on(workers[i], *bound, listen_options, use)); });
    WEIR_CHECK(posted == Posted::queued);
    if (Result<Address> joined = answered.get(); !joined.ok()) bound = joined;
  }
  return bound;
}

Result<Address> Runtime::serve(const Address& address, Session session,
                               const ListenOptions& options, const ScopeOptions& scope) {
  if (Result<void> started = start(); !started.ok()) return started.error();
  state_->session_functions.push_back(std::make_unique<Session>(std::move(session)));
  const Session& function = *state_->session_functions.back();
  ScopeOptions accepting;  // what ends it is told to the sessions' on_error, and has their policy
  accepting.policy = scope.policy;
  return state_->listen(address, options, [&](Worker& worker, Listener listener) {
    LoopCore& core = worker.loop->core();
    worker.sessions.push_back(
        std::make_unique<Scope>(core, &worker.loop->scope(), scope, SourceLocation::current()));
    Scope& sessions = *worker.sessions.back();
    worker.acceptors.push_back(
        std::make_unique<Scope>(core, &sessions, accepting, SourceLocation::current()));
    worker.acceptors.back()->spawn(accept_sessions(std::move(listener), sessions, function),
                                   "accept");
  });
}

Result<Address> Runtime::serve_with(const Address& address, Setup setup,
                                    const ListenOptions& options) {
  if (Result<void> started = start(); !started.ok()) return started.error();
  return state_->listen(address, options, [&](Worker& worker, Listener listener) {
    worker.listeners.push_back(std::make_unique<Listener>(std::move(listener)));
    setup(*worker.loop, *worker.listeners.back());
  });
}

Task<> Runtime::State::watch_signals(std::unique_ptr<Signals> signals) {
  signals->unref();
  co_await signals->next();
  stop_all();
  co_await signals->next();
  for (Worker& worker : workers) post_to(worker, [&worker] { end_drain(worker); });
}

void Runtime::State::post_to(Worker& worker, Job job) {
  const std::lock_guard lock(loops_mutex);
  if (worker.loop == nullptr) return;  // it has ended
  const Posted posted = worker.loop->post(std::move(job));
  WEIR_CHECK(posted != Posted::full);  // A stop must not be lost; Limits::posts_max jobs wait.
}

void Runtime::State::run_loop(Worker& worker) {
  worker.loop->run();
  worker.drain_timer.reset();
  worker.sweep_timer.reset();
  worker.acceptors.clear();
  worker.sessions.clear();
  worker.listeners.clear();
  worker.metrics = worker.loop->metrics();
  const std::lock_guard lock(loops_mutex);
  worker.loop.reset();
}

// On the worker's own thread.
void Runtime::State::begin_stop(Worker& worker) {
  if (worker.is_stopping) return;
  worker.is_stopping = true;
  LoopCore& core = worker.loop->core();
  for (const auto& scope : worker.acceptors) scope->cancel();
  worker.listeners.clear();
  worker.sweep_timer = std::make_unique<Timer>(*worker.loop);
  worker.sweep_timer->unref();
  worker.swept_turn = core.turn() - 1;
  worker.loop->immediate([&worker] { sweep(worker); });  // behind what this turn's poll brought
  worker.drain_timer = std::make_unique<Timer>(*worker.loop);
  worker.drain_timer->unref();
  worker.drain_timer->arm(options.drain, [&worker] { end_drain(worker); });
  core.add_active(-1);
}

// A stream is idle when nothing came since the last sweep: what a receive that was armed just now would bring, the kernel
// has told by then.
void Runtime::State::sweep(Worker& worker) {
  LoopCore& core = worker.loop->core();
  const std::uint64_t turns = core.turn() - std::exchange(worker.swept_turn, core.turn());
  NetExtension::of(core).end_idle_reads(
      static_cast<std::uint16_t>(std::min<std::uint64_t>(turns, 0x8000)));
  worker.sweep_timer->arm(kSweepEvery, [&worker] { sweep(worker); });
}

void Runtime::State::end_drain(Worker& worker) {
  for (const auto& scope : worker.sessions) scope->cancel();
  NetExtension::of(worker.loop->core()).on_shutdown();
}

// Before run() there may be no loop yet, and a service may still be added: run() then begins with the stop. Of the two
// flags each side sets its own and looks at the other's, so one of them posts; both do no harm.
void Runtime::State::stop_all() {
  if (!is_stopping.exchange(true) && has_run) post_stop();
}

void Runtime::State::post_stop() {
  for (Worker& worker : workers) post_to(worker, [this, &worker] { begin_stop(worker); });
}

void Runtime::run() {
  State& state = *state_;
  WEIR_CHECK(state.is_started);
  WEIR_CHECK(!state.has_run);
  state.has_run = true;
  if (state.is_stopping) state.post_stop();
  state.run_loop(state.workers[0]);
  for (std::thread& thread : state.threads) thread.join();
}

void Runtime::stop() { state_->stop_all(); }
bool Runtime::is_stopping() const { return state_->is_stopping; }
std::uint32_t Runtime::loop_count() const { return state_->options.loop_count; }
std::string Runtime::backend() const { return state_->backend; }
std::string Runtime::backend_reason() const { return state_->backend_reason; }

Metrics Runtime::metrics() const {
  Metrics sum;
  for (const Worker& worker : state_->workers) sum += worker.metrics;
  return sum;
}

}  // namespace weir::inline v0
