// The row of bytes, and comparing with it.
#include "perf/suite/load/payload.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace load {

Payload::Payload(std::size_t slice_bytes_max)
    : slice_bytes_max_(slice_bytes_max), bytes_(kRowBytes + slice_bytes_max) {
  std::minstd_rand random(1);
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    bytes_[i] = i < kRowBytes ? static_cast<char>(random() >> 8) : bytes_[i - kRowBytes];
  }
  whole_ = weir::Buf::borrow(
      std::as_bytes(std::span(bytes_)), [](void*) {}, nullptr);
}

weir::Buf Payload::slice(std::size_t position, std::size_t size_bytes) const {
  weir::Buf slice = whole_.share();
  slice.trim_front(position);
  slice.trim_back(slice.size() - size_bytes);
  return slice;
}

bool Payload::matches(std::size_t position, std::string_view bytes) const {
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), slice_bytes_max_);
    if (std::memcmp(bytes_.data() + position, bytes.data(), count) != 0) return false;
    bytes.remove_prefix(count);
    position = advance(position, count);
  }
  return true;
}

}  // namespace load
