// Handles: a table of descriptors with what receiving and closing have to know of each.
#include <cerrno>

#include "backends/io_uring/io_uring.h"
#include "src/os/os.h"

namespace weir::inline v0::uring {
namespace {

Error error_of(std::int64_t result, Operation operation) {
  return Error::from_native(static_cast<std::int32_t>(-result), operation);
}

}  // namespace

Handle IoUring::add_socket(int fd, bool is_owned) {
  std::uint32_t index = static_cast<std::uint32_t>(sockets_.size());
  if (free_sockets_.empty()) {
    WEIR_CHECK_LT(index, kSocketsMax);
    sockets_.emplace_back().handle = index;
    ++socket_count_;
  } else {
    index = free_sockets_.back();
    free_sockets_.pop_back();
    const std::uint32_t handle = sockets_[index].handle;
    sockets_[index] = {};
    sockets_[index].handle = handle;
  }
  sockets_[index].fd = fd;
  sockets_[index].is_owned = is_owned;
  return {sockets_[index].handle};
}

// The handle means nothing from here on. The slot is free from the next poll on: until then its last completion may be
// undelivered.
void IoUring::release_socket(Handle handle) {
  Socket& released = socket(handle);
  released.fd = -1;
  released.handle += kSocketsMax;
  closed_sockets_.push_back(index_of(handle));
  has_chores_ = true;
}

Result<Handle> IoUring::open(const SocketSpec& spec) {
  const std::int64_t fd = os::open_socket(spec, /*non_blocking=*/false);
  if (fd < 0) return os::error_from_open(fd, spec);
  return add_socket(static_cast<int>(fd), true);
}

Result<Handle> IoUring::attach(std::intptr_t native, bool owned) {
  os::NativeKind kind;
  if (const std::int64_t result = os::find_kind(native, kind); result < 0)
    return error_of(result, Operation::open);
  // The kernel waits by itself, and some kernels answer EAGAIN instead on a descriptor that must not block.
  if (owned) {
    if (const std::int64_t result = os::set_non_blocking(native, false); result < 0) {
      return error_of(result, Operation::open);
    }
  }
  return add_socket(static_cast<int>(native), owned);
}

std::intptr_t IoUring::detach(Handle handle) {
  Socket& target = socket(handle);
  WEIR_CHECK_EQ(target.in_flight, 0);
  const int fd = target.fd;
  release_socket(handle);
  return fd;
}

std::intptr_t IoUring::native(Handle handle) const { return socket(handle).fd; }

Result<Address> IoUring::local_address(Handle handle) const {
  Address address;
  const std::int64_t result = os::local_address(socket(handle).fd, address);
  if (result < 0) return error_of(result, Operation::option);
  return address;
}

Result<Address> IoUring::peer_address(Handle handle) const {
  Address address;
  const std::int64_t result = os::peer_address(socket(handle).fd, address);
  if (result < 0) return error_of(result, Operation::option);
  return address;
}

Result<void> IoUring::set_option(Handle handle, SocketOption option, std::int32_t value) {
  const std::int64_t result = os::set_option(socket(handle).fd, option, value);
  if (result < 0) return error_of(result, Operation::option);
  return {};
}

Result<std::int32_t> IoUring::get_option(Handle handle, SocketOption option) const {
  std::int32_t value = 0;
  const std::int64_t result = os::get_option(socket(handle).fd, option, value);
  if (result < 0) return error_of(result, Operation::option);
  return value;
}

}  // namespace weir::inline v0::uring
