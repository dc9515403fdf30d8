// A socket address: IPv4 or IPv6 and a port, as 28 plain bytes without a system header.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/export.h"
#include "weir/result.h"

namespace weir::inline v0 {

enum class Family : std::uint8_t { none, ipv4, ipv6 };

struct WEIR_API Address {
  std::array<std::uint8_t, 16> ip{};  ///< network order; IPv4 uses the first four
  std::uint32_t scope_id = 0;         ///< of a link-local IPv6 address
  std::uint16_t port = 0;             ///< host order
  Family family = Family::none;

  /// "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80", ":80" (any IPv6 and IPv4 address). The port is required, 0 allowed.
  /// Errors: invalid_argument with the text and what was expected. Names are not resolved here.
  static Result<Address> parse(std::string_view text);
  static Address ipv4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d,
                      std::uint16_t port);
  static Address loopback(std::uint16_t port) { return ipv4(127, 0, 0, 1, port); }
  static Address any_ipv6(std::uint16_t port);

  std::string to_string() const;  ///< parse() of it gives the same address back

  friend bool operator==(const Address&, const Address&) = default;
};

}  // namespace weir::inline v0
