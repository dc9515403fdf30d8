// What a handle may do with its slice. Going home is pool.cc's, memory that is no pool's foreign.cc's.
#include "weir/buffer.h"

#include <string>

#include "weir/pool.h"

namespace weir::inline v0 {

std::string_view name_of(BlockState state) {
  switch (state) {
    case BlockState::free: return "free";
    case BlockState::posted: return "posted";
    case BlockState::lent: return "lent";
    case BlockState::zc_pending: return "zc_pending";
    case BlockState::app: return "app";
    case BlockState::loaned: return "loaned";
  }
  return "invalid";
}

void detail::misuse(const Block& block, const char* action, SourceLocation where) {
  std::string text = "block " + std::to_string(block.index);
  if (block.home != nullptr) text.append(" of pool \"").append(block.home->name()).append("\"");
  text.append(" is ").append(name_of(block.state));
  text.append(", ").append(std::to_string(block.refs)).append(" handles");
  text.append(", ").append(std::to_string(block.send_borrows)).append(" sends");
  text.append(", ").append(std::to_string(block.zc_refs)).append(" zero-copy sends");
  if (block.home != nullptr && block.ledger_slot != 0) {
    text.append("\n  ").append(block.home->ledger().describe(block));
  }
  check_failed_text(where.file_name(), static_cast<int>(where.line()), action, text);
}

bool Buf::is_writable() const {
  return is_unique() && block_->state >= BlockState::app &&
         block_->origin < BlockOrigin::borrowed && !detail::has_sends(*block_);
}

std::byte* Buf::writable() {
  WEIR_CHECK(block_ != nullptr);
  if (!is_writable()) [[unlikely]]
    detail::misuse(*block_, "write");
  return data_;
}

std::size_t Buf::headroom() const {
  if (!is_writable()) return 0;
  return static_cast<std::size_t>(data_ - (block_->base - kHeadroomBytes));
}

std::size_t Buf::tailroom() const {
  if (!is_writable()) return 0;
  return static_cast<std::size_t>(block_->base + block_->capacity - (data_ + size_));
}

void Buf::grow_front(std::size_t count) {
  WEIR_CHECK_LE(count, headroom());
  data_ -= count;
  size_ += static_cast<std::uint32_t>(count);
}

void Buf::grow_back(std::size_t count) {
  WEIR_CHECK_LE(count, tailroom());
  size_ += static_cast<std::uint32_t>(count);
}

void Buf::trim_front(std::size_t count) {
  WEIR_CHECK_LE(count, size_);
  data_ += count;
  size_ -= static_cast<std::uint32_t>(count);
}

void Buf::trim_back(std::size_t count) {
  WEIR_CHECK_LE(count, size_);
  size_ -= static_cast<std::uint32_t>(count);
}

Buf Buf::share() const {
  if (block_ == nullptr) return {};
  if (block_->state < BlockState::app) [[unlikely]]
    detail::misuse(*block_, "share");
  ++block_->refs;
  return {block_, data_, size_};
}

Buf Buf::split_front(std::size_t count) {
  WEIR_CHECK_LE(count, size_);
  if (count == size_) return std::move(*this);
  if (count == 0) return {};
  Buf front = share();
  front.size_ = static_cast<std::uint32_t>(count);
  trim_front(count);
  return front;
}

}  // namespace weir::inline v0
