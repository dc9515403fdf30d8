// A SharedBuf takes a Buf's bytes to other threads: any number of handles, any thread, an atomic count. The block
// stays its pool's; when the last handle goes, on whatever thread, it travels home through an intrusive list in its
// header, so nothing is allocated, copied or refused on the way. The pool's thread takes it home once a turn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "weir/buffer.h"
#include "weir/export.h"

namespace weir::inline v0 {

/// Owner:   the handles together; the bytes are read-only while one lives. A loan stays charged until the block is home.
/// Threads: made on the thread of its Buf; copied, read, moved and dropped on any (one handle by one thread at a time).
class [[nodiscard]] WEIR_API SharedBuf {
 public:
  SharedBuf() = default;
  /// Copies only what no pool owns: borrowed bytes, and bytes on the heap that have a second handle.
  explicit SharedBuf(Buf buf);
  SharedBuf(const SharedBuf& other) noexcept;
  SharedBuf(SharedBuf&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)),
        set_(std::exchange(other.set_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  SharedBuf& operator=(SharedBuf other) noexcept {
    std::swap(block_, other.block_);
    std::swap(set_, other.set_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~SharedBuf() {
    if (block_ != nullptr) drop();
  }

  explicit operator bool() const { return size_ != 0; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  const std::byte* data() const { return data_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  /// A read-only Buf of this thread with the same bytes, for a write here. It holds a handle of its own.
  Buf buf() const;

 private:
  void drop() noexcept;

  Block* block_ = nullptr;
  SlabSet* set_ = nullptr;  // null: on the heap
  const std::byte* data_ = nullptr;
  std::uint32_t size_ = 0;
};

}  // namespace weir::inline v0
