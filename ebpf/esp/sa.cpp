#include "ebpf/esp/sa.hpp"

#include <algorithm>
#include <cstring>
#include <format>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"

namespace gw::esp {
namespace {

constexpr std::uint8_t kOuterTtl = 64;

constexpr std::uint64_t limit(std::uint64_t configured) { return configured == 0 ? UINT64_MAX : configured; }

Status check_endpoints(const Endpoint& src, const Endpoint& dst, Encapsulation encapsulation) {
  if (src.address.family() != dst.address.family())
    return fail_field("dst", std::format("{} and {} are of different families", src.address, dst.address));
  for (const auto& [name, e] : {std::pair{"src", &src}, std::pair{"dst", &dst}}) {
    if (e->address.is_unspecified() || e->address.is_multicast())
      return fail_field(name, std::format("{} is not an endpoint's address", e->address));
    if (encapsulation == Encapsulation::kUdp && e->port == 0)
      return fail_field(name, "UDP encapsulation needs a port (RFC 3948 uses 4500)");
  }
  return {};
}

}  // namespace

Secret SaParameters::key_identity() const {
  const std::size_t salt = std::min<std::size_t>(transform->salt_bytes, key.size());
  std::array<std::uint8_t, kMaxKeyBytes + kMaxIntegrityKeyBytes> both{};
  const auto cipher_key = key.bytes().first(std::min<std::size_t>(key.size() - salt, kMaxKeyBytes));
  const auto integrity =
      integrity_key.bytes().first(std::min<std::size_t>(integrity_key.size(), kMaxIntegrityKeyBytes));
  std::ranges::copy(cipher_key, both.begin());
  std::ranges::copy(integrity, both.begin() + static_cast<std::ptrdiff_t>(cipher_key.size()));
  const std::span<const std::uint8_t> used(both.data(), cipher_key.size() + integrity.size());
  Secret identity(used);
  wipe(both.data(), both.size());
  return identity;
}

Status SaCommon::init(const SaParameters& p, CryptoBackend& backend, RuntimeRecord& record) {
  if (p.spi < 256) return fail_field("spi", std::format("SPI {:#x} is reserved (RFC 4303 2.1)", p.spi));
  if (p.sequence_jump > kMaxSequenceJump)
    return fail_field("sequence_jump", std::format("{} is more than {}", p.sequence_jump, kMaxSequenceJump));
  GW_TRY_ASSIGN(selectors_, SelectorSet::compile(p.local, p.remote));
  GW_TRY_ASSIGN(key_, backend.make_key({p.transform, p.sequence_mode, p.key.bytes(), p.integrity_key.bytes()}));
  transform_ = p.transform;
  record_ = &record;
  spi_ = p.spi;
  mode_ = p.sequence_mode;
  soft_bytes_ = limit(p.lifetime.soft_bytes);
  hard_bytes_ = limit(p.lifetime.hard_bytes);
  soft_packets_ = limit(p.lifetime.soft_packets);
  hard_packets_ = limit(p.lifetime.hard_packets);
  return {};
}

std::uint8_t SaCommon::raise(std::uint8_t events) {
  const auto fresh = static_cast<std::uint8_t>(events & ~raised_);
  raised_ |= fresh;
  pending_ |= fresh;
  return fresh;
}

std::uint8_t SaCommon::check_limits() {
  const SaCounters c = counters_of(*record_);
  std::uint8_t reached = 0;
  if (c.bytes >= soft_bytes_) reached |= kSoftBytes;
  if (c.bytes >= hard_bytes_) reached |= kHardBytes;
  if (c.packets >= soft_packets_) reached |= kSoftPackets;
  if (c.packets >= hard_packets_) reached |= kHardPackets;
  return reached == 0 ? reached : raise(reached);
}

Result<std::unique_ptr<OutboundSa>> OutboundSa::create(const SaParameters& p, CryptoBackend& backend,
                                                       RuntimeRecord& record) {
  const bool begun = load_field(record.iv_epoch) != 0 || load_field(record.next_counter) == kIvCounters;
  if (!begun || load_field(record.next_sequence) == 0)
    return fail(Errc::kNeedsRekey, "the SA's record was not begun: its nonces could repeat");
  std::unique_ptr<OutboundSa> sa(new OutboundSa);
  GW_TRY(sa->init(p, backend, record));
  GW_TRY(sa->set_endpoints(p.src, p.dst, p.encapsulation));
  sa->last_sequence_ = gw::esp::last_sequence(p.sequence_mode);
  sa->jump_ = p.sequence_jump;
  sa->marks_ = OuterMarks(p.outer);
  sa->asked_pad_to_ = p.pad_to;
  sa->pad_to_ = p.pad_to;
  return sa;
}

Status OutboundSa::set_endpoints(const Endpoint& src, const Endpoint& dst, Encapsulation encapsulation) {
  GW_TRY(check_endpoints(src, dst, encapsulation));
  header_.fill(0);
  outer_family_ = src.address.family();
  udp_ = encapsulation == Encapsulation::kUdp;
  const std::uint8_t protocol = udp_ ? kProtocolUdp : kProtocolEsp;
  std::uint8_t* p = header_.data();
  if (outer_family_ == Family::kV4) {
    p[0] = 0x45;
    p[8] = kOuterTtl;
    p[9] = protocol;
    std::memcpy(p + 12, src.address.bytes().data(), 4);
    std::memcpy(p + 16, dst.address.bytes().data(), 4);
    ipv4_sum_ = sum16(p, 20);
    p += 20;
  } else {
    p[0] = 0x60;
    p[6] = protocol;
    p[7] = kOuterTtl;
    std::memcpy(p + 8, src.address.bytes().data(), 16);
    std::memcpy(p + 24, dst.address.bytes().data(), 16);
    p += 40;
  }
  if (udp_) {
    store_be(p, src.port);
    store_be(p + 2, dst.port);
    p += 8;
  }
  store_be(p, spi_);
  header_length_ = static_cast<std::uint8_t>(p + 4 - header_.data());
  return {};
}

std::uint32_t OutboundSa::inner_mtu(std::uint32_t outer_mtu) const {
  const Transform& t = transform();
  const std::uint32_t around = header_length_ + kSequenceBytes + t.iv_bytes + t.icv_bytes;
  if (outer_mtu < around + t.block_bytes) return 0;
  return (outer_mtu - around) / t.block_bytes * t.block_bytes - kTrailerBytes;
}

Result<std::unique_ptr<InboundSa>> InboundSa::create(const SaParameters& p, CryptoBackend& backend,
                                                     RuntimeRecord& record) {
  std::unique_ptr<InboundSa> sa(new InboundSa(p));
  GW_TRY(sa->init(p, backend, record));
  GW_TRY(sa->set_endpoints(p.src, p.dst, p.encapsulation));
  return sa;
}

Status InboundSa::set_endpoints(const Endpoint& src, const Endpoint& dst, Encapsulation encapsulation) {
  GW_TRY(check_endpoints(src, dst, encapsulation));
  family_ = src.address.family();
  std::memcpy(src_.data(), src.address.bytes().data(), src.address.bytes().size());
  std::memcpy(dst_.data(), dst.address.bytes().data(), dst.address.bytes().size());
  src_port_ = encapsulation == Encapsulation::kUdp ? src.port : 0;
  seen_ = src;
  raised_ &= static_cast<std::uint8_t>(~kMapping);
  return {};
}

bool InboundSa::is_source(const std::uint8_t* address, std::uint16_t port) const {
  // Constant lengths: two compares instead of a call, for every packet.
  const bool same =
      family_ == Family::kV4 ? std::memcmp(address, src_.data(), 4) == 0 : std::memcmp(address, src_.data(), 16) == 0;
  return same && port == src_port_;
}

std::uint8_t InboundSa::note_source(const std::uint8_t* address, std::uint16_t port) {
  const IpAddress parsed = family_ == Family::kV4 ? IpAddress::from_v4(load_be<std::uint32_t>(address))
                                                  : IpAddress::from_v6(std::span<const std::uint8_t, 16>(address, 16));
  const Endpoint seen{parsed, port};
  if (seen != seen_) raised_ &= static_cast<std::uint8_t>(~kMapping);  // moved again: tell again
  seen_ = seen;
  return raise(kMapping);
}

}  // namespace gw::esp
