// The lines of a head or of trailers: what headers say that matters here, and what llhttp lets pass although proxies
// disagree about it: a bare LF in three places, and lines that go on in the next one.
#pragma once
#include <algorithm>
#include <cctype>
#include <cstddef>
#include <string>
#include <string_view>

namespace example {

/// Long enough for every name and value that matters; returns 0.
inline int keep_start(std::string& text, const char* at, std::size_t size) {
  if (text.size() < 32) text.append(at, std::min<std::size_t>(size, 32));
  return 0;
}

/// Case does not matter; `lower` is in lower case.
inline bool equals(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](unsigned char a, char b) { return std::tolower(a) == b; });
}

/// What the headers of one request say that matters here.
struct HttpHeaders {
  std::string name,
      value;  ///< of the one that comes; they keep their memory from request to request
  int host_count = 0;
  bool wants_continue = false;
  bool is_coded = false;  ///< in another way than chunked

  void begin_request() {
    host_count = 0;
    wants_continue = is_coded = false;
  }
  /// False: it has no name. Trailers say nothing that matters.
  bool end_header(bool is_of_head) {
    if (name.empty()) return false;
    if (is_of_head && equals(name, "host")) ++host_count;
    if (is_of_head && equals(name, "expect")) wants_continue = equals(value, "100-continue");
    if (is_of_head && equals(name, "transfer-encoding")) is_coded |= !equals(value, "chunked");
    name.clear();
    value.clear();
    return true;
  }
};

/// The lines of one head, or of one request's trailers, as they come.
class HttpLines {
 public:
  /// Whether every line so far ends with CRLF and starts with something.
  bool are_right_with(std::string_view text) {
    if (text.empty()) return true;
    size_bytes_ += text.size();
    if (last_ == '\n' && is_blank(text.front())) return false;
    for (std::size_t at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1)) {
      if ((at == 0 ? last_ : text[at - 1]) != '\r') return false;
      if (at + 1 < text.size() && is_blank(text[at + 1])) return false;
    }
    last_ = text.back();
    return true;
  }
  std::size_t size_bytes() const { return size_bytes_; }

 private:
  static bool is_blank(char c) { return c == ' ' || c == '\t'; }
  std::size_t size_bytes_ = 0;
  char last_ = 0;
};

}  // namespace example
