// Outer fragments and ICMP messages as anybody may send them. An input is a row of records: a length byte pair, a
// kind, and bytes; fragments go to one Reassembler, so that they meet.
#include <cstdlib>
#include <span>
#include <vector>

#include "base/wire.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/ip/fragment.hpp"
#include "ebpf/ip/icmp_error.hpp"
#include "ebpf/ip/reassembly.hpp"
#include "ebpf/ip/too_big.hpp"

namespace gw::ip {
namespace {

using Bytes = std::vector<std::uint8_t>;

void require(bool condition) {
  if (!condition) std::abort();
}

/// So that the fuzzer need not guess checksums and lengths.
void repair(Bytes& p) {
  if (p.size() >= 40 && p[0] >> 4 == 6) store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
  const std::size_t header = p.empty() ? 0 : (p[0] & 0xfu) * std::size_t{4};
  if (p.empty() || p[0] >> 4 != 4 || header < 20 || p.size() < header) return;
  store_be(&p[2], static_cast<std::uint16_t>(p.size()));
  store_be(&p[10], std::uint16_t{0});
  store_be(&p[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(p.data(), header))));
}

void reassemble(Reassembler& r, const Bytes& p, std::uint8_t how) {
  const MonoTime now{std::chrono::seconds(how >> 2)};
  const Standing standing = how & 1 ? Standing::kPeer : Standing::kStranger;
  if (r.add(p, standing, now) != Reassembler::Outcome::kWhole) return;
  const auto header = esp::check_inner(r.packet());
  require(header && header->total_length == r.packet().size());
  require(r.packet().size() <= ReassemblyLimits{}.datagram_bytes);
}

void cut(const Bytes& p, std::uint8_t how) {
  const auto header = esp::check_inner(p);
  if (!header) return;
  const auto packet = std::span(p).first(header->total_length);
  const std::uint32_t mtu = 28 + how * 8u;
  Bytes out(mtu);
  std::uint32_t total = 0;
  if (auto f = FragmenterV4::make(packet, mtu)) {
    while (const std::uint32_t n = f->next(out)) {
      require(n <= mtu && esp::check_inner(std::span(out).first(n)));
      total += n - (out[0] & 0xfu) * 4;
    }
    require(total == packet.size() - header->header_length);
  }
  Bytes error(kMaxIcmpError);
  for (const IcmpError e : {IcmpError::kTooBig, IcmpError::kTimeExceeded}) {
    if (!may_be_answered(packet, e)) continue;
    const std::uint32_t n = write_icmp_error(
        error, packet,
        {e, 1400,
         header->family == Family::kV4 ? IpAddress::from_v4(0xc0000201) : IpAddress::parse("2001:db8::1").value()});
    const auto written = esp::check_inner(std::span(error).first(n));
    require(written && written->total_length == n && !may_be_answered(std::span(error).first(n), e));
  }
}

}  // namespace
}  // namespace gw::ip

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gw;
  std::span<const std::uint8_t> rest(data, size);
  ip::Reassembler reassembler(1);
  while (rest.size() >= 4) {
    const std::size_t length = std::min<std::size_t>(load_be<std::uint16_t>(rest.data()), rest.size() - 4);
    const std::uint8_t kind = rest[2];
    const std::uint8_t how = rest[3];
    ip::Bytes bytes(rest.begin() + 4, rest.begin() + 4 + static_cast<std::ptrdiff_t>(length));
    rest = rest.subspan(4 + length);
    if (kind & 4) ip::repair(bytes);
    switch (kind & 3) {
      case 0: ip::reassemble(reassembler, bytes, how); break;
      case 1: ip::cut(bytes, how); break;
      case 2:
        if (bytes.size() >= 4) {
          store_be(&bytes[2], std::uint16_t{0});
          store_be(&bytes[2], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(bytes.data(), bytes.size()))));
        }
        (void)ip::parse_too_big(bytes, Family::kV4);
        break;
      default: (void)ip::parse_too_big(bytes, Family::kV6); break;
    }
  }
  return 0;
}
