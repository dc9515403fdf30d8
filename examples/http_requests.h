// The requests of one HTTP/1.1 connection, step by step. llhttp, Node.js's own parser, in its strict mode; and refused
// here is what it lets pass although proxies disagree about it, for so are requests smuggled past them.
#pragma once
#include <llhttp.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "examples/http_lines.h"
#include "weir/buffer.h"

namespace example {

class HttpRequests {
 public:
  enum class Step { need_bytes, head, body, end, bad };
  static constexpr std::size_t kTargetBytesMax = 8 << 10;
  static constexpr std::size_t kHeadBytesMax = 16 << 10;
  static constexpr std::uint64_t kBodyBytesMax = 1 << 20;

  HttpRequests() {
    static const llhttp_settings_t settings = make_settings();
    llhttp_init(&parser_, HTTP_REQUEST, &settings);
    parser_.data = this;
  }
  HttpRequests(const HttpRequests&) = delete;
  HttpRequests& operator=(const HttpRequests&) = delete;

  /// Parses on to the next step. What was parsed is taken from the front of `bytes`.
  Step next(weir::Buf& bytes) {
    while (status_ == 0) {
      // Without bytes it may still tell of an end; a null pointer would end the span that it is in.
      const char* const begin = bytes.empty() ? "" : bytes.text().data();
      const llhttp_errno_t error = llhttp_execute(&parser_, begin, bytes.size());
      const char* const end =
          error == HPE_OK ? begin + bytes.size() : llhttp_get_error_pos(&parser_);
      weir::Buf used = bytes.split_front(static_cast<std::size_t>(end - begin));
      if (is_in_lines_ && !lines_.are_right_with(used.text())) break;
      if (lines_.size_bytes() > kHeadBytesMax) refuse(431);
      if (status_ != 0) break;
      if (error == HPE_OK) return Step::need_bytes;
      if (error != HPE_PAUSED && error != HPE_PAUSED_UPGRADE) break;
      llhttp_resume(&parser_);
      llhttp_resume_after_upgrade(&parser_);  // not taken: what follows is the next request
      if (error == HPE_PAUSED_UPGRADE) continue;
      is_in_lines_ = paused_at_ == Step::end || paused_at_ == kAtTrailers;
      lines_ = {};
      if (paused_at_ == Step::head && !is_head_right()) break;
      if (paused_at_ == Step::body) {
        used.trim_front(static_cast<std::size_t>(body_at_ - begin));
        body = std::move(used);
      }
      if (paused_at_ != kAtTrailers) return paused_at_;
    }
    refuse(400);
    return Step::bad;
  }

  weir::Buf body;  ///< of a body step: a slice of what came, not a copy
  std::string target;
  bool keeps_alive = false;
  std::uint64_t begun_count = 0;
  llhttp_method_t method() const { return static_cast<llhttp_method_t>(parser_.method); }
  bool is_http_1_0() const { return parser_.http_minor == 0; }
  bool is_chunked() const { return (parser_.flags & F_CHUNKED) != 0; }
  std::uint64_t length_bytes() const { return length_bytes_; }
  bool wants_continue() const { return headers_.wants_continue; }
  bool is_in_body() const { return !is_in_lines_; }
  bool is_in_request() const { return !is_in_lines_ || lines_.size_bytes() != 0; }
  int status() const { return status_; }  ///< of a bad step: what to answer

 private:
  static constexpr Step kAtTrailers = Step::need_bytes;  // no step of its own

  static HttpRequests& of(llhttp_t* parser) { return *static_cast<HttpRequests*>(parser->data); }
  int pause(Step step) {
    paused_at_ = step;
    return HPE_PAUSED;
  }
  int refuse(int status) {
    if (status_ == 0) status_ = status;  // the first reason stands
    return -1;
  }

  static llhttp_settings_t make_settings() {
    llhttp_settings_t s;
    llhttp_settings_init(&s);
    s.on_message_begin = [](llhttp_t* p) {
      of(p).target.clear();
      of(p).headers_.begin_request();
      ++of(p).begun_count;
      return 0;
    };
    s.on_url = [](llhttp_t* p, const char* at, std::size_t size) {
      of(p).target.append(at, size);
      return of(p).target.size() > kTargetBytesMax ? of(p).refuse(414) : 0;
    };
    s.on_header_field = [](llhttp_t* p, const char* at, std::size_t size) {
      return keep_start(of(p).headers_.name, at, size);
    };
    s.on_header_value = [](llhttp_t* p, const char* at, std::size_t size) {
      return keep_start(of(p).headers_.value, at, size);
    };
    s.on_header_value_complete = [](llhttp_t* p) {
      const bool is_of_head = (p->flags & F_TRAILING) == 0;
      return of(p).headers_.end_header(is_of_head) ? 0 : of(p).refuse(400);
    };
    s.on_headers_complete = [](llhttp_t* p) { return of(p).pause(Step::head); };
    s.on_body = [](llhttp_t* p, const char* at, std::size_t size) {
      of(p).body_at_ = at;
      return size == 0 ? 0 : of(p).pause(Step::body);
    };
    s.on_chunk_header = [](llhttp_t* p) {
      if (p->content_length == 0) return of(p).pause(kAtTrailers);
      of(p).length_bytes_ += p->content_length;
      return of(p).length_bytes_ > kBodyBytesMax ? of(p).refuse(413) : 0;
    };
    s.on_message_complete = [](llhttp_t* p) { return of(p).pause(Step::end); };
    return s;
  }

  bool is_head_right() {
    const bool is_1_1 = parser_.http_minor == 1;
    keeps_alive = llhttp_should_keep_alive(&parser_) != 0;
    length_bytes_ = is_chunked() ? 0 : parser_.content_length;
    if (parser_.http_major != 1 || parser_.http_minor > 1) refuse(505);
    if (headers_.is_coded) refuse(is_chunked() ? 501 : 400);
    if (!is_1_1 && (parser_.flags & F_TRANSFER_ENCODING) != 0) refuse(400);
    if (headers_.host_count > 1 || (is_1_1 && headers_.host_count == 0)) refuse(400);
    if (length_bytes_ > kBodyBytesMax) refuse(413);
    return status_ == 0;
  }

  llhttp_t parser_{};
  HttpHeaders headers_;
  const char* body_at_ = nullptr;
  std::uint64_t length_bytes_ = 0;
  HttpLines lines_;
  int status_ = 0;
  Step paused_at_ = Step::need_bytes;
  bool is_in_lines_ = true;  // of a head or of trailers, not in a body
};

}  // namespace example
