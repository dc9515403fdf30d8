// A receive group in the kernel's hands: a provided-buffer ring that holds only as many of the pool's blocks as were
// used lately, so that the same few stay in cache. The number doubles when the kernel ran out and halves when a
// window of turns needed less than a quarter. Where the kernel has no such rings, it only hands out blocks.
#pragma once
#include <liburing.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "backends/io_uring/op_list.h"
#include "weir/pool.h"

namespace weir::inline v0::uring {

class ReceiveGroup {
 public:
  static constexpr std::uint32_t kPostedMin = 64;
  static constexpr std::uint32_t kEntriesMax = 4096;
  static constexpr std::uint32_t kWindowTurns = 1024;

  explicit ReceiveGroup(Pool& pool) : pool_(pool) {}
  ~ReceiveGroup();
  ReceiveGroup(const ReceiveGroup&) = delete;
  ReceiveGroup& operator=(const ReceiveGroup&) = delete;

  /// Registers the ring. 0 or -errno; without a ring the group still hands out blocks.
  int open(io_uring& ring);
  bool has_ring() const { return entries_ != nullptr; }

  Pool& pool() const { return pool_; }
  std::uint32_t posted() const { return posted_; }
  std::uint32_t target() const { return target_; }

  /// Once a turn: posts blocks up to the target, as far as the pool has them, and shows them to the kernel.
  void refill() {
    if (ran_dry_) [[unlikely]]
      double_target();
    if (turn_use_ != 0) note_use();
    limit_ = std::min(target_, pool_.ready_max());
    if (posted_ < limit_) post();
    if (added_ != 0) publish();
    pool_.set_ready(posted_);
  }
  /// The kernel chose buffer `id`: its block is nobody's but the caller's from here on. Another one takes its place.
  Block* take(std::uint16_t id) {
    ++turn_use_;
    Block* const block = blocks_[id];
    Block* const next = posted_ <= limit_ ? pool_.take_for_backend(BlockState::posted) : nullptr;
    if (next != nullptr) [[likely]] {
      add(*next, id);
    } else {
      --posted_;
      free_ids_[free_count_++] = id;
    }
    return block;
  }
  /// A receive found the ring empty. Several may in one turn: that is one reason to post more.
  void grow() { ran_dry_ |= posted_ == added_; }
  /// Blocks that a receive could get now, from the ring or from the pool.
  std::uint32_t available() const { return posted_ + pool_.blocks_max() - pool_.in_use(); }

  OpList starved;  ///< receives that wait for a block, in order

 private:
  void add(Block& block, std::uint16_t id) {
    blocks_[id] = &block;
    io_uring_buf_ring_add(entries_, block.base, block.capacity, id,
                          static_cast<int>(entry_count_ - 1), static_cast<int>(added_++));
  }
  void publish() {
    io_uring_buf_ring_advance(entries_, static_cast<int>(std::exchange(added_, 0)));
  }
  void note_use() {
    if (turn_use_ > window_use_) window_use_ = turn_use_;
    turn_use_ = 0;
    if (++window_turns_ == kWindowTurns) [[unlikely]]
      end_window();
  }
  void double_target();
  void end_window();
  void post();

  Pool& pool_;
  io_uring* ring_ = nullptr;
  io_uring_buf_ring* entries_ = nullptr;
  std::uint32_t entry_count_ = 0;
  std::uint32_t posted_ = 0;
  std::uint32_t target_ = 0;
  std::uint32_t limit_ = 0;  // the target, or less when memory is short
  std::uint32_t turn_use_ = 0;
  std::uint32_t window_use_ = 0;
  std::uint32_t window_turns_ = 0;
  std::unique_ptr<Block*[]> blocks_;           // by buffer id
  std::unique_ptr<std::uint16_t[]> free_ids_;  // a stack
  std::uint32_t free_count_ = 0;
  std::uint32_t added_ = 0;  // of those posted, not shown to the kernel yet
  bool ran_dry_ = false;     // this turn
};

}  // namespace weir::inline v0::uring
