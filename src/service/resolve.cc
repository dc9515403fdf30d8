// Names: the system's resolver on a thread of an offload pool, and its errors in weir's vocabulary.
#include "weir/resolve.h"

#include "src/os/file.h"

namespace weir::inline v0 {

namespace {

Error error_from_resolve(std::int64_t result, const std::string& host, const std::string& service) {
  const Errc code = Error::from_result(static_cast<std::int32_t>(result), Operation::resolve).code;
  switch (code) {
    case Errc::invalid_argument:
      return Error::of_value(code, Operation::resolve, service, "a known service or a port");
    case Errc::not_found:
      return Error::of_value(code, Operation::resolve, host, "a known name, or an address");
    case Errc::try_again:
    case Errc::io_error:
      return Error::of_value(code, Operation::resolve, host, "an answer of a name server");
    default: return Error::from_result(static_cast<std::int32_t>(result), Operation::resolve);
  }
}

bool is_text(const std::string& text) {
  return !text.empty() && text.find('\0') == std::string::npos;
}

}  // namespace

Result<std::vector<Address>> resolve_blocking(const std::string& host, const std::string& service,
                                              const ResolveOptions& options) {
  if (!is_text(host) || !is_text(service)) {
    return Error::of_value(Errc::invalid_argument, Operation::resolve, host,
                           "a host and a service, neither of them empty");
  }
  std::vector<Address> found;
  const std::int64_t result =
      os::resolve(host.c_str(), service.c_str(), options.family, options.is_numeric, found);
  if (result < 0) return error_from_resolve(result, host, service);
  return found;
}

Task<std::vector<Address>> resolve(std::string host, std::string service, ResolveOptions options) {
  OffloadOptions own;
  own.work = Work::dns;
  own.timeout = options.timeout;
  own.pool = options.pool;
  co_return co_await offload(own, resolve_blocking, host, service, options);
}

}  // namespace weir::inline v0
