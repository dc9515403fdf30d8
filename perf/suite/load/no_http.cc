// In the place of http_connection.cc where there is no llhttp to build with.
#include "perf/suite/load/http_connection.h"

namespace load {

HttpWork::HttpWork(const Options&, const Payload& payload_of_posts)
    : payload(payload_of_posts), post_bytes(0), request_bytes(0) {}

std::unique_ptr<Connection> make_http_connection(Director&, Tally&, std::size_t, HttpWork&) {
  WEIR_UNREACHABLE("HTTP in a build without it", 0);
}

bool has_http() { return false; }

}  // namespace load
