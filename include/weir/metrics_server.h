// A loop's metrics for Prometheus, over HTTP: a service that is ready made.
//
//     weir::Result<weir::Address> where = weir::serve_metrics(*loop, weir::Address::loopback(9100));
//
// GET and HEAD of /metrics give the text exposition format 0.0.4, anything else 404 or 405. It does not keep the loop
// alive, and ends with it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/address.h"
#include "weir/loop.h"
#include "weir/metrics.h"
#include "weir/result.h"

namespace weir::inline v0 {

struct MetricsOptions {
  std::uint32_t connections_max = 16;         ///< at once; as many again wait in the kernel's queue
  std::uint32_t request_bytes_max = 8 << 10;  ///< of a request's head; then 431
  Duration timeout = std::chrono::seconds(60);  ///< for a request, and for taking its answer
  /// Adds families of your own, as the format wants them, on the loop's thread. May be null.
  void (*add)(std::string& text, void* context) = nullptr;
  void* context = nullptr;
};

/// Serves the loop's metrics at `address`, from now on until the loop ends. Returns the address with the port that was
/// bound. Every series has the label `loop`, the loop's name.
/// Errors: those of Listener::listen.
/// Threads: the loop's own.
WEIR_API Result<Address> serve_metrics(Loop& loop, const Address& address,
                                       const MetricsOptions& options = {});

/// The same as text, for an endpoint of one's own: `weir_NAME` gauges and `weir_NAME_total` counters with their HELP and TYPE;
/// what counts nanoseconds is told in seconds. Quotes, backslashes and line ends in the label are escaped.
WEIR_API std::string prometheus_text(const Metrics& metrics, std::string_view loop_name);

}  // namespace weir::inline v0
