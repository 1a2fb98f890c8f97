#include "ebpf/ip/too_big.hpp"

#include <algorithm>
#include <array>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"

namespace gw::ip {
namespace {

constexpr std::size_t kSpiAndSequence = 8;

/// RFC 1191 7.1: routers from before it leave the MTU zero. The next plateau below what did not fit.
std::uint32_t plateau_below(std::uint32_t length) {
  constexpr std::array<std::uint32_t, 10> kPlateaus = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68};
  const auto it = std::ranges::find_if(kPlateaus, [&](std::uint32_t p) { return p < length; });
  return it == kPlateaus.end() ? kPlateaus.back() : *it;
}

/// `rest` is what follows the quoted IP header.
bool read_esp(std::span<const std::uint8_t> rest, std::uint8_t protocol, TooBig& out) {
  if (protocol == kProtocolUdp) {
    if (rest.size() < 8) return false;
    out.src_port = load_be<std::uint16_t>(&rest[0]);
    out.dst_port = load_be<std::uint16_t>(&rest[2]);
    rest = rest.subspan(8);
  } else if (protocol != kProtocolEsp) {
    return false;
  }
  if (rest.size() < kSpiAndSequence) return false;
  out.spi = load_be<std::uint32_t>(&rest[0]);
  out.sequence = load_be<std::uint32_t>(&rest[4]);
  return out.spi != 0;  // the non-ESP marker: IKE
}

std::optional<TooBig> parse_v4(std::span<const std::uint8_t> message) {
  if (message[0] != 3 || message[1] != 4 || esp::fold16(esp::sum16(message.data(), message.size())) != 0xffff)
    return std::nullopt;
  const auto quoted = message.subspan(kIcmpHeader);
  if (quoted.size() < 20 || quoted[0] >> 4 != 4) return std::nullopt;
  const std::size_t header = (quoted[0] & 0xfu) * 4;
  if (header < 20 || quoted.size() < header || (load_be<std::uint16_t>(&quoted[6]) & 0x1fff) != 0) return std::nullopt;
  TooBig t{.src = IpAddress::from_v4(load_be<std::uint32_t>(&quoted[12])),
           .dst = IpAddress::from_v4(load_be<std::uint32_t>(&quoted[16]))};
  if (!read_esp(quoted.subspan(header), quoted[9], t)) return std::nullopt;
  const std::uint32_t length = load_be<std::uint16_t>(&quoted[2]);
  t.mtu = load_be<std::uint16_t>(&message[6]);
  if (t.mtu == 0) t.mtu = plateau_below(length);
  return t;
}

std::optional<TooBig> parse_v6(std::span<const std::uint8_t> message) {
  if (message[0] != 2 || message[1] != 0) return std::nullopt;
  const auto quoted = message.subspan(kIcmpHeader);
  if (quoted.size() < 40 || quoted[0] >> 4 != 6) return std::nullopt;
  TooBig t{.src = IpAddress::from_v6(quoted.subspan<8, 16>()), .dst = IpAddress::from_v6(quoted.subspan<24, 16>())};
  if (!read_esp(quoted.subspan(40), quoted[6], t)) return std::nullopt;
  t.mtu = load_be<std::uint32_t>(&message[4]);
  return t;
}

}  // namespace

std::optional<TooBig> parse_too_big(std::span<const std::uint8_t> message, Family family) {
  if (message.size() < kIcmpHeader) return std::nullopt;
  return family == Family::kV4 ? parse_v4(message) : parse_v6(message);
}

bool recently_sent(std::uint32_t sequence, std::uint64_t last_sent) {
  // A second of a million packets: longer than any round trip at the highest rate; at low rates a guess of the
  // 32 bits still fails 4095 times of 4096.
  constexpr std::uint32_t kRecent = 1u << 20;
  const auto behind = static_cast<std::uint32_t>(last_sent) - sequence;
  return behind < kRecent && behind < last_sent;
}

}  // namespace gw::ip
