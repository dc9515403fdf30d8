// A Pool owns memory in blocks of one size and hands them out as Bufs; a receive group is a Pool whose blocks a
// backend takes and lends. Memory comes in slabs that are mapped when first needed and touched only as far as used; the
// block freed last is taken first, so the working set stays in the cache.
#pragma once
#include <algorithm>
#include <cstdint>

#include "weir/buffer.h"
#include "weir/ledger.h"
#include "weir/poison.h"

namespace weir::inline v0 {

struct Metrics;

using GroupId = std::uint16_t;
inline constexpr GroupId kNoGroup = 0xffff;

/// Told when a block of its group is free again and somebody waits for one (DESIGN contract 6).
class PoolListener {
 public:
  /// Called where the last handle was dropped, so in the middle of anything: it may only take note.
  virtual void on_refill(Pool& pool) = 0;

 protected:
  ~PoolListener() = default;
};

/// Shape:   a block is a header of 64 bytes, kHeadroomBytes, and `block_bytes` (rounded up to 64). The stride is no multiple
///          of 4096, so that the first lines of blocks do not meet in one cache set.
/// Owner:   whoever made it. Blocks that are still held when it dies keep their memory until the last handle goes.
/// Threads: the loop's own; blocks come home from other threads only through SharedBuf.
class WEIR_API Pool {
 public:
  struct Options {
    std::uint32_t block_bytes = 16 << 10;
    std::uint32_t blocks_max = 1024;  ///< the bound; take() then gives nothing
    std::uint32_t blocks_ample = 0;   ///< from so many held on, is_short(); 0: as blocks_max
    /// The last so many are for receives of at most `reserve_bytes`, which the receiver copies out at once.
    std::uint32_t blocks_reserve = 0;
    std::uint32_t reserve_bytes = 0;
    std::uint32_t slab_blocks = 64;  ///< mapped at a time; rounded up to a power of two
    GroupId group = kNoGroup;
    const char* name = "pool";  ///< static text, for reports
  };
  Pool(const Options& options, Ledger& ledger);
  ~Pool();  ///< says on standard error which blocks are still out
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// A block in state `app` with one reference and its whole capacity as one Buf; empty when the bound is reached or
  /// the system has no memory.
  Buf take(SourceLocation where = SourceLocation::current());
  /// The backend's way: a free block moves to `posted` or `lent`, without a reference. Null as take() is empty.
  Block* take_for_backend(BlockState state, SourceLocation where = SourceLocation::current()) {
    WEIR_CHECK(state == BlockState::posted || state == BlockState::lent);
    return pop(state, where);
  }
  /// posted or lent -> free, when the backend did not use it.
  void give_back(Block* block);
  /// posted or lent -> loaned: `length` received bytes at `offset` become a Buf charged to `account` (or nobody).
  Buf loan(Block* block, std::uint32_t offset, std::uint32_t length, LoanAccount* account,
           SourceLocation where = SourceLocation::current()) {
    lend_out(*block, std::uint64_t{offset} + length, account, where);
    return {block, block->base + offset, length};
  }
  /// loan() without the Buf, which is the caller's to make of the block's first `length` bytes.
  void lend_out(Block& block, std::uint64_t length, LoanAccount* account,
                SourceLocation where = SourceLocation::current()) {
    const std::uint32_t tag = detail::tag_of(block);
    const bool is_plain =
        tag == detail::plain_tag(BlockState::lent) || tag == detail::plain_tag(BlockState::posted);
    if (!is_plain || block.refs != 0 || length > block.capacity) [[unlikely]]
      return lend_out_followed(block, length, account, where);
    lend_out_checked(block, account);
  }

  Block& at(std::uint32_t index) {  ///< what a completion's `buffer` means
    WEIR_CHECK_LT(index, made_);
    return *reinterpret_cast<Block*>(bases_[index >> slab_shift_] +
                                     std::size_t{stride_} * (index & ((1u << slab_shift_) - 1)));
  }
  std::uint32_t block_bytes() const { return options_.block_bytes; }
  std::uint32_t blocks_max() const { return options_.blocks_max; }
  std::uint32_t in_use() const { return in_use_; }                     ///< not free
  std::uint32_t mapped() const { return slab_count_ << slab_shift_; }  ///< blocks that have memory
  std::uint64_t slab_count() const { return slab_count_; }
  GroupId group() const { return options_.group; }
  const char* name() const { return options_.name; }
  Ledger& ledger() const { return ledger_; }
  /// Lowered under in_use(), it holds from when enough blocks came home.
  void set_blocks_max(std::uint32_t count) {
    options_.blocks_max = count;
    ample_ = std::min(options_.blocks_ample, count);
  }
  /// So much is held that whoever holds much should take no more: the rest is for those who hold little.
  bool is_short() const { return in_use_ >= ample_ + ready_; }
  /// How many blocks a backend may keep ready for receives that nobody asked for one by one. It says how many it does.
  std::uint32_t ready_max() const { return ample_ - std::min(ample_, held()); }
  void set_ready(std::uint32_t count) { ready_ = count; }
  /// How many bytes a receive may put into the block that was taken last.
  std::uint32_t fill_bytes_max() const {
    return in_use_ + options_.blocks_reserve > options_.blocks_max ? options_.reserve_bytes
                                                                   : options_.block_bytes;
  }
  /// `listener.on_refill` is called once, after the next block comes home. Null: nobody waits.
  void wait_for_refill(PoolListener* listener) { waiting_ = listener; }
  /// Called when an account's loans fall under its resume_below_bytes, which is then 0 again.
  void set_on_loan_return(void (*on_loan_return)(LoanAccount& account)) {
    on_loan_return_ = on_loan_return;
  }
  /// The accounts are about to go: what is still loaned is charged to nobody.
  void drop_accounts();
  /// Takes home what other threads returned since, once a turn; their number.
  std::uint32_t collect_returns();
  /// `wake(context)` runs on the thread that returns a block when none was waiting to be collected; null: nothing does.
  /// Once this is back, what was set before runs no more.
  void set_on_remote_return(void (*wake)(void* context), void* context);

 private:
  friend struct BlockHome;  // src/buffer/block_home.h

  Block* pop(BlockState state, SourceLocation where) {
    Block* block = free_;
    if (block == nullptr || in_use_ >= options_.blocks_max || block->state != BlockState::free)
        [[unlikely]] {
      return pop_slow(state, where);
    }
    free_ = block->next;
    block->state = state;
    ++in_use_;
    return ledger_.is_due() ? follow(block, where) : block;
  }
  Block* pop_slow(BlockState state, SourceLocation where);
  Block* follow(Block* block, SourceLocation where);
  void lend_out_followed(Block& block, std::uint64_t length, LoanAccount* account,
                         SourceLocation where);
  void lend_out_checked(Block& block, LoanAccount* account) {
    unpoison(block.base - kHeadroomBytes, kHeadroomBytes + block.capacity);
    block.state = BlockState::loaned;
    block.refs = 1;
    block.account = account;
    if (account != nullptr) {
      block.account_generation = account->generation;
      account->loaned_bytes += block.capacity;
    }
  }
  std::uint32_t held() const { return in_use_ - std::min(in_use_, ready_); }
  bool make_free();  // puts a block on the empty free list
  bool grow();
  void go_home(Block& block) noexcept;
  void return_loan(Block& block) noexcept;
  void put_home(Block& block) noexcept;
  void push_free(Block& block) noexcept;
  void notify(LoanAccount* account) noexcept;
  std::uint32_t take_home(Block* list);
  void orphan() noexcept;
  void make_orphan(Block& block) noexcept;

  // What each take and each return touch comes first.
  Block* free_ = nullptr;
  std::uint32_t in_use_ = 0;
  std::uint32_t ready_ = 0;  // of those in use
  std::uint32_t ample_ = 0;
  std::uint32_t made_ = 0;  // blocks whose header was written
  PoolListener* waiting_ = nullptr;
  Ledger& ledger_;
  Options options_;
  void (*on_loan_return_)(LoanAccount& account) = nullptr;
  std::uint32_t stride_;
  std::uint32_t slab_shift_;
  std::uint32_t slab_count_ = 0;
  std::byte* const* bases_ = nullptr;  // of the slabs, in slabs_
  SlabSet* slabs_;
};

namespace detail {
// The first reader of a followed block; the last reader of one that is followed or has no handle.
WEIR_API void start_sends(Block& block);
WEIR_API void end_sends(Block& block) noexcept;
}  // namespace detail

/// One send more reads the block; nobody may write to it until the last returned it (Buf::writable aborts).
inline void lend_for_send(Block& block) {
  if (block.state < BlockState::app) [[unlikely]]
    detail::misuse(block, "lend for a send");
  if (block.ledger_slot != 0 && !detail::has_sends(block)) [[unlikely]]
    detail::start_sends(block);
  ++block.send_borrows;
}
/// A zero-copy send holds it until its NOTIF, also when all handles are gone.
inline void hold_zero_copy(Block& block) {
  if (block.state < BlockState::app) [[unlikely]]
    detail::misuse(block, "hold for zero-copy");
  if (block.ledger_slot != 0 && !detail::has_sends(block)) [[unlikely]]
    detail::start_sends(block);
  ++block.zc_refs;
}
/// When the last handle is gone already, the last of these two calls sends the block home.
inline void return_from_send(Block& block) {
  if (block.send_borrows == 0) [[unlikely]]
    detail::misuse(block, "return from a send");
  --block.send_borrows;
  if (block.ledger_slot != 0 || block.refs == 0) [[unlikely]]
    detail::end_sends(block);
}
inline void release_zero_copy(Block& block) {
  if (block.zc_refs == 0) [[unlikely]]
    detail::misuse(block, "release from zero-copy");
  --block.zc_refs;
  if (block.ledger_slot != 0 || block.refs == 0) [[unlikely]]
    detail::end_sends(block);
}

/// app -> lent: the backend may write into the block of `target`, which nobody touches until return_from_recv.
WEIR_API void lend_for_recv(Buf& target);
/// lent -> app.
WEIR_API void return_from_recv(Buf& target);

/// A short slice that would pin a long block for long moves into a block of `small`, which is charged for it instead, and
/// its own block goes home. As it was when it is no shorter than a block of `small`, its block is no longer, or `small`
/// has none left.
WEIR_API Buf copy_break(Buf buf, Pool& small, Metrics& metrics,
                        SourceLocation where = SourceLocation::current());

}  // namespace weir::inline v0
