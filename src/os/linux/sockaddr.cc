// weir::Address to the kernel's sockaddr and back.
#include "src/os/linux/sockaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

namespace weir::inline v0::os {

socklen_t sockaddr_from_address(const Address& address, sockaddr_storage& out) {
  switch (address.family) {
    case Family::none: return 0;
    case Family::ipv4: {
      sockaddr_in in{};
      in.sin_family = AF_INET;
      in.sin_port = htons(address.port);
      std::memcpy(&in.sin_addr, address.ip.data(), sizeof in.sin_addr);
      std::memcpy(&out, &in, sizeof in);
      return sizeof in;
    }
    case Family::ipv6: {
      sockaddr_in6 in{};
      in.sin6_family = AF_INET6;
      in.sin6_port = htons(address.port);
      in.sin6_scope_id = address.scope_id;
      std::memcpy(&in.sin6_addr, address.ip.data(), sizeof in.sin6_addr);
      std::memcpy(&out, &in, sizeof in);
      return sizeof in;
    }
  }
  return 0;
}

Address address_from_sockaddr(const sockaddr_storage& in, socklen_t length) {
  Address address;
  if (in.ss_family == AF_INET && length >= sizeof(sockaddr_in)) {
    const auto& from = reinterpret_cast<const sockaddr_in&>(in);
    address.family = Family::ipv4;
    address.port = ntohs(from.sin_port);
    std::memcpy(address.ip.data(), &from.sin_addr, sizeof from.sin_addr);
  } else if (in.ss_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    const auto& from = reinterpret_cast<const sockaddr_in6&>(in);
    address.family = Family::ipv6;
    address.port = ntohs(from.sin6_port);
    address.scope_id = from.sin6_scope_id;
    std::memcpy(address.ip.data(), &from.sin6_addr, sizeof from.sin6_addr);
  }
  return address;
}

}  // namespace weir::inline v0::os
