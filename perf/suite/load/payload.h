// The bytes that are sent, and that must come back: a fixed row of random bytes, endlessly repeated. Each connection
// starts elsewhere in it, and each request goes on where the last one ended, so bytes that are lost, doubled, swapped or
// another connection's do not compare equal. All requests are slices of one piece of memory; nothing is copied.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "weir/buffer.h"

namespace load {

class Payload {
 public:
  /// Slices of up to `slice_bytes_max` can be had.
  explicit Payload(std::size_t slice_bytes_max);

  std::size_t slice_bytes_max() const { return slice_bytes_max_; }
  weir::Buf slice(std::size_t position, std::size_t size_bytes) const;
  bool matches(std::size_t position, std::string_view bytes) const;
  /// Where `position + count` is; positions stay below the row's length.
  static std::size_t advance(std::size_t position, std::size_t count) {
    return (position + count) % kRowBytes;
  }
  static std::size_t start_of(std::size_t connection) { return connection * 61 % kRowBytes; }

 private:
  static constexpr std::size_t kRowBytes = 4093;  // a prime: no request size repeats soon
  std::size_t slice_bytes_max_;
  std::vector<char> bytes_;
  weir::Buf whole_;
};

}  // namespace load
