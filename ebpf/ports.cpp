#include "ebpf/ports.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "base/log.hpp"
#include "ebpf/gso/vnet_port.hpp"
#include "ebpf/gso/wan_port.hpp"
#include "ebpf/net/interface.hpp"
#include "ebpf/xdp/links.hpp"
#include "ebpf/xsk/device.hpp"
#include "ebpf/xsk/port.hpp"

namespace gw {
namespace {

using namespace std::chrono_literals;

// Each socket fills its receive ring and may have a transmit ring's worth on its way; a third ring's worth
// is for bursts in work and the tunnel devices.
constexpr std::uint32_t kFramesPerSocket = 3 * xsk::kRingEntries;
// For packets that are parked, handed to another worker, or come from a tunnel's device.
constexpr std::uint32_t kFramesPerGsoPort = 4096;
// Packets put together from several frames: 512 are two full receive rings of 9,000-byte packets.
constexpr std::uint32_t kLargeFrames = 512;
// What is in front of an IP packet: Ethernet and two VLAN tags.
constexpr std::uint32_t kLinkBytes = 22;
constexpr int kReopenTries = 20;
constexpr auto kReopenPause = 50ms;

/// Whether a port with packets for the workers is of this kind. The circuit's come by its data TUN.
bool has(const PortPlan& plan, PortKind kind) { return plan.wan.choice.kind == kind || plan.vnet.choice.kind == kind; }

}  // namespace

bool PortPlan::jumbo() const {
  const auto exceeds = [](const PortPlace& place) {
    return place.link.mtu + kLinkBytes > worker::kFrameBytes - worker::kHeadroom;
  };
  return exceeds(wan) || exceeds(vnet) || (circuit && exceeds(*circuit));
}

namespace {

Result<Fd> inherit_fd(Inheritance& from, const std::string& name) {
  Fd fd = from.fds.take(name);
  if (!fd) return fail(Errc::kNotFound, std::format("the running gw-fastpath did not hand over '{}'", name));
  return fd;
}

/// A worker's, all that there are.
std::vector<Fd> inherit_port(Inheritance& from, std::string_view side, std::size_t worker) {
  std::vector<Fd> fds;
  for (;;) {
    Fd fd = from.fds.take(port_fd_name(side, worker, fds.size()));
    if (!fd) return fds;
    fds.push_back(std::move(fd));
  }
}

/// Attached now, or with the switch if another process has the link. Objects move: their descriptors do not.
template <class Program>
Result<xdp::Attachment> attach(Program& program, const PortPlace& place, Inheritance* from,
                               std::vector<Switch>& switches, std::string_view name) {
  if (!from) return program.attach(place.link.ifindex);
  GW_TRY_ASSIGN(Fd link, inherit_fd(*from, std::string(name)));
  switches.push_back([link = link.get(), own = program.program_fd()] { return xdp::replace_program({link}, own); });
  program.inherit(std::move(link));
  return from->ports[place.side].attachment;
}

Result<Buffers> make_buffers(const PortPlan& plan, Inheritance* from) {
  Buffers b;
  worker::FrameGeometry geometry{.frames = static_cast<std::uint32_t>(plan.workers) * plan.frames_each};
  if (plan.jumbo()) {
    geometry.frame_bytes = worker::kPageFrameBytes;
    geometry.large_frames = static_cast<std::uint32_t>(plan.workers) * kLargeFrames;
  }
  const bool xsk = has(plan, PortKind::kXsk);
  if (xsk) geometry.sharing = worker::FrameGeometry::Sharing::kWithSuccessor;
  if (xsk && from) {
    GW_TRY_ASSIGN(Fd fd, inherit_fd(*from, kFramesName));
    GW_TRY_ASSIGN(b.memory, worker::FrameMemory::share(geometry, std::move(fd)));
  } else {
    GW_TRY_ASSIGN(b.memory, worker::FrameMemory::create(geometry));
  }
  b.pools = worker::FramePools::cut(*b.memory, plan.workers);
  if (!xsk) return b;
  if (from) {  // registered already; which frames are free is told when that process has stopped
    for (const auto& pool : b.pools) pool->set_free(std::vector<bool>(b.memory->frames()));
    return b;
  }
  using PerPacket = xsk::Umem::FramesPerPacket;
  GW_TRY_ASSIGN(b.umem, xsk::Umem::create(*b.memory, b.jumbo() ? PerPacket::kSeveral : PerPacket::kOne));
  return b;
}

rpc::PortFacts facts_of(const PortPlace& place) {
  return {.interface = place.link.name,
          .side = place.side,
          .kind = place.choice.kind == PortKind::kXsk ? "xsk" : "gso",
          .reason = place.choice.reason,
          .driver = net::driver_name(place.link.name)};
}

Result<std::unique_ptr<xsk::Socket>> open_socket(const PortPlace& place, std::uint32_t queue, Buffers& buffers,
                                                 const xsk::CopyChoice& choice, Inheritance* from) {
  const std::size_t workers = buffers.pools.size();
  worker::FramePool& pool = *buffers.pools[queue % workers];
  if (!from) return xsk::Socket::open(*buffers.umem, pool, {place.link.name, queue}, choice.mode);
  GW_TRY_ASSIGN(Fd fd, inherit_fd(*from, port_fd_name(place.side, queue % workers, queue / workers)));
  return xsk::Socket::adopt(std::move(fd), pool);
}

/// Program on the interface, a socket on each of its queues, the sockets in the program's map. The queues are
/// dealt to the workers in turn.
template <class Program>
Result<OpenPort> open_xsk_port(const PortPlace& place, Program& program, Ports& ports, const xsk::CopyChoice& choice,
                               Inheritance* from) {
  const net::Link& link = place.link;
  Buffers& buffers = ports.buffers;
  OpenPort port;
  std::vector<std::vector<std::unique_ptr<xsk::Socket>>> sockets(buffers.pools.size());
  port.facts = facts_of(place);
  port.facts.zero_copy = true;
  port.facts.copy_reason = choice.reason;
  GW_TRY_ASSIGN(port.facts.attachment, attach(program, place, from, ports.switches, "xdp-" + place.side));
  if (auto kept = xsk::keep_vlan_tags(link.name); !kept)
    log::warning("port", "{}: use no VLANs on this port, or give gw-fastpath the VLAN device", kept.error().describe());
  GW_TRY_ASSIGN(port.facts.queues, xsk::rx_queues(link.name));
  for (std::uint32_t queue = 0; queue < port.facts.queues; ++queue) {
    const std::size_t worker = queue % sockets.size();
    GW_TRY_ASSIGN(auto socket, open_socket(place, queue, buffers, choice, from));
    GW_TRY(program.set_socket(queue, socket->fd()));
    port.facts.zero_copy &= socket->mode() == xsk::CopyMode::kZeroCopy;
    sockets[worker].push_back(std::move(socket));
  }
  const std::uint32_t room = buffers.jumbo() ? worker::kLargeFrameBytes : buffers.memory->frame_bytes();
  port.watch.emplace(xsk::PortWatch::Start{link.name, port.facts.queues, room - worker::kHeadroom - kLinkBytes});
  for (std::size_t worker = 0; worker < sockets.size(); ++worker)
    port.ports.push_back(std::make_unique<xsk::XskPort>(std::move(sockets[worker]), *buffers.pools[worker]));
  return port;
}

/// The kernel's sockets for each worker. IKE that comes with ESP goes to its door of `ports.ike`.
Result<OpenPort> open_gso_wan(const PortPlan& plan, const xdp::Maps& maps, Ports& ports, Inheritance* from) {
  OpenPort port;
  port.facts = facts_of(plan.wan);
  port.facts.queues = static_cast<std::uint32_t>(plan.workers);
  GW_TRY_ASSIGN(Fd steered, from ? inherit_fd(*from, kNatTSocketsName) : Result<Fd>());
  GW_TRY_ASSIGN(ports.nat_t, xdp::NatTSteering::load(maps, std::move(steered)));
  GW_TRY_ASSIGN(ports.ike, relay::IkeInbox::make(plan.workers));
  for (std::size_t worker = 0; worker < plan.workers; ++worker) {
    const bool first = worker == 0;
    GW_TRY_ASSIGN(auto sockets,
                  from ? gso::WanPort::Sockets::adopt(inherit_port(*from, "wan", worker))
                       : gso::WanPort::Sockets::open(first ? gso::EspReceiving::kAll : gso::EspReceiving::kNone));
    for (const Fd* fd : {&sockets.udp4, &sockets.udp6}) {
      if (!*fd) continue;
      if (!from)
        GW_TRY(ports.nat_t->add(static_cast<std::uint32_t>(worker), fd->get()));
      else if (first)
        ports.switches.push_back(
            [fd = fd->get(), program = ports.nat_t->program_fd()] { return xdp::NatTSteering::steer({fd}, program); });
    }
    GW_TRY_ASSIGN(auto made, gso::WanPort::make({std::move(sockets), *ports.buffers.pools[worker],
                                                 plan.wan.link.ifindex, ports.ike->door(worker), first}));
    port.ports.push_back(std::move(made));
  }
  GW_TRY_ASSIGN(xdp::WanTcProgram program, xdp::WanTcProgram::load(maps));
  GW_TRY_ASSIGN(port.facts.attachment, attach(program, plan.wan, from, ports.switches, "tcx-wan"));
  ports.wan_tc = std::move(program);
  return port;
}

std::uint32_t slot_bytes(const Buffers& buffers) {
  return buffers.jumbo() ? worker::kLargeFrameBytes : worker::kFrameBytes;
}

/// A data TUN with a queue for each worker, which are `port`'s then.
Result<gso::DataTun> open_data_tun(const char* name, const xdp::Maps& maps, OpenPort& port, Ports& ports,
                                   Inheritance* from) {
  const std::size_t workers = ports.buffers.pools.size();
  const std::string side = port.facts.side;
  std::vector<Fd> queues;
  for (std::size_t worker = 0; from && worker < workers; ++worker) {
    GW_TRY_ASSIGN(queues.emplace_back(), inherit_fd(*from, port_fd_name(side, worker, 0)));
  }
  GW_TRY_ASSIGN(gso::DataTun tun,
                from ? gso::DataTun::adopt(name, std::move(queues)) : gso::DataTun::open(name, workers));
  for (std::size_t worker = 0; worker < workers; ++worker)
    port.ports.push_back(std::make_unique<gso::VnetPort>(
        gso::VnetPort::Parts{tun.take_queue(worker), *ports.buffers.pools[worker], tun.udp(),
                             worker == 0 ? tun.name() : std::string{}, slot_bytes(ports.buffers)}));
  GW_TRY_ASSIGN(xdp::TunSteering steering, xdp::TunSteering::load(maps));
  if (from)
    ports.switches.push_back(
        [fd = tun.steering_fd(), steering = std::make_shared<xdp::TunSteering>(std::move(steering))] {
          return gso::DataTun::set_steering({fd}, steering->program_fd());
        });
  else
    GW_TRY(gso::DataTun::set_steering({tun.steering_fd()}, steering.program_fd()));
  GW_TRY_ASSIGN(xdp::DecryptedTcProgram program, xdp::DecryptedTcProgram::load(maps));
  const PortPlace place{.link = {.ifindex = tun.ifindex()}, .side = side, .choice = {}};
  GW_TRY(attach(program, place, from, ports.switches, std::format("tcx-{}", name)));
  ports.decrypted_tc.push_back(std::move(program));
  return tun;
}

/// A clear port's tcx program, not attached yet. `tun`: null leaves packets for tunnels to the kernel.
Result<xdp::VnetTcProgram> load_clear_tc(gw_side side, const xdp::Maps& maps, const gso::DataTun* tun,
                                         const Buffers& buffers) {
  GW_TRY_ASSIGN(xdp::VnetTcProgram program, xdp::VnetTcProgram::load(maps, side));
  if (tun) program.set_data_device(tun->ifindex());
  if (buffers.jumbo()) program.set_max_packet(gso::VnetPort::room_of(slot_bytes(buffers)));
  return program;
}

Result<OpenPort> open_gso_vnet(const PortPlan& plan, const xdp::Maps& maps, Ports& ports, Inheritance* from) {
  OpenPort port;
  port.facts = facts_of(plan.vnet);
  port.facts.queues = static_cast<std::uint32_t>(plan.workers);
  GW_TRY_ASSIGN(ports.data_tun, open_data_tun(gso::DataTun::kName, maps, port, ports, from));
  GW_TRY_ASSIGN(xdp::VnetTcProgram program, load_clear_tc(GW_SIDE_VNET, maps, &*ports.data_tun, ports.buffers));
  GW_TRY_ASSIGN(port.facts.attachment, attach(program, plan.vnet, from, ports.switches, "tcx-vnet"));
  ports.vnet_tc = std::move(program);
  return port;
}

/// Behind XDP, for what XDP passes. Without it that is the kernel's, whose routes are the same: worth a warning only.
Result<std::optional<xdp::VnetTcProgram>> open_tc_behind(const PortPlace& place, xdp::VnetTcProgram program,
                                                         xdp::VnetProgram& in_front, Ports& ports, Inheritance* from) {
  if (auto attached = attach(program, place, from, ports.switches, "tcx-" + place.side); !attached) {
    log::warning("port", "{}: {}", place.link.name, attached.error().describe());
    return std::nullopt;
  }
  in_front.set_tcx_behind();
  return program;
}

Result<OpenPort> open_xsk_vnet(const PortPlan& plan, const PortPrograms& programs, Ports& ports,
                               const xsk::CopyChoice& choice) {
  GW_TRY_ASSIGN(OpenPort port, open_xsk_port(plan.vnet, programs.vnet, ports, choice, programs.from));
  GW_TRY_ASSIGN(xdp::VnetTcProgram program, load_clear_tc(GW_SIDE_VNET, programs.maps, nullptr, ports.buffers));
  GW_TRY_ASSIGN(ports.vnet_tc, open_tc_behind(plan.vnet, std::move(program), programs.vnet, ports, programs.from));
  return port;
}

/// Its packets for tunnels come by a data TUN on both kinds of port: transit is closed but where somebody opens it.
Result<OpenPort> open_circuit(const PortPlan& plan, const PortPrograms& programs, Ports& ports) {
  const PortPlace& place = *plan.circuit;
  OpenPort port;
  port.facts = facts_of(place);
  GW_TRY_ASSIGN(port.facts.queues, xsk::rx_queues(place.link.name));
  GW_TRY_ASSIGN(ports.circuit_tun,
                open_data_tun(gso::DataTun::kCircuitName, programs.maps, port, ports, programs.from));
  GW_TRY_ASSIGN(xdp::VnetTcProgram program,
                load_clear_tc(GW_SIDE_CIRCUIT, programs.maps, &*ports.circuit_tun, ports.buffers));
  if (place.choice.kind == PortKind::kGso) {
    GW_TRY_ASSIGN(port.facts.attachment, attach(program, place, programs.from, ports.switches, "tcx-circuit"));
    ports.circuit_tc = std::move(program);
    return port;
  }
  GW_TRY_ASSIGN(port.facts.attachment, attach(*programs.circuit, place, programs.from, ports.switches, "xdp-circuit"));
  if (auto kept = xsk::keep_vlan_tags(place.link.name); !kept)
    log::warning("port", "{}: use no VLANs on this port, or give gw-fastpath the VLAN device", kept.error().describe());
  GW_TRY_ASSIGN(ports.circuit_tc, open_tc_behind(place, std::move(program), *programs.circuit, ports, programs.from));
  return port;
}

/// What drivers do not take from XDP would be lost without a word; without the count it still is forwarded.
std::optional<xdp::DevmapDrops> count_devmap_drops(const PortPlan& plan, const xdp::Maps& maps) {
  const bool circuit_xsk = plan.circuit && plan.circuit->choice.kind == PortKind::kXsk;
  if (plan.vnet.choice.kind != PortKind::kXsk && !circuit_xsk) return std::nullopt;
  auto counting =
      xdp::DevmapDrops::start(maps, {plan.vnet.link.ifindex, plan.circuit ? plan.circuit->link.ifindex : 0});
  if (counting) return std::move(*counting);
  log::warning("port", "frames that a driver does not take are not counted: {}", counting.error().describe());
  return std::nullopt;
}

Result<Ports> open_ports_as(const PortPlan& plan, const PortPrograms& programs, const xsk::CopyChoice& choice) {
  Ports ports;
  GW_TRY_ASSIGN(ports.buffers, make_buffers(plan, programs.from));
  GW_TRY_ASSIGN(ports.wan, plan.wan.choice.kind == PortKind::kXsk
                               ? open_xsk_port(plan.wan, programs.wan, ports, choice, programs.from)
                               : open_gso_wan(plan, programs.maps, ports, programs.from));
  GW_TRY_ASSIGN(ports.vnet, plan.vnet.choice.kind == PortKind::kXsk
                                ? open_xsk_vnet(plan, programs, ports, choice)
                                : open_gso_vnet(plan, programs.maps, ports, programs.from));
  if (plan.circuit) {
    GW_TRY_ASSIGN(ports.circuit, open_circuit(plan, programs, ports));
  }
  ports.devmap_drops = count_devmap_drops(plan, programs.maps);
  return ports;
}

xsk::CopyChoice choose_copy_mode(const PortPlan& plan) {
  std::vector<xsk::PortOffer> offers;
  for (const PortPlace* place : {&plan.wan, &plan.vnet}) {
    if (place->choice.kind != PortKind::kXsk) continue;
    const bool zero_copy = xsk::offers_zero_copy(place->link.ifindex);
    offers.push_back({place->link.name, zero_copy ? xsk::CopyMode::kZeroCopy : xsk::CopyMode::kCopy});
  }
  return xsk::choose_copy_mode(offers);
}

/// The kernel frees the queues of closed sockets a little later (xp_release_deferred), also those of a gw-fastpath that
/// was killed just now: until then somebody has them.
Result<Ports> open_ports_in_time(const PortPlan& plan, const PortPrograms& programs, const xsk::CopyChoice& choice) {
  auto ports = open_ports_as(plan, programs, choice);
  const bool xsk = has(plan, PortKind::kXsk);
  for (int tries = 0; xsk && !ports && ports.error().code == Errc::kAlreadyExists && tries < kReopenTries; ++tries) {
    std::this_thread::sleep_for(kReopenPause);
    ports = open_ports_as(plan, programs, choice);
  }
  return ports;
}

void tell(const OpenPort& port) {
  const rpc::PortFacts& f = port.facts;
  if (f.kind == "gso")
    return log::info("port", "{} is the {} port: gso with {} ({})", f.interface, f.side, f.attachment.mode, f.reason);
  if (f.side == "circuit")
    return log::info("port", "{} is the circuit port: XDP {} ({})", f.interface, f.attachment.mode, f.reason);
  log::info("port", "{} is the {} port: XDP {}, {} queue(s), {} ({}; {})", f.interface, f.side, f.attachment.mode,
            f.queues, f.zero_copy ? "zero copy" : "copy mode", f.reason, f.copy_reason);
}

}  // namespace

std::string port_fd_name(std::string_view side, std::size_t worker, std::size_t i) {
  return std::format("port-{}-{}-{}", side, worker, i);
}

PortChoice choose_port_kind(std::optional<PortKind> asked, const net::Link& link) {
  return choose_port_kind(
      asked, PortOffer{.driver = net::driver_name(link.name), .zero_copy = xsk::offers_zero_copy(link.ifindex)});
}

/// All xsk ports in one mode. A driver may offer zero copy and then refuse it (queue settings, MTU): then all
/// are opened once more, in copy mode.
Result<Ports> open_ports(const PortPlan& plan, const PortPrograms& programs) {
  const xsk::CopyChoice choice = choose_copy_mode(plan);
  auto ports = open_ports_in_time(plan, programs, choice);
  if (!ports && has(plan, PortKind::kXsk) && choice.mode == xsk::CopyMode::kZeroCopy) {
    const std::string why = std::format("zero copy was refused: {}", ports.error().describe());
    log::warning("port", "{}; all ports use copy mode", why);
    ports = open_ports_in_time(plan, programs, {xsk::CopyMode::kCopy, why});
  }
  if (!ports) return ports;
  tell(ports->wan);
  tell(ports->vnet);
  if (ports->circuit) tell(*ports->circuit);
  if (ports->buffers.jumbo()) programs.vnet.set_max_packet(worker::kLargeFrameBytes);
  return ports;
}

Result<worker::Placement> place_workers(PortPlan& plan, std::optional<std::size_t> asked) {
  std::vector<worker::QueueLimit> limits;
  std::vector<std::uint32_t> queues;
  for (const PortPlace* place : {&plan.wan, &plan.vnet}) {
    if (place->choice.kind != PortKind::kXsk) continue;
    GW_TRY_ASSIGN(const std::uint32_t n, xsk::rx_queues(place->link.name));
    if (n > GW_XDP_MAX_QUEUES)
      return fail(Errc::kLimit,
                  std::format("{0} has {1} receive queues; {2} at most can be served: ethtool -L {0} combined {2}",
                              place->link.name, n, GW_XDP_MAX_QUEUES));
    limits.push_back({place->link.name, n});
    queues.push_back(n);
  }
  auto placement = worker::place(asked, worker::this_machine(), limits);
  plan.workers = placement.workers;
  const std::size_t others = 2 - queues.size() + (plan.circuit ? 1 : 0);
  plan.frames_each = static_cast<std::uint32_t>(others) * kFramesPerGsoPort;
  for (const std::uint32_t n : queues)
    plan.frames_each += static_cast<std::uint32_t>((n + plan.workers - 1) / plan.workers) * kFramesPerSocket;
  if (asked && *asked > placement.workers)
    log::warning("worker", "{} worker(s): {}", placement.workers, placement.reason);
  else
    log::info("worker", "{} worker(s): {}", placement.workers, placement.reason);
  return placement;
}

}  // namespace gw
