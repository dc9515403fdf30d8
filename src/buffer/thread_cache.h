// Small records that come and go all the time (chain nodes, headers of borrowed memory): a list kept by the thread, so
// that the steady state allocates nothing. What a thread kept is freed when it ends.
#pragma once
#include <cstdint>
#include <new>
#include <utility>

#include "weir/export.h"
#include "weir/metrics.h"
#include "weir/poison.h"

namespace weir::inline v0 {

template <typename T>
class ThreadCache {
 public:
  static constexpr std::uint32_t kKeptMax = 16'384;  // Records that a thread keeps; more are freed.

  template <typename... Args>
  static T* make(Args&&... args) {
    Cell* cell = list_.head;
    if (cell == nullptr) [[unlikely]] {
      cell = allocate();
    } else {
      unpoison(cell, sizeof(T));
      list_.head = cell->next;
      --list_.count;
    }
    return new (static_cast<void*>(cell)) T{std::forward<Args>(args)...};
  }

  static void drop(T* record) {
    record->~T();
    if (list_.count >= list_.kept_max) [[unlikely]] {
      ::operator delete (record, std::align_val_t{alignof(T)});
      return;
    }
    list_.head = new (static_cast<void*>(record)) Cell{list_.head};
    ++list_.count;
    poison(record, sizeof(T));
  }

 private:
  struct Cell {
    Cell* next;
  };
  struct List {
    Cell* head = nullptr;
    std::uint32_t count = 0;
    std::uint32_t kept_max = kKeptMax;
  };
  struct Drain {
    ~Drain() {
      list_.kept_max = 0;  // What other destructors of this thread still drop is freed at once.
      while (Cell* cell = list_.head) {
        unpoison(cell, sizeof(T));
        list_.head = cell->next;
        ::operator delete (cell, std::align_val_t{alignof(T)});
      }
      list_.count = 0;
    }
  };

  [[gnu::noinline, gnu::cold]] static Cell* allocate() {
    static thread_local Drain drain;
    static_cast<void>(&drain);
    ++thread_counts().heap_allocations;
    return static_cast<Cell*>(::operator new (sizeof(T), std::align_val_t{alignof(T)}));
  }

  WEIR_FAST_TLS static inline constinit thread_local List list_{};
};

}  // namespace weir::inline v0
