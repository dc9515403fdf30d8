// Bytes for other threads. See slab_set.h for how they come back.
#include "weir/shared_buffer.h"

#include <algorithm>

#include "src/buffer/block_home.h"
#include "src/buffer/foreign.h"
#include "src/buffer/slab_set.h"
#include "weir/metrics.h"

namespace weir::inline v0 {

namespace {

Buf copy_to_heap(const Buf& buf) {
  Buf copy = make_heap_buf(static_cast<std::uint32_t>(buf.size()));
  std::copy_n(buf.data(), buf.size(), copy.writable());
  thread_counts().bytes_copied += buf.size();
  return copy;
}

// Without a pool there is no thread to go home to: such a block crosses only as a whole.
bool can_cross(const Buf& buf) {
  const Block& block = *buf.block();
  switch (block.origin) {
    case BlockOrigin::pool:
    case BlockOrigin::orphan: return true;
    case BlockOrigin::heap: return buf.is_unique() && !detail::has_sends(block);
    case BlockOrigin::borrowed:
    case BlockOrigin::shared: return false;
  }
  return false;
}

}  // namespace

SharedBuf::SharedBuf(Buf buf) {
  if (buf.block() == nullptr) return;
  if (buf.block()->state < BlockState::app) detail::misuse(*buf.block(), "share");
  if (!can_cross(buf)) buf = copy_to_heap(buf);

  block_ = buf.block();
  data_ = buf.data();
  size_ = static_cast<std::uint32_t>(buf.size());
  switch (block_->origin) {
    case BlockOrigin::pool: {
      set_ = BlockHome::slabs(*block_->home);
      // 0: no SharedBuf of it anywhere, so this Buf's reference becomes theirs.
      if (block_->shared.fetch_add(1, std::memory_order_relaxed) == 0) buf.detach();
      return;
    }
    case BlockOrigin::orphan: {
      set_ = block_->set;
      const std::lock_guard held(set_->lock);
      add_shared(*block_);
      return;
    }
    default:
      add_shared(*block_);
      buf.detach();
      return;
  }
}

SharedBuf::SharedBuf(const SharedBuf& other) noexcept
    : block_(other.block_), set_(other.set_), data_(other.data_), size_(other.size_) {
  if (block_ != nullptr) add_shared(*block_);
}

void SharedBuf::drop() noexcept { drop_shared(*block_, set_); }

}  // namespace weir::inline v0
