// weir::Address to the kernel's sockaddr and back.
#pragma once
#include <sys/socket.h>

#include "weir/address.h"

namespace weir::inline v0::os {

/// Family::none gives length 0.
socklen_t sockaddr_from_address(const Address& address, sockaddr_storage& out);
/// Family::none for what weir has no address for (a UNIX socket).
Address address_from_sockaddr(const sockaddr_storage& in, socklen_t length);

}  // namespace weir::inline v0::os
