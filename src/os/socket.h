// Sockets, as the os room offers them. Calls return a count (0 or more) or -errno in Linux's numbers on every system,
// never block for data, never raise SIGPIPE, and try again by themselves after EINTR. Implemented once per system.
#pragma once
#include <cstddef>
#include <cstdint>

#include "src/os/fault.h"
#include "weir/address.h"
#include "weir/backend.h"

namespace weir::inline v0::os {

/// Laid out as the system's scatter/gather element (checked in the system's room).
struct Segment {
  void* data;
  std::size_t size;
};
inline constexpr std::size_t kSegmentsMax = 64;  ///< of one call

/// What attach() has to know of a descriptor that it did not make.
enum class NativeKind : std::uint8_t { stream, listener, datagram, other };
std::int64_t find_kind(Native native, NativeKind& out);

std::int64_t open_socket(const SocketSpec& spec,
                         bool non_blocking);  ///< socket, options, bind, listen
/// The Error of a failed open_socket(), with the address in its text.
Error error_from_open(std::int64_t result, const SocketSpec& spec);
std::int64_t close(Native native);
std::int64_t accept(Native listener, bool non_blocking);
std::int64_t connect(Native native, const Address& peer);  ///< -EINPROGRESS when it goes on
std::int64_t connect_result(Native native);                ///< SO_ERROR as 0 or -errno
std::int64_t recv(Native native, void* data, std::size_t size);
std::int64_t recv_segments(Native native, const Segment* segments, std::size_t count);
std::int64_t send(Native native, const void* data, std::size_t size);
std::int64_t send_segments(Native native, const Segment* segments, std::size_t count);
/// Fills in op.peer and op.control_bytes.
std::int64_t recv_message(Native native, MsgOp& op, bool& truncated);
std::int64_t send_message(Native native, const MsgOp& op, const Segment* segments,
                          std::size_t count);
std::int64_t shutdown_write(Native native);
std::int64_t set_non_blocking(Native native, bool on);
std::int64_t local_address(Native native, Address& out);
std::int64_t peer_address(Native native, Address& out);
std::int64_t set_option(Native native, SocketOption option, std::int32_t value);
std::int64_t get_option(Native native, SocketOption option, std::int32_t& out);
std::int64_t open_reserve();  ///< a descriptor to give up at EMFILE

}  // namespace weir::inline v0::os
