// Lists of Bufs. A node is taken from the thread's cache when a piece is appended and goes back when it is done.
#include <algorithm>
#include <limits>

#include "src/buffer/block_home.h"
#include "src/buffer/foreign.h"
#include "src/buffer/thread_cache.h"
#include "weir/buffer.h"
#include "weir/metrics.h"
#include "weir/pool.h"

namespace weir::inline v0 {

namespace {

using NodeCache = ThreadCache<BufChain::Node>;

// Memory for `count` bytes that lie in pieces, the first of them `front`: from the same pool and charged to the
// same connection, since the pieces that they come from go home for it; else from the heap.
Buf gather_target(const Buf& front, std::uint32_t count) {
  const Block& source = *front.block();
  Pool* const pool = source.home;
  if (pool == nullptr || count > pool->block_bytes()) return make_heap_buf(count);
  Buf target = take_like(source, *pool, count, SourceLocation::current());
  return target.empty() ? make_heap_buf(count) : std::move(target);
}

}  // namespace

BufChain& BufChain::operator=(BufChain&& other) noexcept {
  if (this != &other) {
    clear();
    head_ = std::exchange(other.head_, nullptr);
    tail_ = std::exchange(other.tail_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

std::size_t BufChain::count() const {
  std::size_t count = 0;
  for (const Node* node = head_; node != nullptr; node = node->next) ++count;
  return count;
}

std::size_t BufChain::pinned_bytes() const {
  std::size_t bytes = 0;
  for (const Node* node = head_; node != nullptr; node = node->next)
    bytes += node->buf.pinned_bytes();
  return bytes;
}

void BufChain::append(Buf&& buf) {
  if (buf.empty()) return;
  bytes_ += buf.size();
  Node* node = NodeCache::make(std::move(buf));
  (tail_ != nullptr ? tail_->next : head_) = node;
  tail_ = node;
}

// Only memory of the application's, or copies: behind a loaned slice the block may be the kernel's.
bool BufChain::absorb(const Buf& buf, const Pool& copies) {
  if (tail_ == nullptr) return false;
  Buf& last = tail_->buf;
  const Block& block = *last.block();
  const bool is_own = block.state == BlockState::app ||
                      (block.origin == BlockOrigin::pool && block.home == &copies);
  if (!is_own || last.tailroom() < buf.size()) return false;
  std::byte* const end = last.writable() + last.size();
  last.grow_back(buf.size());
  std::copy_n(buf.data(), buf.size(), end);
  bytes_ += buf.size();
  thread_counts().bytes_copied += buf.size();
  return true;
}

void BufChain::append(BufChain&& chain) {
  if (chain.empty()) return;
  (tail_ != nullptr ? tail_->next : head_) = chain.head_;
  tail_ = chain.tail_;
  bytes_ += chain.bytes_;
  chain.head_ = chain.tail_ = nullptr;
  chain.bytes_ = 0;
}

Buf BufChain::pop_front() {
  if (head_ == nullptr) return {};
  Node* node = head_;
  head_ = node->next;
  if (head_ == nullptr) tail_ = nullptr;
  Buf buf = std::move(node->buf);
  bytes_ -= buf.size();
  NodeCache::drop(node);
  return buf;
}

BufChain BufChain::split_front(std::size_t count) {
  WEIR_CHECK_LE(count, bytes_);
  BufChain front;
  while (count != 0 && head_->buf.size() <= count) {
    count -= head_->buf.size();
    Node* node = head_;
    head_ = node->next;
    if (head_ == nullptr) tail_ = nullptr;
    bytes_ -= node->buf.size();
    front.bytes_ += node->buf.size();
    node->next = nullptr;
    (front.tail_ != nullptr ? front.tail_->next : front.head_) = node;
    front.tail_ = node;
  }
  if (count != 0) {
    front.append(head_->buf.split_front(count));
    bytes_ -= count;
  }
  return front;
}

void BufChain::trim_front(std::size_t count) {
  WEIR_CHECK_LE(count, bytes_);
  while (count != 0 && head_->buf.size() <= count) {
    count -= head_->buf.size();
    pop_front().reset();
  }
  if (count != 0) {
    head_->buf.trim_front(count);
    bytes_ -= count;
  }
}

Buf BufChain::take(std::size_t count) {
  WEIR_CHECK_LE(count, bytes_);
  if (count == 0) return {};
  if (count == head_->buf.size()) return pop_front();
  if (count < head_->buf.size()) {
    bytes_ -= count;
    return head_->buf.split_front(count);
  }
  WEIR_CHECK_LE(count, std::numeric_limits<std::uint32_t>::max());
  Buf buf = gather_target(head_->buf, static_cast<std::uint32_t>(count));
  copy_to({buf.writable(), count});
  trim_front(count);
  return buf;
}

void BufChain::copy_to(std::span<std::byte> target) const {
  WEIR_CHECK_LE(target.size(), bytes_);
  thread_counts().bytes_copied += target.size();
  for (const Node* node = head_; !target.empty(); node = node->next) {
    const std::size_t count = std::min(target.size(), node->buf.size());
    std::copy_n(node->buf.data(), count, target.data());
    target = target.subspan(count);
  }
}

void BufChain::clear() {
  while (Node* node = head_) {
    head_ = node->next;
    NodeCache::drop(node);
  }
  tail_ = nullptr;
  bytes_ = 0;
}

}  // namespace weir::inline v0
