// What the guard of the wan port does with a frame, row by row: the XDP program and the tcx program have one table.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ebpf/xdp/programs.hpp"
#include "packets.hpp"

namespace gw::packet_test {

inline constexpr std::uint32_t kKnown = 0x1001;
inline constexpr std::uint32_t kUnknown = 0x9999;

struct WanRow {
  const char* what;
  Bytes frame;
  int verdict;  // XDP_*
  gw_xdp_counter counter;
  std::size_t padding = 0;  // bytes at the end that the IP header does not count
};
std::vector<WanRow> wan_rows();

/// IP packets in untagged frames.
Bytes wan_v4(const Bytes& payload, std::uint8_t protocol, Ipv4 h = {});
Bytes wan_v6(const Bytes& payload, std::uint8_t protocol, Ipv6 h = {});

/// The tags that each row is tried with (802.1Q, 802.1ad): they change nothing about what is in them.
inline const auto kTagStacks = std::to_array<std::vector<std::uint16_t>>(
    {{}, {kVlanType}, {kVlanProviderType}, {kVlanProviderType, kVlanType}, {kVlanType, kVlanType}});

/// kKnown is installed for two addresses of ours, the usual sources are tunnels' peers, the XDP program has a socket on
/// queue 0.
class WanTest : public testing::Test {
 protected:
  void SetUp() override;
  /// By how much each counter went up since then.
  xdp::Counters counted_since(const xdp::Counters& before) const;

  std::optional<xdp::Maps> maps_;
  std::optional<xdp::WanProgram> program_;
  Fd socket_ = unbound_xsk();
};

}  // namespace gw::packet_test
