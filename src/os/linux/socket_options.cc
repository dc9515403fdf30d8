// Making sockets and asking about them: what happens once a connection, not once a request.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/os/linux/call.h"
#include "src/os/linux/sockaddr.h"
#include "src/os/socket.h"

namespace weir::inline v0::os {
namespace {

int fd_of(Native native) { return static_cast<int>(native); }

std::int64_t set_int(int fd, int level, int name, int value) {
  return call_plain([&] { return ::setsockopt(fd, level, name, &value, sizeof value); });
}

std::int64_t get_int(int fd, int level, int name, std::int32_t& value) {
  socklen_t length = sizeof value;
  return call_plain([&] { return ::getsockopt(fd, level, name, &value, &length); });
}

// Each option only when it differs from what the system does by itself: a socket costs no call more than it must.
std::int64_t apply(int fd, const SocketSpec& spec) {
  std::int64_t result = 0;
  const auto set = [&](bool wanted, int level, int name, int value) {
    if (wanted && result >= 0) result = set_int(fd, level, name, value);
  };
  const bool is_stream = spec.type == SocketSpec::Type::stream;
  set(spec.reuse_address, SOL_SOCKET, SO_REUSEADDR, 1);
  set(spec.reuse_port, SOL_SOCKET, SO_REUSEPORT, 1);
  set(spec.family == Family::ipv6, IPPROTO_IPV6, IPV6_V6ONLY, spec.ipv6_only);
  set(spec.no_delay && is_stream, IPPROTO_TCP, TCP_NODELAY, 1);  // accepted sockets inherit it
  set(spec.keep_alive && is_stream, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(spec.send_buffer_bytes > 0, SOL_SOCKET, SO_SNDBUF, spec.send_buffer_bytes);
  set(spec.receive_buffer_bytes > 0, SOL_SOCKET, SO_RCVBUF, spec.receive_buffer_bytes);
  return result;
}

std::int64_t bind_and_listen(int fd, const SocketSpec& spec) {
  std::int64_t result = 0;
  if (spec.bind.family != Family::none) {
    sockaddr_storage address;
    const socklen_t length = sockaddr_from_address(spec.bind, address);
    result =
        call_plain([&] { return ::bind(fd, reinterpret_cast<const sockaddr*>(&address), length); });
  }
  if (result >= 0 && spec.backlog > 0)
    result = call_plain([&] { return ::listen(fd, spec.backlog); });
  return result;
}

struct OptionName {
  int level;
  int name;
};
OptionName name_of(SocketOption option) {
  switch (option) {
    case SocketOption::no_delay: return {IPPROTO_TCP, TCP_NODELAY};
    case SocketOption::keep_alive: return {SOL_SOCKET, SO_KEEPALIVE};
    case SocketOption::keep_alive_idle_s: return {IPPROTO_TCP, TCP_KEEPIDLE};
    case SocketOption::keep_alive_interval_s: return {IPPROTO_TCP, TCP_KEEPINTVL};
    case SocketOption::keep_alive_count: return {IPPROTO_TCP, TCP_KEEPCNT};
    case SocketOption::linger_s: return {SOL_SOCKET, SO_LINGER};
    case SocketOption::send_buffer_bytes: return {SOL_SOCKET, SO_SNDBUF};
    case SocketOption::receive_buffer_bytes: return {SOL_SOCKET, SO_RCVBUF};
    case SocketOption::unsent_low_bytes: return {IPPROTO_TCP, TCP_NOTSENT_LOWAT};
  }
  WEIR_UNREACHABLE("an option that is none", option);
}

std::int64_t ask_name(Native native, Address& out, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  const std::int64_t result = call_plain(
      [&] { return ask(fd_of(native), reinterpret_cast<sockaddr*>(&address), &length); });
  if (result >= 0) out = address_from_sockaddr(address, length);
  return result;
}

}  // namespace

std::int64_t find_kind(Native native, NativeKind& out) {
  std::int32_t type = 0;
  std::int32_t listens = 0;
  out = NativeKind::other;
  const std::int64_t result = get_int(fd_of(native), SOL_SOCKET, SO_TYPE, type);
  if (result < 0) return result == -ENOTSOCK ? 0 : result;
  if (type == SOCK_DGRAM) out = NativeKind::datagram;
  if (type != SOCK_STREAM) return 0;
  out = NativeKind::stream;
  if (get_int(fd_of(native), SOL_SOCKET, SO_ACCEPTCONN, listens) >= 0 && listens != 0)
    out = NativeKind::listener;
  return 0;
}

std::int64_t open_socket(const SocketSpec& spec, bool non_blocking) {
  const int domain = spec.family == Family::ipv6 ? AF_INET6 : AF_INET;
  const int type = (spec.type == SocketSpec::Type::stream ? SOCK_STREAM : SOCK_DGRAM) |
                   SOCK_CLOEXEC | (non_blocking ? SOCK_NONBLOCK : 0);
  const std::int64_t fd =
      call_once(Call::open_socket, -1, 0, [&](std::size_t) { return ::socket(domain, type, 0); });
  if (fd < 0) return fd;
  std::int64_t result = apply(static_cast<int>(fd), spec);
  if (result >= 0) result = bind_and_listen(static_cast<int>(fd), spec);
  if (result >= 0) return fd;
  call_plain([&] { return ::close(static_cast<int>(fd)); });
  return result;
}

Error error_from_open(std::int64_t result, const SocketSpec& spec) {
  const auto native = static_cast<std::int32_t>(-result);
  const bool about_address = native == EADDRINUSE || native == EADDRNOTAVAIL || native == EACCES;
  const bool is_bind = spec.bind.family != Family::none && about_address;
  Error error = Error::from_native(native, is_bind ? Operation::bind : Operation::open);
  if (spec.bind.family == Family::none) return error;
  Error named = Error::of_value(error.code, error.operation, spec.bind.to_string(), nullptr);
  named.native = native;
  return named;
}

std::int64_t set_non_blocking(Native native, bool on) {
  const std::int64_t flags = call_plain([&] { return ::fcntl(fd_of(native), F_GETFL); });
  if (flags < 0) return flags;
  const auto wanted = static_cast<int>(on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
  if (wanted == flags) return 0;
  return call_plain([&] { return ::fcntl(fd_of(native), F_SETFL, wanted); });
}

std::int64_t local_address(Native native, Address& out) {
  return ask_name(native, out, ::getsockname);
}
std::int64_t peer_address(Native native, Address& out) {
  return ask_name(native, out, ::getpeername);
}

std::int64_t set_option(Native native, SocketOption option, std::int32_t value) {
  const OptionName name = name_of(option);
  if (option == SocketOption::linger_s) {  // below 0: not at all
    const linger linger_value{.l_onoff = value >= 0, .l_linger = value >= 0 ? value : 0};
    return call_plain([&] {
      return ::setsockopt(fd_of(native), name.level, name.name, &linger_value, sizeof linger_value);
    });
  }
  return set_int(fd_of(native), name.level, name.name, value);
}

std::int64_t get_option(Native native, SocketOption option, std::int32_t& out) {
  const OptionName name = name_of(option);
  if (option == SocketOption::linger_s) {
    linger value{};
    socklen_t length = sizeof value;
    const std::int64_t result = call_plain(
        [&] { return ::getsockopt(fd_of(native), name.level, name.name, &value, &length); });
    out = value.l_onoff != 0 ? value.l_linger : -1;
    return result;
  }
  return get_int(fd_of(native), name.level, name.name, out);
}

}  // namespace weir::inline v0::os
