// Errors in words, and the one table between a system's errno and weir's vocabulary. <cerrno> names every
// condition on every system, so the table needs no system header and no condition on one.
#include "weir/error.h"

#include <algorithm>
#include <cerrno>

#include "weir/check.h"

namespace weir::inline v0 {

namespace {

struct Condition {
  Errc code;
  int native;  ///< of this system; 0: weir's own
  std::string_view name;
};

constexpr Condition kConditions[] = {
    {Errc::ok, 0, "ok"},
    {Errc::not_permitted, EPERM, "operation not permitted"},
    {Errc::not_found, ENOENT, "not found"},
    {Errc::interrupted, EINTR, "interrupted"},
    {Errc::io_error, EIO, "input/output error"},
    {Errc::bad_descriptor, EBADF, "bad descriptor"},
    {Errc::try_again, EAGAIN, "try again"},
    {Errc::out_of_memory, ENOMEM, "out of memory"},
    {Errc::access_denied, EACCES, "access denied"},
    {Errc::bad_address, EFAULT, "bad address"},
    {Errc::busy, EBUSY, "busy"},
    {Errc::already_exists, EEXIST, "already exists"},
    {Errc::not_a_directory, ENOTDIR, "not a directory"},
    {Errc::is_a_directory, EISDIR, "is a directory"},
    {Errc::invalid_argument, EINVAL, "invalid argument"},
    {Errc::too_many_open_files_system, ENFILE, "too many open files in the system"},
    {Errc::too_many_open_files, EMFILE, "too many open files"},
    {Errc::no_space, ENOSPC, "no space left"},
    {Errc::broken_pipe, EPIPE, "broken pipe"},
    {Errc::name_too_long, ENAMETOOLONG, "name too long"},
    {Errc::not_implemented, ENOSYS, "not implemented"},
    {Errc::message_too_long, EMSGSIZE, "message too long"},
    {Errc::protocol_not_available, ENOPROTOOPT, "protocol not available"},
    {Errc::not_supported, EOPNOTSUPP, "not supported"},
    {Errc::address_in_use, EADDRINUSE, "address in use"},
    {Errc::address_not_available, EADDRNOTAVAIL, "address not available"},
    {Errc::network_down, ENETDOWN, "network down"},
    {Errc::network_unreachable, ENETUNREACH, "network unreachable"},
    {Errc::connection_aborted, ECONNABORTED, "connection aborted"},
    {Errc::connection_reset, ECONNRESET, "connection reset"},
    {Errc::no_buffers, ENOBUFS, "no buffers"},
    {Errc::already_connected, EISCONN, "already connected"},
    {Errc::not_connected, ENOTCONN, "not connected"},
    {Errc::timed_out, ETIMEDOUT, "timed out"},
    {Errc::connection_refused, ECONNREFUSED, "connection refused"},
    {Errc::host_unreachable, EHOSTUNREACH, "host unreachable"},
    {Errc::in_progress, EINPROGRESS, "in progress"},
    {Errc::cancelled, ECANCELED, "cancelled"},
    {Errc::end_of_stream, 0, "end of stream"},
    {Errc::write_refused, 0, "write refused"},
    {Errc::queue_full, 0, "queue full"},
    {Errc::closed, 0, "closed"},
    {Errc::scope_ended, 0, "scope ended"},
    {Errc::exception, 0, "exception"},
    {Errc::stopped, 0, "stopped"},
    {Errc::unavailable, 0, "unavailable"},
    {Errc::unknown, 0, "unknown error"},
};

// Second names of a condition; on some systems they are numbers of their own.
constexpr Condition kSynonyms[] = {
    {Errc::try_again, EWOULDBLOCK, {}},
    {Errc::not_supported, ENOTSUP, {}},
    {Errc::in_progress, EALREADY, {}},
};

Errc code_of_native(std::int32_t native) {
  for (const Condition& row : kConditions) {
    if (row.native == native && native != 0) return row.code;
  }
  for (const Condition& row : kSynonyms) {
    if (row.native == native) return row.code;
  }
  return Errc::unknown;
}

}  // namespace

Error Error::from_native(std::int32_t native, Operation operation) {
  WEIR_CHECK_GT(native, 0);
  Error error = of(code_of_native(native), operation);
  error.native = native;
  return error;
}

Error Error::from_result(std::int32_t result, Operation operation) {
  WEIR_CHECK_LT(result, 0);
  Error error = of(Errc::unknown, operation);
  for (const Condition& row : kConditions) {
    if (static_cast<std::int32_t>(row.code) == -result) error.code = row.code;
  }
  if (-result < kOwnErrcFirst) error.native = -result;
  return error;
}

Error Error::of_value(Errc code, Operation operation, std::string_view value,
                      const char* expected) {
  WEIR_CHECK(code != Errc::ok);
  Error error = of(code, operation);
  std::copy_n(value.data(), std::min(value.size(), sizeof(error.value) - 1), error.value);
  error.expected = expected;
  return error;
}

std::string Error::to_string() const {
  if (ok()) return "ok";
  std::string text;
  if (operation != Operation::none) text.append(name_of(operation)).append(": ");
  text.append(name_of(code));
  if (native != 0) text.append(" (errno ").append(std::to_string(native)).append(")");
  if (value[0] == '\0' && expected == nullptr) return text;
  text.append(": got \"").append(value).append("\"");
  if (expected != nullptr) text.append(", expected ").append(expected);
  return text;
}

std::string_view name_of(Errc code) {
  for (const Condition& row : kConditions) {
    if (row.code == code) return row.name;
  }
  return "unknown error";
}

std::string_view name_of(Operation operation) {
  switch (operation) {
    case Operation::none: return "none";
    case Operation::accept: return "accept";
    case Operation::bind: return "bind";
    case Operation::close: return "close";
    case Operation::connect: return "connect";
    case Operation::listen: return "listen";
    case Operation::offload: return "offload";
    case Operation::open: return "open";
    case Operation::option: return "option";
    case Operation::parse: return "parse";
    case Operation::poll: return "poll";
    case Operation::post: return "post";
    case Operation::read: return "read";
    case Operation::recv: return "recv";
    case Operation::resolve: return "resolve";
    case Operation::run: return "run";
    case Operation::send: return "send";
    case Operation::shutdown: return "shutdown";
    case Operation::signal: return "signal";
    case Operation::spawn: return "spawn";
    case Operation::start: return "start";
    case Operation::timer: return "timer";
    case Operation::wait: return "wait";
    case Operation::write: return "write";
  }
  return "unknown operation";
}

}  // namespace weir::inline v0
