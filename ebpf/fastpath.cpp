// The wiring: XDP programs and AF_XDP sockets -> worker; netlink -> paths; RPC -> service; notices and
// XDP events -> events to clients; timers.
#include "ebpf/fastpath.hpp"

#include <linux/magic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include "base/log.hpp"
#include "base/wire.hpp"
#include "ebpf/abi/fib.h"
#include "ebpf/control/adjacencies.hpp"
#include "ebpf/control/events.hpp"
#include "ebpf/control/forwarding.hpp"
#include "ebpf/control/liveness.hpp"
#include "ebpf/control/path_mtus.hpp"
#include "ebpf/control/paths.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/esp/runtime_store.hpp"
#include "ebpf/fib/v4_table.hpp"
#include "ebpf/liveness/thread.hpp"
#include "ebpf/liveness/workers_advance.hpp"
#include "ebpf/relay/ike_relay.hpp"
#include "ebpf/relay/sockets.hpp"
#include "ebpf/rpc/server.hpp"
#include "ebpf/rpc/service.hpp"
#include "ebpf/succession.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/maps.hpp"
#include "ebpf/xdp/programs.hpp"
#include "ebpf/xsk/device.hpp"

namespace gw {
namespace asio = boost::asio;
namespace fp = ::gw::fastpath::v1;
namespace {

using namespace std::chrono_literals;

constexpr auto kTick = 1s;
constexpr auto kSyncLook = 20ms;  // for another instance, while there is none
// Half of the shortest time after which the kernel calls a neighbour stale (base_reachable_time / 2 = 15 s).
constexpr unsigned kFreshenTicks = 10;
constexpr auto kRouteSettle = 50ms;  // route changes come in bursts
// charon's plugin tries again several times a second.
constexpr auto kCharonGrace = 2s;

/// Each tunnel may need a next hop of its own, and groups with others; each address of ours may need a /24's group.
xdp::FibSize fib_size(const FastpathOptions& o) {
  xdp::FibSize size = o.fib;
  size.v4_groups += fib::kOwnV4Groups;
  size.next_hops = std::min(std::max(size.next_hops, 2 * o.max_tunnels), std::uint32_t{GW_FIB_MAX_NEXT_HOPS});
  return size;
}

fib::Memory as_memory(const xdp::FibArrays& a) { return {a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops}; }

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

/// Keys and clear packets stay out of core files and of other processes of this user. What systemd-coredump
/// gets by a pipe ignores the limit, hence both.
Status refuse_dumps() {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return fail_errno("switching core files off");
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno("making the process undumpable");
  return {};
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

std::string beside(const std::string& path, const char* name) {
  return (std::filesystem::path(path).parent_path() / name).string();
}

/// ESP in UDP that the kernel put together, for the worker that has the SA. False: none has.
bool give_to_owner(worker::Workers& workers, const relay::IkeFlow& flow, std::span<const std::uint8_t> packet) {
  constexpr std::size_t kEspHeaderBytes = 8;
  if (packet.size() < kEspHeaderBytes) return false;
  const worker::SaKey key{load_be<std::uint32_t>(packet.data()), flow.local.address};
  const worker::Inbound* const sa = workers.shared().inbound.find(key);
  if (!sa) return false;
  workers[sa->owner].call([&](worker::DataPath& d) {
    d.from_kernel({.key = key,
                   .source = flow.peer.address,
                   .source_port = flow.peer.port,
                   .traffic_class = flow.traffic_class,
                   .bytes = packet});
  });
  return true;
}

/// Who we are, for a gw-fastpath that runs; and what it compares with.
fp::HandoverAsk question(const FastpathOptions& o) {
  fp::HandoverAsk ask;
  ask.set_version(handover::kVersion);
  ask.set_release(GW_VERSION);
  ask.set_wan(o.wan);
  ask.set_vnet(o.vnet);
  ask.set_circuit(o.circuit);
  ask.set_instance(o.instance);
  ask.set_max_sas(o.max_sas);
  ask.set_max_tunnels(o.max_tunnels);
  ask.set_record_version(esp::kRecordVersion);
  return ask;
}

/// What changes between two processes needs a start without the one before.
Status check_same(const PortPlan& plan, const Inheritance& from) {
  if (plan.workers != from.workers)
    return fail_field("workers", std::format("would be {} now, and {} run; this needs a restart", plan.workers, from.workers));
  for (const PortPlace* place : {&plan.wan, &plan.vnet, plan.circuit ? &*plan.circuit : nullptr}) {
    if (!place) continue;
    const auto before = from.ports.find(place->side);
    const std::string_view kind = place->choice.kind == PortKind::kXsk ? "xsk" : "gso";
    if (before == from.ports.end() || before->second.kind != kind)
      return fail_field(place->side + "-port", std::format("would be {} now; this needs a restart", kind));
  }
  return {};
}

/// Everything, in the order of construction; destroyed in reverse: RPC, SAs and tunnels, sockets, programs. The workers
/// use all of these, so they have ended before the first goes: however serve() ends, no packet meets a wiped key.
class Fastpath {
 public:
  ~Fastpath() { base_.workers->stop(); }
  Fastpath(const Fastpath&) = delete;
  Fastpath& operator=(const Fastpath&) = delete;
  /// `from`: a process that runs, in whose place this one comes; null: none does.
  static Result<std::unique_ptr<Fastpath>> make(const FastpathOptions& options, handover::Taker* from);
  Status serve(const FastpathOptions& options, handover::Taker* from);

 private:
  struct Base {
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
  };
  static Result<Base> make_base(const FastpathOptions& options, const Clock& clock, handover::Taker* from);
  static relay::IkeRelay::Parts ike_parts(Base& base, const Clock& clock);
  Fastpath(Base base, const FastpathOptions& options);

  succession::Estate estate() {
    return {*base_.workers, *base_.buffers.memory, liveness_, base_.facts, clock_};
  }
  std::vector<tun::NamedFd> descriptors();
  Status succeed(handover::Taker& from);
  void leave_to(int pid);
  Status start_watching();
  Status listen(const FastpathOptions& options);
  void watch(asio::posix::stream_descriptor& fd, std::function<void()> handler);
  void tick();
  void tell_alive();
  void tell_manager(std::string_view state);
  void sync_tick();
  void remove_leaving();
  void check_ports();
  void set_clear_vlans(gw_side side, std::span<const control::VlanStack> stacks);
  void set_clear_link(gw_side side, const net::Link& link);
  void update_frames();

  SystemClock clock_;
  asio::io_context io_;
  Base base_;
  relay::IkeRelay ike_;
  control::Liveness liveness_;
  control::Tunnels tunnels_;
  control::Forwarding forwarding_;
  control::Adjacencies adjacencies_;
  control::Paths paths_;
  control::Endpoints endpoints_;
  control::SaManager sas_;
  control::PathMtus path_mtus_;
  liveness::WorkersAdvance workers_advance_{*base_.workers};
  rpc::Service service_;
  rpc::Server server_;
  control::Events events_;
  handover::Giver giver_;
  asio::signal_set signals_{io_, SIGTERM, SIGINT};
  asio::steady_timer timer_{io_};
  asio::steady_timer sync_timer_{io_};
  asio::steady_timer route_timer_{io_};
  asio::posix::stream_descriptor notices_{io_};
  asio::posix::stream_descriptor liveness_events_{io_};
  asio::posix::stream_descriptor xdp_events_{io_};
  asio::posix::stream_descriptor netlink_{io_};
  asio::posix::stream_descriptor icmp_v4_{io_};
  asio::posix::stream_descriptor icmp_v6_{io_};
  std::array<int, GW_SIDES> ifindexes_{};  // of the clear ports
  unsigned ticks_ = 0;
  bool routes_due_ = false;
  std::optional<Error> failure_;
};

Result<Fastpath::Base> Fastpath::make_base(const FastpathOptions& o, const Clock& clock, handover::Taker* taker) {
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
  GW_TRY_ASSIGN(xdp::Maps maps, xdp::Maps::create({.max_sas = o.max_sas, .fib = fib_size(o)}));
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
  GW_TRY_ASSIGN(Ports ports, open_ports(plan, {wan, vnet, circuit ? &*circuit : nullptr, maps, from ? &*from : nullptr}));
  using Activity = worker::Worker::Activity;
  GW_TRY_ASSIGN(auto workers, start_workers(ports, placement, {o, as_memory(maps.fib()), clock, maps.gates()},
                                            from ? Activity::kResting : Activity::kForwarding));
  GW_TRY_ASSIGN(auto liveness, liveness::Thread::start({clock, o.bfd_port, fds.take("bfdd")}));
  tun::FdStore inherited;
  for (const char* name : {"rpc", "ike", "handover"})
    if (Fd fd = fds.take(name)) inherited.put(name, std::move(fd));
  std::vector<rpc::PortFacts> facts = {ports.wan.facts, ports.vnet.facts};
  if (ports.circuit) facts.push_back(ports.circuit->facts);
  return Base{std::move(fds),
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

relay::IkeRelay::Parts Fastpath::ike_parts(Base& base, const Clock& clock) {
  relay::IkeRelay::Parts parts{.sockets = std::move(base.ike_sockets),
                               .inbox = base.ike.get(),
                               .clock = clock,
                               .grace = kCharonGrace,
                               .esp = nullptr};
  const bool gso = base.ike != nullptr;
  if (!gso)
    parts.esp = [&workers = *base.workers](const relay::IkeFlow& flow, std::span<const std::uint8_t> packet) {
      return give_to_owner(workers, flow, packet);
    };
  return parts;
}

Result<std::unique_ptr<Fastpath>> Fastpath::make(const FastpathOptions& options, handover::Taker* from) {
  static const SystemClock clock;
  GW_TRY_ASSIGN(Base base, make_base(options, clock, from));
  return std::unique_ptr<Fastpath>(new Fastpath(std::move(base), options));
}

Fastpath::Fastpath(Base base, const FastpathOptions& o)
    : base_(std::move(base)),
      ike_(io_, ike_parts(base_, clock_)),
      liveness_(std::move(base_.liveness), {*base_.workers, clock_, static_cast<std::uint8_t>(o.instance)}),
      tunnels_(*base_.workers, base_.maps, std::move(base_.fds), clock_),
      forwarding_(as_memory(base_.maps.fib()), *base_.workers),
      adjacencies_(base_.maps, std::move(base_.adjacency_netlink)),
      paths_({*base_.workers,
              adjacencies_,
              std::move(base_.netlink),
              std::move(base_.monitor),
              {o.wan, o.vnet, base_.data_tun ? base_.data_tun->name() : "", o.circuit,
               base_.circuit_tun ? base_.circuit_tun->name() : ""}}),
      endpoints_(base_.workers->shared().gates, base_.maps, clock_),
      sas_({*base_.workers, base_.maps, *base_.store, tunnels_, paths_, endpoints_, clock_, o.instance, o.max_sas}),
      path_mtus_({sas_, tunnels_, forwarding_, clock_}, std::move(base_.icmp)),
      service_({*base_.workers, base_.maps, ike_, tunnels_, forwarding_, sas_, liveness_, clock_, base_.facts,
                o.max_sas, o.circuit.empty() ? rpc::CircuitPort::kNone : rpc::CircuitPort::kThere, o.transforms}),
      server_(io_, service_),
      events_(server_, sas_, tunnels_),
      giver_({.io = io_,
              .service = service_,
              .forwarding = forwarding_,
              .self = question(o),
              .offer = [this] { return succession::offer(estate()); },
              .fds = [this] { return descriptors(); },
              .stop = [this](fp::HandoverFinal& out) { succession::stop(estate(), out); },
              .go_on = [this] { succession::go_on(estate()); },
              .gone = [this](int pid) { leave_to(pid); }}) {
  ike_.only_if([this](const IpAddress& local) {
    return base_.workers->shared().gates.may_send(endpoints_.gate_of(local), clock_.now());
  });
  if (base_.store->shares_endpoints()) {
    base_.workers->shared().gates.hold();
    log::info("ha", "one of several instances: nothing is sent before gwd says which endpoints are ours");
  }
  if (base_.buffers.jumbo()) tunnels_.set_max_mtu(control::Tunnels::kMaxJumboMtu);
}

/// Calls `handler` whenever the descriptor is readable.
void Fastpath::watch(asio::posix::stream_descriptor& fd, std::function<void()> handler) {
  fd.async_wait(asio::posix::stream_descriptor::wait_read,
                [this, &fd, handler = std::move(handler)](const boost::system::error_code& error) {
                  if (error) return;
                  handler();
                  watch(fd, handler);
                });
}

void Fastpath::set_clear_vlans(gw_side side, std::span<const control::VlanStack> stacks) {
  std::vector<std::uint64_t> keys;
  for (const control::VlanStack& stack : stacks) {
    std::uint64_t key = 0;
    for (const net::VlanTag& tag : stack) key = key << 32 | gw_vlan_key(tag.type, tag.id);
    keys.push_back(key);
  }
  xdp::VnetProgram& program = side == GW_SIDE_CIRCUIT ? *base_.circuit : base_.vnet;
  program.set_vlans(keys);
  auto& behind = side == GW_SIDE_CIRCUIT ? base_.circuit_tc : base_.vnet_tc;
  if (behind) behind->set_vlans(keys);
}

void Fastpath::set_clear_link(gw_side side, const net::Link& link) {
  (side == GW_SIDE_CIRCUIT ? *base_.circuit : base_.vnet).set_mac(link.mac);
  ifindexes_[side] = link.ifindex;
  if (auto done = base_.maps.set_out_port(side, link.ifindex); !done) {
    log::warning("xdp", "{}", done.error().describe());
    ifindexes_[side] = 0;
  }
  update_frames();
}

/// Whether a driver sends XDP frames depends on what else is attached, and on a veth's other end.
void Fastpath::update_frames() {
  for (const gw_side side : {GW_SIDE_VNET, GW_SIDE_CIRCUIT}) {
    const auto sent = ifindexes_[side] == 0 ? xsk::FramesSent::kNone : xsk::frames_sent(ifindexes_[side]);
    base_.maps.set_frames(side, sent == xsk::FramesSent::kPieces  ? GW_XDP_FRAMES_PIECES
                                : sent == xsk::FramesSent::kWhole ? GW_XDP_FRAMES_WHOLE
                                                                  : GW_XDP_FRAMES_NONE);
  }
}

void Fastpath::tick() {
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    sas_.remove_ended_orphans();
    sas_.end_old_reservations();
    tunnels_.settle_due();
    path_mtus_.age();
    base_.workers->reclaim();
    check_ports();
    update_frames();
    adjacencies_.ask_again();
    if (tunnels_.store().manager().watchdog()) tell_alive();
    if (++ticks_ % kFreshenTicks == 0) {
      paths_.keep_fresh();
      adjacencies_.keep_fresh();
    }
    tick();
  });
}

/// Only this thread runs this, the packet threads have gone round, and the liveness thread answers (or call() ends the
/// program after 10 s): whichever hangs, systemd kills us (WatchdogSec=) and the next one takes the descriptors over.
void Fastpath::tell_alive() {
  if (workers_advance_.look() == liveness::Forwarding::kNo) return;
  liveness_.thread().call([](liveness::Thread::Core&, MonoTime) {});
  tell_manager("WATCHDOG=1");
}

void Fastpath::tell_manager(std::string_view state) {
  if (auto told = tunnels_.store().manager().notify(state); !told) log::warning("main", "{}", told.error().describe());
}

/// Rarely while there is nobody to tell.
void Fastpath::sync_tick() {
  using control::SaSync;
  const bool in_sync = sas_.sync().state() == SaSync::State::kInSync;
  sync_timer_.expires_after(in_sync ? SaSync::kInterval : kSyncLook);
  sync_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    sas_.sync().tick();
    sync_tick();
  });
}

/// Between two turns others get theirs.
void Fastpath::remove_leaving() {
  if (sas_.remove_some()) asio::post(io_, [this] { remove_leaving(); });
}

/// Sockets that no longer fit their interface are made anew by a restart.
void Fastpath::check_ports() {
  for (auto& watch : base_.watches) {
    if (!watch) continue;
    auto checked = watch->check();
    if (checked) continue;
    failure_ = std::move(checked).error();
    io_.stop();
  }
}

/// All that another process needs to go on; as they are called there (ports.cpp, make_base()).
std::vector<tun::NamedFd> Fastpath::descriptors() {
  std::vector<tun::NamedFd> fds{{"store", base_.store->fd()},
                                {"rpc", server_.fd()},
                                {"handover", giver_.fd()},
                                {"xdp-wan", base_.wan.link_fd()},
                                {"xdp-vnet", base_.vnet.link_fd()},
                                {"xdp-circuit", base_.circuit ? base_.circuit->link_fd() : -1},
                                {"tcx-wan", base_.wan_tc ? base_.wan_tc->link_fd() : -1},
                                {"tcx-vnet", base_.vnet_tc ? base_.vnet_tc->link_fd() : -1},
                                {"tcx-circuit", base_.circuit_tc ? base_.circuit_tc->link_fd() : -1},
                                {kNatTSocketsName, base_.nat_t ? base_.nat_t->sockets_fd() : -1}};
  std::size_t decrypted = 0;
  for (const auto* tun : {&base_.data_tun, &base_.circuit_tun})
    if (*tun) fds.push_back({std::format("tcx-{}", (*tun)->name()), base_.decrypted_tc[decrypted++].link_fd()});
  for (std::size_t i = 0; i < base_.esp_takers.size(); ++i)
    fds.push_back({std::format("esp-{}", i == 0 ? 4 : 6), base_.esp_takers[i].get()});
  for (auto more : {succession::port_fds(estate()), succession::bfd_fds(estate()), ike_.fds(), tunnels_.device_fds()})
    std::ranges::move(more, std::back_inserter(fds));
  return fds;
}

/// The other one forwards now, and has all sockets: this process only has to end.
void Fastpath::leave_to(int pid) {
  log::info("handover", "process {} has taken over; ending", pid);
  tell_manager(std::format("MAINPID={}", pid));
  server_.abandon();
  ike_.abandon();
  giver_.abandon();
  io_.stop();
}

/// In the place of `from`: everything installed while it forwards, then it stops and we go on. Until take() an error
/// only ends this process.
Status Fastpath::succeed(handover::Taker& from) {
  GW_TRY(from.install({.part = [this](const fp::HandoverPart& part) { return service_.import_part(part); },
                       .descriptors = [this, &from] { tunnels_.add_kept(from.fds()); },
                       .pass = [this] { service_.end_pass(); }}));
  tunnels_.settle_all();
  GW_TRY_ASSIGN(const fp::HandoverFinal final, from.stop_other());
  GW_TRY(succession::adopt_buffers(estate(), final));
  if (!from.take()) return fail(Errc::kTimeout, "the running gw-fastpath did not wait longer, and goes on");
  GW_TRY(sas_.own_records());
  const auto warn = [](const Status& done) {
    if (!done) log::error("handover", "{}", done.error().describe());
  };
  warn(service_.import_peer(final));
  base_.workers->resume();
  const auto waited = clock_.now() - MonoTime(std::chrono::nanoseconds(final.stopped_ns()));
  from.tell_taken();
  warn(liveness_.go_on_with_bfd(final.bfd(), succession::take_bfd_fds(from.fds())));
  // Programs of the process before do the same over its maps, which nobody changes any more.
  for (const Switch& change : base_.switches) GW_TRY(change());
  service_.import_counters(final);
  log::info("handover", "took over from gw-fastpath {}: packets waited for {} us", from.offer().release(),
            std::chrono::duration_cast<std::chrono::microseconds>(waited).count());
  return {};
}

Status Fastpath::serve(const FastpathOptions& options, handover::Taker* from) {
  GW_TRY(start_watching());
  if (from) GW_TRY(succeed(*from));
  GW_TRY(listen(options));
  io_.run();
  // Not ours to close: their owners do.
  for (auto* fd : {&notices_, &liveness_events_, &xdp_events_, &netlink_, &icmp_v4_, &icmp_v6_}) (void)fd->release();
  server_.stop();
  ike_.stop();
  if (failure_) return std::unexpected(*failure_);
  return {};
}

Status Fastpath::start_watching() {
  GW_TRY(
      paths_.start({[this](std::span<const IpAddress> addresses) {
                      forwarding_.set_local(addresses);
                      if (auto done = base_.maps.set_local(addresses); !done)
                        log::error("xdp", "{}", done.error().describe());
                    },
                    [this](gw_side side, const net::Link& link) { set_clear_link(side, link); },
                    [this](const net::Link& link) { path_mtus_.set_link_mtu(link.mtu); },
                    [this](gw_side side, std::span<const control::VlanStack> stacks) { set_clear_vlans(side, stacks); },
                    // The sockets are gone with the interface: a restart binds new ones.
                    [this](const Error& error) {
                      failure_ = error;
                      io_.stop();
                    }}));
  forwarding_.on_gateways([this](const auto& gateways) { adjacencies_.set_gateways(gateways); });
  sas_.on_leaving([this] { asio::post(io_, [this] { remove_leaving(); }); });
  sas_.on_sync_frame([this](const auto& frame) { events_.sync_frame(frame); });
  sas_.on_active([this](std::uint32_t tunnel) { path_mtus_.refresh(tunnel); });
  tunnels_.on_carrier([this](std::uint32_t id, tun::Carrier state) {
    events_.tunnel_state(id, state);
    const control::Tunnels::Tunnel* tunnel = tunnels_.find(id);
    if (state == tun::Carrier::kUp && tunnel && tunnel->settings) liveness_.adopt(tunnel->settings->device);
  });
  liveness_.on_findings({[this](const auto& status) { events_.peer_state(status); },
                         [this](const auto& loss) { events_.endpoint_lost(loss); },
                         [this](const auto& message) { events_.bfd_sync(message); }});

  notices_.assign(base_.workers->notice_fd());
  xdp_events_.assign(base_.maps.events_fd());
  netlink_.assign(paths_.monitor_fd());
  watch(notices_, [this] { events_.forward_notices(*base_.workers); });
  liveness_events_.assign(liveness_.event_fd());
  watch(liveness_events_, [this] { liveness_.forward_events(); });
  watch(xdp_events_, [this] { events_.forward_unknown_spis(base_.maps); });
  icmp_v4_.assign(path_mtus_.icmp_fds()[0]);
  icmp_v6_.assign(path_mtus_.icmp_fds()[1]);
  for (auto* icmp : {&icmp_v4_, &icmp_v6_}) watch(*icmp, [this] { path_mtus_.on_icmp(); });
  watch(netlink_, [this] {
    if (!paths_.on_readable() || std::exchange(routes_due_, true)) return;
    route_timer_.expires_after(kRouteSettle);
    route_timer_.async_wait([this](const boost::system::error_code& error) {
      routes_due_ = false;
      if (!error) paths_.refresh_routes();
    });
  });
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    log::info("main", "signal {}: ending", signal);
    io_.stop();
  });
  return {};
}

Status Fastpath::listen(const FastpathOptions& options) {
  tick();
  sync_tick();
  GW_TRY(ike_.listen(options.ike_socket.empty() ? beside(options.socket, "ike.sock") : options.ike_socket,
                     base_.inherited.take("ike")));
  GW_TRY(server_.listen(options.socket, base_.inherited.take("rpc")));
  GW_TRY(giver_.listen(handover::socket_beside(options.socket), base_.inherited.take("handover")));
  tell_manager("READY=1");
  log::info("main", "ready at {}", options.socket);
  return {};
}

}  // namespace

namespace {
Status replace(const FastpathOptions& options, handover::Taker& from) {
  GW_TRY_ASSIGN(auto fastpath, Fastpath::make(options, &from));
  return fastpath->serve(options, &from);
}
}  // namespace

Status run_fastpath(const FastpathOptions& options) {
  GW_TRY(refuse_dumps());
  xdp::quiet_libbpf();
  if (options.start == Start::kReplace) {
    GW_TRY_ASSIGN(auto from, handover::Taker::ask(handover::socket_beside(options.socket), question(options)));
    if (from) {
      auto done = replace(options, *from);
      if (done || done.error().code != Errc::kClosed) return done;
      log::warning("handover", "{}; starting anew", done.error().describe());
    } else {
      log::info("handover", "no gw-fastpath runs at {}: starting anew", options.socket);
    }
  }
  GW_TRY_ASSIGN(auto fastpath, Fastpath::make(options, nullptr));
  return fastpath->serve(options, nullptr);
}

}  // namespace gw
