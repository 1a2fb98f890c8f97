// What the kernel's IP layer counts (RFC 4293), of this network namespace: /proc/net/snmp, /proc/net/snmp6. Any thread.
#pragma once

#include <cstdint>

namespace gw::net {

/// Fragments and datagrams that the kernel gave up reassembling, both families; ipSystemStatsReasmFails. 0 if it does
/// not say.
std::uint64_t reassembly_failures();

}  // namespace gw::net
