// Blocks that no pool owns. Their headers come from the thread's cache, so borrowing allocates nothing in the steady
// state; a heap block is one allocation of header, headroom and bytes.
#include "src/buffer/foreign.h"

#include <limits>
#include <new>

#include "src/buffer/slab_set.h"
#include "src/buffer/thread_cache.h"
#include "weir/metrics.h"
#include "weir/shared_buffer.h"

namespace weir::inline v0 {

namespace {

// The header of memory that lies elsewhere.
struct ForeignBlock : Block {
  void (*on_release)(void* context) = nullptr;
  void* context = nullptr;
  SharedBuf shared_buf;  // origin shared: the handle that this thread holds
};

constexpr std::align_val_t kHeapAlignment{kBlockHeaderBytes};

Buf make_foreign(std::span<const std::byte> bytes, BlockOrigin origin, ForeignBlock*& block) {
  WEIR_CHECK_LE(bytes.size(), std::numeric_limits<std::uint32_t>::max());
  const auto size = static_cast<std::uint32_t>(bytes.size());
  block = ThreadCache<ForeignBlock>::make();
  block->state = BlockState::app;
  block->origin = origin;
  block->refs = 1;
  block->capacity = size;
  block->base = const_cast<std::byte*>(bytes.data());  // Buf::writable refuses it.
  return {block, block->base, size};
}

}  // namespace

Buf make_heap_buf(std::uint32_t size_bytes) {
  const std::size_t total = std::size_t{kBlockHeaderBytes} + kHeadroomBytes + size_bytes;
  void* memory = ::operator new(total, kHeapAlignment);
  ++thread_counts().heap_allocations;
  auto* block = new (memory) Block;
  block->state = BlockState::app;
  block->origin = BlockOrigin::heap;
  block->refs = 1;
  block->capacity = size_bytes;
  block->base = static_cast<std::byte*>(memory) + kBlockHeaderBytes + kHeadroomBytes;
  return {block, block->base, size_bytes};
}

void free_heap_block(Block& block) noexcept {
  block.~Block();
  ::operator delete(static_cast<void*>(&block), kHeapAlignment);
}

void retire(Block& block) noexcept {
  switch (block.origin) {
    case BlockOrigin::pool: detail::misuse(block, "retire");
    case BlockOrigin::orphan: block.set->drop_local(block); return;
    case BlockOrigin::heap: free_heap_block(block); return;
    case BlockOrigin::borrowed: {
      auto& foreign = static_cast<ForeignBlock&>(block);
      const auto on_release = foreign.on_release;
      void* const context = foreign.context;
      ThreadCache<ForeignBlock>::drop(&foreign);
      if (on_release != nullptr) on_release(context);
      return;
    }
    case BlockOrigin::shared:
      ThreadCache<ForeignBlock>::drop(static_cast<ForeignBlock*>(&block));
      return;
  }
}

Buf Buf::make(std::size_t size_bytes) {
  WEIR_CHECK_LE(size_bytes,
                std::numeric_limits<std::uint32_t>::max() - kBlockHeaderBytes - kHeadroomBytes);
  return make_heap_buf(static_cast<std::uint32_t>(size_bytes));
}

Buf Buf::borrow(std::span<const std::byte> bytes, void (*on_release)(void* context),
                void* context) {
  ForeignBlock* block = nullptr;
  Buf buf = make_foreign(bytes, BlockOrigin::borrowed, block);
  block->on_release = on_release;
  block->context = context;
  return buf;
}

Buf SharedBuf::buf() const {
  if (block_ == nullptr) return {};
  ForeignBlock* block = nullptr;
  Buf buf = make_foreign(bytes(), BlockOrigin::shared, block);
  block->shared_buf = *this;
  return buf;
}

}  // namespace weir::inline v0
