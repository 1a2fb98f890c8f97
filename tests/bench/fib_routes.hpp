// A made-up Internet routing table of the size and shape of the real one: as many prefixes of each length, in
// about as many networks, clustered alike. The same on every machine.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ip.hpp"

namespace gw::bench {

/// 901,899 prefixes for IPv4, 160,147 for IPv6; all different, in random order.
std::vector<Prefix> internet_table(Family family);

/// Addresses to look up. IPv4: any; IPv6: within random prefixes of the table (nearly all others are nobody's).
std::vector<IpAddress> random_addresses(const std::vector<Prefix>& table, std::size_t count);

}  // namespace gw::bench
