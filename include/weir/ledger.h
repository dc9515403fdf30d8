// The ledger of one loop: who took which block, where, and how long ago. At level `off` it counts nothing per
// block; `sampled` follows one in 128; `all` follows every block (65,535 at once) and hashes what is being sent, so that
// a write into it is found. The last four owners are kept. report() names what is out; at the end nothing should be.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "weir/buffer.h"
#include "weir/counted.h"
#include "weir/export.h"
#include "weir/source_location.h"

namespace weir::inline v0 {

enum class LedgerLevel : std::uint8_t { off, sampled, all };

/// Owner:   the loop; it outlives the pools that name it.
/// Threads: the loop's own.
class WEIR_API Ledger {
 public:
  static constexpr std::uint32_t kSampleEvery = 128;

  /// `now_ns` is a monotonic clock; null: the system's.
  explicit Ledger(LedgerLevel level = LedgerLevel::sampled, std::uint64_t (*now_ns)() = nullptr);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  static constexpr std::uint64_t kNoConnection = ~std::uint64_t{0};

  struct Entry {
    const Block* block = nullptr;
    BlockState state{};
    std::uint32_t hash = 0;                    ///< of what is being sent, at level all
    std::uint64_t since_ns = 0;                ///< of the last transition
    std::uint64_t connection = kNoConnection;  ///< what connection_of said when it was loaned
    std::array<SourceLocation, 4> owners{};    ///< newest first; line 0: none
  };

  LedgerLevel level() const { return level_; }
  std::vector<Entry> entries() const;  ///< what is followed and not free
  /// One line a block: state, age, connection, capacity, and the source lines that held it.
  std::string report() const;
  /// The same of one block; empty when it is not followed.
  std::string describe(const Block& block) const;
  std::uint64_t tracked_count() const { return tracked_count_; }  ///< ever, not now
  /// How a report names a connection: called for followed blocks only, when they are loaned.
  void set_connection_of(std::uint64_t (*connection_of)(const LoanAccount& account)) {
    connection_of_ = connection_of;
  }

  // For pools. A block that is not followed costs a decrement and a branch when it is taken, a branch at each move.
  bool is_due() { return --countdown_ == 0; }  ///< at a take: follow() this one
  void follow(Block& block, SourceLocation where);
  void moved(Block& block, SourceLocation where);  ///< a followed block is in a new state
  void forget(Block& block);
  void lent_for_send(Block& block);  ///< the first send of it starts
  /// The last send of it ended. Aborts when the bytes are not what they were.
  void returned_from_send(Block& block);

 private:
  std::string line(const Entry& entry, std::uint64_t now_ns) const;

  std::uint32_t countdown_;
  LedgerLevel level_;
  std::uint64_t (*now_ns_)();
  std::uint64_t (*connection_of_)(const LoanAccount& account) = nullptr;
  std::uint64_t tracked_count_ = 0;
  CountedVector<Entry> entries_;  // by slot; slot 0 stays empty
  CountedVector<std::uint16_t> free_slots_;
};

}  // namespace weir::inline v0
