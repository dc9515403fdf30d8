// The rig's steps, and what it checks at every one of them:
//  - submit() and cancel() push nothing into the sink; a multishot op never answers `done`;
//  - a completion names a pending op; a one-shot op gets exactly one, without kMore;
//  - received bytes lie inside a block that was the backend's; errors carry none; nothing asks to be tried again;
//  - at the end no block is out and the ledger is empty.
#include "tests/rig/rig.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

namespace weir::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

std::string describe(const Completion& completion) {
  std::ostringstream text;
  text << "completion{slot " << completion.id.slot() << " generation " << completion.id.generation()
       << " kind " << static_cast<int>(completion.id.kind()) << " result " << completion.result
       << " flags " << completion.flags << " buffer " << completion.buffer << " offset "
       << completion.offset << " length " << completion.length << "}";
  return text.str();
}

// A multishot; or a receive that asked for more than a block, and gets it a block at a time.
bool may_go_on(const Op& op, std::uint32_t block_bytes) {
  if (op.multishot || op.kind != OpKind::recv) return op.multishot;
  const auto& recv = static_cast<const RecvOp&>(op);
  return recv.group != kNoGroup && recv.bytes_max > block_bytes;
}

Limits limits_for(const RigOptions& options) {
  Limits limits;
  limits.block_bytes = options.block_bytes;
  limits.group_bytes = options.block_bytes * options.blocks;
  return limits;
}

}  // namespace

bool RecordingSink::take(Completion& completion) {
  Queue& queue = control_.empty() ? data_ : control_;
  if (queue.empty()) return false;
  completion = queue.front();
  ++queue.head;
  return true;
}

Rig::Rig(std::string_view backend, const RigOptions& options)
    : options_(options),
      limits_(limits_for(options)),
      group_({.block_bytes = options.block_bytes,
              .blocks_max = options.blocks,
              .group = kGroup,
              .name = "group"},
             ledger_),
      app_pool_({.block_bytes = 64 << 10, .blocks_max = 4096, .slab_blocks = 16, .name = "app"},
                ledger_),
      sink_(ops_) {
  Result<ChosenBackend> chosen = make_backend(backend, {ops_, metrics_, limits_});
  if (!chosen.ok()) {
    skip(std::string(backend) + ": " + chosen.error().to_string());
    return;
  }
  backend_ = std::move(chosen.value().backend);
  backend_->provide(group_);
}

Rig::~Rig() { finish(); }

// ---- sockets

Handle Rig::attach(Descriptor fd) {
  const Result<Handle> handle = backend_->attach(fd.get(), true);
  if (!handle.ok()) {
    fail("attach: " + handle.error().to_string());
    return {};
  }
  static_cast<void>(fd.release());
  Result<Handle> copy = handle;
  own(copy.value());
  return copy.value();
}

Handle Rig::attach_foreign(int fd) {
  Result<Handle> handle = backend_->attach(fd, false);
  if (!handle.ok()) {
    fail("attach: " + handle.error().to_string());
    return {};
  }
  own(handle.value());
  return handle.value();
}

Handle Rig::open(const SocketSpec& spec) {
  Result<Handle> handle = backend_->open(spec);
  if (!handle.ok()) {
    fail("open: " + handle.error().to_string());
    return {};
  }
  own(handle.value());
  return handle.value();
}

Handle Rig::listen(Family family, std::int32_t backlog) {
  SocketSpec spec;
  spec.family = family;
  spec.bind = loopback(family, 0);
  spec.backlog = backlog;
  return open(spec);
}

Address Rig::local_address(Handle handle) {
  Result<Address> address = backend_->local_address(handle);
  if (!address.ok()) {
    fail("local_address: " + address.error().to_string());
    return {};
  }
  return address.value();
}

Handle Rig::connected(Peer& peer, Family family) {
  PeerListener listener(family);
  PeerListener::Pair pair = listener.connected_pair();
  peer = std::move(pair.far);
  return attach(std::move(pair.near));
}

void Rig::forget(Handle handle) { std::erase(open_, handle); }

// ---- ops

void Rig::adopt(std::unique_ptr<Track> track) {
  ops_.adopt(track->op());
  const std::uint32_t slot = track->op().id.slot();
  if (by_slot_.size() <= slot) by_slot_.resize(slot + 1);
  by_slot_[slot] = track.get();
  tracks_.push_back(std::move(track));
}

Tracked<RecvOp>& Rig::recv(Handle handle, std::uint32_t bytes) {
  auto& op = make<RecvOp>(OpKind::recv, handle);
  op.memory.resize(bytes);
  op.target = op.memory.data();
  op.bytes_max = bytes;
  return op;
}

Tracked<RecvOp>& Rig::recv_group(Handle handle, bool multishot) {
  auto& op = make<RecvOp>(OpKind::recv, handle);
  op.group = kGroup;
  op.multishot = multishot;
  return op;
}

Tracked<SendOp>& Rig::send(Handle handle, std::size_t bytes, std::size_t offset) {
  auto& op = make<SendOp>(OpKind::send, handle);
  op.outgoing = chain(offset, bytes);
  op.chain = &op.outgoing;
  return op;
}

Tracked<AcceptOp>& Rig::accept(Handle handle, bool multishot) {
  auto& op = make<AcceptOp>(OpKind::accept, handle);
  op.multishot = multishot;
  return op;
}

Tracked<PollOp>& Rig::poll_op(Handle handle, std::uint32_t events, bool multishot) {
  auto& op = make<PollOp>(OpKind::poll, handle);
  op.events = events;
  op.multishot = multishot;
  return op;
}

Tracked<CloseOp>& Rig::close(Handle handle) { return make<CloseOp>(OpKind::close, handle); }

BufChain Rig::chain(std::size_t offset, std::size_t bytes, std::size_t piece_bytes) {
  BufChain out;
  while (bytes > 0) {
    Buf piece = app_pool_.take();
    if (piece.empty()) {
      fail("the test's own pool is empty");
      return out;
    }
    const std::size_t size = std::min({bytes, piece_bytes, piece.size()});
    std::memcpy(piece.writable(), pattern(offset, size).data(), size);
    piece.trim_back(piece.size() - size);
    out.append(std::move(piece));
    offset += size;
    bytes -= size;
  }
  return out;
}

// Makes a call of the backend that must leave the sink as it is.
template <typename Call>
auto Rig::without_push(std::string_view where, Call&& call) {
  const std::uint32_t before = sink_.size();
  const auto answer = call();
  if (sink_.size() != before) fail("the backend pushed into the sink inside " + std::string(where));
  return answer;
}

void Rig::submit(Track& track) {
  if (!demand(!track.is_pending(), "the op is idle", __FILE__, __LINE__)) return;
  track.completions_.clear();
  track.terminal_count_ = 0;
  track.notification_count_ = 0;
  track.done_at_submit_ = false;
  ops_.begin(track.op());
  const OpId id = track.op().id;
  const Submitted submitted = without_push("submit", [&] { return backend_->submit(track.op()); });
  if (!submitted.done) return;
  track.done_at_submit_ = true;
  if (track.op().multishot) fail("a multishot op answered done: " + describe(submitted.completion));
  if (submitted.completion.id != id)
    fail("done with another id: " + describe(submitted.completion));
  deliver(track, submitted.completion, true);
}

void Rig::cancel(OpId id) {
  Op* op = ops_.find(id);
  if (op != nullptr) op->state = OpState::cancelling;
  without_push("cancel", [&] { return backend_->cancel(id), true; });
}

bool Rig::send_all(Tracked<SendOp>& send, Peer& reader) {
  while (!send.outgoing.empty()) {
    submit(send);
    const bool ended = run_until("a send ends", [&] {
      reader.read_some();
      return send.is_done();
    });
    if (!ended || send.result() < 0) return false;
    send.outgoing.trim_front(static_cast<std::size_t>(send.result()));
  }
  return true;
}

// ---- steps

void Rig::step(std::chrono::nanoseconds wait) {
  sink_.set_room(options_.room);
  const std::uint64_t deadline =
      wait.count() == 0 ? 0 : backend_->now() + static_cast<std::uint64_t>(wait.count());
  backend_->poll(deadline, sink_);
  ++poll_count_;
  deliver();
}

void Rig::deliver() {
  for (const Completion& completion : sink_.take_unowned()) {
    completion.has(kNotif) ? notify(completion) : refuse(completion);
  }
  Completion completion;
  while (sink_.take(completion)) {
    Track* track = track_of(completion.id);
    Op* op = ops_.find(completion.id);
    if (completion.has(kNotif)) {
      notify(completion);
    } else if (op == nullptr || track == nullptr) {
      refuse(completion);
    } else {
      if (op->undelivered > 0) --op->undelivered;
      deliver(*track, completion, false);
    }
  }
}

void Rig::notify(const Completion& completion) {
  Track* track = track_of(completion.id);
  if (track == nullptr) return fail("a notification of nobody: " + describe(completion));
  if (ops_.find(completion.id) != nullptr) fail("memory came back before the result");
  ++track->notification_count_;
}

// A failure of the row; the block goes home, so that nothing but the defect shows.
void Rig::refuse(const Completion& completion) {
  fail("a completion of an op that is not pending: " + describe(completion));
  if (!completion.has(kBuf) || completion.group != kGroup) return;
  Block& block = group_.at(completion.buffer);
  if (block.state == BlockState::posted || block.state == BlockState::lent)
    group_.give_back(&block);
}

void Rig::deliver(Track& track, const Completion& completion, bool at_submit) {
  check_completion(track, completion);
  track.completions_.push_back(completion);
  if (completion.is_terminal()) {
    track.op().state = OpState::idle;
    ++track.terminal_count_;
    track.terminal_ = completion;
    if (track.op().kind == OpKind::close) forget(track.op().handle);
  }
  const OpKind kind = track.op().kind;
  if (completion.has(kHandle)) {
    track.accepted.push_back(Handle{completion.buffer});
    own(Handle{completion.buffer});
  } else if (kind == OpKind::recv || kind == OpKind::recvmsg) {
    receive(track, completion);
  } else if ((kind == OpKind::send || kind == OpKind::sendmsg) && completion.result > 0) {
    track.sent_bytes += static_cast<std::size_t>(completion.result);
  }
  if (track.on_completion && !at_submit) track.on_completion(completion);
}

void Rig::check_completion(const Track& track, const Completion& completion) {
  const OpKind kind = track.op().kind;
  const std::int32_t result = completion.result;
  auto wrong = [&](std::string_view what) {
    fail(std::string(what) + ": " + describe(completion));
  };
  if (completion.has(kMore) && !may_go_on(track.op(), options_.block_bytes)) {
    wrong("kMore from an op that is not multishot");
  }
  if (result == -EAGAIN || result == -EINTR || result == -EINPROGRESS || result == -EALREADY) {
    wrong("an errno that the backend has to deal with");
  }
  if (completion.has(kBuf)) {
    if (kind != OpKind::recv) wrong("kBuf from an op that receives nothing");
    if (result <= 0 || completion.length != static_cast<std::uint32_t>(result))
      wrong("kBuf with another length");
    if (completion.group != kGroup) wrong("kBuf of a group that nobody provided");
    if (std::uint64_t{completion.offset} + completion.length > options_.block_bytes)
      wrong("kBuf past its block");
  }
  if (completion.has(kEof) && (kind != OpKind::recv || result != 0 || completion.has(kMore))) {
    wrong("kEof that is not the last completion of a receive");
  }
  if (kind == OpKind::recv && result == 0 && !completion.has(kEof)) wrong("0 bytes without kEof");
  if (completion.has(kHandle) && kind != OpKind::accept)
    wrong("kHandle from an op that accepts nothing");
}

void Rig::receive(Track& track, const Completion& completion) {
  if (completion.result <= 0) return;
  const auto length = static_cast<std::size_t>(completion.result);
  if (!completion.has(kBuf)) {
    if (length > track.memory.size())
      return fail("more bytes than memory: " + describe(completion));
    track.bytes.append(reinterpret_cast<const char*>(track.memory.data()), length);
    return;
  }
  if (completion.group != kGroup || completion.buffer >= group_.blocks_max())
    return;  // reported above
  Block& block = group_.at(completion.buffer);
  if (block.state == BlockState::free || block.state == BlockState::app) {
    return fail("received into a block that was not the backend's: " + describe(completion));
  }
  Buf bytes = group_.loan(&block, completion.offset, completion.length, nullptr);
  track.bytes.append(bytes.text());
  if (track.holds_blocks) track.held.push_back(std::move(bytes));
}

bool Rig::pump(std::string_view what, const std::function<bool()>& is_true) {
  const auto give_up = Clock::now() + options_.patience;
  while (!is_true()) {
    if (Clock::now() > give_up) {
      fail("not within " + std::to_string(options_.patience.count()) + " ms: " + std::string(what));
      return false;
    }
    step(milliseconds(1));
  }
  return true;
}

bool Rig::run_until(std::string_view what, const std::function<bool()>& is_true) {
  return !has_failed() && pump(what, is_true) && !has_failed();
}

void Rig::settle() {
  for (int i = 0; i < 3; ++i) step();
  step(milliseconds(2));
}

// ---- the end

Track* Rig::track_of(OpId id) const {
  return id.slot() < by_slot_.size() ? by_slot_[id.slot()] : nullptr;
}

std::size_t Rig::pending_count() const {
  return static_cast<std::size_t>(std::count_if(
      tracks_.begin(), tracks_.end(), [](const auto& track) { return track->is_pending(); }));
}

void Rig::finish() {
  if (std::exchange(is_finished_, true)) return;
  if (backend_ != nullptr) {
    end_ops();
    if (!has_failed()) close_all();
    settle();
    backend_
        .reset();  // After a failure it may still think that ops are in flight: it closes what is open by itself.
  }
  for (const auto& track : tracks_) {
    track->op().state = OpState::idle;
    ops_.abandon(track->op());
  }
  tracks_.clear();
  if (reason().empty() && !has_failed()) check_memory_is_back();
}

void Rig::end_ops() {
  for (const auto& track : tracks_) {
    track->on_completion = nullptr;
    if (track->is_pending()) cancel(*track);
  }
  for (const auto& track : tracks_) drop_blocks(*track);
  pump("every cancelled op ends", [&] { return pending_count() == 0; });
}

void Rig::close_all() {
  for (const Handle handle : std::vector<Handle>(open_)) submit(close(handle));
  pump("every handle closes", [&] { return open_.empty(); });
  for (const auto& track : tracks_) track->outgoing.clear();
  pump("every block of a send comes back", [&] { return app_pool_.in_use() == 0; });
}

void Rig::check_memory_is_back() {
  if (group_.in_use() != 0) fail("blocks of the group are out: " + std::to_string(group_.in_use()));
  if (app_pool_.in_use() != 0)
    fail("blocks of the test are out: " + std::to_string(app_pool_.in_use()));
  if (!ledger_.entries().empty()) fail("the ledger: " + ledger_.report());
}

}  // namespace weir::test
