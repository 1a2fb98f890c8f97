// What becomes of a frame on the vnet port, row by row: the XDP program and the tcx program have one table. The
// forwarding table is the real one, in the programs' own maps.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "ebpf/fib/table.hpp"
#include "ebpf/xdp/programs.hpp"
#include "packets.hpp"

namespace gw::packet_test {

inline constexpr std::size_t kTunnelMtu = 200;

struct VnetRow {
  const char* what;
  Bytes frame;
  bool redirected;          // else left to the kernel
  std::size_t padding = 0;  // bytes at the end that the IP header does not count
};
std::vector<VnetRow> vnet_rows();

/// UDP packets of a VNet host in untagged frames.
Bytes vnet_v4(std::string_view dst, Ipv4 h = {}, std::size_t payload = 40);
Bytes vnet_v6(std::string_view dst, Ipv6 h = {}, std::size_t payload = 40);

/// What the forwarding table holds: prefix, and whether it is behind a tunnel. (198.51.100.1 is our own address.)
struct VnetRoute {
  std::string_view prefix;
  bool tunnel;
};
std::vector<VnetRoute> vnet_routes();

/// The XDP program has a socket on queue 0 and no VLANs.
class VnetTest : public testing::Test {
 protected:
  void SetUp() override;
  xdp::Counters counted_since(const xdp::Counters& before) const;

  std::optional<xdp::Maps> maps_;
  std::optional<xdp::VnetProgram> program_;
  Fd socket_ = unbound_xsk();
  std::optional<fib::Table> table_;
};

}  // namespace gw::packet_test
