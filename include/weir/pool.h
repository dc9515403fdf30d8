// A Pool owns memory in blocks of one size and hands them out as Bufs; a receive group is a Pool whose blocks a
// backend takes and lends. Memory comes in slabs that are mapped when first needed and touched only as far as used.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "weir/buffer.h"
#include "weir/ledger.h"
#include "weir/source_location.h"

namespace weir::inline v0 {

using GroupId = std::uint16_t;
inline constexpr GroupId kNoGroup = 0xffff;

/// Told when a block of its group is free again and somebody waits for one (DESIGN contract 6).
class PoolListener {
 public:
  virtual void on_refill(Pool& pool) = 0;

 protected:
  ~PoolListener() = default;
};

/// Owner:   whoever made it; it must outlive its blocks, or orphan() them.
/// Threads: the loop's own; blocks come home from other threads only through SharedBuf.
class WEIR_API Pool {
 public:
  struct Options {
    std::uint32_t block_bytes = 16 << 10;
    std::uint32_t blocks_max = 1024;    ///< the bound; take() then gives null
    std::uint32_t slab_blocks = 64;     ///< mapped at a time
    GroupId group = kNoGroup;
    const char* name = "pool";
  };
  Pool(const Options& options, Ledger& ledger);
  ~Pool();  ///< blocks still held keep their slab mapped, owned by nobody, and are reported
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// A block in state `app` with one reference and its whole capacity as one Buf; empty when the bound is reached.
  Buf take(SourceLocation where = SourceLocation::current());
  /// The backend's way: a free block moves to `posted` or `lent`, without a reference. Null when the bound is reached.
  Block* take_for_backend(BlockState state);
  /// posted or lent -> free, when the backend did not use it.
  void give_back(Block* block);
  /// posted or lent -> loaned: `length` received bytes at `offset` become a Buf charged to `account` (or nobody).
  Buf loan(Block* block, std::uint32_t offset, std::uint32_t length, LoanAccount* account,
           SourceLocation where = SourceLocation::current());

  Block& at(std::uint32_t index);  ///< what a completion's `buffer` means
  std::uint32_t block_bytes() const { return options_.block_bytes; }
  std::uint32_t blocks_max() const { return options_.blocks_max; }
  std::uint32_t in_use() const { return in_use_; }     ///< not free
  std::uint32_t mapped() const { return mapped_; }     ///< blocks that have memory
  std::uint64_t slab_count() const { return slabs_.size(); }
  GroupId group() const { return options_.group; }
  Ledger& ledger() const { return ledger_; }
  void set_blocks_max(std::uint32_t count) { options_.blocks_max = count; }
  /// `listener.on_refill` is called once, after the next block comes home.
  void wait_for_refill(PoolListener* listener) { waiting_ = listener; }
  /// Called when an account's loans fall under its resume_below_bytes, which is then 0 again.
  void set_on_loan_return(void (*on_loan_return)(LoanAccount& account)) { on_loan_return_ = on_loan_return; }

 private:
  friend class Buf;
  void release(Block* block) noexcept;  // the last reference went
  Block* pop_free();
  bool grow();

  Options options_;
  Ledger& ledger_;
  Block* free_ = nullptr;
  std::uint32_t in_use_ = 0;
  std::uint32_t mapped_ = 0;
  PoolListener* waiting_ = nullptr;
  void (*on_loan_return_)(LoanAccount& account) = nullptr;
  std::vector<std::byte*> slabs_;
};

}  // namespace weir::inline v0
