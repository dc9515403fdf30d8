// A receive group in the kernel's hands: a provided-buffer ring that holds only as many of the pool's blocks as were
// used lately, so that the same few stay in cache. The number doubles when the kernel ran out and halves when a
// window of turns needed less than a quarter. Where the kernel has no such rings, it only hands out blocks.
#pragma once
#include <liburing.h>

#include <cstdint>
#include <vector>

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

  /// Once a turn: posts blocks up to the target, as far as the pool has them.
  void refill();
  /// The kernel chose buffer `id`: its block is nobody's but the caller's from here on.
  Block* take(std::uint16_t id) {
    --posted_;
    ++turn_use_;
    Block* const block = blocks_[id];
    free_ids_.push_back(id);
    return block;
  }
  /// A receive found the ring empty.
  void grow();

  OpList starved;  ///< receives that wait for a block, in order

 private:
  Pool& pool_;
  io_uring* ring_ = nullptr;
  io_uring_buf_ring* entries_ = nullptr;
  std::uint32_t entry_count_ = 0;
  std::uint32_t posted_ = 0;
  std::uint32_t target_ = 0;
  std::uint32_t turn_use_ = 0;
  std::uint32_t window_use_ = 0;
  std::uint32_t window_turns_ = 0;
  std::vector<Block*> blocks_;  // by buffer id
  std::vector<std::uint16_t> free_ids_;
};

}  // namespace weir::inline v0::uring
