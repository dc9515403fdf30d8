// The part of a pool that must outlive it: the slabs themselves, the list by which blocks come home from other
// threads, and, once the pool is gone, the count of blocks that are still held. Freed with the last of them.
//
// SharedBufs of a block are counted in Block::shared; together they hold one of its ordinary references. The thread
// that drops the last one sets kQueued and pushes the block; the home thread takes it from the list, clears
// kQueued, and drops that reference unless new SharedBufs were made of it in between.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "weir/buffer.h"
#include "weir/counted.h"

namespace weir::inline v0 {

struct SlabSet {
  static constexpr std::uint32_t kQueued = 1u << 31;  // in Block::shared, beside the count

  explicit SlabSet(std::size_t slab_size_bytes) : slab_bytes(slab_size_bytes) {}
  ~SlabSet();  ///< unmaps
  SlabSet(const SlabSet&) = delete;
  SlabSet& operator=(const SlabSet&) = delete;

  // The home thread's.
  const std::size_t slab_bytes;
  CountedVector<std::byte*> slabs;

  // Any thread's.
  std::atomic<Block*> returns{nullptr};  ///< newest first; closed_mark() once the pool is gone
  /// Threads between their last look at a block and their last look at this.
  std::atomic<std::uint32_t> returning{0};
  std::atomic<void (*)(void* context)> on_return{nullptr};
  void* on_return_context = nullptr;

  // Of orphans.
  std::mutex lock;
  std::uint32_t orphan_count = 0;  ///< blocks with handles on the home thread or elsewhere
  SlabSet* next_kept = nullptr;

  static Block* closed_mark();
  /// Once it is back, nobody calls what was set before.
  void set_on_return(void (*wake)(void* context), void* context) noexcept;
  /// Sends home a block whose last SharedBuf is gone. Any thread.
  void return_block(Block& block) noexcept;
  /// No thread returns anything through the list afterwards; what was in it.
  Block* close() noexcept;
  /// The last handle of an orphan on its own thread is gone.
  void drop_local(Block& block) noexcept;
  /// The kernel has some of it and will not tell when it is done: the memory stays, and leak checkers see that it is meant.
  void keep() noexcept;

 private:
  bool push(Block& block) noexcept;
  void drop_shared_orphan(Block& block) noexcept;
  void settle(std::unique_lock<std::mutex> held, bool is_gone) noexcept;
};

/// Another SharedBuf of a block that has one. Any thread.
inline void add_shared(Block& block) noexcept {
  block.shared.fetch_add(1, std::memory_order_relaxed);
}
/// One SharedBuf less; `set` is null for a block on the heap. Any thread.
void drop_shared(Block& block, SlabSet* set) noexcept;
/// The home thread took `block` from the list: true when no SharedBuf is left.
inline bool collect_shared(Block& block) noexcept {
  return block.shared.fetch_and(~SlabSet::kQueued, std::memory_order_acq_rel) == SlabSet::kQueued;
}

}  // namespace weir::inline v0
