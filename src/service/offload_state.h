// The inside of offloading: a pool's queues and threads, which know no loop but its port; and a loop's port, which
// knows who waits for what. Path of one piece of work: OffloadPort::start -> OffloadState::enqueue -> [a thread] ->
// OffloadRecord::run -> the port's list of what is done -> LoopCore::bring -> OffloadPort::collect -> whoever asked.
// What a thread does to a port happens under its pool's lock, only while the record names the port, and as a visitor whom
// the port's end waits for.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "src/loop/loop_core.h"
#include "src/os/thread.h"
#include "weir/offload.h"

namespace weir::inline v0::detail {

/// Shared by the pool's owner, its threads and the records that are on their way.
struct OffloadState : std::enable_shared_from_this<OffloadState> {
  using Stage = OffloadRecord::Stage;

  explicit OffloadState(const OffloadLimits& bounds);

  /// Queues the record, or says why not. `has_waited`: the queue was full, and `when_full` says to wait.
  Error enqueue(OffloadRecord& record, WhenFull when_full, bool& has_waited);
  /// Takes it out of its queue, or asks it to stop where it runs. Where it was.
  Stage withdraw(OffloadRecord& record);
  /// From now on its end does not wake the loop.
  void silence(OffloadRecord& record);
  /// Waits until the record is done. False when it is not by then: the thread destroys it when it ends.
  bool wait_or_orphan(OffloadRecord& record, std::uint64_t until_ns);
  /// Ends what waits with `closed`, and the threads.
  void stop(std::uint64_t until_ns);
  OffloadStats stats() const;

 private:
  struct Class {
    OffloadRecord* head = nullptr;
    OffloadRecord* tail = nullptr;
    std::uint32_t waiting_count = 0;
    std::uint32_t running_count = 0;
    std::uint32_t running_max = 0;
    bool can_run() const { return head != nullptr && running_count < running_max; }
  };
  static void run_thread(void* context);
  void serve(std::unique_lock<std::mutex>& lock);
  bool has_ready() const;
  OffloadRecord* take();
  void finish(OffloadRecord& record, std::unique_lock<std::mutex>& lock);
  void hand_over(OffloadRecord& record);
  void unlink(OffloadRecord& record);
  Error provide_thread();
  Class& class_of(const OffloadRecord& record) {
    return classes_[static_cast<std::size_t>(record.work_)];
  }

  mutable std::mutex mutex_;
  std::condition_variable work_came_;
  std::condition_variable ended_;  // a record or a thread
  const OffloadLimits limits_;
  Class classes_[kWorkCount];
  OffloadRecord* running_ = nullptr;
  std::vector<os::Thread> threads_;
  std::uint32_t alive_count_ = 0;
  std::uint32_t idle_count_ = 0;
  std::size_t next_class_ = 0;  // round robin
  bool is_stopping_ = false;
};

/// What one loop asked for. Used on its thread, but for `done`.
struct OffloadPort final : LoopExtension {
  explicit OffloadPort(LoopCore& loop_core) : loop(loop_core) {}
  ~OffloadPort() override;
  static OffloadPort& of(LoopCore& loop);

  Error start(const OffloadOptions& options, std::unique_ptr<OffloadRecord> record);
  void drop(OffloadRecord& record);
  void collect() override;
  void on_shutdown() override;
  OffloadPool& own_pool();
  static OffloadPort& of(const OffloadRecord& record) { return *record.port_; }

  LoopCore& loop;
  std::atomic<OffloadRecord*> done{nullptr};    // newest first; pushed by threads of pools
  std::atomic<std::uint32_t> visitor_count{0};  // threads that push or wake just now

 private:
  friend struct OffloadState;
  void take_done();
  void deliver(OffloadRecord& record);
  void end_early(OffloadRecord& record, const Error& why);
  void forget(OffloadRecord& record);
  void wait_for_visitors() const;
  void remove(OffloadRecord& record);
  static void on_deadline(TimerNode& node);

  std::unique_ptr<OffloadPool> own_pool_;
  OffloadRecord* live_ = nullptr;
  OffloadRecord* ready_ = nullptr;  // taken from `done`, oldest first
  bool is_closed_ = false;
};

}  // namespace weir::inline v0::detail
