// weir's errors as abseil's, for programs that speak absl::Status. The one header that names abseil: weir itself is
// built without it, so which abseil release a program uses is the program's own affair.
#pragma once
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <utility>

#include "weir/error.h"
#include "weir/result.h"

namespace weir::inline v0 {

/// The canonical code for `code`: for errors of the system, the one that abseil gives to the same errno on Linux.
inline absl::StatusCode to_absl_code(Errc code) {
  switch (code) {
    case Errc::ok: return absl::StatusCode::kOk;
    case Errc::cancelled:
    case Errc::scope_ended:
    case Errc::stopped: return absl::StatusCode::kCancelled;
    case Errc::invalid_argument:
    case Errc::bad_address:
    case Errc::name_too_long:
    case Errc::protocol_not_available: return absl::StatusCode::kInvalidArgument;
    case Errc::timed_out: return absl::StatusCode::kDeadlineExceeded;
    case Errc::not_found: return absl::StatusCode::kNotFound;
    case Errc::already_exists:
    case Errc::address_not_available: return absl::StatusCode::kAlreadyExists;
    case Errc::not_permitted:
    case Errc::access_denied: return absl::StatusCode::kPermissionDenied;
    case Errc::out_of_memory:
    case Errc::too_many_open_files:
    case Errc::too_many_open_files_system:
    case Errc::no_space:
    case Errc::no_buffers:
    case Errc::write_refused:
    case Errc::queue_full: return absl::StatusCode::kResourceExhausted;
    case Errc::bad_descriptor:
    case Errc::busy:
    case Errc::not_a_directory:
    case Errc::is_a_directory:
    case Errc::broken_pipe:
    case Errc::address_in_use:
    case Errc::already_connected:
    case Errc::not_connected:
    case Errc::closed: return absl::StatusCode::kFailedPrecondition;
    case Errc::end_of_stream: return absl::StatusCode::kOutOfRange;
    case Errc::not_implemented:
    case Errc::not_supported: return absl::StatusCode::kUnimplemented;
    case Errc::exception: return absl::StatusCode::kInternal;
    case Errc::interrupted:
    case Errc::try_again:
    case Errc::network_down:
    case Errc::network_unreachable:
    case Errc::connection_aborted:
    case Errc::connection_reset:
    case Errc::connection_refused:
    case Errc::host_unreachable:
    case Errc::unavailable: return absl::StatusCode::kUnavailable;
    case Errc::io_error:
    case Errc::message_too_long:
    case Errc::in_progress:
    case Errc::unknown: break;
  }
  return absl::StatusCode::kUnknown;
}

/// The error with its whole text; absl::OkStatus() for the absence of one.
inline absl::Status to_absl(const Error& error) {
  return error.ok() ? absl::OkStatus() : absl::Status(to_absl_code(error.code), error.to_string());
}

inline absl::Status to_absl(const Result<void>& result) { return to_absl(result.error()); }

template <typename T>
absl::StatusOr<T> to_absl(Result<T> result) {
  if (!result.ok()) return to_absl(result.error());
  return std::move(result).value();
}

}  // namespace weir::inline v0
