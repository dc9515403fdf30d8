// Finds where each HTTP answer ends: a status line with 200, Content-Length, that many bytes. All answers of a
// connection must be as long as its first; what is in them may differ (a date).
#pragma once
#include <strings.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

inline constexpr std::string_view kHttpRequest =
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: perf_client\r\nAccept: */*\r\n\r\n";

class HttpAnswers {
 public:
  /// How many answers end in these bytes; `wrong` is set when they are not what was asked for.
  unsigned take(const char* data, std::size_t size, const char*& wrong) {
    unsigned count = 0;
    while (size != 0 && wrong == nullptr) {
      if (answer_bytes_ == 0) {
        learn(data, size, wrong);
        if (answer_bytes_ == 0) return count;
        continue;
      }
      const std::size_t part = std::min(size, answer_bytes_ - seen_bytes_);
      if (seen_bytes_ < kStatusLine.size()) check_status(data, part, wrong);
      seen_bytes_ += part;
      data += part;
      size -= part;
      if (seen_bytes_ == answer_bytes_) ++count, seen_bytes_ = 0;
    }
    return count;
  }

 private:
  static constexpr std::string_view kStatusLine = "HTTP/1.1 200 ";

  void check_status(const char* data, std::size_t size, const char*& wrong) {
    const std::size_t part = std::min(size, kStatusLine.size() - seen_bytes_);
    if (std::memcmp(data, kStatusLine.data() + seen_bytes_, part) != 0)
      wrong = "the answer is not 'HTTP/1.1 200'";
  }
  // The first answer's length: its head is kept until it is there.
  void learn(const char*& data, std::size_t& size, const char*& wrong) {
    const std::size_t had = head_.size();
    head_.append(data, size);
    const std::size_t end = head_.find("\r\n\r\n");
    if (end == std::string::npos) {
      if (head_.size() > 16384) wrong = "a head without end";
      size = 0;
      return;
    }
    std::size_t body_bytes = 0;
    bool has_length = false;
    for (std::size_t at = head_.find("\r\n"); at < end; at = head_.find("\r\n", at + 2)) {
      constexpr std::string_view kName = "content-length:";
      if (strncasecmp(head_.data() + at + 2, kName.data(), kName.size()) != 0) continue;
      body_bytes = std::strtoull(head_.data() + at + 2 + kName.size(), nullptr, 10);
      has_length = true;
    }
    if (!has_length) {
      wrong = "no Content-Length";
      return;
    }
    answer_bytes_ = end + 4 + body_bytes;
    seen_bytes_ = had;
    if (had != 0 && std::string_view(head_).substr(0, kStatusLine.size()) != kStatusLine)
      wrong = "the answer is not 'HTTP/1.1 200'";
  }

  std::string head_;
  std::size_t answer_bytes_ = 0;  // 0: not known yet
  std::size_t seen_bytes_ = 0;    // of the answer that comes
};
