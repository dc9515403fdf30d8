// What went wrong, in one vocabulary on every system: an Errc says what, `native` keeps the system's own number,
// `operation` says which call, and the text names the value and what was expected. Errors are small, trivially
// copyable, and never allocate. Programming errors do not come here: they abort (weir/check.h).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/export.h"

namespace weir::inline v0 {

/// The numbers below 1000 are Linux's errno values on every system, so that completions can carry `-errno` and a
/// recording made on one system replays on another. weir's own start at 1000.
enum class Errc : std::int32_t {
  ok = 0,
  not_permitted = 1,
  not_found = 2,
  interrupted = 4,
  io_error = 5,
  bad_descriptor = 9,
  try_again = 11,
  out_of_memory = 12,
  access_denied = 13,
  bad_address = 14,
  busy = 16,
  already_exists = 17,
  not_a_directory = 20,
  is_a_directory = 21,
  invalid_argument = 22,
  too_many_open_files_system = 23,
  too_many_open_files = 24,
  no_space = 28,
  broken_pipe = 32,
  name_too_long = 36,
  not_implemented = 38,
  message_too_long = 90,
  protocol_not_available = 92,
  not_supported = 95,
  address_in_use = 98,
  address_not_available = 99,
  network_down = 100,
  network_unreachable = 101,
  connection_aborted = 103,
  connection_reset = 104,
  no_buffers = 105,
  already_connected = 106,
  not_connected = 107,
  timed_out = 110,
  connection_refused = 111,
  host_unreachable = 113,
  in_progress = 115,
  cancelled = 125,
  end_of_stream = 1000,  ///< the peer finished before the bytes that were asked for had come
  write_refused = 1001,  ///< the hard cap of a write queue; nothing was queued
  queue_full = 1002,     ///< a bounded queue between threads is full
  closed = 1003,         ///< this end is closed already
  scope_ended = 1004,    ///< the scope was cancelled or has ended
  exception = 1005,      ///< an exception escaped from a callback or a task
  stopped = 1006,        ///< the loop ended before the operation did
  unavailable = 1007,    ///< this backend or feature cannot be had here; the text says why
  unknown = 1999,
};

inline constexpr std::int32_t kOwnErrcFirst = 1000;  ///< from here on the numbers are weir's own

enum class Operation : std::uint8_t {
  none,
  accept,
  bind,
  close,
  connect,
  listen,
  offload,
  open,
  option,
  parse,
  poll,
  post,
  read,
  recv,
  resolve,
  run,
  send,
  shutdown,
  signal,
  spawn,
  start,
  timer,
  wait,
  write,
};

/// One error. Compares with an Errc; `ok()` is the absence of one.
struct WEIR_API Error {
  Errc code = Errc::ok;
  std::int32_t native = 0;  ///< the system's own number, 0 when weir found the error itself
  Operation operation = Operation::none;
  char value[23] = {};             ///< the value at fault, cut to fit; empty when there is none
  const char* expected = nullptr;  ///< static text: what would have been right

  constexpr bool ok() const { return code == Errc::ok; }

  /// An error that the system reported; `native` is a positive errno of this system.
  static Error from_native(std::int32_t native, Operation operation);
  /// What a completion carried: a negative number of Errc, so Linux's on every system.
  static Error from_result(std::int32_t result, Operation operation);
  /// An error found by weir in `value`; `expected` must be a string literal.
  static Error of_value(Errc code, Operation operation, std::string_view value,
                        const char* expected);
  static constexpr Error of(Errc code, Operation operation) {
    Error error;
    error.code = code;
    error.operation = operation;
    return error;
  }

  /// "connect: connection refused (errno 111)" or "parse: invalid argument: got "x", expected ADDR:PORT".
  std::string to_string() const;

  friend constexpr bool operator==(const Error& error, Errc wanted) { return error.code == wanted; }
};

WEIR_API std::string_view name_of(Errc code);
WEIR_API std::string_view name_of(Operation operation);

}  // namespace weir::inline v0
