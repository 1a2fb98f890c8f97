// Opening the ports, of whatever kind each is: programs attached, sockets and devices open, one worker::Port a
// worker and side. Control thread, at start.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "ebpf/gso/data_tun.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/port_kind.hpp"
#include "ebpf/relay/ike_inbox.hpp"
#include "ebpf/rpc/service.hpp"
#include "ebpf/tun/fd_store.hpp"
#include "ebpf/worker/frame_pool.hpp"
#include "ebpf/worker/placement.hpp"
#include "ebpf/worker/port.hpp"
#include "ebpf/xdp/programs.hpp"
#include "ebpf/xdp/tc_programs.hpp"
#include "ebpf/xsk/port_watch.hpp"
#include "ebpf/xsk/umem.hpp"

namespace gw {

/// By what this interface's driver offers.
PortChoice choose_port_kind(std::optional<PortKind> asked, const net::Link& link);

struct PortPlace {
  net::Link link;
  std::string side;
  PortChoice choice;
};

struct PortPlan {
  PortPlace wan;
  PortPlace vnet;
  std::optional<PortPlace> circuit;
  std::size_t workers = 1;
  std::uint32_t frames_each = 0;  // for a worker

  /// A port's MTU is more than a packet buffer has room for: packets come in several (xsk), or are large (gso).
  bool jumbo() const;
};

/// Packet buffers of the process and, if a port is of kind xsk, their registration with AF_XDP; outlives the ports.
struct Buffers {
  std::unique_ptr<worker::FrameMemory> memory;
  std::vector<std::unique_ptr<worker::FramePool>> pools;  // by worker
  std::unique_ptr<xsk::Umem> umem;

  bool jumbo() const { return memory->large_frames() > 0; }
};

struct OpenPort {
  std::vector<std::unique_ptr<worker::Port>> ports;  // by worker
  rpc::PortFacts facts;
  std::optional<xsk::PortWatch> watch;  // of an xsk port
};

/// What a process before this one has open, which still forwards.
struct InheritedPort {
  std::string kind;  // "xsk" or "gso"
  xdp::Attachment attachment;
  bool zero_copy = false;
  std::uint32_t queues = 0;
};
struct Inheritance {
  tun::FdStore& fds;
  std::map<std::string, InheritedPort> ports;  // by side
  std::size_t workers = 0;
};
/// How its descriptors are called.
std::string port_fd_name(std::string_view side, std::size_t worker, std::size_t i);
inline constexpr const char* kFramesName = "frames";
inline constexpr const char* kNatTSocketsName = "nat-t-sockets";

/// Puts our programs in the place of those before; when that process has stopped.
using Switch = std::function<Status()>;

struct Ports {
  std::vector<Switch> switches;  // of an inheritance
  std::optional<xdp::NatTSteering> nat_t;
  Buffers buffers;
  OpenPort wan;
  OpenPort vnet;
  // Of gso ports:
  std::unique_ptr<relay::IkeInbox> ike;  // what workers find on UDP 4500
  std::optional<gso::DataTun> data_tun;
  std::optional<xdp::WanTcProgram> wan_tc;
  // On the clear ports, of an xsk port behind its XDP program (none: this kernel has no tcx).
  std::optional<xdp::VnetTcProgram> vnet_tc;
  std::optional<OpenPort> circuit;
  std::optional<gso::DataTun> circuit_tun;  // to and from tunnels, whatever the port's kind
  std::optional<xdp::VnetTcProgram> circuit_tc;
  std::vector<xdp::DecryptedTcProgram> decrypted_tc;  // on the data TUNs
  std::optional<xdp::DevmapDrops> devmap_drops;       // of XDP on clear ports
};

struct PortPrograms {
  xdp::WanProgram& wan;
  xdp::VnetProgram& vnet;
  xdp::VnetProgram* circuit;  // null: none
  const xdp::Maps& maps;
  Inheritance* from = nullptr;  // null: everything is opened
};

/// Workers as CPUs and queues allow, with frames for the one that needs most.
Result<worker::Placement> place_workers(PortPlan& plan, std::optional<std::size_t> asked);

Result<Ports> open_ports(const PortPlan& plan, const PortPrograms& programs);

}  // namespace gw
