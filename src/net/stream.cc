// Stream: the handle to a StreamCore, and the operations that tasks await on it.
#include "weir/stream.h"

#include <algorithm>

#include "src/net/net_state.h"

namespace weir::inline v0 {

namespace {
// The same as used(), of this thread's loop.
StreamCore& mine(StreamCore* core) {
  used(core).loop().check_thread();
  return *core;
}
}  // namespace

Stream::ReadUntilOp Stream::read_exact(std::size_t size_bytes, ReadOptions options) {
  return ReadUntilOp(&used(core_), options.timeout, size_bytes, {});
}
Stream::ReadUntilOp Stream::read_until(std::string_view delimiter, std::size_t size_bytes_max,
                                       ReadOptions options) {
  WEIR_CHECK(!delimiter.empty());
  return ReadUntilOp(&used(core_), options.timeout, size_bytes_max, delimiter);
}
void Stream::ReadOp::abandon() { core_->abandon_read(*this); }

Stream::WriteOp Stream::write(Buf&& bytes) {
  WriteOp op(&used(core_));
  op.take(bytes);
  return op;
}
Stream::WriteOp Stream::write(BufChain&& bytes) {
  WriteOp op(&used(core_));
  op.take(bytes);
  return op;
}
Stream::WriteOp Stream::write(std::string_view text) {
  Buf bytes = mine(core_).loop().copy_of(text);
  return write(std::move(bytes));
}

// write() consumes: what cannot be queued is gone, and the owner is told by the error.
template <typename Bytes>
void Stream::WriteOp::take(Bytes& bytes) {
  core_->loop().check_thread();
  if (!core_->can_write()) {
    fail_with(core_->write_error());
    set_bit(kNeedsWait);
    return;
  }
  switch (core_->write(bytes, true)) {
    case Write::flowing: return;
    case Write::pressured: set_bit(kNeedsWait); return;
    case Write::refused: break;
  }
  set_bit(kNeedsWait);
  fail_with(Error::of(Errc::write_refused, Operation::write));
}
bool Stream::WriteOp::suspend() { return core_->begin_write_wait(*this); }
void Stream::WriteOp::abandon() { core_->abandon_write(*this); }

Stream::FinishOp Stream::flush() { return FinishOp(&used(core_), false); }
Stream::FinishOp Stream::finish() { return FinishOp(&used(core_), true); }
bool Stream::FinishOp::suspend() { return core_->begin_finish(*this, has_bit(kWithFin)); }
void Stream::FinishOp::abandon() { core_->abandon_write(*this); }

void Stream::start(StreamHandler& handler) { mine(core_).start(handler); }
Write Stream::try_write(Buf& bytes) {
  StreamCore& core = mine(core_);
  return core.can_write() ? core.write(bytes, false) : Write::refused;
}
Write Stream::try_write(BufChain& bytes) {
  StreamCore& core = mine(core_);
  return core.can_write() ? core.write(bytes, false) : Write::refused;
}
void Stream::end_writing() { mine(core_).end_writing(); }
void Stream::pause() { mine(core_).pause(); }
void Stream::resume() { mine(core_).resume(); }
bool Stream::is_paused() const { return mine(core_).is_paused(); }

void Stream::close() { mine(core_).close({}, false); }
void Stream::reset() { mine(core_).close({}, true); }
void Stream::release() noexcept {
  if (core_ != nullptr) std::exchange(core_, nullptr)->release();
}

Loop& Stream::loop() const { return *used(core_).loop().facade; }
// A closed stream has no socket any more that could be asked.
Address Stream::local_address() const {
  return mine(core_).is_closing() ? Address{} : core_->local_address();
}
Address Stream::peer_address() const {
  return mine(core_).is_closing() ? Address{} : core_->peer_address();
}
Result<void> Stream::set_option(SocketOption option, std::int32_t value) {
  if (mine(core_).is_closing()) return Error::of(Errc::closed, Operation::option);
  return core_->set_option(option, value);
}
Result<std::int32_t> Stream::get_option(SocketOption option) const {
  if (mine(core_).is_closing()) return Error::of(Errc::closed, Operation::option);
  return core_->get_option(option);
}
void Stream::set_marks(const WriteMarks& marks) { mine(core_).set_marks(marks); }
std::size_t Stream::queued_bytes() const { return mine(core_).queued_bytes(); }
std::size_t Stream::loaned_bytes() const { return mine(core_).loaned_bytes; }
bool Stream::has_ended() const { return mine(core_).has_ended(); }
bool Stream::is_open() const { return core_ != nullptr && !core_->is_closing(); }
void Stream::unref() { mine(core_).set_ref(false); }
void Stream::ref() { mine(core_).set_ref(true); }

Task<> pipe(Stream& from, Stream& to) {
  while (Buf bytes = co_await from.read()) co_await to.write(std::move(bytes));
  co_await to.finish();
}

// ---- Reading towards a goal: an exact count, or a delimiter.

namespace {
constexpr std::size_t kNotFound = ~std::size_t{0};

// The longest proper prefix of the delimiter that its first `matched` bytes end with.
std::size_t shorter_match(std::string_view delimiter, std::size_t matched) {
  for (std::size_t length = matched - 1; length > 0; --length) {
    if (delimiter.substr(0, length) == delimiter.substr(matched - length, length)) return length;
  }
  return 0;
}

// Where `delimiter` begins, not before `from`; it may lie across pieces.
std::size_t find(const BufChain& chain, std::string_view delimiter, std::size_t from) {
  std::size_t matched = 0;
  std::size_t at = 0;
  for (const BufChain::Node* node = chain.front(); node != nullptr; node = node->next) {
    for (const char byte : node->buf.text()) {
      if (at++ < from) continue;
      while (matched > 0 && byte != delimiter[matched]) matched = shorter_match(delimiter, matched);
      matched += byte == delimiter[matched];
      if (matched == delimiter.size()) return at - matched;
    }
  }
  return kNotFound;
}
}  // namespace

// The first `size_bytes` of the inbox as one piece; copied together only if they lie in several.
Buf StreamCore::take_from_inbox(std::size_t size_bytes) {
  if (inbox().front()->buf.size() >= size_bytes) {
    BufChain taken = inbox().split_front(size_bytes);
    return taken.pop_front();
  }
  Buf whole = loop_.allocate(size_bytes);
  inbox().copy_to({whole.writable(), size_bytes});
  inbox().trim_front(size_bytes);
  return whole;
}

// What waits for a goal may need more memory than a stream may hold of the receive group: it moves into memory of the
// goal's own, and what comes is copied behind it.
void StreamCore::collect(const Stream::ReadOp::Goal& goal) {
  if (!has(kHasInbox)) return;
  const std::size_t count = inbox().bytes();
  Buf whole = loop_.allocate(std::max(goal.size_bytes, count));
  inbox().copy_to({whole.writable(), count});
  whole.trim_back(whole.size() - count);
  inbox().clear();
  inbox().append(std::move(whole));
}

bool StreamCore::try_goal(Stream::ReadOp& op) {
  Stream::ReadOp::Goal& goal = *op.goal();
  std::size_t size_bytes = goal.size_bytes;
  if (!goal.delimiter.empty()) {
    const std::size_t found = find(inbox(), goal.delimiter, goal.searched_bytes);
    if (found == kNotFound || found + goal.delimiter.size() > size_bytes) {
      const std::size_t come_bytes = inbox().bytes();
      goal.searched_bytes = come_bytes - std::min(come_bytes, goal.delimiter.size() - 1);
      if (found == kNotFound && come_bytes < size_bytes) return false;
      op.fail_with(Error::of(Errc::message_too_long, Operation::read));
      return true;
    }
    size_bytes = found + goal.delimiter.size();
  } else if (inbox().bytes() < size_bytes) {
    return false;
  }
  op.bytes_ = take_from_inbox(size_bytes);
  if (inbox().empty()) drop_inbox();
  return true;
}

}  // namespace weir::inline v0
