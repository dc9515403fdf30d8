// Handles: a table of descriptors with what receiving and closing have to know of each.
#include <cerrno>

#include "backends/io_uring/io_uring.h"
#include "src/os/linux/call.h"
#include "src/os/os.h"

namespace weir::inline v0::uring {
namespace {

Error error_of(std::int64_t result, Operation operation) {
  return Error::from_native(static_cast<std::int32_t>(-result), operation);
}

}  // namespace

// The table of direct descriptors: the kernel picks places for what it accepts, we for what connects.
void IoUring::make_table() {
  const Limits& limits = context_.limits;
  if (limits.direct_accepts + limits.direct_connects == 0) return;
  if (!ring_.features().has(Use::direct_descriptors)) {
    notes_.emplace_back("direct descriptors: not before Linux 6.0");
    return;
  }
  os::call_count += 2;
  int result = io_uring_register_files_sparse(&ring_.native(),
                                              limits.direct_accepts + limits.direct_connects);
  if (result == 0) {
    result = io_uring_register_file_alloc_range(&ring_.native(), 0, limits.direct_accepts);
  }
  if (result < 0) {
    notes_.push_back("direct descriptors: refused, errno " + std::to_string(-result) +
                     (result == -EMFILE ? "; a table is no longer than ulimit -n" : ""));
    return;
  }
  has_direct_accepts_ = limits.direct_accepts != 0;
  for (std::uint32_t i = limits.direct_connects; i-- > 0;) {
    free_connects_.push_back(static_cast<int>(limits.direct_accepts + i));
  }
}

// One that nobody asked for any more.
void IoUring::close_accepted(int result) {
  if (!has_direct_accepts_) {
    os::close(result);
    return;
  }
  const int nobody = -1;
  ++os::call_count;
  io_uring_register_files_update(&ring_.native(), static_cast<unsigned>(result), &nobody, 1);
}

// A socket that is about to connect gives its descriptor back, when there is a place for it.
void IoUring::move_into_table(Socket& opened) {
  if (free_connects_.empty()) return;
  const int place = free_connects_.back();
  const int fd = opened.fd;
  ++os::call_count;
  if (io_uring_register_files_update(&ring_.native(), static_cast<unsigned>(place), &fd, 1) != 1) {
    return;
  }
  free_connects_.pop_back();
  os::close(fd);
  opened.fd = place;
  opened.entry_flags = IOSQE_FIXED_FILE;
  ring_.counters().count(Use::direct_descriptors);
}

Handle IoUring::add_socket(int fd, bool is_owned, bool is_direct) {
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
  if (is_direct) sockets_[index].entry_flags = IOSQE_FIXED_FILE;
  return {sockets_[index].handle};
}

// The handle means nothing from here on. The slot is free from the next poll on: until then its last completion may be
// undelivered.
void IoUring::release_socket(Handle handle) {
  Socket& released = socket(handle);
  const auto connects_from = static_cast<int>(context_.limits.direct_accepts);
  if (released.is_direct() && released.fd >= connects_from) free_connects_.push_back(released.fd);
  released.entry_flags = 0;
  released.fd = -1;
  released.handle += kSocketsMax;
  closed_sockets_.push_back(index_of(handle));
  has_chores_ = true;
}

Result<Handle> IoUring::open(const SocketSpec& spec) {
  const std::int64_t fd = os::open_socket(spec, /*non_blocking=*/false);
  if (fd < 0) return os::error_from_open(fd, spec);
  const Handle handle = add_socket(static_cast<int>(fd), true);
  if (spec.type == SocketSpec::Type::stream && spec.backlog == 0) move_into_table(socket(handle));
  return handle;
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
  if (target.is_direct()) return -1;
  const int fd = target.fd;
  release_socket(handle);
  return fd;
}

std::intptr_t IoUring::native(Handle handle) const {
  const Socket& target = socket(handle);
  return target.is_direct() ? -1 : target.fd;
}

Result<Address> IoUring::local_address(Handle handle) const {
  Address address;
  if (socket(handle).is_direct()) return Error::of(Errc::not_supported, Operation::option);
  const std::int64_t result = os::local_address(socket(handle).fd, address);
  if (result < 0) return error_of(result, Operation::option);
  return address;
}

Result<Address> IoUring::peer_address(Handle handle) const {
  Address address;
  if (socket(handle).is_direct()) return Error::of(Errc::not_supported, Operation::option);
  const std::int64_t result = os::peer_address(socket(handle).fd, address);
  if (result < 0) return error_of(result, Operation::option);
  return address;
}

Result<void> IoUring::set_option(Handle handle, SocketOption option, std::int32_t value) {
  if (socket(handle).is_direct()) return Error::of(Errc::not_supported, Operation::option);
  const std::int64_t result = os::set_option(socket(handle).fd, option, value);
  if (result < 0) return error_of(result, Operation::option);
  return {};
}

Result<std::int32_t> IoUring::get_option(Handle handle, SocketOption option) const {
  if (socket(handle).is_direct()) return Error::of(Errc::not_supported, Operation::option);
  std::int32_t value = 0;
  const std::int64_t result = os::get_option(socket(handle).fd, option, value);
  if (result < 0) return error_of(result, Operation::option);
  return value;
}

}  // namespace weir::inline v0::uring
