// HTTP/1.1 through llhttp where a head is new, and by comparing where it is the same as before.
#include "perf/suite/load/http_connection.h"

#include <llhttp.h>

#include <algorithm>

namespace load {

namespace {

constexpr std::size_t kRequestsInARow = 64;

class HttpConnection final : public Connection {
 public:
  HttpConnection(Director& director, Tally& tally, std::size_t number, HttpWork& work);

 private:
  void append_requests(std::uint64_t count, weir::BufChain& to) override;
  std::int64_t take(std::string_view bytes) override;
  bool parse(std::string_view& bytes);
  bool take_body(std::string_view piece);
  bool end_answer();
  void on_head(std::string_view head);
  bool wrong(Fault fault, const std::string& words);

  HttpWork& work_;
  llhttp_t parser_{};
  std::size_t write_position_;
  std::size_t read_position_;
  std::uint64_t body_left_bytes_ = 0;  // of an answer whose length is known
  std::size_t body_at_ = 0;
  std::string first_body_;  // until one is known
  std::uint64_t complete_count_ = 0;
  enum class State { boundary, head, body, chunked } state_ = State::boundary;
  bool has_failed_ = false;
};

// Both pause the parser, so that parse() learns where the head, or the answer, ended.
int pause_parser(llhttp_t*) { return HPE_PAUSED; }

HttpConnection::HttpConnection(Director& director, Tally& tally, std::size_t number, HttpWork& work)
    : Connection(director, tally, number),
      work_(work),
      write_position_(Payload::start_of(number)),
      read_position_(write_position_) {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t made;
    llhttp_settings_init(&made);
    made.on_headers_complete = pause_parser;
    made.on_message_complete = pause_parser;
    made.on_body = [](llhttp_t* parser, const char* at, std::size_t size) {
      return static_cast<HttpConnection*>(parser->data)->take_body({at, size}) ? 0 : -1;
    };
    return made;
  }();
  llhttp_init(&parser_, HTTP_RESPONSE, &settings);
  parser_.data = this;
}

void HttpConnection::append_requests(std::uint64_t count, weir::BufChain& to) {
  while (count > 0) {
    weir::Buf requests = work_.requests.share();
    const std::size_t at_once =
        work_.post_bytes != 0 ? 1 : std::min<std::size_t>(count, kRequestsInARow);
    requests.trim_back(requests.size() - at_once * work_.request_bytes);
    to.append(std::move(requests));
    for (std::size_t left = work_.post_bytes; left > 0;) {
      const std::size_t bytes = std::min(left, work_.payload.slice_bytes_max());
      to.append(work_.payload.slice(write_position_, bytes));
      write_position_ = Payload::advance(write_position_, bytes);
      left -= bytes;
    }
    count -= at_once;
  }
}

std::int64_t HttpConnection::take(std::string_view bytes) {
  complete_count_ = 0;
  while (!bytes.empty()) {
    if (state_ == State::boundary && answered() + complete_count_ >= sent()) {
      return fail(Fault::wrong_bytes, "bytes that no request asked for");
    }
    if (state_ == State::boundary && !work_.answers.head.empty() &&
        bytes.starts_with(work_.answers.head)) {
      bytes.remove_prefix(work_.answers.head.size());
      body_left_bytes_ = work_.answers.body_bytes;
      state_ = State::body;
      if (body_left_bytes_ == 0 && !end_answer()) return kFailed;
    } else if (state_ == State::body) {
      const std::size_t count = std::min<std::uint64_t>(bytes.size(), body_left_bytes_);
      if (!take_body(bytes.substr(0, count))) return kFailed;
      bytes.remove_prefix(count);
      body_left_bytes_ -= count;
      if (body_left_bytes_ == 0 && !end_answer()) return kFailed;
    } else if (!parse(bytes)) {
      return kFailed;
    }
  }
  return static_cast<std::int64_t>(complete_count_);
}

// One step of the parser: to the end of a head, of a chunked answer, or of the bytes.
bool HttpConnection::parse(std::string_view& bytes) {
  const bool starts_here = state_ == State::boundary;
  if (state_ != State::chunked) state_ = State::head;
  const llhttp_errno_t error = llhttp_execute(&parser_, bytes.data(), bytes.size());
  if (error == HPE_OK) {
    bytes = {};
    return true;
  }
  if (error != HPE_PAUSED) {
    return wrong(Fault::bad_answer,
                 std::string("no valid answer: ") + llhttp_get_error_reason(&parser_));
  }
  const auto used_bytes = static_cast<std::size_t>(llhttp_get_error_pos(&parser_) - bytes.data());
  const std::string_view used = bytes.substr(0, used_bytes);
  bytes.remove_prefix(used_bytes);
  llhttp_resume(&parser_);
  if (state_ == State::chunked) return end_answer();
  if (parser_.status_code != HTTP_STATUS_OK) {
    return wrong(Fault::bad_answer, "status " + std::to_string(parser_.status_code));
  }
  if ((parser_.flags & F_CONTENT_LENGTH) == 0) {
    state_ = State::chunked;  // or until the server ends it, which counts as an early end
    return true;
  }
  body_left_bytes_ = parser_.content_length;
  state_ = State::body;
  if (starts_here) {
    work_.answers.head = used;
    work_.answers.body_bytes = body_left_bytes_;
  }
  llhttp_reset(&parser_);
  return body_left_bytes_ != 0 || end_answer();
}

bool HttpConnection::take_body(std::string_view piece) {
  bool is_right = true;
  if (work_.post_bytes != 0) {
    is_right =
        body_at_ + piece.size() <= work_.post_bytes && work_.payload.matches(read_position_, piece);
    read_position_ = Payload::advance(read_position_, piece.size());
  } else if (work_.answers.is_body_known) {
    is_right = body_at_ <= work_.answers.body.size() &&
               std::string_view(work_.answers.body).substr(body_at_).starts_with(piece);
  } else {
    first_body_ += piece;
  }
  body_at_ += piece.size();
  return is_right || wrong(Fault::wrong_bytes, "wrong bytes in the body of an answer");
}

bool HttpConnection::end_answer() {
  const std::size_t body_bytes = body_at_;
  state_ = State::boundary;
  body_at_ = 0;
  ++complete_count_;
  if (work_.post_bytes != 0) {
    return body_bytes == work_.post_bytes || wrong(Fault::wrong_bytes, "a body that is too short");
  }
  HttpAnswers& answers = work_.answers;
  if (!answers.is_body_known) {
    answers.body = std::exchange(first_body_, {});
    answers.is_body_known = true;
    return true;
  }
  // What came before one was known is compared now; the rest was, piece by piece.
  const bool starts_right = answers.body.starts_with(std::exchange(first_body_, {}));
  return (starts_right && body_bytes == answers.body.size()) ||
         wrong(Fault::wrong_bytes, "a body that differs from the first one");
}

bool HttpConnection::wrong(Fault fault, const std::string& words) {
  if (!std::exchange(has_failed_, true)) static_cast<void>(fail(fault, words));
  return false;
}

}  // namespace

HttpWork::HttpWork(const Options& options, const Payload& payload_of_posts)
    : payload(payload_of_posts), post_bytes(options.size_bytes) {
  const std::string host = "\r\nHost: " + options.server.to_string();
  if (post_bytes != 0) {
    request = "POST " + options.path + " HTTP/1.1" + host +
              "\r\nContent-Length: " + std::to_string(post_bytes) + "\r\n\r\n";
    request_bytes = request.size();
  } else {
    const std::string one = "GET " + options.path + " HTTP/1.1" + host + "\r\n\r\n";
    request_bytes = one.size();
    for (std::size_t i = 0; i < kRequestsInARow; ++i) request += one;
  }
  requests = weir::Buf::borrow(
      std::as_bytes(std::span(request)), [](void*) {}, nullptr);
}

std::unique_ptr<Connection> make_http_connection(Director& director, Tally& tally,
                                                 std::size_t number, HttpWork& work) {
  return std::make_unique<HttpConnection>(director, tally, number, work);
}

bool has_http() { return true; }

}  // namespace load
