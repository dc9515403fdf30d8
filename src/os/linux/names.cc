// Names: getaddrinfo, with its errors as errno.
#include <netdb.h>
#include <sys/socket.h>

#include <cstring>

#include "src/os/file.h"
#include "src/os/linux/call.h"
#include "src/os/linux/sockaddr.h"

namespace weir::inline v0::os {

namespace {
int errno_of(int code) {
  switch (code) {
    case EAI_SYSTEM: return errno;
    case EAI_AGAIN: return EAGAIN;
    case EAI_MEMORY: return ENOMEM;
    case EAI_SERVICE:
    case EAI_BADFLAGS:
    case EAI_SOCKTYPE: return EINVAL;
    case EAI_FAIL: return EIO;
    default: return ENOENT;  // no such name, or no address of this family
  }
}
}  // namespace

std::int64_t resolve(const char* host, const char* service, Family family, bool is_numeric,
                     std::vector<Address>& out) {
  addrinfo hints{};
  hints.ai_family = family == Family::none   ? AF_UNSPEC
                    : family == Family::ipv4 ? AF_INET
                                             : AF_INET6;
  hints.ai_socktype = SOCK_STREAM;  // else each address comes once a kind of socket
  hints.ai_flags = is_numeric ? AI_NUMERICHOST : 0;
  addrinfo* found = nullptr;
  const std::int64_t result = call_once(Call::resolve, -1, 0, [&](std::size_t) {
    const int code = ::getaddrinfo(host, service, &hints, &found);
    if (code == 0) return 0;
    errno = errno_of(code);
    return -1;
  });
  if (result < 0) return result;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    sockaddr_storage address{};
    if (at->ai_addrlen > sizeof address) continue;
    std::memcpy(&address, at->ai_addr, at->ai_addrlen);
    out.push_back(address_from_sockaddr(address, at->ai_addrlen));
  }
  ::freeaddrinfo(found);
  return 0;
}

}  // namespace weir::inline v0::os
