// A Job is a function to be called later by a loop, and the source line that queued it. Closures of up to
// Job::kInlineBytes live inside it; larger ones take one heap allocation, which is counted.
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "weir/check.h"
#include "weir/export.h"
#include "weir/source_location.h"

namespace weir::inline v0 {

/// Owner:   move-only; it owns the closure and what that holds.
/// Threads: none of its own; it may be made on one thread and run on another.
class WEIR_API Job {
 public:
  static constexpr std::size_t kInlineBytes = 32;

  Job() = default;
  template <typename Function>
  requires(!std::same_as<std::remove_cvref_t<Function>, Job> &&
           std::invocable<std::decay_t<Function>&>)
      Job(Function&& function,  // NOLINT: a function is a job
          SourceLocation where = SourceLocation::current())
      : where_(where) {
    using Closure = std::decay_t<Function>;
    if constexpr (kFits<Closure>) {
      std::memset(storage_, 0,
                  kCopiedBytes<Closure>);  // A move copies the bytes between members too.
      ::new (static_cast<void*>(storage_)) Closure(std::forward<Function>(function));
      kind_ = &kInlineKind<Closure>;
    } else {
      auto* closure = new Closure(std::forward<Function>(function));
      ++allocations();
      std::memcpy(storage_, &closure, kWordBytes);
      kind_ = &kHeapKind<Closure>;
    }
  }
  Job(Job&& other) noexcept { take(other); }
  Job& operator=(Job&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~Job() { reset(); }

  explicit operator bool() const { return kind_ != nullptr; }

  /// Calls the function; it stays and can be called again. Misuse: an empty job aborts.
  void operator()() {
    WEIR_CHECK(kind_ != nullptr);
    kind_->call(storage_);
  }
  /// Calls the function for the last time: the job is empty when it starts, and the closure gone when it ends.
  void run() {
    WEIR_CHECK(kind_ != nullptr);
    std::exchange(kind_, nullptr)->run(storage_);
  }
  void reset() {
    if (kind_ != nullptr && kind_->destroy != nullptr) kind_->destroy(storage_);
    kind_ = nullptr;
  }

  /// Where it was made a job: the line that called tick, post, arm …
  const SourceLocation& where() const { return where_; }

  /// Heap allocations that jobs made on this thread.
  static std::uint64_t& allocations();

 private:
  struct Kind {
    void (*call)(std::byte* storage);
    void (*run)(std::byte* storage);                   // call, then destroy
    void (*relocate)(std::byte* to, std::byte* from);  // null: the bytes can be copied
    void (*destroy)(std::byte* storage);               // null: nothing to do
    bool is_wide;                                      // more than one word
  };
  static constexpr std::size_t kWordBytes = sizeof(void*);
  template <typename Closure>
  static constexpr std::size_t kCopiedBytes = sizeof(Closure) > kWordBytes ? kInlineBytes
                                                                           : kWordBytes;
  template <typename Closure>
  static constexpr bool kFits =
      sizeof(Closure) <= kInlineBytes &&
      alignof(Closure) <= alignof(void*) && std::is_nothrow_move_constructible_v<Closure>;

  template <typename Closure>
  static Closure* inside(std::byte* storage) {
    return std::launder(reinterpret_cast<Closure*>(storage));
  }
  template <typename Closure>
  static Closure* outside(std::byte* storage) {
    Closure* closure;
    std::memcpy(&closure, storage, kWordBytes);
    return closure;
  }
  template <typename Closure>
  static constexpr Kind make_inline_kind() {
    Kind kind{};
    kind.is_wide = kCopiedBytes<Closure> > kWordBytes;
    kind.call = [](std::byte* storage) { static_cast<void>((*inside<Closure>(storage))()); };
    if constexpr (std::is_trivially_destructible_v<Closure>) {
      kind.run = kind.call;
    } else {
      kind.run = [](std::byte* storage) {
        struct AtEnd {
          Closure* closure;
          ~AtEnd() { closure->~Closure(); }
        } at_end{inside<Closure>(storage)};
        static_cast<void>((*at_end.closure)());
      };
      kind.destroy = [](std::byte* storage) { inside<Closure>(storage)->~Closure(); };
    }
    if constexpr (!std::is_trivially_copyable_v<Closure>) {
      kind.relocate = [](std::byte* to, std::byte* from) {
        Closure* closure = inside<Closure>(from);
        ::new (static_cast<void*>(to)) Closure(std::move(*closure));
        closure->~Closure();
      };
    }
    return kind;
  }
  template <typename Closure>
  static constexpr Kind kInlineKind = make_inline_kind<Closure>();
  template <typename Closure>
  static constexpr Kind kHeapKind = {
      [](std::byte* storage) { static_cast<void>((*outside<Closure>(storage))()); },
      [](std::byte* storage) {
        const std::unique_ptr<Closure> closure(outside<Closure>(storage));
        static_cast<void>((*closure)());
      },
      nullptr,
      [](std::byte* storage) { delete outside<Closure>(storage); },
      false,
  };

  void take(Job& other) {
    kind_ = std::exchange(other.kind_, nullptr);
    where_ = other.where_;
    if (kind_ == nullptr) return;
    if (kind_->relocate != nullptr) {
      kind_->relocate(storage_, other.storage_);
    } else {
      std::memcpy(storage_, other.storage_, kWordBytes);
      if (kind_->is_wide) {
        std::memcpy(storage_ + kWordBytes, other.storage_ + kWordBytes, kInlineBytes - kWordBytes);
      }
    }
  }

  const Kind* kind_ = nullptr;  // null: empty
  SourceLocation where_;
  alignas(void*) std::byte storage_[kInlineBytes];
};
static_assert(sizeof(Job) == sizeof(void*) + sizeof(SourceLocation) + Job::kInlineBytes);

}  // namespace weir::inline v0
