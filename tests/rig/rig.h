// A rig holds what a loop would hold (ops, metrics, limits, pools, a backend, a sink) and drives the seam step by step:
// submit, poll, look. It checks at every step what holds for every backend at all times (tests/rig/rig.cc says
// which), so a row only states what it is about. It never aborts and never waits past its patience: a broken backend
// ends in a verdict, which the tests of broken backends need.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/rig/judge.h"
#include "tests/rig/peer.h"
#include "weir/backend.h"

namespace weir::test {

class Rig;

/// The completions of one op, kept in order; the part that does not depend on its kind.
class Track {
 public:
  explicit Track(Op& op) : op_(op) {}
  virtual ~Track() = default;
  Track(const Track&) = delete;
  Track& operator=(const Track&) = delete;

  Op& op() const { return op_; }
  bool is_pending() const { return op_.state != OpState::idle; }
  /// Since the last submit: everything, the terminals among it, zero-copy notifications.
  const std::vector<Completion>& completions() const { return completions_; }
  std::size_t terminal_count() const { return terminal_count_; }
  std::size_t notification_count() const { return notification_count_; }
  bool is_done() const { return terminal_count_ > 0; }
  /// The terminal's result; a value that no system gives while there is none.
  std::int32_t result() const { return is_done() ? terminal_.result : INT32_MIN; }
  const Completion& terminal() const { return terminal_; }
  bool was_done_at_submit() const { return done_at_submit_; }

  /// Since the op was made: received bytes in order, accepted handles, bytes reported as sent.
  std::string bytes;
  std::vector<Handle> accepted;
  std::size_t sent_bytes = 0;

  /// Received blocks are kept in `held` until the row drops them; else they go home at once.
  bool holds_blocks = false;
  std::vector<Buf> held;
  /// A receive with memory of its own, and what a send sends.
  std::vector<std::byte> memory;
  BufChain outgoing;
  /// Runs in the deliver step after the completion was taken.
  std::function<void(const Completion&)> on_completion;

 private:
  friend class Rig;
  Op& op_;
  std::vector<Completion> completions_;
  std::size_t terminal_count_ = 0;
  std::size_t notification_count_ = 0;
  Completion terminal_;
  bool done_at_submit_ = false;
};

/// An op of kind T with its track. Owned by the rig.
template <typename T>
struct Tracked : T, Track {
  Tracked(OpKind the_kind, Handle the_handle) : Track(static_cast<Op&>(*this)) {
    this->kind = the_kind;
    this->handle = the_handle;
  }
};

struct RigOptions {
  std::uint32_t block_bytes = 4096;  ///< of the receive group
  std::uint32_t blocks = 64;
  std::uint32_t room = 256;  ///< what the sink wants at each poll
  std::chrono::milliseconds patience{5000};
};

/// Where results go. Its queues are looked at after each call that must not fill them.
class RecordingSink final : public Sink {
 public:
  using Sink::Sink;
  void set_room(std::uint32_t room) { room_ = room; }
  std::uint32_t size() const { return control_.size() + data_.size(); }
  bool take(Completion& completion);
  /// Those of no pending op; there should be none but notifications.
  std::vector<Completion> take_unowned() { return std::exchange(unowned_, {}); }

 private:
  void on_unowned(const Completion& completion) override { unowned_.push_back(completion); }
  std::vector<Completion> unowned_;
};

class Rig : public Judge {
 public:
  static constexpr GroupId kGroup = 7;

  explicit Rig(std::string_view backend, const RigOptions& options = {});
  ~Rig();
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  bool is_available() const { return backend_ != nullptr && reason().empty(); }

  Backend& backend() { return *backend_; }
  OpTable& ops() { return ops_; }
  Pool& group() { return group_; }
  Pool& app_pool() { return app_pool_; }
  Metrics& metrics() { return metrics_; }
  const Limits& limits() const { return limits_; }
  RecordingSink& sink() { return sink_; }
  RigOptions& options() { return options_; }

  // Sockets. What they cannot open is a failure of the row.
  Handle attach(Descriptor fd);  ///< the rig's: closed at the end
  Handle attach_foreign(int fd);
  Handle open(const SocketSpec& spec);
  Handle listen(Family family = Family::ipv4, std::int32_t backlog = 64);
  Address local_address(Handle handle);
  /// A connected stream; `peer` becomes its far end.
  Handle connected(Peer& peer, Family family = Family::ipv4);
  void own(Handle handle) { open_.push_back(handle); }
  void forget(Handle handle);

  // Ops: made, filled in, not submitted.
  template <typename T>
  Tracked<T>& make(OpKind kind, Handle handle);
  Tracked<RecvOp>& recv(Handle handle, std::uint32_t bytes);  ///< one-shot, into memory of its own
  Tracked<RecvOp>& recv_group(Handle handle, bool multishot);
  Tracked<SendOp>& send(Handle handle, std::size_t bytes,
                        std::size_t offset = 0);  ///< of the pattern
  Tracked<AcceptOp>& accept(Handle handle, bool multishot = true);
  Tracked<PollOp>& poll_op(Handle handle, std::uint32_t events, bool multishot = false);
  Tracked<CloseOp>& close(Handle handle);
  /// `bytes` of the pattern from `offset`, in pieces of at most `piece_bytes`.
  BufChain chain(std::size_t offset, std::size_t bytes, std::size_t piece_bytes = ~std::size_t{0});

  void submit(Track& track);
  void cancel(const Track& track) { cancel(track.op().id); }
  void cancel(OpId id);
  /// A send that goes on until the whole of its chain was taken; false when it failed first.
  bool send_all(Tracked<SendOp>& send, Peer& reader);

  /// One poll that waits at most `wait`, then delivery of everything.
  void step(std::chrono::nanoseconds wait = std::chrono::nanoseconds(0));
  /// Steps until `is_true`, or records that it did not happen within the patience.
  bool run_until(std::string_view what, const std::function<bool()>& is_true);
  /// A few polls in which nothing more may come of ops that ended; what still comes is a failure by itself.
  void settle();
  /// Blocks that the row held go home. The backend hears of it by itself.
  void drop_blocks(Track& track) { track.held.clear(); }
  std::size_t pending_count() const;
  std::uint64_t poll_count() const { return poll_count_; }

  /// Cancels, pumps, closes, destroys the backend; then nothing may be out. Once, at the end of a row.
  void finish();

 private:
  void deliver();
  void deliver(Track& track, const Completion& completion, bool at_submit);
  void check_completion(const Track& track, const Completion& completion);
  void receive(Track& track, const Completion& completion);
  void notify(const Completion& completion);
  void refuse(const Completion& completion);
  template <typename Call>
  auto without_push(std::string_view where, Call&& call);
  Track* track_of(OpId id) const;
  void adopt(std::unique_ptr<Track> track);
  bool pump(std::string_view what, const std::function<bool()>& is_true);
  void end_ops();
  void close_all();
  void check_memory_is_back();

  RigOptions options_;
  Limits limits_;
  Metrics metrics_;
  OpTable ops_;
  Ledger ledger_{LedgerLevel::all};
  Pool group_;
  Pool app_pool_;
  RecordingSink sink_;
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Track>> tracks_;
  std::vector<Track*> by_slot_;
  std::vector<Handle> open_;
  std::uint64_t poll_count_ = 0;
  bool is_finished_ = false;
};

template <typename T>
Tracked<T>& Rig::make(OpKind kind, Handle handle) {
  auto made = std::make_unique<Tracked<T>>(kind, handle);
  Tracked<T>& tracked = *made;
  adopt(std::move(made));
  return tracked;
}

}  // namespace weir::test
