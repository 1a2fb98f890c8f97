#include "ebpf/ip/fragment.hpp"

#include <algorithm>
#include <cstring>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/inner.hpp"

namespace gw::ip {
namespace {

constexpr std::uint32_t kUnit = 8;
constexpr std::uint32_t kMaxIpLength = 65535;

/// RFC 791: what goes into later fragments. At most the packet's own options, padded to four bytes with zeros.
std::uint32_t copied_options(std::span<const std::uint8_t> options, std::span<std::uint8_t> out) {
  enum : std::uint8_t { kEnd = 0, kNop = 1, kCopied = 0x80 };
  std::uint32_t used = 0;
  for (std::size_t at = 0; at < options.size() && options[at] != kEnd;) {
    if (options[at] == kNop) {
      ++at;
      continue;
    }
    if (at + 2 > options.size() || options[at + 1] < 2 || at + options[at + 1] > options.size()) break;
    const std::uint8_t length = options[at + 1];
    if (options[at] & kCopied) {
      std::memcpy(&out[used], &options[at], length);
      used += length;
    }
    at += length;
  }
  const std::uint32_t padded = (used + 3) & ~3u;
  std::ranges::fill(out.subspan(used, padded - used), kEnd);
  return padded;
}

FragmentFault parse_v4(std::span<const std::uint8_t> packet, std::uint32_t header, Fragment& f) {
  const std::uint8_t* p = packet.data();
  const auto field = load_be<std::uint16_t>(p + 6);
  if ((field & (kMoreFragments | kFragmentOffset)) == 0) return FragmentFault::kNotAFragment;
  f.family = Family::kV4;
  f.src = packet.subspan(12, 4);
  f.dst = packet.subspan(16, 4);
  f.id = load_be<std::uint16_t>(p + 4);
  f.protocol = p[9];
  f.ecn = p[1] & 3;
  f.offset = (field & kFragmentOffset) * kUnit;
  f.place = (field & kMoreFragments) ? Fragment::Place::kMoreFollow : Fragment::Place::kLast;
  f.header = packet.first(header);
  f.payload = packet.subspan(header);
  return FragmentFault::kNone;
}

FragmentFault parse_v6(std::span<const std::uint8_t> packet, Fragment& f) {
  const std::uint8_t* p = packet.data();
  if (p[6] != kProtocolFragment) return FragmentFault::kNotAFragment;
  if (packet.size() < kV6Header + kV6FragmentHeader) return FragmentFault::kMalformed;
  const auto field = load_be<std::uint16_t>(p + kV6Header + 2);
  f.family = Family::kV6;
  f.src = packet.subspan(8, 16);
  f.dst = packet.subspan(24, 16);
  f.id = load_be<std::uint32_t>(p + kV6Header + 4);
  f.protocol = p[kV6Header];
  f.ecn = p[1] >> 4 & 3;
  f.offset = field & 0xfff8u;
  f.place = (field & 1) ? Fragment::Place::kMoreFollow : Fragment::Place::kLast;
  f.header = packet.first(kV6Header);
  f.payload = packet.subspan(kV6Header + kV6FragmentHeader);
  return FragmentFault::kNone;
}

}  // namespace

FragmentFault parse_fragment(std::span<const std::uint8_t> bytes, Fragment& out) {
  const auto header = esp::check_inner(bytes);
  if (!header) return FragmentFault::kMalformed;
  const auto packet = bytes.first(header->total_length);
  const FragmentFault fault =
      header->family == Family::kV4 ? parse_v4(packet, header->header_length, out) : parse_v6(packet, out);
  if (fault != FragmentFault::kNone) return fault;
  if (out.payload.empty()) return FragmentFault::kMalformed;
  if (out.place == Fragment::Place::kMoreFollow && out.payload.size() % kUnit != 0) return FragmentFault::kMalformed;
  // The header counts in IPv4's total length, and not in IPv6's payload length.
  const std::uint32_t counted = out.family == Family::kV4 ? header->header_length : 0;
  if (counted + out.end() > kMaxIpLength) return FragmentFault::kMalformed;
  return FragmentFault::kNone;
}

// --- IPv4 --------------------------------------------------------------------------------------------

FragmenterV4::FragmenterV4(std::span<const std::uint8_t> packet, std::uint32_t mtu)
    : packet_(packet), mtu_(mtu), header_((packet[0] & 0xfu) * 4) {
  std::memcpy(later_.data(), packet.data(), 20);
  later_header_ = 20 + copied_options(packet.subspan(20, header_ - 20), std::span(later_).subspan(20));
  later_[0] = static_cast<std::uint8_t>(0x40 | later_header_ / 4);
}

std::optional<FragmenterV4> FragmenterV4::make(std::span<const std::uint8_t> packet, std::uint32_t mtu) {
  if (packet[0] >> 4 != 4 || packet.size() <= mtu) return std::nullopt;
  if (load_be<std::uint16_t>(&packet[6]) & kDontFragment) return std::nullopt;
  FragmenterV4 f(packet, mtu);
  if (f.is_malformed_fragment()) return std::nullopt;
  if (mtu < f.header_ + kUnit) return std::nullopt;
  return f;
}

/// Offset 8191 and more to come: the next piece's offset would overflow into "more fragments", offset 0.
bool FragmenterV4::is_malformed_fragment() const {
  const auto field = load_be<std::uint16_t>(&packet_[6]);
  const auto payload = static_cast<std::uint32_t>(packet_.size()) - header_;
  if ((field & kMoreFragments) != 0 && payload % kUnit != 0) return true;
  return header_ + (field & kFragmentOffset) * kUnit + payload > kMaxIpLength;
}

std::uint32_t FragmenterV4::next(std::span<std::uint8_t> out) {
  const auto payload = packet_.subspan(header_);
  const auto left = static_cast<std::uint32_t>(payload.size()) - done_;
  if (left == 0) return 0;
  const auto header = done_ == 0 ? packet_.first(header_) : std::span<const std::uint8_t>(later_).first(later_header_);
  const auto header_bytes = static_cast<std::uint32_t>(header.size());
  std::uint32_t take = mtu_ - header_bytes;
  const bool last = left <= take;
  take = last ? left : take & ~(kUnit - 1);
  std::ranges::copy(header, out.begin());
  std::ranges::copy(payload.subspan(done_, take), out.begin() + header_bytes);

  // The offset and "more" of the packet itself, should it be a fragment, go on.
  const auto field = load_be<std::uint16_t>(&packet_[6]);
  const std::uint32_t offset = (field & kFragmentOffset) + done_ / kUnit;
  const std::uint32_t more = last ? field & kMoreFragments : kMoreFragments;
  store_be(&out[2], static_cast<std::uint16_t>(header_bytes + take));
  store_be(&out[6], static_cast<std::uint16_t>(offset | more));
  store_be(&out[10], std::uint16_t{0});
  store_be(&out[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(out.data(), header_bytes))));
  done_ += take;
  return header_bytes + take;
}

// --- IPv6 --------------------------------------------------------------------------------------------

std::optional<FragmenterV6> FragmenterV6::make(std::span<const std::uint8_t> packet, std::uint32_t mtu,
                                               std::uint32_t id) {
  if (packet[0] >> 4 != 6 || packet.size() <= mtu || mtu < kV6Header + kV6FragmentHeader + kUnit) return std::nullopt;
  return FragmenterV6(packet, mtu, id);
}

std::uint32_t FragmenterV6::next(std::span<std::uint8_t> out) {
  const auto payload = packet_.subspan(kV6Header);
  const auto left = static_cast<std::uint32_t>(payload.size()) - done_;
  if (left == 0) return 0;
  constexpr std::uint32_t kHeaders = kV6Header + kV6FragmentHeader;
  std::uint32_t take = mtu_ - kHeaders;
  const bool last = left <= take;
  take = last ? left : take & ~(kUnit - 1);
  std::ranges::copy(packet_.first(kV6Header), out.begin());
  store_be(&out[4], static_cast<std::uint16_t>(kV6FragmentHeader + take));
  out[6] = kProtocolFragment;
  out[kV6Header] = packet_[6];
  out[kV6Header + 1] = 0;
  store_be(&out[kV6Header + 2], static_cast<std::uint16_t>(done_ | (last ? 0u : 1u)));
  store_be(&out[kV6Header + 4], id_);
  std::ranges::copy(payload.subspan(done_, take), out.begin() + kHeaders);
  done_ += take;
  return kHeaders + take;
}

}  // namespace gw::ip
