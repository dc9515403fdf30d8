// Requests of one kind over HTTP/1.1, and their answers.
#pragma once
#include <memory>
#include <string>

#include "perf/suite/load/connection.h"

namespace load {

/// What the answers have in common. A server says the same each time, so most are recognised rather than parsed.
struct HttpAnswers {
  std::string head;              ///< the last one that was parsed, byte for byte
  std::uint64_t body_bytes = 0;  ///< that follow such a head
  std::string body;              ///< GET: what every answer must be; the first one says it
  bool is_body_known = false;
};

/// Of all connections, while the driver lives.
struct HttpWork {
  HttpWork(const Options& options, const Payload& payload_of_posts);
  const Payload& payload;
  std::size_t post_bytes;  ///< 0: GET
  std::string request;     ///< GET: many in a row; POST: the head
  std::size_t request_bytes;
  weir::Buf requests;
  HttpAnswers answers;
};

std::unique_ptr<Connection> make_http_connection(Director& director, Tally& tally,
                                                 std::size_t number, HttpWork& work);

/// Whether this build has HTTP.
bool has_http();

}  // namespace load
