#include "tests/support/worker_rig.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/outer.hpp"
#include "ebpf/esp/runtime_rules.hpp"

namespace gw::test {
namespace {

constexpr std::uint32_t kOutSpi = 0x10000;  // + tunnel
constexpr std::uint32_t kInSpi = 0x20000;
constexpr std::size_t kNumberAt = 28;  // behind IPv4 and UDP
constexpr std::uint32_t kPortMtu = 1500;
constexpr std::uint16_t kTunnelMtu = 1420;

const IpAddress kGateway = IpAddress::from_v4(0xcb00710a);  // 203.0.113.10
const IpAddress kPeer = IpAddress::from_v4(0xc6336414);     // 198.51.100.20

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "worker_rig: %s\n", result.error().describe().c_str());
    std::abort();
  }
  return std::move(*result);
}
void must(const Status& status) {
  if (!status) must(Result<int>(std::unexpected(status.error())));
}

std::vector<esp::Selector> everything() { return {{IpAddress::from_v4(0), IpAddress::from_v4(0xffffffff)}}; }

enum class Way : std::uint8_t { kToPeer, kFromPeer };

esp::SaParameters parameters(std::size_t tunnel, Way way) {
  esp::SaParameters p;
  p.spi = (way == Way::kToPeer ? kOutSpi : kInSpi) + static_cast<std::uint32_t>(tunnel);
  p.src = {way == Way::kToPeer ? kGateway : kPeer, 4500};
  p.dst = {way == Way::kToPeer ? kPeer : kGateway, 4500};
  p.encapsulation = esp::Encapsulation::kUdp;
  p.replay_window = 4096;
  Bytes key(36);
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i * 5 + p.spi);
  p.key = Secret(key);
  p.local = everything();
  p.remote = everything();
  return p;
}

struct Ends {
  std::uint32_t src;
  std::uint32_t dst;
};

Bytes udp_packet(const Ends& ends, std::uint32_t number, std::size_t size) {
  Bytes p(std::max<std::size_t>(size, kNumberAt + 4));
  p[0] = 0x45;
  store_be(&p[2], static_cast<std::uint16_t>(p.size()));
  p[8] = 63;
  p[9] = 17;
  store_be(&p[12], ends.src);
  store_be(&p[16], ends.dst);
  store_be(&p[20], std::uint16_t{4000});
  store_be(&p[22], std::uint16_t{5000});
  store_be(&p[24], static_cast<std::uint16_t>(p.size() - 20));
  store_be(&p[kNumberAt], number);
  store_be(&p[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(p.data(), 20))));
  return p;
}

std::uint32_t site_host(std::size_t tunnel) { return 0x0a090005 | static_cast<std::uint32_t>(tunnel) << 8; }
constexpr std::uint32_t kVnetHost = 0x0a010005;

}  // namespace

// --- MemoryPort --------------------------------------------------------------------------------------

MemoryPort::MemoryPort(worker::FramePool& frames, Lending lending)
    : Port(Framing::kIp),
      frames_(frames),
      lending_(lending),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      event_fd_(event_.get()) {
  set_link({.ifindex = 1, .name = "memory", .mac = {}, .mtu = kPortMtu, .up = true});
}

void MemoryPort::inject(std::span<const Bytes> packets) {
  {
    const std::scoped_lock lock(mutex_);
    incoming_.insert(incoming_.end(), packets.begin(), packets.end());
  }
  (void)::eventfd_write(event_fd_, 1);
}

std::vector<Bytes> MemoryPort::take_sent() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(sent_, {});
}

std::size_t MemoryPort::waiting() const {
  const std::scoped_lock lock(mutex_);
  return incoming_.size();
}

void MemoryPort::put(worker::Burst& burst, const Bytes& packet) {
  worker::FrameAddress frame = worker::kBorrowed;
  std::uint8_t* base = nullptr;
  std::uint32_t capacity = frames_.memory().frame_bytes();
  if (lending_ == Lending::kFrames) {
    if (!frames_.take(frame)) return;
    base = frames_.at(frame);
  } else {
    base = lent_.emplace_back(capacity).data();
  }
  const std::size_t i = burst.add();
  std::ranges::copy(packet, base + worker::kHeadroom);
  burst.packets[i] = {.base = base,
                      .capacity = capacity,
                      .offset = worker::kHeadroom,
                      .length = static_cast<std::uint32_t>(packet.size())};
  burst.meta[i].frame = frame;
  burst.meta[i].layer = worker::Layer::kIp;
}

void MemoryPort::receive(worker::Burst& burst) {
  const std::scoped_lock lock(mutex_);
  eventfd_t value = 0;
  (void)::eventfd_read(event_fd_, &value);
  lent_.clear();
  for (; !incoming_.empty() && !burst.full(); incoming_.pop_front()) put(burst, incoming_.front());
  if (!incoming_.empty()) (void)::eventfd_write(event_fd_, 1);
  rx_packets.add(burst.count);
}

void MemoryPort::send(std::span<worker::Outgoing> packets) {
  const std::scoped_lock lock(mutex_);
  for (const worker::Outgoing& packet : packets) sent_.emplace_back(packet.data, packet.data + packet.length);
}

/// What was a packet is somebody else's from now on, and looks like it.
void MemoryPort::settle(std::span<const worker::Outgoing> packets) {
  for (const worker::Outgoing& packet : packets) {
    std::fill_n(packet.data, packet.length, std::uint8_t{0xee});
    frames_.give(packet.frame);
  }
}

// --- WorkerRig ---------------------------------------------------------------------------------------

WorkerRig::WorkerRig(const Options& options)
    : options_(options),
      fib_({.v4_groups = 1, .v6_lines = 1024, .next_hops = options.tunnels + 8}),
      table_(fib_.view(), [this] { workers_->quiesce(); }),
      crypto_(must(esp::make_backend(esp::BackendChoice::kAuto))),
      codec_(*crypto_),
      peers_(options.tunnels),
      ours_(options.tunnels) {
  memory_ = must(worker::FrameMemory::create(static_cast<std::uint32_t>(options.workers * options.frames_each)));
  auto pools = worker::FramePools::cut(*memory_, options.workers);
  std::vector<worker::Worker::Parts> parts;
  for (auto& pool : pools) {
    pools_.push_back(pool.get());
    const auto index = static_cast<worker::WorkerIndex>(parts.size());
    const auto make = [&](const Options::PortMaker& maker, std::vector<MemoryPort*>& made) {
      if (maker) return maker(*pool, index);
      auto port = std::make_unique<MemoryPort>(*pool, options.lending);
      made.push_back(port.get());
      return std::unique_ptr<worker::Port>(std::move(port));
    };
    auto wan = make(options.make_wan, wan_);
    auto vnet = make(options.make_vnet, vnet_);
    auto circuit = options.make_circuit ? options.make_circuit(*pool, index) : nullptr;
    parts.push_back({std::move(pool), std::move(wan), std::move(vnet), net::RawSender::none(),
                     must(esp::make_backend(esp::BackendChoice::kAuto)),
                     options.cpus.empty() ? std::nullopt : std::optional(options.cpus.at(index)), std::move(circuit)});
  }
  workers_ = must(worker::Workers::start(std::move(parts), {.tunnels = options.tunnels, .sas = options.tunnels * 2},
                                         fib_.view(), options.clock ? *options.clock : clock_));
  std::vector<fib::Route> routes{{must(Prefix::parse("10.1.0.0/16")), {GW_NEXT_HOP_VNET, {}, {}}}};
  for (std::size_t i = 0; i < options.tunnels; ++i) {
    workers_->assign(slot(i));
    const auto prefix = must(Prefix::make(IpAddress::from_v4(site_host(i) & ~0xffU), 24));
    routes.push_back({prefix, {GW_NEXT_HOP_TUNNELS, {{static_cast<std::uint32_t>(i + 1), slot(i), kTunnelMtu}}, {}}});
    install(i);
  }
  must(table_.update(routes, {}));
}

WorkerRig::~WorkerRig() { workers_.reset(); }

worker::SaKey WorkerRig::inbound_key(std::size_t tunnel) const {
  return {kInSpi + static_cast<std::uint32_t>(tunnel), kGateway};
}

void WorkerRig::install(std::size_t tunnel) {
  Peer& peer = peers_[tunnel];
  Ours& ours = ours_[tunnel];
  for (esp::RuntimeRecord* record : {&peer.out_record, &peer.in_record, &ours.out_record, &ours.in_record})
    *record = {};
  must(esp::begin_outbound(peer.out_record, 1));
  must(esp::begin_outbound(ours.out_record, 1));
  peer.out = must(esp::OutboundSa::create(parameters(tunnel, Way::kFromPeer), *crypto_, peer.out_record));
  peer.in = must(esp::InboundSa::create(parameters(tunnel, Way::kToPeer), *crypto_, peer.in_record));

  std::unique_ptr<esp::InboundSa> in;
  workers_->call(slot(tunnel), [&](worker::DataPath& d) {
    d.set_tunnel(slot(tunnel),
                 {.id = static_cast<std::uint32_t>(tunnel + 1), .tun_fd = -1, .mtu = kTunnelMtu, .mss = 0});
    ours.out = must(esp::OutboundSa::create(parameters(tunnel, Way::kToPeer), d.crypto(), ours.out_record));
    in = must(esp::InboundSa::create(parameters(tunnel, Way::kFromPeer), d.crypto(), ours.in_record));
  });
  worker::Shared& shared = workers_->shared();
  if (!shared.inbound.insert(inbound_key(tunnel), {std::move(in), slot(tunnel), owner(tunnel)})) std::abort();
  workers_->call(slot(tunnel), [&](worker::DataPath& d) {
    d.activate(slot(tunnel), {ours.out.get(), {kOutSpi + static_cast<std::uint32_t>(tunnel), kPeer}, 0});
  });
}

void WorkerRig::route(const fib::Route& route) { must(table_.update({&route, 1}, {})); }

void WorkerRig::remove(std::size_t tunnel) {
  workers_->shared().inbound.erase(inbound_key(tunnel));
  workers_->call(slot(tunnel), [&](worker::DataPath& d) { d.deactivate(slot(tunnel), *ours_[tunnel].out); });
  workers_->reclaim();
  ours_[tunnel].out.reset();
}

Bytes WorkerRig::to_site(std::size_t tunnel, std::uint32_t number, std::size_t size) const {
  return udp_packet({kVnetHost, site_host(tunnel)}, number, size);
}
Bytes WorkerRig::from_site(std::size_t tunnel, std::uint32_t number, std::size_t size) const {
  return udp_packet({site_host(tunnel), kVnetHost}, number, size);
}
std::uint32_t WorkerRig::number_of(std::span<const std::uint8_t> inner) {
  return load_be<std::uint32_t>(&inner[kNumberAt]);
}
std::size_t WorkerRig::tunnel_of(std::span<const std::uint8_t> inner) { return inner[13] == 9 ? inner[14] : inner[18]; }

Bytes WorkerRig::seal(std::size_t tunnel, const Bytes& inner) {
  Bytes buffer(esp::kMaxHeadroom + inner.size() + esp::kMaxTailroom);
  std::ranges::copy(inner, buffer.begin() + esp::kMaxHeadroom);
  esp::Packet p{.base = buffer.data(),
                .capacity = static_cast<std::uint32_t>(buffer.size()),
                .offset = esp::kMaxHeadroom,
                .length = static_cast<std::uint32_t>(inner.size())};
  p.out = peers_[tunnel].out.get();
  codec_.encapsulate({&p, 1}, 1);
  if (p.drop != GW_DROP_NONE) std::abort();
  return {p.bytes().begin(), p.bytes().end()};
}

Bytes WorkerRig::open(const Bytes& wire) {
  Bytes buffer = wire;
  const auto size = static_cast<std::uint32_t>(buffer.size());
  esp::Packet p{.base = buffer.data(), .capacity = size, .offset = 0, .length = size};
  esp::OuterHeader outer;
  if (esp::strip_outer(p, outer) != GW_DROP_NONE || outer.spi - kOutSpi >= peers_.size()) return {};
  p.in = peers_[outer.spi - kOutSpi].in.get();
  codec_.decapsulate({&p, 1}, 1);
  if (p.drop != GW_DROP_NONE) return {};
  return {p.bytes().begin(), p.bytes().end()};
}

bool WorkerRig::all_frames_are_free() {
  const std::size_t wanted = options_.frames_each * options_.workers;
  for (int tries = 0; tries < 200; ++tries) {
    std::vector<std::size_t> free(pools_.size());
    for (std::size_t i = 0; i < pools_.size(); ++i)
      (*workers_)[static_cast<worker::WorkerIndex>(i)].call(
          [&](worker::DataPath&) { free[i] = pools_[i]->free_frames(); });
    if (std::ranges::fold_left(free, std::size_t{0}, std::plus<>()) == wanted) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace gw::test
