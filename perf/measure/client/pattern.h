// The bytes that a connection sends: a short text without end, so that what must come back next is known at any place.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

inline constexpr std::size_t kChunkBytes = 256 * 1024;  // at most this much in one send or recv

class Pattern {
 public:
  explicit Pattern(const std::string& period) : period_(period.size()) {
    while (bytes_.size() < period_ + kChunkBytes) bytes_ += period;
  }
  /// Of prime length, so that no request size falls in step with it, and short, so that the client leaves the cache
  /// alone. Each connection begins at another place: bytes lost, doubled or sent to a neighbour show.
  static std::string noise(std::size_t size = 4093) {
    std::string bytes(size, '\0');
    std::uint32_t x = 2463534242;
    for (char& byte : bytes) {
      x ^= x << 13, x ^= x >> 17, x ^= x << 5;
      byte = static_cast<char>(x >> 24);
    }
    return bytes;
  }
  /// A message of the fan-out: a line.
  static std::string line(std::size_t size) {
    std::string bytes = noise(size);
    for (char& byte : bytes)
      byte = static_cast<char>('a' + (static_cast<unsigned char>(byte) & 15));
    bytes.back() = '\n';
    return bytes;
  }
  /// kChunkBytes of the sequence from `position` on.
  const char* at(std::uint64_t position) const { return bytes_.data() + position % period_; }
  std::size_t period_bytes() const { return period_; }

 private:
  std::size_t period_;
  std::string bytes_;
};
