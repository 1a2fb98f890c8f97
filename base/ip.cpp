#include "base/ip.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/wire.hpp"

namespace gw {
namespace {

// FNV-1a over the significant bytes: prefixes and addresses are short.
std::size_t fnv(std::span<const std::uint8_t> bytes, std::size_t seed) {
  std::size_t h = 14695981039346656037ULL ^ seed;
  for (const std::uint8_t b : bytes) h = (h ^ b) * 1099511628211ULL;
  return h;
}

Result<std::pair<IpAddress, unsigned>> split(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    return fail(Errc::kMalformed, std::format("'{}' has no /length, e.g. 10.0.0.0/16", text));
  GW_TRY_ASSIGN(const IpAddress address, IpAddress::parse(text.substr(0, slash)));
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (ec != std::errc() || end != digits.data() + digits.size() || length > address_bits(address.family()))
    return fail(Errc::kMalformed,
                std::format("'{}' is not a prefix length: 0 to {}", digits, address_bits(address.family())));
  return std::pair(address, length);
}

}  // namespace

Result<IpAddress> IpAddress::parse(std::string_view text) {
  // inet_pton wants a terminator; nothing longer than this is an address.
  std::array<char, INET6_ADDRSTRLEN + 1> buffer{};
  if (text.empty() || text.size() >= buffer.size())
    return fail(Errc::kMalformed, std::format("'{}' is not an IP address", text.substr(0, 60)));
  std::ranges::copy(text, buffer.begin());
  IpAddress a;
  if (inet_pton(AF_INET, buffer.data(), a.bytes_.data()) == 1) return a;
  a.family_ = Family::kV6;
  if (inet_pton(AF_INET6, buffer.data(), a.bytes_.data()) != 1)
    return fail(Errc::kMalformed, std::format("'{}' is not an IP address", text));
  static constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), a.bytes_.begin()))
    return fail(Errc::kMalformed, std::format("'{}' is an IPv4-mapped address; write it as IPv4", text));
  return a;
}

Result<IpAddress> IpAddress::from_bytes(std::span<const std::uint8_t> bytes) {
  IpAddress a;
  if (bytes.size() == 16)
    a.family_ = Family::kV6;
  else if (bytes.size() != 4)
    return fail(Errc::kMalformed, std::format("an IP address has 4 or 16 bytes, not {}", bytes.size()));
  std::ranges::copy(bytes, a.bytes_.begin());
  return a;
}

Result<IpAddress> IpAddress::from_bytes(std::string_view bytes) {
  return from_bytes(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
}

IpAddress IpAddress::from_v4(std::uint32_t host_order) {
  IpAddress a;
  store_be(a.bytes_.data(), host_order);
  return a;
}

IpAddress IpAddress::from_v6(std::span<const std::uint8_t, 16> bytes) {
  IpAddress a;
  a.family_ = Family::kV6;
  std::ranges::copy(bytes, a.bytes_.begin());
  return a;
}

std::string IpAddress::bytes_string() const {
  return {reinterpret_cast<const char*>(bytes_.data()), address_bytes(family_)};
}

std::uint32_t IpAddress::v4() const { return load_be<std::uint32_t>(bytes_.data()); }

bool IpAddress::is_unspecified() const {
  return std::ranges::all_of(bytes_, [](std::uint8_t b) { return b == 0; });
}

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[0] == 127;
  return std::all_of(bytes_.begin(), bytes_.end() - 1, [](std::uint8_t b) { return b == 0; }) && bytes_[15] == 1;
}

bool IpAddress::is_multicast() const { return is_v4() ? (bytes_[0] & 0xf0) == 0xe0 : bytes_[0] == 0xff; }

bool IpAddress::is_link_local() const {
  if (is_v4()) return bytes_[0] == 169 && bytes_[1] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), buffer.data(), buffer.size());
  return buffer.data();
}

Result<Prefix> Prefix::make(const IpAddress& address, unsigned length) {
  const unsigned bits = address_bits(address.family());
  if (length > bits) return fail(Errc::kInvalidArgument, std::format("prefix length {} is over {}", length, bits));
  std::array<std::uint8_t, 16> bytes{};
  std::ranges::copy(address.bytes(), bytes.begin());
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned keep = length > i * 8 ? std::min(8U, length - i * 8) : 0;
    bytes[i] = static_cast<std::uint8_t>(bytes[i] & (0xff00U >> keep));
  }
  Prefix p;
  GW_TRY_ASSIGN(p.address_, IpAddress::from_bytes(std::span(bytes).first(address_bytes(address.family()))));
  p.length_ = static_cast<std::uint8_t>(length);
  return p;
}

Result<Prefix> Prefix::parse(std::string_view text) {
  GW_TRY_ASSIGN(const auto parts, split(text));
  GW_TRY_ASSIGN(const Prefix p, make(parts.first, parts.second));
  if (p.address() != parts.first)
    return fail(Errc::kMalformed, std::format("'{}' has host bits set; the network is {}", text, p.to_string()));
  return p;
}

Prefix Prefix::host(const IpAddress& address) {
  Prefix p;
  p.address_ = address;
  p.length_ = static_cast<std::uint8_t>(address_bits(address.family()));
  return p;
}

bool Prefix::contains(const IpAddress& a) const {
  if (a.family() != family()) return false;
  const unsigned whole = length_ / 8;
  const auto mine = address_.bytes();
  const auto theirs = a.bytes();
  if (std::memcmp(mine.data(), theirs.data(), whole) != 0) return false;
  const unsigned rest = length_ % 8;
  return rest == 0 || ((mine[whole] ^ theirs[whole]) & (0xff00U >> rest) & 0xff) == 0;
}

bool Prefix::contains(const Prefix& p) const { return p.length_ >= length_ && contains(p.address_); }

std::string Prefix::to_string() const { return std::format("{}/{}", address_.to_string(), length_); }

Result<InterfaceAddress> InterfaceAddress::parse(std::string_view text) {
  GW_TRY_ASSIGN(const auto parts, split(text));
  return InterfaceAddress{parts.first, static_cast<std::uint8_t>(parts.second)};
}

std::string InterfaceAddress::to_string() const { return std::format("{}/{}", address.to_string(), length); }

std::size_t hash_value(const IpAddress& a) { return fnv(a.bytes(), a.is_v4() ? 4 : 6); }
std::size_t hash_value(const Prefix& p) { return fnv(p.address().bytes(), p.length()); }

}  // namespace gw
