// Memory that goes with a request and is not the owner's: headers that the kernel reads while it takes an entry, and
// records that live until a completion. Both are reused; nothing is allocated in the steady state.
#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>

#include "src/os/socket.h"
#include "weir/counted.h"
#include "weir/op.h"

namespace weir::inline v0::uring {

inline constexpr std::uint32_t kPiecesMax = os::kSegmentsMax;  ///< of one gather send
inline constexpr std::uint32_t kTakeBlocksMax = 16;  ///< of one receive into blocks of our choice

/// Records of one kind, with stable addresses, found by index.
template <typename T>
class RecordTable {
 public:
  std::uint32_t take() {
    if (free_.empty()) {
      records_.emplace_back();
      return static_cast<std::uint32_t>(records_.size() - 1);
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    return index;
  }
  void free(std::uint32_t index) { free_.push_back(index); }
  T& operator[](std::uint32_t index) { return records_[index]; }
  std::size_t size() const { return records_.size(); }
  std::size_t in_use() const { return records_.size() - free_.size(); }

 private:
  std::deque<T, CountedAllocator<T>> records_;
  CountedVector<std::uint32_t> free_;
};

/// A receive into blocks of our choice.
struct TakeRecord {
  msghdr header;
  std::array<iovec, kTakeBlocksMax> segments;
  std::array<Block*, kTakeBlocksMax> blocks;
  std::uint32_t count = 0;
  std::uint32_t capacity_bytes = 0;
};

/// A recvmsg: the kernel writes into the header when it completes.
struct MessageRecord {
  msghdr header;
  iovec segment;
  sockaddr_storage name;
};

/// A zero-copy send: the blocks it reads stay until the kernel's notification.
struct ZeroCopyRecord {
  OpId op;
  std::array<Block*, kPiecesMax> blocks;
  std::uint32_t count = 0;
  std::uint32_t generation = 0;
  bool is_live = false;
  bool is_silent = false;  ///< sent again by copying: nobody is told of the notification
};

/// What the kernel copies when it takes an entry: one header and name a place in the queue, segments one after another.
struct Scratch {
  static constexpr std::uint32_t kSegments = 4096;
  struct Place {
    msghdr header;
    sockaddr_storage name;
  };
  explicit Scratch(std::uint32_t place_count)
      : places(std::make_unique_for_overwrite<Place[]>(place_count)),
        segments(std::make_unique_for_overwrite<iovec[]>(kSegments)) {}
  bool has_room() const { return used + kPiecesMax <= kSegments; }

  std::unique_ptr<Place[]> places;
  std::unique_ptr<iovec[]> segments;
  std::uint32_t used = 0;
};

/// All of one backend. A record belongs to the op whose slot names it.
struct Records {
  RecordTable<TakeRecord> takes;
  RecordTable<MessageRecord> messages;
  RecordTable<ZeroCopyRecord> zero_copies;

  std::uint32_t& of(const Op& op) {
    const std::size_t slot = op.id.slot();
    if (slot >= by_slot.size()) by_slot.resize(slot + slot / 2 + 64);
    return by_slot[slot];
  }
  CountedVector<std::uint32_t> by_slot;  ///< empty until the first record
};

}  // namespace weir::inline v0::uring
