#include "ebpf/control/faces.hpp"

#include <algorithm>

#include "base/wire.hpp"

namespace gw::control {

Faces faces_of(const net::Link& port, std::span<const net::Link> links) {
  constexpr std::size_t kMostTags = 2;
  const auto find = [&](int ifindex) { return std::ranges::find(links, ifindex, &net::Link::ifindex); };
  Faces faces;
  faces[port.ifindex] = {.mac = port.mac, .tags = {}, .mtu = port.mtu};
  for (const net::Link& link : links) {
    VlanStack tags;
    auto at = find(link.ifindex);
    while (at != links.end() && at->ifindex != port.ifindex && at->vlan && tags.size() < kMostTags) {
      tags.insert(tags.begin(), *at->vlan);
      at = find(at->parent);
    }
    if (at != links.end() && at->ifindex == port.ifindex && !tags.empty() && link.up)
      faces[link.ifindex] = {.mac = link.mac, .tags = std::move(tags), .mtu = link.mtu};
  }
  return faces;
}

worker::LinkHeader header_to(const net::MacAddress& mac, const Face& face) {
  worker::LinkHeader header;
  std::ranges::copy(mac, header.bytes.begin());
  std::ranges::copy(face.mac, header.bytes.begin() + 6);
  std::uint8_t at = 12;
  for (const net::VlanTag& tag : face.tags) {
    store_be(&header.bytes[at], tag.type);
    store_be(&header.bytes[at + 2u], tag.id);
    at = static_cast<std::uint8_t>(at + 4);
  }
  header.length = static_cast<std::uint8_t>(at + 2);  // the type is the packet's
  return header;
}

}  // namespace gw::control
