// Tables and what both directions share; the directions are in inbound.cpp and outbound.cpp.
#include "ebpf/worker/data_path.hpp"

namespace gw::worker {

std::size_t hash_value(const SaKey& key) {
  return hash_value(key.dst) ^ (std::size_t{key.spi} * 0x9e3779b97f4a7c15ull);
}

DataPath::DataPath(const Parts& parts) : parts_(parts), codec_(parts.crypto), tunnels_(parts.tunnels.size()) {}

void DataPath::set_tunnel(TunnelSlot slot, const TunnelConfig& config) { tunnels_[slot].config = config; }

void DataPath::install(const SaKey& key, TunnelSlot slot, std::unique_ptr<esp::InboundSa> sa) {
  inbound_[key] = std::make_unique<Inbound>(std::move(sa), slot);
  std::array<Parked, kBurst> parked;
  while (const std::size_t n = parking_.take(key, parked)) {
    Burst burst;
    burst.count = n;
    for (std::size_t i = 0; i < n; ++i) {
      burst.packets[i] = parked[i].packet;
      burst.meta[i] = parked[i].meta;
    }
    from_wan(burst);
  }
}

void DataPath::expire_parked() {
  read_clock();
  parking_.expire(now_ms_, [this](const Parked& late) { drop(GW_DROP_UNKNOWN_SPI, {.frame = late.meta.frame}); });
}

void DataPath::install(const SaKey& key, PathIndex path, std::unique_ptr<esp::OutboundSa> sa) {
  outbound_[key] = std::make_unique<Outbound>(std::move(sa), path);
}

void DataPath::remove(const SaKey& key) {
  inbound_.erase(key);
  const auto it = outbound_.find(key);
  if (it == outbound_.end()) return;
  for (Tunnel& t : tunnels_)
    if (t.active == it->second.get()) t.active = nullptr;
  outbound_.erase(it);
}

esp::InboundSa* DataPath::inbound(const SaKey& key) {
  const auto it = inbound_.find(key);
  return it == inbound_.end() ? nullptr : it->second->sa.get();
}

esp::OutboundSa* DataPath::outbound(const SaKey& key) {
  const auto it = outbound_.find(key);
  return it == outbound_.end() ? nullptr : it->second->sa.get();
}

void DataPath::move(const SaKey& from, const SaKey& to) {
  if (from == to) return;
  const auto move_in = [&](auto& table) {
    const auto it = table.find(from);
    if (it == table.end()) return;
    auto entry = std::move(it->second);
    table.erase(it);
    table[to] = std::move(entry);
  };
  move_in(inbound_);
  move_in(outbound_);
  for (Tunnel& t : tunnels_)
    if (t.active_key == from) t.active_key = to;
}

void DataPath::set_path(const SaKey& outbound, PathIndex path) {
  if (const auto it = outbound_.find(outbound); it != outbound_.end()) it->second->path = path;
}

void DataPath::activate(TunnelSlot slot, const SaKey& outbound) {
  const auto it = outbound_.find(outbound);
  if (it == outbound_.end()) return;
  tunnels_[slot].active = it->second.get();
  tunnels_[slot].active_key = outbound;
}

void DataPath::set_path_header(PathIndex path, const std::optional<EthernetHeader>& header) {
  if (paths_.size() <= path) paths_.resize(path + 1);
  paths_[path].header = header;
}

void DataPath::set_neighbour(const IpAddress& address, const std::optional<net::MacAddress>& mac) {
  if (mac)
    neighbours_[address].mac = *mac;
  else
    neighbours_.erase(address);
}

DataPath::Used DataPath::take_used() {
  Used used;
  for (PathIndex i = 0; i < paths_.size(); ++i)
    if (std::exchange(paths_[i].used, false)) used.paths.push_back(i);
  for (auto& [address, neighbour] : neighbours_)
    if (std::exchange(neighbour.used, false)) used.neighbours.push_back(address);
  return used;
}

// --- shared by both directions ---------------------------------------------------------------------

void DataPath::drop(gw_drop reason, const Slot& s) {
  if (s.tunnel == kNoTunnel) return drop(reason, s.frame, parts_.counters.drops);
  TunnelCounters& tunnel = parts_.tunnels[s.tunnel];
  drop(reason, s.frame, s.in != nullptr ? tunnel.in_drops : tunnel.out_drops);
}

void DataPath::drop(gw_drop reason, FrameAddress frame, DropCounters& counted) {
  counted[reason].add();
  parts_.frames.give(frame);
}

void DataPath::count_out(TunnelSlot tunnel, std::uint32_t inner_bytes) {
  TunnelCounters& counters = parts_.tunnels[tunnel];
  counters.out_packets.add();
  counters.out_bytes.add(inner_bytes);
  counters.last_out_ms.set(now_ms_);
}

void DataPath::count_in(TunnelSlot tunnel, std::uint32_t inner_bytes) {
  TunnelCounters& counters = parts_.tunnels[tunnel];
  counters.in_packets.add();
  counters.in_bytes.add(inner_bytes);
}

void DataPath::flush_wan() {
  for (const Outgoing& o : parts_.wan.flush()) {
    if (o.lost == GW_DROP_NONE)
      count_out(o.tunnel, o.inner_bytes);
    else
      drop(o.lost, o.frame, parts_.tunnels[o.tunnel].out_drops);
  }
}

void DataPath::flush_vnet() {
  for (const Outgoing& o : parts_.vnet.flush()) {
    if (o.lost == GW_DROP_NONE)
      count_in(o.tunnel, o.inner_bytes);
    else
      drop(o.lost, o.frame, parts_.tunnels[o.tunnel].in_drops);
  }
}

/// Once a burst.
void DataPath::read_clock() {
  const auto wall = parts_.clock.wall().time_since_epoch();
  now_ms_ = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(wall).count());
}

bool DataPath::notify(Notice notice) {
  const bool queued = parts_.notices.push(std::move(notice));
  if (!queued) parts_.counters.notices_lost.add();
  notified_ = true;
  return queued;
}

void DataPath::report_events(esp::SaCommon& sa, const SaKey& key, const esp::Endpoint& seen) {
  const std::uint8_t events = sa.take_events();
  if (events != 0 && !notify(SaNotice{key, events, seen})) sa.not_told(events);
}

}  // namespace gw::worker
