// The consumer's side of the post queue: its memory, and the room it gives back to producers.
#include "src/loop/post_queue.h"

#include <bit>

namespace weir::inline v0 {

PostQueue::PostQueue(std::uint32_t capacity)
    : capacity_(capacity), mask_(std::bit_ceil(capacity) - 1), word_(capacity) {
  WEIR_CHECK_GE(capacity, 1u);
  WEIR_CHECK_LE(capacity, 1u << 30);
  // calloc gives large memory as pages that are zero and not yet there.
  memory_ = std::calloc(std::size_t{mask_} + 2, sizeof(Cell));
  WEIR_CHECK(memory_ != nullptr);
  const auto address = reinterpret_cast<std::uintptr_t>(memory_);
  cells_ =
      reinterpret_cast<Cell*>((address + alignof(Cell) - 1) & ~std::uintptr_t{alignof(Cell) - 1});
}

PostQueue::~PostQueue() {
  drain(capacity_, [](Job&&) {});
  std::free(memory_);
}

// An empty ring starts again at its first cell; the word alone says which claims are valid, so no producer can tell.
void PostQueue::report_room() {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  std::uint64_t next;
  do {
    const bool is_empty = tail_of(word) == head_;
    next = is_empty ? capacity_ : std::uint64_t{tail_of(word)} << 32 | (head_ + capacity_);
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_seq_cst,
                                        std::memory_order_relaxed));
  if (tail_of(next) == 0 && limit_of(next) == capacity_) head_ = 0;
}

}  // namespace weir::inline v0
