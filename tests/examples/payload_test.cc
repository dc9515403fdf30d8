// The bytes that load sends and compares: what goes wrong with them must show.
#include "perf/suite/load/payload.h"

#include <gtest/gtest.h>

#include <string>

namespace {

using load::Payload;

TEST(Payload, MatchesWhatItSliced) {
  const Payload payload(10'000);
  std::size_t position = Payload::start_of(7);
  for (const std::size_t size : {1u, 64u, 4093u, 9'999u}) {
    const weir::Buf slice = payload.slice(position, size);
    EXPECT_EQ(slice.size(), size);
    EXPECT_TRUE(payload.matches(position, slice.text()));
    position = Payload::advance(position, size);
  }
}

TEST(Payload, MatchesAcrossManySlices) {
  const Payload payload(100);
  std::string bytes;
  std::size_t position = 5;
  for (int i = 0; i < 200; ++i) {
    bytes += payload.slice(position, 97).text();
    position = Payload::advance(position, 97);
  }
  EXPECT_TRUE(payload.matches(5, bytes));
}

TEST(Payload, SeesOneWrongBit) {
  const Payload payload(100);
  for (const std::size_t at : {0u, 1u, 50u, 99u}) {
    std::string bytes(payload.slice(5, 100).text());
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    EXPECT_FALSE(payload.matches(5, bytes)) << at;
  }
}

TEST(Payload, SeesWhatIsLostDoubledOrAnothers) {
  const Payload payload(10'000);
  const std::string bytes(payload.slice(5, 9'000).text());
  EXPECT_FALSE(payload.matches(5, bytes.substr(1)));
  EXPECT_FALSE(payload.matches(5, bytes.substr(0, 64) + bytes.substr(0, 64)));
  EXPECT_FALSE(payload.matches(5, bytes.substr(64, 64) + bytes.substr(0, 64)));
  EXPECT_NE(payload.slice(Payload::start_of(1), 64).text(),
            payload.slice(Payload::start_of(2), 64).text());
}

}  // namespace
