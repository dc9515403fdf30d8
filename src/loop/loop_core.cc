// A loop's life: made with a backend that says why it was chosen, fed with ops and jobs, and shut down so that every
// op has ended before its memory goes.
#include "src/loop/loop_core.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "src/os/os.h"

namespace weir::inline v0 {

constinit thread_local char thread_anchor = 0;

namespace {
thread_local LoopCore* running_loop = nullptr;
thread_local LoopCore* newest_loop = nullptr;

Pool::Options pool_of(std::uint32_t block_bytes, std::uint64_t bytes, const char* name) {
  Pool::Options options;
  options.block_bytes = block_bytes;
  options.blocks_max = static_cast<std::uint32_t>(bytes / block_bytes);
  options.slab_blocks = std::max<std::uint32_t>(1, (256u << 10) / block_bytes);
  options.name = name;
  return options;
}

// Ample up to the group's size, or a half where there is little beyond it. Of the last blocks a receive fills only as
// much as copy-break takes out of them.
Pool::Options receive_group_of(const Limits& limits) {
  constexpr std::uint32_t kReserveShare = 32;
  const std::uint64_t bytes = std::uint64_t{limits.group_bytes} + limits.overflow_bytes;
  Pool::Options options = pool_of(limits.block_bytes, bytes, "receive group");
  options.group = 0;
  options.blocks_ample =
      std::min(limits.group_bytes / limits.block_bytes, (options.blocks_max + 1) / 2);
  if (limits.copy_break_bytes < limits.block_bytes) {
    options.blocks_reserve = std::max(1u, options.blocks_max / kReserveShare);
    options.reserve_bytes = limits.copy_break_bytes - 1;
  }
  return options;
}
}  // namespace

LoopCore::RunningScope::RunningScope(LoopCore& loop) : previous(running_loop) {
  running_loop = &loop;
}
LoopCore::RunningScope::~RunningScope() { running_loop = previous; }

LoopCore* LoopCore::current() { return running_loop != nullptr ? running_loop : newest_loop; }

LoopCore::LoopCore(const LoopOptions& options)
    : Sink(ops),
      limits(options.limits),
      ledger(options.ledger, &os::now_ns),
      name_(options.name),
      order_(options.order),
      posts_(options.limits.posts_max),
      thread_(&thread_anchor) {
  group = std::make_unique<Pool>(receive_group_of(limits), ledger);
  small_pool = std::make_unique<Pool>(
      pool_of(limits.copy_break_bytes, std::uint64_t{1} << 30, "small"), ledger);
  app_pool = std::make_unique<Pool>(pool_of(limits.block_bytes, limits.write_loop_cap_bytes, "app"),
                                    ledger);
}

Result<void> LoopCore::start(std::string_view backend_name) {
  const BackendContext context{ops, metrics, limits};
  Result<ChosenBackend> chosen = make_backend(backend_name, context);
  if (!chosen.ok()) return chosen.error();
  backend_ = std::move(chosen->backend);
  backend_reason = std::move(chosen->reason);
  backend_->provide(*group);
  sends_at_once = !backend_->caps().completion;
  if (limits.zero_copy_bytes != 0 && backend_->caps().zero_copy_send) {
    zero_copy_bytes = limits.zero_copy_bytes;
  }
  watch_returns(true);
  newest_loop = this;
  system_calls_seen_ = os::system_calls();
  allocations_seen_ = thread_counts().heap_allocations + Job::allocations();
  copied_seen_ = thread_counts().bytes_copied;
  return {};
}

LoopCore::~LoopCore() {
  if (backend_ != nullptr) shut_down();
  if (newest_loop == this) newest_loop = nullptr;
}

// Layers end what they have, newest layer first; then the ops are cancelled and pumped until each has ended.
void LoopCore::shut_down() {
  check_thread();
  WEIR_CHECK(!is_running_);
  is_post_closed_.store(true, std::memory_order_release);
  RunningScope running(*this);
  drop_jobs();
  for (int i = static_cast<int>(Extension::count); i-- > 0;) {
    if (extensions[i] != nullptr) callback([this, i] { extensions[i]->on_shutdown(); });
  }
  for (std::size_t slot = 0; slot < ops.size(); ++slot) {
    if (Op* op = ops.at(slot); op != nullptr) cancel(*op);
  }
  const std::uint64_t until_ns = backend_->now() + limits.shutdown_ns;
  for (drop_jobs(); count_pending() > 0 && backend_->now() < until_ns; drop_jobs()) pump(until_ns);
  watch_returns(false);
  const std::size_t leaked = count_pending();
  if (leaked > 0) {
    std::fprintf(stderr, "weir: loop \"%s\": %zu ops never ended; their memory is kept\n%s", name_,
                 leaked, report().c_str());
    leak_what_is_pending();
  }
  // The accounts go with the records; a zero-copy send that the kernel still reads holds on to its blocks.
  for (Pool* pool : {group.get(), small_pool.get(), app_pool.get()}) {
    if (pool != nullptr) pool->drop_accounts();
  }
  for (int i = static_cast<int>(Extension::count); i-- > 0;) extensions[i].reset();
  backend_.reset();
}

// Jobs do not run any more, but what they own (a stream, say) must go while the loop can still close it.
void LoopCore::drop_jobs() {
  for (JobQueue* queue : {&ticks_, &microtasks_, &immediates_, &demoted_}) {
    while (!queue->empty()) queue->pop().reset();
  }
  posts_.drain(limits.posts_max, [](Job job) { job.reset(); });
  while (prepare_ != nullptr) {
    PrepareHook& hook = *prepare_;
    hook.unhook();
    hook.job_.reset();
  }
}

// A turn without user code of its own: only completions and what they close.
void LoopCore::pump(std::uint64_t until_ns) {
  ++metrics.turns;
  room_ = budget_ = limits.completions_per_turn;
  is_now_valid_ = false;
  if (!deferred_.empty() || !data_.empty()) deliver_leftovers();
  const bool has_work =
      close_head_ != nullptr || !data_.empty() || !deferred_.empty() || !control_.empty();
  backend_->poll(has_work ? 0 : until_ns, *this);
  deliver_control();
  deliver_data();
  run_close_notifications();
}

std::size_t LoopCore::count_pending() const {
  std::size_t count = close_head_ != nullptr ? 1 : 0;
  for (std::size_t slot = 0; slot < ops.size(); ++slot) {
    const Op* op = ops.at(slot);
    count += op != nullptr && op->state != OpState::idle;
  }
  return count;
}

// Memory that the kernel may still write to is never freed: the records stay where they are, owned by nobody.
void LoopCore::leak_what_is_pending() {
  for (auto& extension : extensions) static_cast<void>(extension.release());
  static_cast<void>(group.release());
  static_cast<void>(small_pool.release());
  static_cast<void>(app_pool.release());
  static_cast<void>(backend_.release());
}

void LoopCore::wrong_thread() const {
  check_failed_text(__FILE__, __LINE__,
                    "a loop was used on another thread than the one that made it",
                    std::string("loop \"") + name_ + "\"; use post() there");
}

void LoopCore::submit(Op& op, std::uint64_t deadline_ns) {
  Completion completion;
  if (submit_inline(op, completion)) {
    op.state = OpState::pending;  // ends when it is delivered
    active_ += op.keeps_alive;
    push(op, completion);
    return;
  }
  if (deadline_ns == Backend::kNever) return;
  ops.set_timed(op, make_deadline(deadline_ns, &op, [](TimerNode& node) {
                  auto& deadline = static_cast<OpDeadline&>(node);
                  deadline.has_fired = true;
                  deadline.loop->cancel(*deadline.op);
                }));
}

OpDeadline& LoopCore::make_deadline(std::uint64_t deadline_ns, void* owner,
                                    void (*on_due)(TimerNode& node)) {
  OpDeadline& deadline = deadlines_.make();
  deadline.loop = this;
  deadline.owner = owner;
  deadline.on_due = on_due;
  arm(deadline, deadline_ns, false);
  return deadline;
}

void LoopCore::postpone(OpDeadline& deadline) { arm(deadline, now_ns(), false); }

void LoopCore::drop_deadline(OpDeadline& deadline) {
  disarm(deadline, false);
  deadlines_.destroy(deadline);
}

void LoopCore::cancel(Op& op) {
  if (op.state != OpState::pending) return;
  op.state = OpState::cancelling;
  backend_->cancel(op.id);
  has_work_ = true;
  if (cancels_.size() < kCancelsWatched) cancels_.emplace_back(op.id, now_ns());
}

Posted LoopCore::post(Job&& job) {
  if (is_post_closed_.load(std::memory_order_acquire)) return Posted::ended;
  if (!posts_.push(std::move(job))) {
    posts_refused_.fetch_add(1, std::memory_order_relaxed);
    return Posted::full;
  }
  backend_->wake();
  return Posted::queued;
}

void LoopCore::stop_soon() {
  is_stopped_.store(true, std::memory_order_release);
  backend_->wake();
}

// Blocks that come home from other threads (SharedBuf) may be what a receive or a paused stream waits for.
void LoopCore::watch_returns(bool on) {
  const auto wake = [](void* context) { static_cast<LoopCore*>(context)->bring(); };
  for (Pool* pool : {group.get(), small_pool.get(), app_pool.get()}) {
    pool->set_on_remote_return(on ? +wake : nullptr, this);
  }
}

void LoopCore::bring() {
  has_returns_.store(true, std::memory_order_release);
  backend_->wake();
}

void LoopCore::collect_returns() {
  has_returns_.exchange(false);  // What is pushed from here on sets it again.
  callback([this] {
    for (Pool* pool : {group.get(), small_pool.get(), app_pool.get()}) pool->collect_returns();
  });
  for (const auto& extension : extensions) {
    if (extension != nullptr) extension->collect();
  }
}

void LoopCore::add_prepare(PrepareHook& hook, Job job) {
  hook.unhook();
  has_work_ = true;
  hook.loop_ = this;
  hook.job_ = std::move(job);
  hook.previous_ = nullptr;
  hook.next_ = prepare_;
  if (prepare_ != nullptr) prepare_->previous_ = &hook;
  prepare_ = &hook;
}

void PrepareHook::unhook() {
  if (loop_ == nullptr) return;
  if (loop_->prepare_next_ == this) loop_->prepare_next_ = next_;
  (previous_ != nullptr ? previous_->next_ : loop_->prepare_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  loop_ = nullptr;
}

bool LoopCore::should_yield() {
  return backend_->pending_hint() || backend_->now() - now_ns() >= limits.deliver_time_ns;
}

const Metrics& LoopCore::current_metrics() {
  metrics.system_calls +=
      os::system_calls() - std::exchange(system_calls_seen_, os::system_calls());
  metrics.posts_refused = posts_refused_.load(std::memory_order_relaxed);
  const std::uint64_t allocations = thread_counts().heap_allocations + Job::allocations();
  metrics.heap_allocations += allocations - std::exchange(allocations_seen_, allocations);
  const std::uint64_t copied = thread_counts().bytes_copied;
  metrics.bytes_copied += copied - std::exchange(copied_seen_, copied);
  metrics.receive_memory_bytes = std::uint64_t{group->in_use()} * group->block_bytes();
  metrics.overflow_memory_bytes =
      metrics.receive_memory_bytes -
      std::min<std::uint64_t>(metrics.receive_memory_bytes, limits.group_bytes);
  return metrics;
}

void LoopCore::on_escape(std::exception_ptr exception) {
  ++metrics.exceptions;
  if (escape_hook_ != nullptr) return escape_hook_(*this, std::move(exception), running_);
  std::fprintf(stderr, "weir: an exception escaped from a callback queued at %s:%u\n",
               running_.file_name(), running_.line());
}

void LoopCore::print_stuck(const Op& op, std::uint64_t age_ns) const {
  std::fprintf(stderr,
               "weir: op %" PRIx64 " (kind %d) was cancelled %" PRIu64
               " ms ago and has no terminal completion\n",
               op.id.value, static_cast<int>(op.kind), age_ns / 1'000'000);
}

Buf LoopCore::allocate(std::size_t size_bytes, SourceLocation where) {
  Buf buf;
  if (size_bytes <= small_pool->block_bytes()) {
    buf = small_pool->take(where);
  } else if (size_bytes <= app_pool->block_bytes()) {
    buf = app_pool->take(where);
  }
  if (buf.empty())
    return Buf::make(size_bytes);  // larger than any block, or the pool is at its bound
  buf.trim_back(buf.size() - size_bytes);
  return buf;
}

Buf LoopCore::copy_of(std::string_view text, SourceLocation where) {
  Buf buf = allocate(text.size(), where);
  std::memcpy(buf.writable(), text.data(), text.size());
  metrics.bytes_copied += text.size();
  return buf;
}

std::string LoopCore::report() const {
  std::string text = std::string("loop ") + name_ + " on " + backend_->caps().name + "\n";
  if (metrics.demoted_jobs > 0) {
    text += "jobs demoted: " + std::to_string(metrics.demoted_jobs) + ", the last queued at " +
            last_demoted_.file_name() + ":" + std::to_string(last_demoted_.line()) + "\n";
  }
  for (std::size_t slot = 0; slot < ops.size(); ++slot) {
    const Op* op = ops.at(slot);
    if (op == nullptr || op->state == OpState::idle) continue;
    char line[128];
    std::snprintf(line, sizeof line, "op %zu kind %d handle %u%s\n", slot,
                  static_cast<int>(op->kind), op->handle.value,
                  op->state == OpState::cancelling ? " cancelling" : "");
    text += line;
  }
  for (const auto& extension : extensions) {
    if (extension != nullptr) extension->describe(text);
  }
  return text + ledger.report();
}

}  // namespace weir::inline v0
