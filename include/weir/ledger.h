// The ledger of one loop: who took which block, where, and how long ago. At level `off` it counts nothing per
// block; `sampled` follows one in 128; `all` follows every block, keeps its last four owners, and hashes lent memory
// so that a write into bytes being sent is found. report() names what is out; at the end nothing should be.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "weir/export.h"
#include "weir/source_location.h"

namespace weir::inline v0 {

struct Block;
enum class BlockState : std::uint8_t;

enum class LedgerLevel : std::uint8_t { off, sampled, all };

class WEIR_API Ledger {
 public:
  explicit Ledger(LedgerLevel level = LedgerLevel::sampled, std::uint64_t (*now_ns)() = nullptr);
  ~Ledger();

  struct Entry {
    const Block* block = nullptr;
    BlockState state{};
    std::uint64_t since_ns = 0;                       ///< of the last transition
    std::uint64_t connection = 0;                     ///< an OpId or socket number; 0: none
    std::array<SourceLocation, 4> owners{};          ///< newest first
    std::uint32_t hash = 0;                           ///< of lent bytes, at level all
  };

  LedgerLevel level() const { return level_; }
  std::vector<Entry> entries() const;                 ///< what is followed and not free
  /// One line a block: state, age, connection, capacity, and the source lines that held it.
  std::string report() const;
  std::uint64_t tracked_count() const { return tracked_count_; }

  // For pools: inline tests of level_ keep the untracked path at a decrement and a branch.
  void on_take(Block& block, const SourceLocation& where);
  void on_move(Block& block, BlockState to, const SourceLocation& where);
  void on_free(Block& block);

 private:
  LedgerLevel level_;
  std::uint32_t countdown_ = 1;
  std::uint64_t (*now_ns_)();
  std::uint64_t tracked_count_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::uint16_t> free_slots_;
};

}  // namespace weir::inline v0
