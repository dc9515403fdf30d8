// The one room for system calls, clock and descriptors: everything above asks here, and faults are injected here.
// Calls return a count (0 or more) or -errno in Linux's numbers. Each call counts itself (system_calls), so that
// Metrics::system_calls is what strace would see. Implemented once per system in src/os/<system>/.
#pragma once
#include <cstddef>
#include <cstdint>

#include "weir/address.h"
#include "weir/backend.h"

namespace weir::inline v0::os {

using Native = std::intptr_t;

/// Laid out as the system's scatter/gather element (checked in the system's room).
struct Segment {
  void* data;
  std::size_t size;
};

std::uint64_t now_ns();                         ///< monotonic
std::uint64_t& system_calls();                  ///< this thread's count

std::int64_t open_socket(const SocketSpec& spec, bool non_blocking);   ///< socket, options, bind, listen
std::int64_t close(Native native);
std::int64_t accept(Native listener, bool non_blocking);
std::int64_t connect(Native native, const Address& peer);              ///< -EINPROGRESS when it goes on
std::int64_t connect_result(Native native);                            ///< SO_ERROR as 0 or -errno
std::int64_t recv(Native native, void* data, std::size_t size);
std::int64_t recv_segments(Native native, const Segment* segments, std::size_t count);
std::int64_t send(Native native, const void* data, std::size_t size);
std::int64_t send_segments(Native native, const Segment* segments, std::size_t count);
std::int64_t recv_message(Native native, MsgOp& op, bool& truncated);
std::int64_t send_message(Native native, const MsgOp& op, const Segment* segments, std::size_t count);
std::int64_t shutdown_write(Native native);
std::int64_t set_linger_reset(Native native);                          ///< the next close sends RST
std::int64_t set_non_blocking(Native native, bool on);
std::int64_t local_address(Native native, Address& out);
std::int64_t peer_address(Native native, Address& out);
std::int64_t set_option(Native native, SocketOption option, std::int32_t value);
std::int64_t get_option(Native native, SocketOption option, std::int32_t& out);
std::int64_t open_reserve();                                           ///< a descriptor to give up at EMFILE

/// Which call a fault is asked about.
enum class Call : std::uint8_t {
  open_socket, close, accept, connect, recv, send, shutdown, wait, ring_enter, ring_setup, map,
};
/// A fault's decision: go on unchanged; go on with at most `size_max` bytes; or answer `error` (-errno) without a call.
struct Fault {
  std::int64_t error = 0;
  std::size_t size_max = ~std::size_t{0};
};
/// Seeded fault injection for tests: asked before each call while set. Null in production: one predicted branch.
using FaultHook = Fault (*)(Call call, Native native);
void set_fault_hook(FaultHook hook);
extern FaultHook fault_hook;

}  // namespace weir::inline v0::os
