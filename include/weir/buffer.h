// Buffers: every byte has one known owner at every moment. A Buf is a move-only, counted handle to a slice of a
// Block; a Block is one piece of a Pool (or foreign memory that was lent), and its state says who may touch it:
//
//     free -> app -> lent -> app            posted -> loaned -> free            app/loaned -> zc_pending -> back
//
// `shared` is any of these with more than one Buf. Each transition is checked, in release builds too. A Buf belongs
// to the thread of its loop; its count is not atomic. SharedBuf (weir/shared_buffer.h) crosses threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <span>
#include <string_view>
#include <utility>

#include "weir/check.h"
#include "weir/export.h"

namespace weir::inline v0 {

class Pool;
class Ledger;

enum class BlockState : std::uint8_t {
  free,        ///< in its pool's list; nobody may touch it
  app,         ///< the application's; writable while one Buf holds it
  lent,        ///< the backend writes into it; nobody else may touch it (poisoned under AddressSanitizer)
  posted,      ///< given to the backend as receive memory; poisoned likewise
  loaned,      ///< received bytes, charged to a connection by the memory they pin
  zc_pending,  ///< the kernel may still read it after the send's result is known
};

/// What a connection holds of received memory. It lies in the connection's record, which is never unmapped; a
/// generation tells whether the record still serves the same connection.
struct LoanAccount {
  std::uint32_t generation = 0;
  std::uint32_t loaned_bytes = 0;
  std::uint32_t resume_below_bytes = 0;  ///< when loaned_bytes falls under it, the pool's on_loan_return is called once
};

/// The header of one piece of memory; the bytes follow kHeadroomBytes behind it, or lie elsewhere when borrowed.
struct Block {
  std::uint32_t refs = 0;
  BlockState state = BlockState::free;
  std::uint8_t send_borrows = 0;         ///< sends in flight that read it (saturates at 255, then counted in the ledger)
  std::uint16_t ledger_slot = 0;         ///< 0: not tracked
  std::uint32_t capacity = 0;            ///< bytes at `base`
  std::uint32_t index = 0;               ///< within its pool: what completions carry
  Pool* home = nullptr;
  std::byte* base = nullptr;
  LoanAccount* account = nullptr;        ///< whom the loan is charged to, or null
  std::uint32_t account_generation = 0;
  std::uint32_t zc_refs = 0;             ///< zero-copy sends whose NOTIF is outstanding
  Block* next = nullptr;                 ///< free list, or the list of returns from other threads
};

inline constexpr std::uint32_t kHeadroomBytes = 64;  ///< in front of every pool block's bytes: headers of TLS and framing

/// A move-only handle to `size()` bytes. Empty (`!buf`) means no bytes: a read gives it for the end of stream.
class [[nodiscard]] WEIR_API Buf {
 public:
  Buf() = default;
  Buf(Buf&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)), data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buf& operator=(Buf&& other) noexcept {
    if (this != &other) {
      reset();
      block_ = std::exchange(other.block_, nullptr);
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~Buf() { reset(); }

  explicit operator bool() const { return size_ != 0; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  const std::byte* data() const { return data_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  /// The memory that this handle keeps from being reused, in bytes: what marks and caps count.
  std::size_t pinned_bytes() const { return block_ != nullptr ? block_->capacity : 0; }

  /// Writable only while this is the block's one handle and the application owns it; else aborts with the state.
  std::byte* writable();
  bool is_unique() const { return block_ != nullptr && block_->refs == 1; }
  std::size_t headroom() const;  ///< bytes that grow_front can still take
  std::size_t tailroom() const;  ///< bytes that grow_back can still take
  void grow_front(std::size_t count);
  void grow_back(std::size_t count);
  void trim_front(std::size_t count);  ///< count <= size()
  void trim_back(std::size_t count);
  /// Takes the first `count` bytes away into a handle of their own; both share the block, nothing is copied.
  Buf split_front(std::size_t count);
  /// A second handle to the same bytes: from now on they are read-only.
  Buf share() const;

  void reset() noexcept {
    if (block_ != nullptr) release();
    data_ = nullptr;
    size_ = 0;
  }

  /// A handle to memory that is not weir's. `on_release(context)` runs on this thread when the last handle is gone.
  static Buf borrow(std::span<const std::byte> bytes, void (*on_release)(void* context), void* context);

  // For pools, backends and streams.
  Buf(Block* block, std::byte* data, std::uint32_t size) : block_(block), data_(data), size_(size) {}
  Block* block() const { return block_; }
  Block* detach() noexcept {  ///< gives up the reference without releasing it
    data_ = nullptr;
    size_ = 0;
    return std::exchange(block_, nullptr);
  }

 private:
  void release() noexcept;  // inline in weir/pool.h: the last reference goes to the block's home

  Block* block_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint32_t size_ = 0;
};
static_assert(sizeof(Buf) <= 24);

/// A short list of Bufs in order: a write queue, or a message that came in pieces. Its nodes come from a list kept
/// by the thread, so appending allocates nothing in the steady state.
class [[nodiscard]] WEIR_API BufChain {
 public:
  struct Node {
    Buf buf;
    Node* next = nullptr;
  };

  BufChain() = default;
  BufChain(BufChain&& other) noexcept
      : head_(std::exchange(other.head_, nullptr)), tail_(std::exchange(other.tail_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  BufChain& operator=(BufChain&& other) noexcept;
  ~BufChain() { clear(); }

  bool empty() const { return head_ == nullptr; }
  std::size_t bytes() const { return bytes_; }
  std::size_t count() const;
  std::size_t pinned_bytes() const;  ///< each block counted once per handle
  const Node* front() const { return head_; }

  void append(Buf buf);        ///< an empty Buf is dropped
  void append(BufChain chain);
  Buf pop_front();             ///< the first piece; empty when there is none
  Buf take(std::size_t count);         ///< exactly `count` bytes as one piece, copied together if they lie in several
  BufChain split_front(std::size_t count);  ///< the first `count` bytes, nothing copied
  void trim_front(std::size_t count);       ///< drops bytes; blocks that are done go home
  void copy_to(std::span<std::byte> target) const;  ///< the first target.size() bytes
  void clear();

 private:
  Node* head_ = nullptr;
  Node* tail_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace weir::inline v0
