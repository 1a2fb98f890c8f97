#include "ebpf/control/path_mtus.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/log.hpp"
#include "ebpf/ip/too_big.hpp"

namespace gw::control {
namespace {

bool is_about(const ip::TooBig& said, const SaEntry& sa) {
  if (sa.direction != esp::Direction::kOutbound || sa.src.address != said.src) return false;
  const bool udp = sa.encapsulation == esp::Encapsulation::kUdp;
  if (udp ? said.src_port != sa.src.port || said.dst_port != sa.dst.port : said.src_port != 0) return false;
  return ip::recently_sent(said.sequence, esp::load_field(sa.record->next_sequence) - 1);
}

}  // namespace

void PathMtus::on_icmp() {
  icmp_.read([this](const net::IcmpMessage& message) { on_message(message); });
}

void PathMtus::on_message(const net::IcmpMessage& message) {
  const MonoTime now = parts_.clock.now();
  const auto said = ip::parse_too_big(message.bytes, message.family);
  if (!said) return;
  const SaEntry* sa = parts_.sas.table().find({said->spi, said->dst});
  if (!sa || !is_about(*said, *sa)) {
    log::debug("mtu", "{} says that {} bytes fit, about nothing that we sent", message.from, said->mtu);
    return;
  }
  if (!reports_.take(now)) return;  // of those that count: what others make up takes nobody's turn
  const auto [it, first] = estimates_.try_emplace(sa->tunnel_id, sa->key.dst, ip::PathMtu(message.family));
  if (it->second.peer != sa->key.dst) it->second = {sa->key.dst, ip::PathMtu(message.family)};
  if (!it->second.path.report(said->mtu, now)) return;
  log::info("mtu", "tunnel {}: the path to {} takes {} bytes, says {}", sa->tunnel_id, sa->key.dst,
            *it->second.path.value(), message.from);
  refresh(sa->tunnel_id);
}

void PathMtus::set_link_mtu(std::uint32_t mtu) {
  if (std::exchange(link_mtu_, mtu) == mtu) return;
  for (const auto& [id, tunnel] : parts_.tunnels.all()) refresh(id);
}

void PathMtus::refresh(std::uint32_t tunnel_id) {
  const SaEntry* sa = parts_.sas.table().active(tunnel_id);
  if (!sa || link_mtu_ == 0) return;
  PathRoom room;
  const auto it = estimates_.find(tunnel_id);
  if (it != estimates_.end() && it->second.peer != sa->key.dst)
    estimates_.erase(it);  // it moved: another path
  else if (it != estimates_.end())
    room.outer = it->second.path.value().value_or(0);
  const std::uint32_t outer = room.outer == 0 ? link_mtu_ : std::min(room.outer, link_mtu_);
  room.inner = sa->out->inner_mtu(outer);
  parts_.sas.limit_padding(*sa, room.inner);
  const auto before = parts_.tunnels.ref(tunnel_id);
  parts_.tunnels.set_room(tunnel_id, room);
  const auto after = parts_.tunnels.ref(tunnel_id);
  if (!before || !after || *before == *after) return;
  log::info("mtu", "tunnel {}: inner packets of up to {} bytes", tunnel_id, after->mtu);
  if (auto done = parts_.forwarding.tunnel_changed(*after); !done) log::error("mtu", "{}", done.error().describe());
}

void PathMtus::age() {
  const MonoTime now = parts_.clock.now();
  for (auto it = estimates_.begin(); it != estimates_.end();) {
    const auto at = it++;
    if (!at->second.path.age(now)) continue;
    const std::uint32_t id = at->first;
    log::info("mtu", "tunnel {}: no report about the path for ten minutes, trying larger packets", id);
    estimates_.erase(at);
    refresh(id);
  }
}

std::vector<PathMtus::Report> PathMtus::reports() const {
  std::vector<Report> all;
  for (const auto& [id, e] : estimates_)
    if (e.path.value()) all.push_back({id, e.peer, *e.path.value(), e.path.last_report()});
  return all;
}

void PathMtus::inherit(std::span<const Report> reports) {
  std::set<std::uint32_t> changed;
  for (const auto& [id, e] : std::exchange(estimates_, {})) changed.insert(id);
  for (const Report& r : reports) {
    changed.insert(r.tunnel_id);
    auto& e = estimates_.try_emplace(r.tunnel_id, r.peer, ip::PathMtu(r.peer.family())).first->second;
    (void)e.path.report(r.mtu, r.at);
  }
  for (const std::uint32_t id : changed) refresh(id);
}

}  // namespace gw::control
