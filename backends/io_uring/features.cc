// The tables of kernel versions, and the evidence a ring gives of its kernel's age. Opcodes can be probed for; most
// flags cannot, so the newest opcode or feature bit dates the kernel, and the tables say what it has. The number that
// uname gives is not used: vendors move features between kernels, and they move opcodes and flags together.
#include "backends/io_uring/features.h"

#include <algorithm>
#include <memory>

// Newer than the oldest liburing that this builds with.
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

namespace weir::inline v0::uring {
namespace {

constexpr Since kOpcodes[] = {
    {IORING_OP_NOP, "NOP", 501},
    {IORING_OP_POLL_ADD, "POLL_ADD", 501},
    {IORING_OP_SENDMSG, "SENDMSG", 503},
    {IORING_OP_RECVMSG, "RECVMSG", 503},
    {IORING_OP_TIMEOUT, "TIMEOUT", 504},
    {IORING_OP_TIMEOUT_REMOVE, "TIMEOUT_REMOVE", 505},
    {IORING_OP_ACCEPT, "ACCEPT", 505},
    {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL", 505},
    {IORING_OP_CONNECT, "CONNECT", 505},
    {IORING_OP_CLOSE, "CLOSE", 506},
    {IORING_OP_SEND, "SEND", 506},
    {IORING_OP_RECV, "RECV", 506},
    {IORING_OP_SHUTDOWN, "SHUTDOWN", 511},
    {IORING_OP_SEND_ZC, "SEND_ZC", 600},
    {IORING_OP_SENDMSG_ZC, "SENDMSG_ZC", 601},
};

constexpr Since kSetupFlags[] = {
    {IORING_SETUP_CQSIZE, "CQSIZE", 505},
    {IORING_SETUP_R_DISABLED, "R_DISABLED", 510},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL", 518},
    {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN", 519},
    {IORING_SETUP_TASKRUN_FLAG, "TASKRUN_FLAG", 519},
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER", 600},
    {IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN", 601},
    {IORING_SETUP_NO_SQARRAY, "NO_SQARRAY", 606},
};

constexpr std::uint32_t row(Use use) { return static_cast<std::uint32_t>(use); }
constexpr Since kUses[] = {
    {row(Use::accept_multishot), "multishot accept", 519},
    {row(Use::recv_multishot), "multishot recv", 600},
    {row(Use::poll_multishot), "multishot poll", 513},
    {row(Use::buffer_ring), "buffer ring", 519},
    {row(Use::poll_first), "poll first", 519},
    {row(Use::send_waitall), "send to the last byte", 519},
    {row(Use::zero_copy_report), "zero-copy report", 602},
    {row(Use::cancel_any), "cancel any", 519},
    {row(Use::wait_timeout), "wait with a timeout", 511},
    {row(Use::absolute_timeout), "wait until a time", 612},
    {row(Use::registered_ring), "registered ring", 518},
    {row(Use::no_iowait), "no iowait", 615},
    {row(Use::skip_success), "send without a report", 517},
    {row(Use::direct_descriptors), "direct descriptors", 600},
};
static_assert(std::size(kUses) == kUseCount);

// The youngest of these that the kernel has dates it.
constexpr Since kOpcodeEvidence[] = {
    {IORING_OP_CLOSE, "CLOSE", 506},
    {IORING_OP_PROVIDE_BUFFERS, "PROVIDE_BUFFERS", 507},
    {IORING_OP_SHUTDOWN, "SHUTDOWN", 511},
    {IORING_OP_MKDIRAT, "MKDIRAT", 515},
    {IORING_OP_MSG_RING, "MSG_RING", 518},
    {IORING_OP_SOCKET, "SOCKET", 519},
    {IORING_OP_SEND_ZC, "SEND_ZC", 600},
    {IORING_OP_SENDMSG_ZC, "SENDMSG_ZC", 601},
    {IORING_OP_READ_MULTISHOT, "READ_MULTISHOT", 607},
    {IORING_OP_FIXED_FD_INSTALL, "FIXED_FD_INSTALL", 608},
    {IORING_OP_FTRUNCATE, "FTRUNCATE", 609},
    {IORING_OP_LISTEN, "LISTEN", 611},
};
constexpr Since kBitEvidence[] = {
    {IORING_FEAT_POLL_32BITS, "POLL_32BITS", 509},
    {IORING_FEAT_EXT_ARG, "EXT_ARG", 511},
    {IORING_FEAT_RSRC_TAGS, "RSRC_TAGS", 513},
    {IORING_FEAT_CQE_SKIP, "CQE_SKIP", 517},
    {IORING_FEAT_REG_REG_RING, "REG_REG_RING", 603},
    {IORING_FEAT_RECVSEND_BUNDLE, "RECVSEND_BUNDLE", 610},
    {IORING_FEAT_MIN_TIMEOUT, "MIN_TIMEOUT", 612},
    {IORING_FEAT_NO_IOWAIT, "NO_IOWAIT", 615},
};

struct FreeProbe {
  void operator()(io_uring_probe* probe) const { io_uring_free_probe(probe); }
};

}  // namespace

std::string name_of_kernel(Kernel kernel) {
  return std::to_string(kernel / 100) + "." + std::to_string(kernel % 100);
}

std::span<const Since> opcode_table() { return kOpcodes; }
std::span<const Since> setup_flag_table() { return kSetupFlags; }
std::span<const Since> use_table() { return kUses; }

std::string describe_counts(std::span<const Since> table, std::span<const std::uint64_t> counts) {
  std::string text;
  for (const Since& entry : table) {
    if (counts[entry.value] == 0) continue;
    if (!text.empty()) text += ", ";
    text += entry.name;
    text += ' ';
    text += std::to_string(counts[entry.value]);
  }
  return text.empty() ? "none" : text;
}

std::string describe_flags(std::span<const Since> table, std::uint32_t flags) {
  std::string text;
  for (const Since& entry : table) {
    if ((flags & entry.value) == 0) continue;
    if (!text.empty()) text += ' ';
    text += entry.name;
  }
  return text.empty() ? "none" : text;
}

Features find_features(io_uring& ring, Kernel mask) {
  const std::unique_ptr<io_uring_probe, FreeProbe> probe(io_uring_get_probe_ring(&ring));
  const auto supports = [&](std::uint32_t opcode) {
    return probe != nullptr &&
           io_uring_opcode_supported(probe.get(), static_cast<int>(opcode)) != 0;
  };
  Features features;
  for (const Since& entry : kOpcodeEvidence) {
    if (supports(entry.value)) features.found = std::max(features.found, entry.kernel);
  }
  for (const Since& entry : kBitEvidence) {
    if ((ring.features & entry.value) != 0) features.found = std::max(features.found, entry.kernel);
  }
  features.kernel = std::min(features.found, mask);
  for (const Since& entry : kUses) {
    if (entry.kernel <= features.kernel) features.allowed |= 1u << entry.value;
  }
  for (const Since& entry : kOpcodes) {
    if (entry.kernel <= features.kernel && supports(entry.value)) {
      features.opcodes |= std::uint64_t{1} << entry.value;
    }
  }
  return features;
}

}  // namespace weir::inline v0::uring
