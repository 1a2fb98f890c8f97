// Superpackets from the kernel, and packets that a peer chose, on their way into superpackets. What is coalesced has
// to come out of segmentation again as it went in.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "base/wire.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/gso/coalescer.hpp"
#include "ebpf/gso/segmenter.hpp"

namespace {

using namespace gw::gso;
using Bytes = std::vector<std::uint8_t>;

void require(bool holds) {
  if (!holds) std::abort();
}

/// Right lengths and IPv4 checksum, so that inputs get past the first check.
void repair(Bytes& p) {
  if (p.size() >= 20 && p[0] >> 4 == 4) {
    gw::store_be(&p[2], static_cast<std::uint16_t>(p.size()));
    gw::store_be(&p[10], std::uint16_t{0});
    const std::size_t header = std::clamp<std::size_t>((p[0] & 0xfU) * 4, 20, p.size());
    gw::store_be(&p[10], static_cast<std::uint16_t>(~gw::esp::fold16(gw::esp::sum16(p.data(), header))));
  } else if (p.size() >= 40 && p[0] >> 4 == 6) {
    gw::store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
  }
}

std::vector<Bytes> segments_of(const VnetHeader& header, Bytes& p) {
  const auto packet = parse_superpacket(header, p);
  if (!packet) return {};
  if (packet->offload == Offload::kNone) {
    complete_checksum(*packet);
    return {Bytes(packet->bytes.begin(), packet->bytes.end())};
  }
  const Segmenter segmenter(*packet);
  std::vector<Bytes> all;
  for (std::uint32_t i = 0; i < std::min<std::uint32_t>(segmenter.count(), 200); ++i) {
    Bytes segment(segmenter.length(i));
    segmenter.write(i, segment.data());
    const auto inner = gw::esp::check_inner(segment);
    require(inner && inner->total_length == segment.size());
    all.push_back(std::move(segment));
  }
  return all;
}

/// The one thing that may differ (coalescer.hpp): ids that mean nothing.
bool same_but_for_id(Bytes a, Bytes b) {
  if (a == b) return true;
  if (a.size() != b.size() || a[0] != 0x45 || (a[6] & 0x40) == 0) return false;
  for (Bytes* p : {&a, &b}) {
    gw::store_be(&(*p)[4], std::uint16_t{0});
    gw::store_be(&(*p)[10], std::uint16_t{0});
  }
  return a == b;
}

void coalesce(std::vector<Bytes> packets) {
  std::erase_if(packets, [](Bytes& p) {
    const auto inner = gw::esp::check_inner(p);
    if (inner) p.resize(inner->total_length);
    return !inner;
  });
  if (packets.size() > Coalescer::kMaxPackets) packets.resize(Coalescer::kMaxPackets);
  const std::vector<Bytes> before = packets;
  Coalescer coalescer(UdpMerging::kYes);
  coalescer.begin();
  for (Bytes& p : packets) coalescer.add(p);
  std::size_t seen = 0;
  for (const Coalescer::Write& w : coalescer.finish()) {
    VnetHeader header;
    std::memcpy(&header, w.parts[0].iov_base, sizeof header);
    Bytes joined;
    for (const iovec& part : w.parts.subspan(1)) {
      const auto* from = static_cast<const std::uint8_t*>(part.iov_base);
      joined.insert(joined.end(), from, from + part.iov_len);
    }
    const auto again = segments_of(header, joined);
    require(again.size() == w.which.size());
    for (std::size_t i = 0; i < again.size(); ++i) require(same_but_for_id(again[i], before[w.which[i]]));
    seen += again.size();
  }
  require(seen == before.size());
}

}  // namespace

// First byte: bit 0 says which way, bit 1 asks for repairs. Then a virtio header and a packet; or packets, each with
// two bytes of length in front.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 + sizeof(VnetHeader)) return 0;
  const bool repairs = (data[0] & 2) != 0;
  if ((data[0] & 1) == 0) {
    VnetHeader header;
    std::memcpy(&header, data + 1, sizeof header);
    Bytes packet(data + 1 + sizeof header, data + size);
    if (repairs) repair(packet);
    coalesce(segments_of(header, packet));
    return 0;
  }
  std::vector<Bytes> packets;
  for (std::size_t at = 1; at + 2 <= size && packets.size() < Coalescer::kMaxPackets;) {
    const std::size_t length = std::min<std::size_t>(gw::load_be<std::uint16_t>(data + at), size - at - 2);
    packets.emplace_back(data + at + 2, data + at + 2 + length);
    if (repairs) repair(packets.back());
    at += 2 + length;
  }
  coalesce(std::move(packets));
  return 0;
}
