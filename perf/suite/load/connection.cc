// Sending, receiving and ending, whatever the protocol; and the echo.
#include "perf/suite/load/connection.h"

#include <algorithm>

namespace load {

namespace {
// The requests under way are bounded by the pipeline, so the stream's own marks are out of the way.
constexpr std::uint32_t kNoMark = 1u << 31;
}  // namespace

void Connection::start(weir::Stream stream) {
  stream_ = std::move(stream);
  stream_.set_marks({kNoMark, kNoMark, kNoMark});
  is_up_ = true;
  stream_.start(*this);
}

void Connection::send(std::uint64_t count) {
  weir::BufChain requests;
  append_requests(count, requests);
  sent_ += count;
  // Refused: the stream broke, and on_close says how.
  static_cast<void>(stream_.try_write(requests));
}

void Connection::finish() {
  is_finishing_ = true;
  stream_.end_writing();
}

void Connection::abort() { stream_.reset(); }

void Connection::on_read(weir::Buf bytes) {
  if (!stream_.is_open()) return;
  const std::int64_t count = take(bytes.text());
  if (count <= 0) return;
  answered_ += static_cast<std::uint64_t>(count);
  director_.on_answers(*this, static_cast<std::uint64_t>(count));
}

void Connection::on_end() {
  if (under_way() != 0) {
    tally_.add(Fault::early_end, 1,
               "the server ended connection " + std::to_string(number_) + " with " +
                   std::to_string(under_way()) + " answers missing");
  } else if (!is_finishing_) {
    tally_.add(
        Fault::early_end, 1,
        "the server ended connection " + std::to_string(number_) + " before the end of the run");
  }
  if (!is_finishing_) stream_.close();
}

void Connection::on_close(const weir::Error& error) {
  is_up_ = false;
  if (!error.ok()) {
    tally_.add(Fault::reset, 1, "connection " + std::to_string(number_) + ": " + error.to_string());
  }
  director_.on_gone(*this);
}

std::int64_t Connection::fail(Fault fault, const std::string& words) {
  tally_.add(fault, 1, "connection " + std::to_string(number_) + ": " + words);
  stream_.reset();
  return kFailed;
}

EchoConnection::EchoConnection(Director& director, Tally& tally, std::size_t number,
                               const Payload& payload, std::size_t size_bytes)
    : Connection(director, tally, number),
      payload_(payload),
      size_bytes_(size_bytes),
      write_position_(Payload::start_of(number)),
      read_position_(write_position_) {}

// Requests that follow each other are one slice, as long as slices may be.
void EchoConnection::append_requests(std::uint64_t count, weir::BufChain& to) {
  std::uint64_t left_bytes = count * size_bytes_;
  sent_bytes_ += left_bytes;
  while (left_bytes > 0) {
    const std::size_t bytes = std::min<std::uint64_t>(left_bytes, payload_.slice_bytes_max());
    to.append(payload_.slice(write_position_, bytes));
    write_position_ = Payload::advance(write_position_, bytes);
    left_bytes -= bytes;
  }
}

std::int64_t EchoConnection::take(std::string_view bytes) {
  received_bytes_ += bytes.size();
  if (received_bytes_ > sent_bytes_ || !payload_.matches(read_position_, bytes)) {
    return fail(Fault::wrong_bytes, "wrong bytes among the " + std::to_string(bytes.size()) +
                                        " before byte " + std::to_string(received_bytes_) +
                                        " of its answers");
  }
  read_position_ = Payload::advance(read_position_, bytes.size());
  partial_bytes_ += bytes.size();
  if (partial_bytes_ < size_bytes_) return 0;
  const std::size_t count = partial_bytes_ / size_bytes_;
  partial_bytes_ -= count * size_bytes_;
  return static_cast<std::int64_t>(count);
}

}  // namespace load
