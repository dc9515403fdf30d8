// Addresses as text, by hand: the IPv4 and IPv6 forms of RFC 4291 read strictly (no octal, no hexadecimal, no short
// forms of IPv4, no names), and written as RFC 5952 wants them.
#include "weir/address.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>

namespace weir::inline v0 {

namespace {

constexpr const char* kExpected = "ADDR:PORT, such as 127.0.0.1:80, [::1]:80 or :80";
constexpr const char* kExpectedPort = "a port of 0 .. 65535 behind the last colon";
constexpr const char* kExpectedIpv4 = "an IPv4 address of four numbers of 0 .. 255";
constexpr const char* kExpectedIpv6 = "an IPv6 address in brackets";
constexpr const char* kExpectedScope = "a scope number of 1 .. 4294967295 behind %";
constexpr std::size_t kGroups = 8;  // of 16 bits, in an IPv6 address

Error wrong(std::string_view text, const char* expected) {
  return Error::of_value(Errc::invalid_argument, Operation::parse, text, expected);
}

// Digits only, no sign, no leading zero (elsewhere that means octal), at most `max`.
std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t max) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  std::uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value > max) return std::nullopt;
  return value;
}

// One group of an IPv6 address: one to four hexadecimal digits.
std::optional<std::uint16_t> parse_group(std::string_view text) {
  if (text.empty() || text.size() > 4) return std::nullopt;
  std::uint16_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, 16);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

bool parse_ipv4(std::string_view text, std::uint8_t* out) {
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = part < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos) return false;
    const auto value = parse_decimal(text.substr(0, dot), 255);
    if (!value) return false;
    out[part] = static_cast<std::uint8_t>(*value);
    text.remove_prefix(part < 3 ? dot + 1 : dot);
  }
  return true;
}

// Reads groups into `out` until the text ends; the last may be an IPv4 address, which fills two. Their number, or
// nothing when the text is wrong.
std::optional<std::size_t> parse_groups(std::string_view text, std::uint8_t* out) {
  std::size_t count = 0;
  while (!text.empty()) {
    if (count == kGroups) return std::nullopt;
    const std::size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    if (colon == std::string_view::npos && part.find('.') != std::string_view::npos) {
      if (count + 2 > kGroups || !parse_ipv4(part, out + 2 * count)) return std::nullopt;
      return count + 2;
    }
    const auto group = parse_group(part);
    if (!group) return std::nullopt;
    out[2 * count] = static_cast<std::uint8_t>(*group >> 8);
    out[2 * count + 1] = static_cast<std::uint8_t>(*group);
    ++count;
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
    if (text.empty()) return std::nullopt;  // A colon must be followed by a group.
  }
  return count;
}

bool parse_ipv6(std::string_view text, std::uint8_t* out) {
  std::array<std::uint8_t, 16> front{}, back{};
  const std::size_t gap = text.find("::");
  if (gap == std::string_view::npos) {
    const auto count = parse_groups(text, out);
    return count && *count == kGroups;
  }
  const std::string_view before = text.substr(0, gap);
  if (before.find('.') != std::string_view::npos) return false;  // IPv4 stands at the end only.
  const auto front_count = parse_groups(before, front.data());
  const auto back_count = parse_groups(text.substr(gap + 2), back.data());
  // "::" stands for one group of zeros at least.
  if (!front_count || !back_count || *front_count + *back_count >= kGroups) return false;
  std::copy_n(front.data(), 2 * *front_count, out);
  std::copy_n(back.data(), 2 * *back_count, out + 2 * (kGroups - *back_count));
  return true;
}

void append_ipv4(std::string& text, const std::uint8_t* ip) {
  for (int part = 0; part < 4; ++part) {
    if (part != 0) text += '.';
    text += std::to_string(ip[part]);
  }
}

void append_ipv6(std::string& text, const std::array<std::uint8_t, 16>& ip) {
  std::array<std::uint16_t, kGroups> groups{};
  for (std::size_t i = 0; i < kGroups; ++i) {
    groups[i] = static_cast<std::uint16_t>(ip[2 * i] << 8 | ip[2 * i + 1]);
  }
  const bool is_mapped = groups[5] == 0xffff && std::all_of(groups.begin(), groups.begin() + 5,
                                                            [](auto group) { return group == 0; });
  if (is_mapped) {
    text += "::ffff:";
    append_ipv4(text, ip.data() + 12);
    return;
  }
  // The longest run of two or more zero groups is left out, the first of equals.
  std::size_t gap = kGroups, gap_count = 1;
  for (std::size_t i = 0; i < kGroups; ++i) {
    std::size_t end = i;
    while (end < kGroups && groups[end] == 0) ++end;
    if (end - i > gap_count) {
      gap = i;
      gap_count = end - i;
    }
  }
  for (std::size_t i = 0; i < kGroups; ++i) {
    if (i == gap) {
      text += "::";
      i += gap_count - 1;
      continue;
    }
    if (i != 0 && text.back() != ':') text += ':';
    char digits[4];
    text.append(digits, std::to_chars(digits, digits + sizeof(digits), groups[i], 16).ptr);
  }
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong(text, kExpected);
  const auto port = parse_decimal(text.substr(colon + 1), 65535);
  if (!port) return wrong(text, kExpectedPort);

  std::string_view host = text.substr(0, colon);
  Address address;
  address.port = static_cast<std::uint16_t>(*port);
  if (host.empty()) return any_ipv6(address.port);
  if (host.front() != '[') {
    if (host.find(':') != std::string_view::npos) return wrong(text, kExpectedIpv6);
    if (!parse_ipv4(host, address.ip.data())) return wrong(text, kExpectedIpv4);
    address.family = Family::ipv4;
    return address;
  }
  if (host.back() != ']') return wrong(text, kExpectedIpv6);
  host = host.substr(1, host.size() - 2);
  const std::size_t percent = host.find('%');
  if (percent != std::string_view::npos) {
    const auto scope = parse_decimal(host.substr(percent + 1), 0xffffffffu);
    if (!scope || *scope == 0) return wrong(text, kExpectedScope);
    address.scope_id = *scope;
    host = host.substr(0, percent);
  }
  if (!parse_ipv6(host, address.ip.data())) return wrong(text, kExpectedIpv6);
  address.family = Family::ipv6;
  return address;
}

Address Address::ipv4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d,
                      std::uint16_t port) {
  Address address;
  address.ip = {a, b, c, d};
  address.port = port;
  address.family = Family::ipv4;
  return address;
}

Address Address::any_ipv6(std::uint16_t port) {
  Address address;
  address.port = port;
  address.family = Family::ipv6;
  return address;
}

std::string Address::to_string() const {
  std::string text;
  switch (family) {
    case Family::none: return "none";
    case Family::ipv4: append_ipv4(text, ip.data()); break;
    case Family::ipv6:
      text += '[';
      append_ipv6(text, ip);
      if (scope_id != 0) text.append("%").append(std::to_string(scope_id));
      text += ']';
      break;
  }
  return text.append(":").append(std::to_string(port));
}

}  // namespace weir::inline v0
