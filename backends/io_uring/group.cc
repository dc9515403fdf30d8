// Posting blocks to a provided-buffer ring, and deciding how many.
#include "backends/io_uring/group.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "src/os/fault.h"

namespace weir::inline v0::uring {

ReceiveGroup::~ReceiveGroup() {
  if (entries_ == nullptr) return;
  ++os::system_calls();
  io_uring_free_buf_ring(ring_, entries_, entry_count_, pool_.group());
  // Ids that are not free are posted: the kernel has forgotten them with the ring.
  std::vector<bool> is_free(entry_count_);
  for (std::uint32_t i = 0; i < free_count_; ++i) is_free[free_ids_[i]] = true;
  for (std::uint32_t id = 0; id < entry_count_; ++id) {
    if (!is_free[id]) pool_.give_back(blocks_[id]);
  }
}

int ReceiveGroup::open(io_uring& ring) {
  const std::uint32_t count = std::clamp(std::bit_ceil(pool_.blocks_max()), 1u, kEntriesMax);
  int error = 0;
  ++os::system_calls();
  io_uring_buf_ring* const entries =
      io_uring_setup_buf_ring(&ring, count, pool_.group(), 0, &error);
  if (entries == nullptr) return error;
  ring_ = &ring;
  entries_ = entries;
  entry_count_ = count;
  target_ = std::min(kPostedMin, count);
  blocks_ = std::make_unique<Block*[]>(count);
  free_ids_ = std::make_unique<std::uint16_t[]>(count);
  free_count_ = count;
  for (std::uint32_t i = 0; i < count; ++i)
    free_ids_[i] = static_cast<std::uint16_t>(count - 1 - i);
  return 0;
}

void ReceiveGroup::end_window() {
  if (window_use_ < target_ / 4 && target_ > kPostedMin) target_ /= 2;
  window_turns_ = window_use_ = 0;
}

void ReceiveGroup::post() {
  while (posted_ < limit_) {
    Block* const block = pool_.take_for_backend(BlockState::posted);
    if (block == nullptr) break;
    add(*block, free_ids_[--free_count_]);
    ++posted_;
  }
}

void ReceiveGroup::double_target() {
  ran_dry_ = false;
  if (limit_ == target_) target_ = std::min(target_ * 2, entry_count_);
}

}  // namespace weir::inline v0::uring
