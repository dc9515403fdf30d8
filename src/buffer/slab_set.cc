// Blocks coming home from other threads, while their pool lives and afterwards.
// Path: ~SharedBuf -> drop_shared -> return_block -> [list] -> Pool::collect_returns -> free list.
#include "src/buffer/slab_set.h"

#include <thread>

#include "src/buffer/foreign.h"
#include "src/os/memory.h"
#include "weir/poison.h"

namespace weir::inline v0 {

SlabSet::~SlabSet() {
  for (std::byte* slab : slabs) {
    unpoison(slab, slab_bytes);
    os::unmap_memory(slab, slab_bytes);
  }
}

void SlabSet::keep() noexcept {
  static constinit std::atomic<SlabSet*> kept{nullptr};
  next_kept = kept.load();
  while (!kept.compare_exchange_weak(next_kept, this)) {
  }
}

Block* SlabSet::closed_mark() {
  static constinit Block mark;
  return &mark;
}

void drop_shared(Block& block, SlabSet* set) noexcept {
  if (set == nullptr) {
    if (block.shared.fetch_sub(1, std::memory_order_acq_rel) == 1) free_heap_block(block);
    return;
  }
  std::uint32_t seen = block.shared.load(std::memory_order_relaxed);
  while (true) {
    const bool is_last = seen == 1;
    // Counted before the block can be seen as returned: from then on only this count keeps the set alive.
    if (is_last) set->returning.fetch_add(1);
    if (block.shared.compare_exchange_weak(seen, is_last ? SlabSet::kQueued : seen - 1,
                                           std::memory_order_acq_rel, std::memory_order_relaxed)) {
      if (is_last) set->return_block(block);
      return;
    }
    if (is_last) set->returning.fetch_sub(1);
  }
}

void SlabSet::return_block(Block& block) noexcept {
  const bool is_pushed = push(block);
  returning.fetch_sub(1);  // If it was pushed, the set may be gone from here on.
  if (!is_pushed) drop_shared_orphan(block);
}

bool SlabSet::push(Block& block) noexcept {
  Block* head = returns.load();
  do {
    if (head == closed_mark()) return false;
    block.next = head;
  } while (!returns.compare_exchange_weak(head, &block));
  if (head != nullptr) return true;
  if (const auto wake = on_return.load(); wake != nullptr) wake(on_return_context);
  return true;
}

void SlabSet::set_on_return(void (*wake)(void* context), void* context) noexcept {
  on_return.store(nullptr);
  while (returning.load() != 0) std::this_thread::yield();
  on_return_context = context;
  on_return.store(wake);
}

Block* SlabSet::close() noexcept {
  Block* list = returns.exchange(closed_mark());
  while (returning.load() != 0) std::this_thread::yield();
  return list;
}

// Also under the lock: the home thread makes a block an orphan, and may share it again.
void SlabSet::drop_shared_orphan(Block& block) noexcept {
  std::unique_lock held(lock);
  const bool is_gone = collect_shared(block) && !block.has_local_handles;
  settle(std::move(held), is_gone);
}

void SlabSet::drop_local(Block& block) noexcept {
  std::unique_lock held(lock);
  block.has_local_handles = false;
  settle(std::move(held), block.shared.load() == 0);
}

void SlabSet::settle(std::unique_lock<std::mutex> held, bool is_gone) noexcept {
  if (!is_gone || --orphan_count != 0) return;
  held.unlock();  // No block is held, so nobody else can come.
  delete this;
}

}  // namespace weir::inline v0
