#include "ebpf/gso/segmenter.hpp"

#include <algorithm>
#include <cstring>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/gso/checksum.hpp"

namespace gw::gso {
namespace {

constexpr std::size_t kIpv4Length = 2;
constexpr std::size_t kIpv4Id = 4;
constexpr std::size_t kIpv4Checksum = 10;
constexpr std::size_t kIpv6Length = 4;
constexpr std::size_t kTcpSequence = 4;
constexpr std::size_t kTcpFlags = 13;
constexpr std::size_t kUdpLength = 4;
constexpr std::uint8_t kFin = 0x01;
constexpr std::uint8_t kPsh = 0x08;
constexpr std::uint8_t kCwr = 0x80;

std::uint64_t words_of(std::uint32_t v) { return (v >> 16) + (v & 0xffff); }

}  // namespace

Segmenter::Segmenter(const Superpacket& packet) : packet_(packet) {
  const std::uint8_t* ip = packet.bytes.data();
  const std::uint8_t* l4 = ip + packet.l4_offset;
  const bool tcp = packet.offload == Offload::kTcp;
  if (packet.family == Family::kV4) {
    id_ = load_be<std::uint16_t>(ip + kIpv4Id);
    ip_sum_ = esp::sum16(ip, (ip[0] & 0xfU) * 4) - load_be<std::uint16_t>(ip + kIpv4Length) -
              (std::uint64_t{id_} << 16) - load_be<std::uint16_t>(ip + kIpv4Checksum);
    l4_sum_ = esp::sum16(ip + 12, 8);
  } else {
    l4_sum_ = esp::sum16(ip + 8, 32);
  }
  l4_sum_ += tcp ? kProtocolTcp : kProtocolUdp;
  l4_sum_ += esp::sum16(l4, packet.header_length - packet.l4_offset);
  // Out again: what each segment brings itself. sum16 adds words, so a word is taken out as it went in.
  if (tcp) {
    sequence_ = load_be<std::uint32_t>(l4 + kTcpSequence);
    l4_sum_ -= sequence_;
    l4_sum_ -= std::uint64_t{l4[kTcpFlags]} << 16;
    l4_sum_ -= std::uint64_t{load_be<std::uint16_t>(l4 + kTcpChecksum)} << 16;
  } else {
    l4_sum_ -= std::uint64_t{load_be<std::uint16_t>(l4 + kUdpLength)} << 16;
    l4_sum_ -= load_be<std::uint16_t>(l4 + kUdpChecksum);
  }
}

std::uint32_t Segmenter::payload_of(std::uint32_t i) const {
  const auto payload = static_cast<std::uint32_t>(packet_.bytes.size()) - packet_.header_length;
  return std::min<std::uint32_t>(packet_.segment_bytes, payload - i * packet_.segment_bytes);
}

void Segmenter::write_ip(std::uint32_t i, std::uint8_t* ip) const {
  const std::uint32_t total = length(i);
  if (packet_.family == Family::kV6) return store_be(ip + kIpv6Length, static_cast<std::uint16_t>(total - kIpv6Header));
  const auto id = static_cast<std::uint16_t>(id_ + i);
  store_be(ip + kIpv4Length, static_cast<std::uint16_t>(total));
  store_be(ip + kIpv4Id, id);
  store_be(ip + kIpv4Checksum, static_cast<std::uint16_t>(~esp::fold16(ip_sum_ + total + id)));
}

void Segmenter::write(std::uint32_t i, std::uint8_t* out) const {
  const std::uint8_t* from = packet_.bytes.data();
  const std::uint32_t payload = payload_of(i);
  std::memcpy(out, from, packet_.header_length);
  write_ip(i, out);
  std::uint8_t* l4 = out + packet_.l4_offset;
  const std::uint32_t l4_length = packet_.header_length - packet_.l4_offset + payload;
  std::uint64_t sum = l4_sum_ + l4_length;  // the pseudo-header's length
  sum += copy_and_sum(out + packet_.header_length, from + packet_.header_length + i * packet_.segment_bytes, payload);

  if (packet_.offload == Offload::kTcp) {
    const std::uint32_t sequence = sequence_ + i * packet_.segment_bytes;
    std::uint8_t flags = l4[kTcpFlags];
    if (i != 0) flags &= static_cast<std::uint8_t>(~kCwr);  // RFC 3168 6.1.2: once
    if (i + 1 != packet_.segments) flags &= static_cast<std::uint8_t>(~(kFin | kPsh));
    store_be(l4 + kTcpSequence, sequence);
    l4[kTcpFlags] = flags;
    store_be(l4 + kTcpChecksum, static_cast<std::uint16_t>(~esp::fold16(sum + words_of(sequence) + flags)));
    return;
  }
  store_be(l4 + kUdpLength, static_cast<std::uint16_t>(l4_length));
  if (!packet_.checksum) return;
  const auto checksum = static_cast<std::uint16_t>(~esp::fold16(sum + l4_length));
  store_be(l4 + kUdpChecksum, checksum == 0 ? std::uint16_t{0xffff} : checksum);
}

}  // namespace gw::gso
