// Blocks leaving and coming home.
// Path: ~Buf -> release_last -> go_home -> free list -> take. A send that still reads the block holds it back.
#include "weir/pool.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <string>
#include <utility>

#include "src/buffer/block_home.h"
#include "src/buffer/foreign.h"
#include "src/buffer/slab_set.h"
#include "src/os/memory.h"
#include "weir/metrics.h"

namespace weir::inline v0 {

namespace {

constexpr std::uint32_t kLineBytes = 64;
constexpr std::uint32_t kSetsBytes = 4096;  // Lines this far apart share a set of the cache.
constexpr std::uint32_t kBlockBytesMax = 1 << 24;
constexpr std::uint32_t kSlabBlocksMax = 1 << 16;

std::uint32_t stride_of(std::uint32_t block_bytes) {
  const std::uint32_t stride = kBlockHeaderBytes + kHeadroomBytes + block_bytes;
  return stride % kSetsBytes == 0 ? stride + kLineBytes : stride;
}

void poison_block(const Block& block) {
  poison(block.base - kHeadroomBytes, kHeadroomBytes + block.capacity);
}
void unpoison_block(const Block& block) {
  unpoison(block.base - kHeadroomBytes, kHeadroomBytes + block.capacity);
}

// No handle and no send is left.
void finish(Block& block) noexcept {
  if (block.home != nullptr) {
    BlockHome::go(*block.home, block);
  } else {
    retire(block);
  }
}

// A new state, with nobody new who holds it.
void note_move(Block& block) {
  if (block.ledger_slot != 0) block.home->ledger().moved(block, SourceLocation());
}

// The last handle went while a send reads the block.
[[gnu::cold]] void hold_back(Block& block) noexcept {
  block.state = BlockState::zc_pending;
  if (block.home == nullptr) return;
  note_move(block);
  poison_block(block);
}

[[gnu::noinline]] void release_other(Block& block) noexcept {
  if (block.state < BlockState::app) detail::misuse(block, "release");
  if (detail::has_sends(block)) return hold_back(block);
  finish(block);
}

}  // namespace

// The way of every received message, kept free of all others.
void detail::release_last(Block& block) noexcept {
  if (tag_of(block) != plain_tag(BlockState::loaned) || has_sends(block)) [[unlikely]] {
    return release_other(block);
  }
  BlockHome::return_loan(*block.home, block);
}

void detail::start_sends(Block& block) { block.home->ledger().lent_for_send(block); }

void detail::end_sends(Block& block) noexcept {
  if (has_sends(block)) return;
  const bool has_handles = block.state != BlockState::zc_pending;
  if (!has_handles && block.home != nullptr) unpoison_block(block);
  if (block.ledger_slot != 0) block.home->ledger().returned_from_send(block);
  if (!has_handles) finish(block);
}

void lend_for_recv(Buf& target) {
  WEIR_CHECK(target.block() != nullptr);
  static_cast<void>(target.writable());
  Block& block = *target.block();
  if (block.state != BlockState::app) detail::misuse(block, "lend for a receive");
  block.state = BlockState::lent;
  if (block.home == nullptr) return;
  note_move(block);
  poison_block(block);
}

void return_from_recv(Buf& target) {
  WEIR_CHECK(target.block() != nullptr);
  Block& block = *target.block();
  if (block.state != BlockState::lent) detail::misuse(block, "return from a receive");
  block.state = BlockState::app;
  if (block.home == nullptr) return;
  note_move(block);
  unpoison_block(block);
}

Buf take_like(const Block& source, Pool& pool, std::uint32_t size_bytes, SourceLocation where) {
  Block* block = pool.take_for_backend(BlockState::lent, where);
  if (block == nullptr) return {};
  LoanAccount* account = source.origin == BlockOrigin::pool ? source.account : nullptr;
  if (account != nullptr && account->generation != source.account_generation) account = nullptr;
  return pool.loan(block, 0, size_bytes, account, where);
}

Buf copy_break(Buf buf, Pool& small, Metrics& metrics, SourceLocation where) {
  if (buf.size() >= small.block_bytes() || buf.pinned_bytes() <= small.block_bytes()) return buf;
  Buf copy = take_like(*buf.block(), small, static_cast<std::uint32_t>(buf.size()), where);
  if (copy.empty()) return buf;
  std::copy_n(buf.data(), buf.size(), copy.writable());
  ++metrics.copy_breaks;
  metrics.bytes_copied += buf.size();
  return copy;
}

Pool::Pool(const Options& options, Ledger& ledger) : ledger_(ledger), options_(options) {
  WEIR_CHECK(options.block_bytes != 0 && options.block_bytes <= kBlockBytesMax);
  WEIR_CHECK(options.slab_blocks != 0 && options.slab_blocks <= kSlabBlocksMax);
  options_.block_bytes = (options.block_bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
  options_.slab_blocks = std::bit_ceil(options.slab_blocks);
  if (options_.blocks_ample == 0) options_.blocks_ample = options_.blocks_max;
  set_blocks_max(options_.blocks_max);
  slab_shift_ = static_cast<std::uint32_t>(std::countr_zero(options_.slab_blocks));
  stride_ = stride_of(options_.block_bytes);
  slabs_ = new SlabSet(std::size_t{stride_} << slab_shift_);
  ++thread_counts().heap_allocations;
}

Pool::~Pool() { orphan(); }

void Pool::set_on_remote_return(void (*wake)(void* context), void* context) {
  slabs_->set_on_return(wake, context);
}

Buf Pool::take(SourceLocation where) {
  Block* block = pop(BlockState::app, where);
  if (block == nullptr) return {};
  unpoison_block(*block);
  block->refs = 1;
  block->account = nullptr;
  return {block, block->base, block->capacity};
}

Block* Pool::pop_slow(BlockState state, SourceLocation where) {
  if (free_ == nullptr || in_use_ >= options_.blocks_max) collect_returns();
  if (in_use_ >= options_.blocks_max) return nullptr;
  if (free_ == nullptr && !make_free()) return nullptr;
  if (free_->state != BlockState::free) detail::misuse(*free_, "take", where);
  return pop(state, where);
}

Block* Pool::follow(Block* block, SourceLocation where) {
  ledger_.follow(*block, where);
  return block;
}

// A block never used yet; of a new slab when all were.
bool Pool::make_free() {
  if (made_ == mapped() && !grow()) return false;
  std::byte* const place =
      bases_[made_ >> slab_shift_] + std::size_t{stride_} * (made_ & (options_.slab_blocks - 1));
  auto* block = new (static_cast<void*>(place)) Block;
  block->capacity = options_.block_bytes;
  block->index = made_++;
  block->home = this;
  block->base = place + kBlockHeaderBytes + kHeadroomBytes;
  poison_block(*block);
  free_ = block;
  return true;
}

bool Pool::grow() {
  void* memory = os::map_memory(slabs_->slab_bytes);
  if (memory == nullptr) return false;
  slabs_->slabs.push_back(static_cast<std::byte*>(memory));
  bases_ = slabs_->slabs.data();
  ++slab_count_;
  return true;
}

void Pool::give_back(Block* block) {
  const bool is_given = block->state == BlockState::posted || block->state == BlockState::lent;
  if (!is_given || block->refs != 0 || block->home != this) detail::misuse(*block, "give back");
  if (block->ledger_slot != 0) ledger_.forget(*block);
  put_home(*block);
}

// The way of loan() for blocks that are followed, and for misuse.
void Pool::lend_out_followed(Block& block, std::uint64_t length, LoanAccount* account,
                             SourceLocation where) {
  const bool is_given = block.state == BlockState::posted || block.state == BlockState::lent;
  if (!is_given || block.refs != 0 || block.home != this) detail::misuse(block, "loan", where);
  WEIR_CHECK_LE(length, block.capacity);
  lend_out_checked(block, account);
  ledger_.moved(block, where);
}

// No handle and no send is left of a block that had some.
void Pool::go_home(Block& block) noexcept {
  if (block.ledger_slot != 0) ledger_.forget(block);
  return_loan(block);
}

inline void Pool::return_loan(Block& block) noexcept {
  LoanAccount* const account = block.account;
  if (account == nullptr || account->generation != block.account_generation) return put_home(block);
  std::uint32_t rest = 0;
  if (__builtin_sub_overflow(account->loaned_bytes, block.capacity, &rest)) [[unlikely]] {
    detail::misuse(block, "uncharge");
  }
  account->loaned_bytes = rest;
  push_free(block);
  if (rest < account->resume_below_bytes || waiting_ != nullptr) [[unlikely]]
    notify(account);
}

void Pool::put_home(Block& block) noexcept {
  push_free(block);
  if (waiting_ != nullptr) [[unlikely]]
    notify(nullptr);
}

inline void Pool::push_free(Block& block) noexcept {
  block.state = BlockState::free;
  block.next = free_;
  free_ = &block;
  --in_use_;
  poison_block(block);
}

// Somebody waits for the block that came home: the connection it was charged to, or a receive of the group.
[[gnu::noinline]] void Pool::notify(LoanAccount* account) noexcept {
  if (account != nullptr && account->loaned_bytes < account->resume_below_bytes) {
    account->resume_below_bytes = 0;
    if (on_loan_return_ != nullptr) on_loan_return_(*account);
  }
  if (waiting_ != nullptr) std::exchange(waiting_, nullptr)->on_refill(*this);
}

std::uint32_t Pool::collect_returns() {
  if (slabs_->returns.load(std::memory_order_relaxed) == nullptr) return 0;
  return take_home(slabs_->returns.exchange(nullptr, std::memory_order_acquire));
}

std::uint32_t Pool::take_home(Block* list) {
  std::uint32_t count = 0;
  while (list != nullptr) {
    Block& block = *std::exchange(list, list->next);
    if (collect_shared(block) && --block.refs == 0) {
      detail::release_last(block);
      ++count;
    }
  }
  return count;
}

// The pool goes, its blocks stay: those that are held become orphans, whose memory goes with the last of them.
void Pool::orphan() noexcept {
  std::unique_lock held(slabs_->lock);
  waiting_ = nullptr;
  take_home(slabs_->close());
  if (in_use_ == 0) {
    held.unlock();
    delete slabs_;
    return;
  }
  std::string report;
  std::uint32_t followed = 0;
  bool has_kernel_some = false;
  for (std::uint32_t index = 0; index < made_; ++index) {
    Block& block = at(index);
    if (block.state == BlockState::free) continue;
    has_kernel_some |= block.state <= BlockState::zc_pending;
    if (block.ledger_slot != 0) {
      report.append("  ").append(ledger_.describe(block)).append("\n");
      ++followed;
    }
    make_orphan(block);
  }
  std::fprintf(stderr,
               "weir: pool \"%s\" ends with %u of %u blocks held; %u followed by the ledger\n%s",
               options_.name, in_use_, made_, followed, report.c_str());
  if (has_kernel_some) slabs_->keep();
}

void Pool::drop_accounts() {
  for (std::uint32_t index = 0; index < made_; ++index) at(index).account = nullptr;
}

void Pool::make_orphan(Block& block) noexcept {
  LoanAccount* const account = block.state >= BlockState::zc_pending ? block.account : nullptr;
  if (account != nullptr && account->generation == block.account_generation) {
    account->loaned_bytes -= block.capacity;
  }
  if (block.ledger_slot != 0) ledger_.forget(block);
  // The reference that SharedBufs hold together is counted by `shared` alone from here on.
  if (block.shared.load() != 0) --block.refs;
  if (block.refs == 0 && detail::has_sends(block)) block.state = BlockState::zc_pending;
  const bool is_in_kernel = block.state < BlockState::app;
  block.origin = BlockOrigin::orphan;
  block.home = nullptr;
  block.set = slabs_;
  block.has_local_handles = block.refs != 0 || is_in_kernel;
  ++slabs_->orphan_count;
}

}  // namespace weir::inline v0
