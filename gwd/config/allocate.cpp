#include "gwd/config/allocate.hpp"

#include <array>

namespace gw::config {
namespace {

// FNV-1a: the same on every machine and in every version, which std::hash is not.
std::uint64_t hash_of(const std::string& name) {
  std::uint64_t h = 14695981039346656037ULL;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return h ^ (h >> 32U);
}

}  // namespace

std::vector<std::uint32_t> allocate_tunnel_ids(const std::vector<std::string>& names) {
  std::set<std::uint32_t> used;
  std::vector<std::uint32_t> ids;
  for (const std::string& name : names) {
    std::uint32_t id = static_cast<std::uint32_t>(hash_of(name) % kMaxTunnelId) + 1;
    while (!used.insert(id).second) id = id % kMaxTunnelId + 1;
    ids.push_back(id);
  }
  return ids;
}

IpAddress link_local_of(std::uint32_t tunnel_id) {
  std::array<std::uint8_t, 16> bytes{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x65, 0x05, 0x15};
  bytes[13] = static_cast<std::uint8_t>(tunnel_id >> 16);
  bytes[14] = static_cast<std::uint8_t>(tunnel_id >> 8);
  bytes[15] = static_cast<std::uint8_t>(tunnel_id);
  return IpAddress::from_v6(bytes);
}

std::map<std::string, InnerPair> allocate_inner_pairs(const std::vector<std::string>& names,
                                                      const std::set<IpAddress>& taken, unsigned instance_index) {
  // 169.254.21.0, or .22.0 for the second instance: the range that clouds use on the gateway's side.
  const std::uint32_t base = 0xa9fe1500U + 0x100U * instance_index;
  std::set<std::size_t> used;
  const auto pair_of = [base](std::size_t slot) {
    const auto network = base + static_cast<std::uint32_t>(slot) * 4;
    return InnerPair{IpAddress::from_v4(network + 1), IpAddress::from_v4(network + 2)};
  };
  for (std::size_t slot = 0; slot < kInnerPairs; ++slot) {
    const auto network = base + static_cast<std::uint32_t>(slot) * 4;
    for (std::uint32_t host = 0; host < 4; ++host)
      if (taken.contains(IpAddress::from_v4(network + host))) used.insert(slot);
  }
  std::map<std::string, InnerPair> out;
  for (const std::string& name : names) {
    if (used.size() == kInnerPairs) break;
    std::size_t slot = hash_of(name) % kInnerPairs;
    while (!used.insert(slot).second) slot = (slot + 1) % kInnerPairs;
    out.emplace(name, pair_of(slot));
  }
  return out;
}

}  // namespace gw::config
