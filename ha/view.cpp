#include "ha/view.hpp"

#include <format>
#include <utility>

namespace gw::ha {
namespace {

const Claim* find(const std::vector<Claim>& claims, const IpAddress& address) {
  const auto found = std::ranges::find(claims, address, &Claim::address);
  return found != claims.end() ? &*found : nullptr;
}

Epoch owned_epoch(const std::vector<Claim>& claims, const IpAddress& address) {
  const Claim* claim = find(claims, address);
  return claim != nullptr && claim->ownership == Ownership::kOwned ? claim->epoch : 0;
}

Reason fault_of(const LocalHealth& health) {
  if (health.fastpath == Link::kDown) return Reason::kFastpathAway;
  if (health.forwarding == Link::kDown) return Reason::kNotForwarding;
  if (health.wan == Link::kDown) return Reason::kWanDown;
  if (health.vnet == Link::kDown) return Reason::kVnetDown;
  return Reason::kNone;
}

std::string_view word(bool alive) { return alive ? "up" : "down"; }

}  // namespace

View::View(Configuration configuration, MonoTime now)
    : now_(now), started_(now), awake_since_(now), awake_before_(now), next_look_(now) {
  set_config(std::move(configuration));
}

void View::set_config(Configuration configuration) {
  config_ = std::move(configuration);
  std::erase_if(peers_, [&](const PeerView& p) {
    return std::ranges::none_of(config_.members, [&](const Member& m) { return m.id == p.id; });
  });
  for (const Member& m : config_.members)
    if (m.id != config_.self && peer(m.id) == nullptr) peers_.push_back({.id = m.id, .channel_since = now_});
}

void View::advance(MonoTime now) {
  if (now - now_ > timing().frozen) {
    asleep_since_ = now_;
    awake_before_ = std::exchange(awake_since_, now);
  }
  now_ = std::max(now_, now);
  next_look_ = now_ + timing().frozen / 2;
}

bool View::due(MonoTime at) const {
  if (at <= now_) return true;
  next_look_ = std::min(next_look_, at);
  return false;
}

void View::set_health(const LocalHealth& health) {
  const Reason before = health_ ? fault_of(*health_) : Reason::kNone;
  const bool fastpath_came = health.fastpath == Link::kUp && (!health_ || health_->fastpath == Link::kDown);
  if (fastpath_came) fastpath_since_ = now_;
  const auto ports_down = [](Reason r) { return r == Reason::kWanDown || r == Reason::kVnetDown; };
  if (ports_down(before) && !ports_down(fault_of(health))) ports_since_ = now_;
  health_ = health;
  if (fault_of(health) != Reason::kNone && before == Reason::kNone) fault_since_ = now_;
  // What our fast path heard before it went is no word about now.
  if (health.fastpath == Link::kDown)
    for (PeerView& p : peers_) p.data = Link::kDown;
}

void View::fastpath_spoke() {
  if (!health_) return;
  LocalHealth health = *health_;
  health.fastpath = health.forwarding = Link::kUp;
  set_health(health);
}

Reason View::fault_now() const { return health_ ? fault_of(*health_) : Reason::kStarting; }

Reason View::unfit() const {
  const Reason fault = fault_now();
  if (fault == Reason::kStarting) return fault;
  // A fast path that never was there has no grace.
  if (fault != Reason::kNone && (fastpath_since_ == MonoTime{} || due(fault_since_ + timing().fault_grace)))
    return fault;
  return drained == Switch::kOn ? Reason::kDrained : Reason::kNone;
}

Reason View::reported() const {
  if (const Reason reason = unfit(); reason != Reason::kNone) return reason;
  // What it has it keeps until its leases end; what it were handed now it could not hold.
  if (lease_service == Link::kDown) return Reason::kLeaseService;
  return ike_away() ? Reason::kIkeAway : Reason::kNone;
}

PeerView* View::peer(Instance id) {
  const auto found = std::ranges::find(peers_, id, &PeerView::id);
  return found != peers_.end() ? &*found : nullptr;
}

const PeerView* View::peer(Instance id) const {
  const auto found = std::ranges::find(peers_, id, &PeerView::id);
  return found != peers_.end() ? &*found : nullptr;
}

/// When who was heard last at `heard` counts as silent. A pause of ours is nobody's silence, and revives nobody.
MonoTime View::silent_at(MonoTime heard) const {
  const MonoTime before = std::max(heard, awake_before_) + timing().silent;
  return before <= asleep_since_ ? before : std::max(heard, awake_since_) + timing().silent;
}

bool View::sync_alive(const PeerView& peer) const {
  return peer.channel == Link::kUp && peer.report_at && !due(silent_at(*peer.report_at));
}

MonoTime View::sync_silent_since(const PeerView& peer) const {
  if (peer.channel == Link::kDown || !peer.report_at) return std::max(peer.channel_since, awake_since_);
  return silent_at(*peer.report_at);
}

bool View::data_alive(const PeerView& peer) const {
  return peer.data == Link::kUp && health_ && health_->fastpath == Link::kUp;
}

bool View::ever_heard(const PeerView& peer) const {
  return peer.sync_heard != MonoTime{} || peer.data_heard != MonoTime{};
}

bool View::dead(const PeerView& peer) const {
  if (sync_alive(peer) || data_alive(peer)) return false;
  if (!health_ || health_->fastpath == Link::kDown) return false;  // nobody listens to the data path
  if (!hearing()) return false;                                    // or there is nothing to hear
  const MonoTime heard = std::max(peer.sync_heard, peer.data_heard);
  return dead_at(heard, awake_before_) <= asleep_since_ || due(dead_at(heard, awake_since_));
}

MonoTime View::dead_at(MonoTime heard, MonoTime awake) const {
  const MonoTime listening = std::max({awake, fastpath_since_, ports_since_}) + timing().silent;
  const MonoTime stopped = heard + timing().lease_hold + timing().lease_margin;
  return std::max(listening, stopped);
}

Reason View::unfit(const PeerView& peer) const { return sync_alive(peer) ? peer.report.unfit : Reason::kUnreachable; }

std::optional<Epoch> View::owned_claim(const PeerView& peer, const IpAddress& address) const {
  const bool sync = sync_alive(peer);
  const bool data = data_alive(peer);
  Epoch epoch = 0;
  if (sync || !data) epoch = std::max(epoch, owned_epoch(peer.report.claims, address));
  if (data || !sync) epoch = std::max(epoch, owned_epoch(peer.data_claims, address));
  return epoch != 0 ? std::optional(epoch) : std::nullopt;
}

unsigned View::rank(Instance id, Instance preferred) const {
  // In the order of members, beginning with the preferred one, so that what a dead instance had is spread.
  const auto place = [&](Instance i) {
    const auto n = static_cast<unsigned>(config_.members.size());
    const auto index = [&](Instance x) {
      return static_cast<unsigned>(std::ranges::find(config_.members, x, &Member::id) - config_.members.begin());
    };
    return (index(i) + n - index(preferred)) % n;
  };
  unsigned before = 0;
  for (const PeerView& p : peers_)
    if (p.id != id && unfit(p) == Reason::kNone && place(p.id) < place(id)) ++before;
  if (id != config_.self && fit_to_take() && place(config_.self) < place(id)) ++before;
  return before;
}

std::string View::describe(const PeerView& peer) const {
  return std::format(
      "{} sync {} data {}{}", config_.name_of(peer.id), word(sync_alive(peer)), word(data_alive(peer)),
      sync_alive(peer) && peer.report.unfit != Reason::kNone ? std::format(" ({})", to_string(peer.report.unfit)) : "");
}

}  // namespace gw::ha
