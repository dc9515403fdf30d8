// Moving bytes and connections: the calls that a request makes. Path: readiness backend -> here -> kernel.
// MSG_DONTWAIT on every transfer, so that a descriptor left blocking by its owner cannot block a loop.
#include "src/os/socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "src/os/linux/call.h"
#include "src/os/linux/sockaddr.h"
#include "weir/poison.h"

namespace weir::inline v0::os {
namespace {

static_assert(sizeof(Segment) == sizeof(iovec) &&
              offsetof(Segment, data) == offsetof(iovec, iov_base) &&
              offsetof(Segment, size) == offsetof(iovec, iov_len));

constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

int fd_of(Native native) { return static_cast<int>(native); }

// Lent memory is poisoned under AddressSanitizer until the bytes are loaned out. Its own interceptor of recv would
// report the kernel's rightful write, so that build calls the kernel directly.
ssize_t kernel_recv(int fd, void* data, std::size_t size) {
#if defined(WEIR_POISONS)
  return ::syscall(SYS_recvfrom, fd, data, size, kFlags, nullptr, nullptr);
#else
  return ::recv(fd, data, size, kFlags);
#endif
}
ssize_t kernel_recvmsg(int fd, msghdr* message) {
#if defined(WEIR_POISONS)
  return ::syscall(SYS_recvmsg, fd, message, kFlags);
#else
  return ::recvmsg(fd, message, kFlags);
#endif
}

// The segments that a fault leaves of a call.
struct Cut {
  iovec parts[kSegmentsMax];
  std::size_t count = 0;

  Cut(const Segment* segments, std::size_t segment_count, std::size_t size_max) {
    for (; count < segment_count && size_max > 0; ++count) {
      const std::size_t size = std::min(segments[count].size, size_max);
      parts[count] = {segments[count].data, size};
      size_max -= size;
    }
  }
};

std::size_t total(const Segment* segments, std::size_t count) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < count; ++i) bytes += segments[i].size;
  return bytes;
}

// `transfer` moves the message's bytes. The segments are copied only when a fault cuts them short.
template <typename Transfer>
std::int64_t move_segments(Call call, Native native, const Segment* segments, std::size_t count,
                           msghdr& message, Transfer transfer) {
  WEIR_CHECK_LE(count, kSegmentsMax);
  message.msg_iov = reinterpret_cast<iovec*>(const_cast<Segment*>(segments));
  message.msg_iovlen = count;
  if (!has_fault_hook()) [[likely]]
    return counted(transfer(&message));
  return call_again(call, native, total(segments, count), [&](std::size_t size) {
    Cut cut(segments, count, size);
    message.msg_iov = cut.parts;
    message.msg_iovlen = cut.count;
    return transfer(&message);
  });
}

}  // namespace

std::int64_t close(Native native) {
  // Linux has closed the descriptor also when it answers EINTR: calling again could close somebody else's.
  const std::int64_t result =
      call_once(Call::close, native, 0, [&](std::size_t) { return ::close(fd_of(native)); });
  return result == -EINTR ? 0 : result;
}

std::int64_t accept(Native listener, bool non_blocking) {
  const int flags = SOCK_CLOEXEC | (non_blocking ? SOCK_NONBLOCK : 0);
  return call_again(Call::accept, listener, 0, [&](std::size_t) {
    return ::accept4(fd_of(listener), nullptr, nullptr, flags);
  });
}

std::int64_t connect(Native native, const Address& peer) {
  sockaddr_storage address;
  const socklen_t length = sockaddr_from_address(peer, address);
  const std::int64_t result = call_once(Call::connect, native, 0, [&](std::size_t) {
    return ::connect(fd_of(native), reinterpret_cast<const sockaddr*>(&address), length);
  });
  return result == -EINTR ? -EINPROGRESS : result;  // an interrupted connect goes on by itself
}

std::int64_t connect_result(Native native) {
  int error = 0;
  socklen_t length = sizeof error;
  const std::int64_t result = call_plain(
      [&] { return ::getsockopt(fd_of(native), SOL_SOCKET, SO_ERROR, &error, &length); });
  return result < 0 ? result : -error;
}

// The three calls of every request come in two versions: production's, which keeps nothing for a second try because a
// call that never waits is never interrupted, and one that asks the fault hook.
[[gnu::noinline]] static std::int64_t recv_with_faults(Native native, void* data,
                                                       std::size_t size) {
  return call_again(Call::recv, native, size, [&](std::size_t size_max) {
    return kernel_recv(fd_of(native), data, size_max);
  });
}

std::int64_t recv(Native native, void* data, std::size_t size) {
  if (has_fault_hook()) [[unlikely]]
    return recv_with_faults(native, data, size);
  return counted(kernel_recv(fd_of(native), data, size));
}

[[gnu::noinline]] static std::int64_t send_with_faults(Native native, const void* data,
                                                       std::size_t size) {
  return call_again(Call::send, native, size, [&](std::size_t size_max) {
    return ::send(fd_of(native), data, size_max, kFlags);
  });
}

std::int64_t send(Native native, const void* data, std::size_t size) {
  if (has_fault_hook()) [[unlikely]]
    return send_with_faults(native, data, size);
  return counted(::send(fd_of(native), data, size, kFlags));
}

std::int64_t recv_segments(Native native, const Segment* segments, std::size_t count) {
  msghdr message{};
  return move_segments(Call::recv, native, segments, count, message,
                       [&](msghdr* header) { return kernel_recvmsg(fd_of(native), header); });
}

std::int64_t send_segments(Native native, const Segment* segments, std::size_t count) {
  msghdr message{};
  return move_segments(Call::send, native, segments, count, message,
                       [&](msghdr* header) { return ::sendmsg(fd_of(native), header, kFlags); });
}

// A datagram is moved whole or not at all: a fault can fail it, never shorten it.
std::int64_t recv_message(Native native, MsgOp& op, bool& truncated) {
  sockaddr_storage from;
  iovec part{op.target, op.bytes_max};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = op.control;
  message.msg_controllen = op.control_bytes;
  const std::int64_t result = call_again(
      Call::recv, native, 0, [&](std::size_t) { return kernel_recvmsg(fd_of(native), &message); });
  if (result < 0) return result;
  op.peer = address_from_sockaddr(from, message.msg_namelen);
  op.control_bytes = static_cast<std::uint32_t>(message.msg_controllen);
  truncated = (message.msg_flags & MSG_TRUNC) != 0;
  return result;
}

std::int64_t send_message(Native native, const MsgOp& op, const Segment* segments,
                          std::size_t count) {
  WEIR_CHECK_LE(count, kSegmentsMax);
  sockaddr_storage to;
  msghdr message{};
  message.msg_namelen = sockaddr_from_address(op.peer, to);
  message.msg_name = message.msg_namelen != 0 ? &to : nullptr;
  message.msg_iov = reinterpret_cast<iovec*>(const_cast<Segment*>(segments));
  message.msg_iovlen = count;
  message.msg_control = op.control;
  message.msg_controllen = op.control != nullptr ? op.control_bytes : 0;
  return call_again(Call::send, native, 0,
                    [&](std::size_t) { return ::sendmsg(fd_of(native), &message, kFlags); });
}

std::int64_t shutdown_write(Native native) {
  return call_once(Call::shutdown, native, 0,
                   [&](std::size_t) { return ::shutdown(fd_of(native), SHUT_WR); });
}

std::int64_t open_reserve() {
  return call_plain([] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); });
}

}  // namespace weir::inline v0::os
