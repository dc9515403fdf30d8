// What came with which kernel, and what of it one ring may use. A feature mask ("io_uring:5.10") forbids all that is
// newer than that kernel; the counters say afterwards what was really used, so that a test can hold one against the
// other.
#pragma once
#include <liburing.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace weir::inline v0::uring {

/// A kernel version that compares as a number: 5.10 is 510, 6.1 is 601.
using Kernel = std::uint16_t;
inline constexpr Kernel kNewestKernel = 9999;
std::string name_of_kernel(Kernel kernel);

/// Parts of io_uring that are neither an opcode nor a setup flag.
enum class Use : std::uint8_t {
  accept_multishot,
  recv_multishot,
  poll_multishot,
  buffer_ring,
  poll_first,
  send_waitall,
  zero_copy_report,
  cancel_any,
  wait_timeout,
  absolute_timeout,
  registered_ring,
  no_iowait,
  skip_success,
  direct_descriptors,
};
inline constexpr std::size_t kUseCount = 14;

/// One row of a table: a bit or number of the kernel's interface, its name, and the first kernel that has it.
struct Since {
  std::uint32_t value;
  const char* name;
  Kernel kernel;
};
std::span<const Since> opcode_table();      ///< of every opcode that this backend knows how to use
std::span<const Since> setup_flag_table();  ///< oldest first: flags are dropped from the end
std::span<const Since> use_table();         ///< of Use

/// What one ring did. Plain counts, read by tests and shown in Caps::notes.
struct Counters {
  std::array<std::uint64_t, 64> opcodes{};  ///< entries prepared, by opcode
  std::array<std::uint64_t, kUseCount> uses{};
  std::uint32_t setup_flags = 0;        ///< that the kernel accepted
  std::uint64_t enters = 0;             ///< io_uring_enter calls
  std::uint64_t bulk_switches = 0;      ///< multishot receives cancelled for the sake of the others
  std::uint64_t multishot_returns = 0;  ///< and those that went back to multishot
  std::uint64_t full_queues =
      0;  ///< ops that found the submission queue full and waited for a place

  void count(Use use) { ++uses[static_cast<std::size_t>(use)]; }
  std::uint64_t of(Use use) const { return uses[static_cast<std::size_t>(use)]; }
};

/// "RECV 12, SEND 12": the rows of `table` with a count that is not 0.
std::string describe_counts(std::span<const Since> table, std::span<const std::uint64_t> counts);
/// "SINGLE_ISSUER DEFER_TASKRUN": the rows of `table` whose bit is set.
std::string describe_flags(std::span<const Since> table, std::uint32_t flags);

/// What the ring may use: the kernel's age, as found and as masked, against the tables.
struct Features {
  Kernel found = 0;   ///< the newest kernel that this one gives evidence of
  Kernel kernel = 0;  ///< the older of that and the mask

  bool has(Use use) const { return (allowed >> static_cast<unsigned>(use) & 1) != 0; }
  bool has_opcode(std::uint8_t opcode) const { return opcode < 64 && (opcodes >> opcode & 1) != 0; }
  void drop(Use use) { allowed &= ~(1u << static_cast<unsigned>(use)); }
  void drop_opcode(std::uint8_t opcode) { opcodes &= ~(std::uint64_t{1} << opcode); }

  std::uint32_t allowed = 0;  ///< bits of Use
  std::uint64_t opcodes = 0;  ///< bits of opcodes
};

/// Asks the ring what it supports. `mask` is the newest kernel whose features may be used.
Features find_features(io_uring& ring, Kernel mask);

}  // namespace weir::inline v0::uring
