// What a gw-fastpath stands on: records, programs, ports, workers and sockets, opened in order; over the descriptors of
// a process before this one, if there is one. Control thread, at start.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "ebpf/esp/runtime_store.hpp"
#include "ebpf/fastpath.hpp"
#include "ebpf/fib/v4_table.hpp"
#include "ebpf/handover/taker.hpp"
#include "ebpf/liveness/thread.hpp"
#include "ebpf/net/icmp_listener.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/relay/udp_socket.hpp"
#include "ebpf/tun/fd_store.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/maps.hpp"
#include "ebpf/xdp/programs.hpp"

namespace gw {

/// In the order of construction; destroyed in reverse.
struct Foundation {
  std::string program;  // ours
  tun::FdStore fds;
  tun::FdStore inherited;
  std::vector<Switch> switches;
  std::vector<relay::UdpSocket> ike_sockets;
  std::vector<Fd> esp_takers;
  xdp::Maps maps;
  xdp::WanProgram wan;
  xdp::VnetProgram vnet;
  std::optional<xdp::VnetProgram> circuit;
  std::unique_ptr<esp::RuntimeStore> store;
  std::vector<rpc::PortFacts> facts;
  Buffers buffers;
  std::optional<xdp::NatTSteering> nat_t;
  std::unique_ptr<relay::IkeInbox> ike;
  std::optional<gso::DataTun> data_tun;
  std::optional<xdp::WanTcProgram> wan_tc;
  std::optional<xdp::VnetTcProgram> vnet_tc;
  std::optional<gso::DataTun> circuit_tun;
  std::optional<xdp::VnetTcProgram> circuit_tc;
  std::vector<xdp::DecryptedTcProgram> decrypted_tc;
  std::optional<xdp::DevmapDrops> devmap_drops;
  std::unique_ptr<worker::Workers> workers;
  std::unique_ptr<liveness::Thread> liveness;
  net::Netlink netlink;
  net::Netlink adjacency_netlink;
  net::NetlinkMonitor monitor;
  net::IcmpListener icmp;
  std::vector<std::optional<xsk::PortWatch>> watches;

  /// `from`: a process that runs, over whose sockets and records this one comes; null: none does.
  static Result<Foundation> open(const FastpathOptions& options, const Clock& clock, handover::Taker* from);
};

fib::Memory as_memory(const xdp::FibArrays& arrays);

}  // namespace gw
