// The answers to one HTTP/1.1 connection's requests, gathered until they are written: a hello, and an echo of bodies.
#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "examples/http_requests.h"
#include "weir/loop.h"

namespace example {

using std::string_view;

/// A number as text, without the heap.
struct Digits {
  explicit Digits(std::uint64_t number, int base = 10)
      : size(static_cast<std::size_t>(std::to_chars(text, text + 20, number, base).ptr - text)) {}
  operator string_view() const { return {text, size}; }
  char text[20];
  std::size_t size;
};

/// The step `end` completes an answer. That of an echo leaves from its first slice on: its body need not fit anywhere.
class HttpAnswers {
 public:
  explicit HttpAnswers(weir::Loop& loop) : loop_(loop) {}

  bool is_last = false;  ///< the connection ends behind this answer
  bool is_cut =
      false;  ///< it had begun to leave when its request went wrong: only the end can tell

  void on_head(const HttpRequests& request, bool is_stopping) {
    const llhttp_method_t method = request.method();
    const string_view path = path_of(request.target);
    is_last = !request.keeps_alive || is_stopping;
    is_http_1_0_ = request.is_http_1_0();
    is_head_only_ = method == HTTP_HEAD;
    is_echo_ = path == "/echo" && method == HTTP_POST;
    if (request.wants_continue()) add(complete_, {"HTTP/1.1 100 Continue\r\n\r\n"});
    if (is_echo_) {
      request.is_chunked() ? add_head("200 OK", "Transfer-Encoding: chunked\r\n")
                           : add_head("200 OK", "", Digits(request.length_bytes()));
    } else if (path == "/echo") {
      add_text("405 Method Not Allowed", "Allow: POST\r\n");
    } else if (path != "/") {
      add_text("404 Not Found");
    } else if (method != HTTP_GET && method != HTTP_HEAD) {
      add_text("405 Method Not Allowed", "Allow: GET, HEAD\r\n");
    } else {
      add_text("200 OK", "", "Hello, world!");
    }
  }
  void on_body(HttpRequests& request) {
    if (!is_echo_) return;  // nobody asked for it
    leaves_early_ = true;
    if (request.is_chunked()) add(current_, {Digits(request.body.size(), 16), "\r\n"});
    current_.append(std::move(request.body));
    if (request.is_chunked()) add(current_, {"\r\n"});
  }
  void on_end(const HttpRequests& request) {
    if (is_echo_ && request.is_chunked()) add(current_, {"0\r\n\r\n"});
    complete_.append(std::move(current_));
    is_echo_ = leaves_early_ = has_begun_ = false;
  }
  void refuse(int status) {
    is_last = true;
    is_head_only_ = is_http_1_0_ = false;
    is_cut = has_begun_;
    if (is_cut) return;
    current_.clear();
    add_text(line_of(status));
    complete_.append(std::move(current_));
  }
  weir::BufChain take() {
    if (leaves_early_) {
      has_begun_ = true;
      complete_.append(std::move(current_));
    }
    return std::move(complete_);
  }

 private:
  static string_view path_of(string_view target) {
    if (target.starts_with("http://")) {
      target.remove_prefix(std::min(target.find('/', 7), target.size()));
      if (target.empty()) return "/";
    }
    return target.substr(0, target.find('?'));
  }
  static string_view line_of(int status) {
    static constexpr std::array kLines = std::to_array<string_view>(
        {"400 Bad Request", "408 Request Timeout", "413 Content Too Large", "414 URI Too Long",
         "431 Request Header Fields Too Large", "501 Not Implemented",
         "505 HTTP Version Not Supported"});
    const Digits digits(static_cast<std::uint64_t>(status));
    return *std::find_if(kLines.begin(), kLines.end() - 1,
                         [&](string_view line) { return line.starts_with(digits); });
  }

  void add_text(string_view status_line, string_view header = "", string_view text = "") {
    if (text.empty()) text = status_line;
    const Digits length(text.size() + 1);
    is_head_only_ ? add_head(status_line, header, length)
                  : add_head(status_line, header, length, text, "\n");
  }
  void add_head(string_view status_line, string_view header, string_view length = "",
                string_view text = "", string_view text_end = "") {
    add(current_, {"HTTP/1.1 ", status_line, "\r\nContent-Type: text/plain\r\n", header,
                   length.empty() ? "" : "Content-Length: ", length, length.empty() ? "" : "\r\n",
                   is_last        ? "Connection: close\r\n\r\n"
                   : is_http_1_0_ ? "Connection: keep-alive\r\n\r\n"
                                  : "\r\n",
                   text, text_end});
  }
  void add(weir::BufChain& to, std::initializer_list<string_view> pieces) {
    std::size_t size_bytes = 0;
    for (const string_view piece : pieces) size_bytes += piece.size();
    weir::Buf text = loop_.allocate(size_bytes);
    char* at = reinterpret_cast<char*>(text.writable());
    for (const string_view piece : pieces) at = std::copy(piece.begin(), piece.end(), at);
    to.append(std::move(text));
  }

  weir::Loop& loop_;
  weir::BufChain complete_;
  weir::BufChain current_;  // to the request that is not complete
  bool is_echo_ = false;
  bool leaves_early_ = false;
  bool has_begun_ = false;
  bool is_http_1_0_ = false;
  bool is_head_only_ = false;
};

}  // namespace example
