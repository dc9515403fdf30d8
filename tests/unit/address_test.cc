// Addresses as text: what is read, what is refused and why, and that what is written reads back.
#include "weir/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace weir {
namespace {

using Ip = std::array<std::uint8_t, 16>;

struct Good {
  const char* name;
  std::string_view text;
  Family family;
  Ip ip;
  std::uint16_t port;
  std::string_view written;  ///< canonically; empty: as read
  std::uint32_t scope_id = 0;
};
const Good kGood[] = {
    {"Ipv4", "127.0.0.1:80", Family::ipv4, {127, 0, 0, 1}, 80, ""},
    {"Ipv4Zero", "0.0.0.0:0", Family::ipv4, {}, 0, ""},
    {"Ipv4Max", "255.255.255.255:65535", Family::ipv4, {255, 255, 255, 255}, 65535, ""},
    {"AnyAddress", ":8080", Family::ipv6, {}, 8080, "[::]:8080"},
    {"Ipv6Any", "[::]:1", Family::ipv6, {}, 1, ""},
    {"Loopback",
     "[::1]:80",
     Family::ipv6,
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
     80,
     ""},
    {"Scope",
     "[fe80::1%2]:80",
     Family::ipv6,
     {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
     80,
     "",
     2},
    {"ScopeMax",
     "[fe80::1%4294967295]:80",
     Family::ipv6,
     {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
     80,
     "",
     4294967295},
    {"Full",
     "[2001:db8:0:1:2:3:4:5]:443",
     Family::ipv6,
     {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5},
     443,
     ""},
    {"LongForm",
     "[2001:0DB8:0000:0000:0000:0000:0000:0001]:443",
     Family::ipv6,
     {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
     443,
     "[2001:db8::1]:443"},
    {"FirstOfEqualGaps",
     "[2001:db8:0:0:1:0:0:1]:1",
     Family::ipv6,
     {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1},
     1,
     "[2001:db8::1:0:0:1]:1"},
    {"LongestGap",
     "[1::2:0:0:0:3]:1",
     Family::ipv6,
     {0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3},
     1,
     "[1:0:0:2::3]:1"},
    {"OneZeroIsNoGap",
     "[1::2:3:4:5:6:7]:1",
     Family::ipv6,
     {0, 1, 0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7},
     1,
     "[1:0:2:3:4:5:6:7]:1"},
    {"GapAtTheFront",
     "[::2:3:4:5:6:7]:1",
     Family::ipv6,
     {0, 0, 0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7},
     1,
     ""},
    {"GapAtTheEnd",
     "[1:2:3:4:5:6::]:1",
     Family::ipv6,
     {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 0, 0, 0},
     1,
     ""},
    {"Mapped",
     "[::ffff:192.0.2.1]:1",
     Family::ipv6,
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1},
     1,
     ""},
    {"MappedInGroups",
     "[::ffff:c000:201]:1",
     Family::ipv6,
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1},
     1,
     "[::ffff:192.0.2.1]:1"},
    {"EmbeddedIpv4",
     "[64:ff9b::192.0.2.33]:1",
     Family::ipv6,
     {0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 33},
     1,
     "[64:ff9b::c000:221]:1"},
    {"EmbeddedIpv4Full",
     "[1:2:3:4:5:6:1.2.3.4]:1",
     Family::ipv6,
     {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 1, 2, 3, 4},
     1,
     "[1:2:3:4:5:6:102:304]:1"},
    {"Ones",
     "[FFFF:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1",
     Family::ipv6,
     {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
     1,
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1"},
};
class AddressGood : public ::testing::TestWithParam<Good> {};

TEST_P(AddressGood, IsReadAndWritten) {
  const Good& row = GetParam();
  const Result<Address> address = Address::parse(row.text);
  ASSERT_TRUE(address) << address.error().to_string();
  EXPECT_EQ(address.value().family, row.family);
  EXPECT_EQ(address.value().ip, row.ip);
  EXPECT_EQ(address.value().port, row.port);
  EXPECT_EQ(address.value().scope_id, row.scope_id);
  EXPECT_EQ(address.value().to_string(), row.written.empty() ? row.text : row.written);
}
INSTANTIATE_TEST_SUITE_P(All, AddressGood, ::testing::ValuesIn(kGood),
                         [](const auto& row) { return row.param.name; });

struct Bad {
  const char* name;
  std::string_view text;
  std::string_view expected;
};
constexpr std::string_view kPort = "a port of";
constexpr std::string_view kIpv4 = "an IPv4 address";
constexpr std::string_view kIpv6 = "an IPv6 address in brackets";
constexpr std::string_view kScope = "a scope number";
const Bad kBad[] = {
    {"Empty", "", "ADDR:PORT"},
    {"NoPort", "127.0.0.1", "ADDR:PORT"},
    {"EmptyPort", "127.0.0.1:", kPort},
    {"PortTooLarge", "127.0.0.1:65536", kPort},
    {"PortOverflows", "127.0.0.1:4294967376", kPort},
    {"PortWithALeadingZero", "127.0.0.1:080", kPort},
    {"PortWithASign", "127.0.0.1:+80", kPort},
    {"PortNegative", "127.0.0.1:-1", kPort},
    {"PortInHexadecimal", "127.0.0.1:0x50", kPort},
    {"PortWithASpace", "127.0.0.1: 80", kPort},
    {"PortWithATail", "127.0.0.1:80x", kPort},
    {"AName", "localhost:80", kIpv4},
    {"ThreeNumbers", "127.0.1:80", kIpv4},
    {"FiveNumbers", "127.0.0.1.1:80", kIpv4},
    {"NumberTooLarge", "127.0.0.256:80", kIpv4},
    {"Octal", "0177.0.0.1:80", kIpv4},
    {"OneNumber", "2130706433:80", kIpv4},
    {"EmptyNumber", "127..0.1:80", kIpv4},
    {"TrailingDot", "127.0.0.1.:80", kIpv4},
    {"LeadingSpace", " 127.0.0.1:80", kIpv4},
    {"Ipv6WithoutBrackets", "::1:80", kIpv6},
    {"Unclosed", "[::1:80", kIpv6},
    {"BehindTheBracket", "[::1]x:80", kIpv6},
    {"EmptyBrackets", "[]:80", kIpv6},
    {"SevenGroups", "[1:2:3:4:5:6:7]:80", kIpv6},
    {"NineGroups", "[1:2:3:4:5:6:7:8:9]:80", kIpv6},
    {"TwoGaps", "[1::2::3]:80", kIpv6},
    {"ThreeColons", "[1:::2]:80", kIpv6},
    {"GapForNothing", "[1:2:3:4::5:6:7:8]:80", kIpv6},
    {"LeadingColon", "[:1:2:3:4:5:6:7]:80", kIpv6},
    {"TrailingColon", "[1:2:3:4:5:6:7:]:80", kIpv6},
    {"GroupTooLong", "[00001::]:80", kIpv6},
    {"NotHexadecimal", "[g::]:80", kIpv6},
    {"SignedGroup", "[-1::]:80", kIpv6},
    {"Ipv4InTheMiddle", "[1:1.2.3.4::1]:80", kIpv6},
    {"Ipv4BeforeTheGap", "[1.2.3.4::]:80", kIpv6},
    {"Ipv4TooMuch", "[1:2:3:4:5:6:7:1.2.3.4]:80", kIpv6},
    {"Ipv4Short", "[::1.2.3]:80", kIpv6},
    {"Ipv4Alone", "[1.2.3.4]:80", kIpv6},
    {"ScopeEmpty", "[fe80::1%]:80", kScope},
    {"ScopeZero", "[fe80::1%0]:80", kScope},
    {"ScopeName", "[fe80::1%eth0]:80", kScope},
    {"ScopeTooLarge", "[fe80::1%4294967296]:80", kScope},
    {"ScopeTwice", "[fe80::1%1%2]:80", kScope},
    {"OnlyABracket", "[:80", kIpv6},
};
class AddressBad : public ::testing::TestWithParam<Bad> {};

TEST_P(AddressBad, IsRefusedWithTheReason) {
  const Result<Address> address = Address::parse(GetParam().text);
  ASSERT_FALSE(address) << address.value().to_string();
  EXPECT_EQ(address.error(), Errc::invalid_argument);
  EXPECT_EQ(address.error().value, GetParam().text.substr(0, 22));
  EXPECT_THAT(address.error().expected, ::testing::StartsWith(std::string(GetParam().expected)));
}
INSTANTIATE_TEST_SUITE_P(All, AddressBad, ::testing::ValuesIn(kBad),
                         [](const auto& row) { return row.param.name; });

TEST(Address, ReadsBackWhatItWrote) {
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int i = 0; i < 5000; ++i) {
      Address address;
      address.family = random() % 4 == 0 ? Family::ipv4 : Family::ipv6;
      const std::size_t bytes = address.family == Family::ipv4 ? 4 : 16;
      for (std::size_t at = 0; at < bytes; ++at) {
        if (random() % 2 == 0) address.ip[at] = static_cast<std::uint8_t>(random() % 3 * 127);
      }
      address.port = static_cast<std::uint16_t>(random());
      if (bytes == 16 && random() % 4 == 0) address.scope_id = static_cast<std::uint32_t>(random());
      const std::string text = address.to_string();
      const Result<Address> read = Address::parse(text);
      ASSERT_TRUE(read) << text;
      ASSERT_EQ(read.value(), address) << text;
    }
  }
}

TEST(Address, SurvivesAnyText) {
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    constexpr std::string_view kAlphabet = "0123456789abf:.[]%g";
    for (int i = 0; i < 20'000; ++i) {
      std::string text;
      for (auto length = random() % 30; length > 0; --length) {
        text += kAlphabet[random() % kAlphabet.size()];
      }
      const Result<Address> read = Address::parse(text);
      if (read) {
        ASSERT_EQ(Address::parse(read.value().to_string()).value(), read.value()) << text;
      }
    }
  }
}

TEST(Address, IsMadeOfNumbers) {
  EXPECT_EQ(Address::ipv4(10, 1, 2, 3, 99).to_string(), "10.1.2.3:99");
  EXPECT_EQ(Address::loopback(1).to_string(), "127.0.0.1:1");
  EXPECT_EQ(Address::any_ipv6(7), Address::parse(":7").value());
  EXPECT_EQ(Address().to_string(), "none");
}

}  // namespace
}  // namespace weir
