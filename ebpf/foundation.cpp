#include "ebpf/foundation.hpp"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/log.hpp"
#include "ebpf/abi/fib.h"
#include "ebpf/handover/process.hpp"
#include "ebpf/net/raw_sender.hpp"
#include "ebpf/relay/sockets.hpp"
#include "ebpf/succession.hpp"
#include "ebpf/xsk/device.hpp"

namespace gw {

fib::Memory as_memory(const xdp::FibArrays& a) { return {a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops}; }

namespace {

/// Each tunnel may need a next hop of its own, and groups with others; each address of ours may need a /24's group.
xdp::FibSize fib_size(const FastpathOptions& o) {
  xdp::FibSize size = o.fib;
  size.v4_groups += fib::kOwnV4Groups;
  size.next_hops = std::min(std::max(size.next_hops, 2 * o.max_tunnels), std::uint32_t{GW_FIB_MAX_NEXT_HOPS});
  return size;
}
struct WorkerNeeds {
  const FastpathOptions& options;
  const fib::Memory& fib;
  const Clock& clock;
  gw_gates& gates;
};

Result<std::unique_ptr<worker::Workers>> start_workers(Ports& ports, const worker::Placement& placement,
                                                       const WorkerNeeds& needs, worker::Worker::Activity activity) {
  std::vector<worker::Worker::Parts> parts;
  for (std::size_t i = 0; i < placement.workers; ++i) {
    GW_TRY_ASSIGN(net::RawSender raw, net::RawSender::open(needs.options.wan));
    GW_TRY_ASSIGN(auto crypto, esp::make_backend(needs.options.crypto));
    if (i == 0) log::info("esp", "crypto: {}", crypto->name());
    parts.push_back({std::move(ports.buffers.pools[i]), std::move(ports.wan.ports[i]), std::move(ports.vnet.ports[i]),
                     std::move(raw), std::move(crypto), placement.cpus[i],
                     ports.circuit ? std::move(ports.circuit->ports[i]) : nullptr});
  }
  const worker::Shared::Size size{
      .tunnels = needs.options.max_tunnels, .sas = needs.options.max_sas, .gates = &needs.gates};
  return worker::Workers::start(std::move(parts), size, needs.fib, needs.clock, activity);
}

/// The records must not survive a reboot: a disk that was rolled back brings back an older IV epoch, and
/// with it nonces that were used.
Status check_volatile(const std::string& dir) {
  struct statfs fs{};
  if (::statfs(dir.c_str(), &fs) != 0) return fail_errno(std::format("looking at the state directory {}", dir));
  if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) return {};
  return fail_field("state-dir", std::format("{} is not on tmpfs: a volume that is rolled back would repeat nonces; "
                                             "choose a directory below /run",
                                             dir));
}

Result<std::unique_ptr<esp::RuntimeStore>> open_store(const FastpathOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.state_dir, error);
  if (error)
    return fail(Errc::kIo, std::format("making the state directory {}: {}", options.state_dir, error.message()));
  if (options.state_place == StatePlace::kVolatile) GW_TRY(check_volatile(options.state_dir));
  (void)::chmod(options.state_dir.c_str(), 0700);
  GW_TRY_ASSIGN(auto store, esp::RuntimeStore::open(options.state_dir + "/runtime", options.max_sas * 2));
  if (!store->replaced().empty()) log::warning("sa", "the runtime records were replaced: {}", store->replaced());
  return store;
}

/// Each port has its own interface.
Status check_ports_differ(const FastpathOptions& o) {
  if (o.vnet == o.wan) return fail_field("--vnet", std::format("{} is the wan port already", o.vnet));
  if (o.circuit == o.wan) return fail_field("--circuit", std::format("{} is the wan port already", o.circuit));
  if (o.circuit == o.vnet) return fail_field("--circuit", std::format("{} is the vnet port already", o.circuit));
  return {};
}

/// What changes between two processes needs a start without the one before.
Status check_same(const PortPlan& plan, const Inheritance& from) {
  if (plan.workers != from.workers)
    return fail_field("workers",
                      std::format("would be {} now, and {} run; this needs a restart", plan.workers, from.workers));
  for (const PortPlace* place : {&plan.wan, &plan.vnet, plan.circuit ? &*plan.circuit : nullptr}) {
    if (!place) continue;
    const auto before = from.ports.find(place->side);
    const std::string_view kind = place->choice.kind == PortKind::kXsk ? "xsk" : "gso";
    if (before == from.ports.end() || before->second.kind != kind)
      return fail_field(place->side + "-port", std::format("would be {} now; this needs a restart", kind));
  }
  return {};
}

}  // namespace

Result<Foundation> Foundation::open(const FastpathOptions& o, const Clock& clock, handover::Taker* taker) {
  tun::FdStore fds = tun::FdStore::from_environment();
  std::optional<Inheritance> from;
  if (taker) {
    fds.take_all(taker->fds());
    from.emplace(succession::inheritance(fds, taker->offer()));
  }
  GW_TRY_ASSIGN(net::Netlink netlink, net::Netlink::open());
  GW_TRY_ASSIGN(net::Netlink adjacency_netlink, net::Netlink::open());
  GW_TRY_ASSIGN(net::NetlinkMonitor monitor, net::NetlinkMonitor::open());
  GW_TRY_ASSIGN(net::IcmpListener icmp, net::IcmpListener::open());
  GW_TRY_ASSIGN(const net::Link wan_link, netlink.link(o.wan));
  GW_TRY_ASSIGN(const net::Link vnet_link, netlink.link(o.vnet));
  GW_TRY_ASSIGN(auto store, from ? esp::RuntimeStore::share(fds.take("store"), o.max_sas * 2) : open_store(o));
  GW_TRY(check_ports_differ(o));
  GW_TRY_ASSIGN(xdp::Maps maps, xdp::Maps::create({.max_sas = o.max_sas,
                                                   .fib = fib_size(o),
                                                   .max_local_addresses = xdp::local_addresses_for(o.max_tunnels),
                                                   .max_peers = o.max_tunnels}));
  GW_TRY_ASSIGN(xdp::WanProgram wan, xdp::WanProgram::load(maps));
  GW_TRY_ASSIGN(xdp::VnetProgram vnet, xdp::VnetProgram::load(maps));
  PortPlan plan{.wan = {wan_link, "wan", choose_port_kind(o.wan_port, wan_link)},
                .vnet = {vnet_link, "vnet", choose_port_kind(o.vnet_port, vnet_link)},
                .circuit = {}};
  std::optional<xdp::VnetProgram> circuit;
  if (!o.circuit.empty()) {
    GW_TRY_ASSIGN(const net::Link link, netlink.link(o.circuit));
    plan.circuit = PortPlace{link, "circuit", choose_port_kind(o.circuit_port, link)};
    GW_TRY_ASSIGN(circuit, xdp::VnetProgram::load(maps, GW_SIDE_CIRCUIT));
  }
  GW_TRY_ASSIGN(auto ike_sockets, relay::open_sockets(fds, std::array{relay::kIkePort, relay::kNatTPort}));
  GW_TRY_ASSIGN(auto esp_takers, relay::open_esp_takers(fds));
  GW_TRY_ASSIGN(const worker::Placement placement, place_workers(plan, o.workers));
  if (from) GW_TRY(check_same(plan, *from));
  GW_TRY_ASSIGN(Ports ports,
                open_ports(plan, {wan, vnet, circuit ? &*circuit : nullptr, maps, from ? &*from : nullptr}));
  using Activity = worker::Worker::Activity;
  using Begin = liveness::Thread::Parts::Begin;
  GW_TRY_ASSIGN(auto workers, start_workers(ports, placement, {o, as_memory(maps.fib()), clock, maps.gates()},
                                            from ? Activity::kResting : Activity::kForwarding));
  GW_TRY_ASSIGN(auto liveness, liveness::Thread::start(
                                   {clock, o.bfd_port, fds.take("bfdd"), from ? Begin::kPaused : Begin::kRunning}));
  tun::FdStore inherited;
  for (const std::string& name : succession::names_for_later())
    if (Fd fd = fds.take(name)) inherited.put(name, std::move(fd));
  std::vector<rpc::PortFacts> facts = {ports.wan.facts, ports.vnet.facts};
  if (ports.circuit) facts.push_back(ports.circuit->facts);
  GW_TRY_ASSIGN(std::string program, handover::own_path());
  return Foundation{std::move(program),
                    std::move(fds),
                    std::move(inherited),
                    std::move(ports.switches),
                    std::move(ike_sockets),
                    std::move(esp_takers),
                    std::move(maps),
                    std::move(wan),
                    std::move(vnet),
                    std::move(circuit),
                    std::move(store),
                    std::move(facts),
                    std::move(ports.buffers),
                    std::move(ports.nat_t),
                    std::move(ports.ike),
                    std::move(ports.data_tun),
                    std::move(ports.wan_tc),
                    std::move(ports.vnet_tc),
                    std::move(ports.circuit_tun),
                    std::move(ports.circuit_tc),
                    std::move(ports.decrypted_tc),
                    std::move(ports.devmap_drops),
                    std::move(workers),
                    std::move(liveness),
                    std::move(netlink),
                    std::move(adjacency_netlink),
                    std::move(monitor),
                    std::move(icmp),
                    {ports.wan.watch, ports.vnet.watch}};
}

}  // namespace gw
