#include "ebpf/control/tunnels.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "ebpf/ip/path_mtu.hpp"

namespace gw::control {
namespace {

constexpr std::string_view kStorePrefix = "tun-";

std::string store_name(std::uint32_t id) { return std::format("{}{}", kStorePrefix, id); }

}  // namespace

Tunnels::Tunnels(worker::Workers& workers, xdp::Maps& maps, tun::FdStore store, const Clock& clock)
    : workers_(workers),
      maps_(maps),
      store_(std::move(store)),
      clock_(clock),
      kept_(store_.take_kept(kStorePrefix)),
      ids_(workers.shared().tunnels()) {
  for (std::size_t n = 0; n < ids_.size(); ++n) free_slots_.push_back(static_cast<worker::TunnelSlot>(n));
  if (!kept_.empty()) log::info("tun", "{} tunnel devices were kept over a restart", kept_.size());
}

// --- slots -------------------------------------------------------------------------------------------

Result<Tunnels::Tunnel*> Tunnels::hold(std::uint32_t id) {
  if (const auto it = tunnels_.find(id); it != tunnels_.end()) return &it->second;
  if (free_slots_.empty()) return fail(Errc::kLimit, std::format("tunnel table is full ({})", ids_.size()));
  const worker::TunnelSlot slot = free_slots_.front();
  const worker::TunnelTotals last = workers_.totals(slot);
  for (std::size_t i = 0; i < retired_drops_.size(); ++i) retired_drops_[i].add(last.in_drops[i] + last.out_drops[i]);
  workers_.assign(slot);
  if (auto told = maps_.set_slot_owner(slot, workers_.shared().owner(slot)); !told) {
    workers_.unassign(slot);
    return std::unexpected(std::move(told).error());
  }
  free_slots_.pop_front();
  ids_[slot] = id;
  Tunnel& t = tunnels_[id];
  t.slot = slot;
  return &t;
}

void Tunnels::forget_if_unused(std::uint32_t id) {
  const auto it = tunnels_.find(id);
  if (it == tunnels_.end() || it->second.settings || it->second.sas > 0) return;
  const worker::TunnelSlot slot = it->second.slot;
  workers_.unassign(slot);
  ids_[slot] = 0;
  free_slots_.push_back(slot);
  tunnels_.erase(it);
}

Result<worker::TunnelSlot> Tunnels::acquire_slot(std::uint32_t id) {
  GW_TRY_ASSIGN(Tunnel* const t, hold(id));
  ++t->sas;
  return t->slot;
}

void Tunnels::release_slot(std::uint32_t id) {
  const auto it = tunnels_.find(id);
  if (it == tunnels_.end()) return;
  --it->second.sas;
  forget_if_unused(id);
}

// --- configuration -----------------------------------------------------------------------------------

Status Tunnels::check_names(const TunnelSettings& settings) const {
  const auto it = by_device_.find(settings.device);
  if (it != by_device_.end() && it->second != settings.id)
    return fail_field("device", std::format("'{}' is the device of tunnel {}", settings.device, it->second),
                      Errc::kAlreadyExists);
  return {};
}

/// The device that was kept for this tunnel if it still has the right name, else a new one.
Result<Tunnels::Obtained> Tunnels::obtain_device(const TunnelSettings& settings) {
  if (auto node = kept_.extract(store_name(settings.id)); !node.empty()) {
    auto kept = tun::TunDevice::adopt(std::move(node.mapped()));
    if (kept && kept->name() == settings.device) return Obtained{std::move(*kept), Origin::kAdopted};
    if (kept) discard_device(settings.id, std::move(*kept));
  }
  GW_TRY_ASSIGN(tun::TunDevice device, tun::TunDevice::open(settings.device));
  return Obtained{std::move(device), Origin::kNew};
}

void Tunnels::discard_device(std::uint32_t id, tun::TunDevice device) {
  if (auto done = store_.forget(store_name(id)); !done) log::warning("tun", "{}", done.error().describe());
  tun::TunDevice::destroy(std::move(device));
}

Status Tunnels::replace_device(Tunnel& t, const TunnelSettings& settings) {
  GW_TRY_ASSIGN(Obtained obtained, obtain_device(settings));
  GW_TRY(obtained.device.bring_up(device_mtu(settings, t.room)));
  const bool waits = obtained.origin == Origin::kAdopted && !t.sending;
  if (!waits) GW_TRY(workers_.owner(t.slot).watch_tun(t.slot, obtained.device.fd()));
  auto before = std::exchange(t.device, std::move(obtained.device));
  if (t.settings) by_device_.erase(t.settings->device);
  by_device_[settings.device] = settings.id;
  t.settings = settings;
  tell_worker(settings.id, t);
  if (before) {
    workers_.owner(t.slot).unwatch_tun(before->fd());
    discard_device(settings.id, std::move(*before));
  }
  if (auto kept = store_.keep(store_name(settings.id), t.device->fd()); !kept)
    log::warning("tun", "{}", kept.error().describe());
  t.carrier.reset();
  t.hold_until.reset();
  if (waits) t.hold_until = clock_.now() + kAdoptionGrace;
  log::info("tun", "tunnel {} ({}): device {} {}", settings.id, settings.name, settings.device,
            obtained.origin == Origin::kAdopted ? "adopted" : "made");
  return {};
}

Status Tunnels::put(const TunnelSettings& settings, std::uint64_t generation) {
  GW_TRY(check_names(settings));
  if (settings.mtu > max_mtu_)
    return fail_field("mtu",
                      std::format("{} is more than {}: larger packets do not fit a buffer with the outer headers "
                                  "(give the ports a larger MTU for jumbo packets, and start anew)",
                                  settings.mtu, max_mtu_));
  GW_TRY_ASSIGN(Tunnel* const t, hold(settings.id));
  const std::optional<IpAddress> peer_before = t->settings ? t->settings->peer : std::nullopt;
  if (t->device && t->device->name() == settings.device && t->device->exists()) {
    GW_TRY(t->device->bring_up(device_mtu(settings, t->room)));
    t->settings = settings;
    tell_worker(settings.id, *t);
  } else if (auto replaced = replace_device(*t, settings); !replaced) {
    forget_if_unused(settings.id);
    return replaced;
  }
  if (settings.peer != peer_before) {
    if (peer_before) remove_peer(*peer_before);  // first: the map has room for one of each tunnel
    if (settings.peer) add_peer(*settings.peer);
  }
  t->generation = generation;
  const std::optional<bool> before = t->carrier;
  apply_carrier(settings.id, *t);
  // Who puts a tunnel that is there may be a gwd that was started anew, and has not heard.
  if (on_carrier_ && before && t->carrier == before)
    on_carrier_(settings.id, *before ? tun::Carrier::kUp : tun::Carrier::kDown);
  return {};
}

// Without it the peer has to share a limit with the rest of the world, which is no reason to refuse its tunnel.
void Tunnels::add_peer(const IpAddress& peer) {
  if (++peers_[peer] > 1) return;
  if (auto done = maps_.add_peer(peer); !done) log::warning("tun", "{}", done.error().describe());
}

void Tunnels::remove_peer(const IpAddress& peer) {
  const auto it = peers_.find(peer);
  if (it == peers_.end() || --it->second > 0) return;
  peers_.erase(it);
  maps_.remove_peer(peer);
}

std::uint16_t Tunnels::inner_mtu(const Tunnel& t) {
  if (t.room.inner == 0 || t.room.inner >= t.settings->mtu) return t.settings->mtu;
  return static_cast<std::uint16_t>(std::max(t.room.inner, ip::least_inner_mtu(Family::kV4)));
}

/// Never less than 1280 because of the path: the kernel would take IPv6 from the device (RFC 8200 5). The worker
/// answers IPv4 packets between the two.
std::uint32_t Tunnels::device_mtu(const TunnelSettings& settings, const PathRoom& room) {
  if (room.inner == 0) return settings.mtu;
  return std::min<std::uint32_t>(settings.mtu, std::max(room.inner, ip::least_inner_mtu(Family::kV6)));
}

void Tunnels::set_room(std::uint32_t id, const PathRoom& room) {
  const auto it = tunnels_.find(id);
  if (it == tunnels_.end() || it->second.room == room) return;
  Tunnel& t = it->second;
  t.room = room;
  if (!t.settings || !t.device) return;
  if (auto done = t.device->bring_up(device_mtu(*t.settings, room)); !done)
    log::error("tun", "{}", done.error().describe());
  tell_worker(id, t);
}

bool Tunnels::remove(std::uint32_t id) {
  const auto it = tunnels_.find(id);
  if (it == tunnels_.end() || !it->second.settings) return false;
  Tunnel& t = it->second;
  by_device_.erase(t.settings->device);
  if (t.settings->peer) remove_peer(*t.settings->peer);
  t.settings.reset();
  t.hold_until.reset();
  auto device = std::exchange(t.device, std::nullopt);
  tell_worker(id, t);
  if (device) {
    workers_.owner(t.slot).unwatch_tun(device->fd());
    discard_device(id, std::move(*device));
  }
  t.carrier.reset();
  forget_if_unused(id);
  return true;
}

std::vector<std::uint32_t> Tunnels::older_than(std::uint64_t generation) const {
  std::vector<std::uint32_t> ids;
  for (const auto& [id, t] : tunnels_)
    if (t.settings && t.generation < generation) ids.push_back(id);
  return ids;
}

std::vector<tun::NamedFd> Tunnels::device_fds() const {
  std::vector<tun::NamedFd> fds;
  for (const auto& [id, t] : tunnels_)
    if (t.device) fds.push_back({store_name(id), t.device->fd()});
  return fds;
}

void Tunnels::add_kept(tun::FdStore& from) { kept_.merge(from.take_kept(kStorePrefix)); }

void Tunnels::drop_unclaimed() {
  for (auto& [name, fd] : kept_) {
    auto device = tun::TunDevice::adopt(std::move(fd));
    if (auto done = store_.forget(name); !done) log::warning("tun", "{}", done.error().describe());
    if (device) tun::TunDevice::destroy(std::move(*device));
  }
  kept_.clear();
}

void Tunnels::tell_worker(std::uint32_t id, const Tunnel& t) {
  worker::TunnelConfig config{.id = id};
  if (t.settings && t.device) {
    config.tun_fd = t.device->fd();
    config.mtu = inner_mtu(t);
    config.path_mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(t.room.outer, UINT16_MAX));
    constexpr std::uint16_t kHeaders = 40;  // IPv4 and TCP
    if (t.settings->mss_clamp != 0)
      config.mss = std::min<std::uint16_t>(t.settings->mss_clamp, static_cast<std::uint16_t>(config.mtu - kHeaders));
    config.fragmentation = t.settings->fragmentation;
  }
  const worker::Rates rates = t.settings ? t.settings->rates : worker::Rates{};
  workers_.call(t.slot, [&](worker::DataPath& d) {
    d.set_tunnel(t.slot, config);
    d.set_rates(t.slot, rates);
  });
}

// --- carrier -----------------------------------------------------------------------------------------

void Tunnels::start_sending(std::uint32_t id) {
  const auto it = tunnels_.find(id);
  if (it == tunnels_.end()) return;
  it->second.sending = true;
  end_hold(id, it->second);
  apply_carrier(id, it->second);
}

void Tunnels::stop_sending(std::uint32_t id) {
  const auto it = tunnels_.find(id);
  if (it == tunnels_.end()) return;
  it->second.sending = false;
  apply_carrier(id, it->second);
}

void Tunnels::apply_carrier(std::uint32_t id, Tunnel& t) {
  if (!t.settings || !t.device || t.hold_until) return;
  const bool wanted = t.sending || t.settings->carrier == CarrierPolicy::kAlways;
  if (wanted == t.carrier) return;
  const tun::Carrier carrier = wanted ? tun::Carrier::kUp : tun::Carrier::kDown;
  if (auto set = t.device->set_carrier(carrier); !set) {
    log::error("tun", "{}", set.error().describe());
    return;
  }
  t.carrier = wanted;
  log::info("tun", "tunnel {} ({}): carrier {}", id, t.settings->name, wanted ? "up" : "down");
  if (on_carrier_) on_carrier_(id, carrier);
}

void Tunnels::end_hold(std::uint32_t id, Tunnel& t) {
  if (!std::exchange(t.hold_until, std::nullopt) || !t.device) return;
  if (auto watched = workers_.owner(t.slot).watch_tun(t.slot, t.device->fd()); !watched)
    log::error("tun", "tunnel {}: {}", id, watched.error().describe());
}

void Tunnels::settle_until(MonoTime deadline) {
  for (auto& [id, t] : tunnels_) {
    if (!t.hold_until || *t.hold_until > deadline) continue;
    end_hold(id, t);
    apply_carrier(id, t);
  }
}

void Tunnels::settle_due() { settle_until(clock_.now()); }
void Tunnels::settle_all() { settle_until(MonoTime::max()); }

// --- questions ---------------------------------------------------------------------------------------

const Tunnels::Tunnel* Tunnels::find(std::uint32_t id) const {
  const auto it = tunnels_.find(id);
  return it == tunnels_.end() ? nullptr : &it->second;
}

std::optional<std::uint32_t> Tunnels::id_of(worker::TunnelSlot slot) const {
  if (slot >= ids_.size() || ids_[slot] == 0) return std::nullopt;
  return ids_[slot];
}

std::optional<fib::TunnelRef> Tunnels::ref(std::uint32_t id) const {
  const Tunnel* t = find(id);
  if (!t || !t->settings) return std::nullopt;
  return fib::TunnelRef{id, t->slot, inner_mtu(*t)};
}

}  // namespace gw::control
