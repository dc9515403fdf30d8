// Buffers: every byte has one known owner at every moment. A Buf is a move-only, counted handle to a slice of a
// Block; a Block is one piece of a Pool (or foreign memory that was lent), and its state says who may touch it:
//
//     free -> app -> lent -> app            posted -> loaned -> free            app/loaned -> zc_pending -> free
//
// `shared` is any of these with more than one Buf. Each transition is checked, in release builds too. A Buf belongs
// to the thread of its loop; its count is not atomic. SharedBuf (weir/shared_buffer.h) crosses threads.
#pragma once
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "weir/check.h"
#include "weir/export.h"
#include "weir/source_location.h"

namespace weir::inline v0 {

class Pool;
class Ledger;
struct SlabSet;  // a pool's memory, and what outlives the pool (src/buffer/slab_set.h)

/// Handles exist in the last two only.
enum class BlockState : std::uint8_t {
  free,        ///< in its pool's list; nobody may touch it
  posted,      ///< given to the backend as receive memory; poisoned under AddressSanitizer
  lent,        ///< the backend writes into it; nobody else may touch it; poisoned likewise
  zc_pending,  ///< its handles are gone, but the kernel may still read it for a send
  app,         ///< the application's; writable while one Buf holds it
  loaned,      ///< received bytes, charged to a connection by the memory they pin; else as `app`
};
WEIR_API std::string_view name_of(BlockState state);

enum class BlockOrigin : std::uint8_t {
  pool,      ///< one of its home's
  orphan,    ///< its pool is gone; the memory stays mapped until its last handle goes
  heap,      ///< made for bytes that fit in no pool block
  borrowed,  ///< memory that is not weir's
  shared,    ///< another thread's, held through a SharedBuf
};

/// What a connection holds of received memory. It lies in the connection's record, which is never unmapped; a
/// generation tells whether the record still serves the same connection.
struct LoanAccount {
  std::uint32_t generation = 0;
  std::uint32_t loaned_bytes = 0;
  /// When loaned_bytes falls under it, the pool's on_loan_return is called once.
  std::uint32_t resume_below_bytes = 0;
};

/// The header of one piece of memory; the bytes follow kHeadroomBytes behind it, or lie elsewhere when borrowed.
struct Block {
  std::uint32_t refs = 0;  ///< Bufs, and one for all SharedBufs together
  BlockState state = BlockState::free;
  BlockOrigin origin = BlockOrigin::pool;
  std::uint16_t ledger_slot = 0;         ///< 0: not followed
  std::uint32_t send_borrows = 0;        ///< sends in flight that read it
  std::uint32_t zc_refs = 0;             ///< zero-copy sends whose NOTIF is outstanding
  std::uint32_t capacity = 0;            ///< bytes at `base`
  std::uint32_t index = 0;               ///< within its pool: what completions carry
  std::atomic<std::uint32_t> shared{0};  ///< SharedBufs, with two flags (src/buffer/slab_set.h)
  union {
    std::uint32_t account_generation = 0;
    bool has_local_handles;  ///< orphan: guarded by its set's lock
  };
  Pool* home = nullptr;  ///< origin pool only
  std::byte* base = nullptr;
  union {
    LoanAccount* account = nullptr;  ///< charged for the loan, or null; no meaning below zc_pending
    SlabSet* set;                    ///< orphan: what keeps its memory
  };
  Block* next = nullptr;  ///< free list, or the list of returns from other threads
};
static_assert(sizeof(void*) != 8 || sizeof(Block) == 64);

inline constexpr std::uint32_t kBlockHeaderBytes = 64;
/// In front of every block's bytes: room for the headers of TLS and framing.
inline constexpr std::uint32_t kHeadroomBytes = 64;

namespace detail {
// The paths that each message takes ask several things of a block in one comparison: is it in this state, its pool's,
// and not followed by the ledger; does no send read it.
struct BlockTag {
  BlockState state;
  BlockOrigin origin;
  std::uint16_t ledger_slot;
};
constexpr std::uint32_t plain_tag(BlockState state) {
  return std::bit_cast<std::uint32_t>(BlockTag{state, BlockOrigin::pool, 0});
}
inline std::uint32_t tag_of(const Block& block) {
  static_assert(offsetof(Block, origin) == offsetof(Block, state) + offsetof(BlockTag, origin) &&
                offsetof(Block, ledger_slot) ==
                    offsetof(Block, state) + offsetof(BlockTag, ledger_slot));
  std::uint32_t tag = 0;
  std::memcpy(&tag, reinterpret_cast<const char*>(&block) + offsetof(Block, state), sizeof(tag));
  return tag;
}
inline bool has_sends(const Block& block) {
  static_assert(offsetof(Block, zc_refs) == offsetof(Block, send_borrows) + 4);
  std::uint64_t both = 0;
  std::memcpy(&both, reinterpret_cast<const char*>(&block) + offsetof(Block, send_borrows),
              sizeof(both));
  return both != 0;
}

WEIR_API void release_last(Block& block) noexcept;  // the last handle is gone
/// Aborts: what was tried, and the block's state, handles, sends and last owners.
[[noreturn, gnu::cold]] WEIR_API void misuse(const Block& block, const char* action,
                                             SourceLocation where = SourceLocation::current());
}  // namespace detail

/// A move-only handle to `size()` bytes. Empty (`!buf`) means no bytes: a read gives it for the end of stream.
class [[nodiscard]] WEIR_API Buf {
 public:
  Buf() = default;
  Buf(Buf&& other) noexcept : block_(other.block_), data_(other.data_), size_(other.size_) {
    other.forget();
  }
  Buf& operator=(Buf&& other) noexcept {
    Block* const block = other.block_;
    std::byte* const data = other.data_;
    const std::uint32_t size = other.size_;
    other.forget();
    Block* const former = block_;  // null when it is moved into itself
    block_ = block;
    data_ = data;
    size_ = size;
    if (former != nullptr) release(*former);
    return *this;
  }
  ~Buf() {
    if (block_ != nullptr) release(*block_);
  }

  explicit operator bool() const { return size_ != 0; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  const std::byte* data() const { return data_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  /// The memory that this handle keeps from being reused, in bytes: what marks and caps count.
  std::size_t pinned_bytes() const { return block_ != nullptr ? block_->capacity : 0; }

  /// Writable only while this is the block's one handle, no send reads it, and the memory is weir's; else aborts.
  std::byte* writable();
  bool is_unique() const {
    return block_ != nullptr && block_->refs == 1 &&
           block_->shared.load(std::memory_order_relaxed) == 0;
  }
  /// Bytes that grow_front and grow_back can still take; 0 where writable() would abort.
  std::size_t headroom() const;
  std::size_t tailroom() const;
  void grow_front(std::size_t count);
  void grow_back(std::size_t count);
  /// At most size() bytes. Trimmed to nothing, it still holds its block.
  void trim_front(std::size_t count);
  void trim_back(std::size_t count);
  /// Takes the first `count` bytes away into a handle of their own; both share the block, nothing is copied.
  Buf split_front(std::size_t count);
  /// A second handle to the same bytes: while both live they are read-only.
  Buf share() const;

  void reset() noexcept {
    Block* const former = detach();
    if (former != nullptr) release(*former);
  }

  /// A read-only handle to memory that is not weir's. `on_release(context)` runs on this thread when the last handle
  /// and the last send of it are gone. At most 4 GiB - 1.
  static Buf borrow(std::span<const std::byte> bytes, void (*on_release)(void* context),
                    void* context);
  /// Memory of its own, for what fits in no pool's block: one heap allocation, counted.
  static Buf make(std::size_t size_bytes);

  // For pools, backends and streams.
  Buf(Block* block, std::byte* data, std::uint32_t size)
      : block_(block), data_(data), size_(size) {}
  Block* block() const { return block_; }
  Block* detach() noexcept {  ///< gives up the reference without releasing it
    Block* const block = block_;
    forget();
    return block;
  }

 private:
  static void release(Block& block) noexcept {
    if (--block.refs == 0) detail::release_last(block);
  }
  void forget() noexcept {
    block_ = nullptr;
    data_ = nullptr;
    size_ = 0;
  }
  bool is_writable() const;

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
      : head_(std::exchange(other.head_, nullptr)),
        tail_(std::exchange(other.tail_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  BufChain& operator=(BufChain&& other) noexcept;
  ~BufChain() {
    if (head_ != nullptr) clear();
  }

  bool empty() const { return head_ == nullptr; }
  std::size_t bytes() const { return bytes_; }
  std::size_t count() const;
  std::size_t pinned_bytes() const;  ///< each block counted once per handle
  const Node* front() const { return head_; }
  const Buf& back() const { return tail_->buf; }  ///< of a chain that is not empty

  void append(Buf&& buf);  ///< an empty Buf is dropped
  void append(BufChain&& chain);
  /// Copies `buf` behind the last piece if that lies in a block of `copies` or of the application with room for it.
  bool absorb(const Buf& buf, const Pool& copies);
  Buf pop_front();  ///< the first piece; empty when there is none
  /// Exactly `count` bytes as one piece. If they lie in several they are copied together: into a block of the first
  /// one's pool, charged as that one is, or into memory of their own when they do not fit or the pool has none.
  Buf take(std::size_t count);
  BufChain split_front(std::size_t count);          ///< the first `count` bytes, nothing copied
  void trim_front(std::size_t count);               ///< drops bytes; blocks that are done go home
  void copy_to(std::span<std::byte> target) const;  ///< the first target.size() bytes
  void clear();

 private:
  Node* head_ = nullptr;
  Node* tail_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace weir::inline v0
