// Records of one type with addresses that stay: fixed-size slabs that are never given back while the loop lives, and a
// free list that hands out the record freed last. A record's generation outlives it, so a pointer with the generation
// it was taken at can always be asked whether it still means the same record.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "weir/check.h"
#include "weir/counted.h"

namespace weir::inline v0 {

/// Owner:   the slab owns the memory; records still live when it is destroyed are destroyed with it.
/// Threads: the loop's own.
template <typename T>
class RecordSlab {
 public:
  static constexpr std::uint32_t kNoSlot = 0xffffffffu;

  RecordSlab() = default;
  ~RecordSlab() {
    for_each([this](T& record) { destroy(record); });
  }
  RecordSlab(const RecordSlab&) = delete;
  RecordSlab& operator=(const RecordSlab&) = delete;

  template <typename... Args>
  T& make(Args&&... args) {
    if (free_ == kNoSlot) grow();
    struct Taken {  // Goes back when the constructor throws.
      RecordSlab& slab;
      std::uint32_t slot = slab.free_;
      bool is_made = false;
      ~Taken() {
        if (!is_made) slab.put_back(slab.cell_at(slot), slot);
      }
    } taken{*this};
    Cell& cell = cell_at(taken.slot);
    free_ = std::exchange(cell.link, taken.slot);
    T* record = ::new (static_cast<void*>(cell.storage)) T(std::forward<Args>(args)...);
    taken.is_made = true;
    ++cell.generation;
    ++size_;
    return *record;
  }

  void destroy(T& record) {
    Cell& cell = cell_of(record);
    WEIR_CHECK_EQ(cell.generation & 1, 1u);  // Else it is freed twice.
    ++cell.generation;
    --size_;
    record.~T();
    put_back(cell, cell.link);
  }

  /// Odd while the record lives, even while it is free; rises with every change, also seen through an old address.
  static std::uint32_t generation_of(const T& record) { return cell_of(record).generation; }
  static std::uint32_t slot_of(const T& record) { return cell_of(record).link; }
  /// The record that `slot` held at `generation`, or null when it is gone.
  T* find(std::uint32_t slot, std::uint32_t generation) {
    if (slot >= capacity()) return nullptr;
    Cell& cell = cell_at(slot);
    return cell.generation == generation && (generation & 1) != 0 ? cell.record() : nullptr;
  }

  /// Calls `function(T&)` for every live record, by slot. It may destroy any record and make new ones.
  template <typename Function>
  void for_each(Function&& function) {
    for (std::uint32_t slot = 0; slot < capacity(); ++slot) {
      Cell& cell = cell_at(slot);
      if ((cell.generation & 1) != 0) function(*cell.record());
    }
  }

  std::uint32_t size() const { return size_; }  ///< live
  std::uint32_t capacity() const { return static_cast<std::uint32_t>(slabs_.size()) << kSlabBits; }

 private:
  struct Cell {
    std::uint32_t generation = 0;
    std::uint32_t link = kNoSlot;  // its own slot while it is in use, else the next free one
    alignas(T) std::byte storage[sizeof(T)];
    T* record() { return std::launder(reinterpret_cast<T*>(storage)); }
  };
  // As many as fit about 16 KiB, a power of two.
  static constexpr std::uint32_t slab_bits() {
    std::uint32_t bits = 2;
    while (bits < 10 && (sizeof(Cell) << (bits + 1)) <= (16 << 10)) ++bits;
    return bits;
  }
  static constexpr std::uint32_t kSlabBits = slab_bits();
  static constexpr std::uint32_t kSlabCount = 1u << kSlabBits;

  static Cell& cell_of(const T& record) {
    auto* bytes = reinterpret_cast<std::byte*>(const_cast<T*>(&record));
    return *std::launder(reinterpret_cast<Cell*>(bytes - offsetof(Cell, storage)));
  }
  Cell& cell_at(std::uint32_t slot) const {
    return slabs_[slot >> kSlabBits][slot & (kSlabCount - 1)];
  }

  void put_back(Cell& cell, std::uint32_t slot) {
    cell.link = free_;
    free_ = slot;
  }
  // The new slab's cells are handed out in order of address.
  void grow() {
    const std::uint32_t first = capacity();
    WEIR_CHECK_LT(first, kNoSlot - kSlabCount);
    slabs_.push_back(std::make_unique<Cell[]>(kSlabCount));
    ++thread_counts().heap_allocations;
    for (std::uint32_t slot = first + kSlabCount; slot-- > first;) {
      put_back(cell_at(slot), slot);
    }
  }

  CountedVector<std::unique_ptr<Cell[]>> slabs_;
  std::uint32_t free_ = kNoSlot;
  std::uint32_t size_ = 0;
};

}  // namespace weir::inline v0
