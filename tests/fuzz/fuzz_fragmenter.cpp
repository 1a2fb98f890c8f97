// Cutting a packet and putting it together again gives back the packet; every piece fits, and is what RFC 791 and
// RFC 8200 want. First byte: family; then the MTU (2 bytes), then the packet.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/ip/fragment.hpp"
#include "ebpf/ip/icmp_error.hpp"
#include "ebpf/ip/reassembly.hpp"

namespace gw::ip {
namespace {

using Bytes = std::vector<std::uint8_t>;

void require(bool condition) {
  if (!condition) std::abort();
}

template <class Fragmenter>
void cut(Fragmenter fragmenter, const Bytes& packet, std::uint32_t mtu) {
  Reassembler reassembler(7, {.datagram_bytes = 9216, .fragments_per_datagram = 4000});
  const bool piece_itself = packet[0] >> 4 == 4 && (load_be<std::uint16_t>(&packet[6]) & 0x3fff) != 0;
  Fragment itself;
  std::uint32_t place = piece_itself && parse_fragment(packet, itself) == FragmentFault::kNone ? itself.offset : 0;
  bool whole = false;
  Bytes out(mtu);
  std::uint32_t pieces = 0;
  while (const std::uint32_t length = fragmenter.next(out)) {
    require(length <= mtu && ++pieces < 4000);
    const Bytes exact(out.begin(), out.begin() + length);
    Fragment f;
    require(parse_fragment(exact, f) == FragmentFault::kNone);
    if (packet[0] >> 4 == 4) require(esp::check_inner(exact).has_value());
    require(!whole);
    // Pieces of a fragment lie where it lay, one behind the other.
    require(f.offset == place);
    place = f.end();
    whole = reassembler.add(exact, Standing::kPeer, MonoTime{}) == Reassembler::Outcome::kWhole;
  }
  require(pieces > 1);
  if (piece_itself) return;  // others' pieces are missing
  require(whole);
  const auto got = reassembler.packet();
  const bool v4 = packet[0] >> 4 == 4;
  const std::size_t header = v4 ? (packet[0] & 0xfU) * 4 : 40;
  require(got.size() == packet.size() && std::ranges::equal(got.subspan(header), std::span(packet).subspan(header)));
}

// An error about any packet is a right packet, and never about an error.
void answer(const Bytes& packet) {
  Bytes out(kMaxIcmpError);
  const bool v4 = packet[0] >> 4 == 4;
  const auto source =
      v4 ? IpAddress::from_v4(0xc0000201) : IpAddress::from_v6(std::span<const std::uint8_t, 16>(&packet[8], 16));
  for (const IcmpError error : {IcmpError::kTooBig, IcmpError::kTimeExceeded, IcmpError::kNoRoute,
                                IcmpError::kUnreachable, IcmpError::kProhibited}) {
    if (!may_be_answered(packet, error)) continue;
    const std::uint32_t length = write_icmp_error(out, packet, {error, 1400, source});
    require(length <= (v4 ? 576U : kMaxIcmpError));
    const Bytes exact(out.begin(), out.begin() + length);
    const auto inner = esp::check_inner(exact);
    require(inner && inner->total_length == length);
    require(!may_be_answered(exact, error));
  }
}

}  // namespace
}  // namespace gw::ip

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gw::ip;
  constexpr std::size_t kMostBytes = 9000;
  if (size < 23 || size > kMostBytes) return 0;
  const std::uint32_t mtu = gw::load_be<std::uint16_t>(data + 1);
  Bytes packet(data + 3, data + size);
  // Lengths and the checksum are made right, or hardly any input would get past them.
  if ((data[0] & 1) == 0) {
    const std::size_t header = std::clamp<std::size_t>(packet[0] & 0xf, 5, 15) * 4;
    if (packet.size() < header) return 0;
    packet[0] = static_cast<std::uint8_t>(0x40 | header / 4);
    gw::store_be(&packet[2], static_cast<std::uint16_t>(packet.size()));
    gw::store_be(&packet[10], std::uint16_t{0});
    gw::store_be(&packet[10], static_cast<std::uint16_t>(~gw::esp::fold16(gw::esp::sum16(packet.data(), header))));
  } else {
    if (packet.size() < 40) return 0;
    packet[0] = static_cast<std::uint8_t>(0x60 | (packet[0] & 0xf));
    gw::store_be(&packet[4], static_cast<std::uint16_t>(packet.size() - 40));
  }
  require(gw::esp::check_inner(packet).has_value());
  answer(packet);
  if ((data[0] & 1) == 0) {
    if (auto fragmenter = FragmenterV4::make(packet, mtu)) cut(*fragmenter, packet, mtu);
  } else if (mtu >= 1280) {
    if (auto fragmenter = FragmenterV6::make(packet, mtu, 42)) cut(*fragmenter, packet, mtu);
  }
  return 0;
}
