// The world's fast paths, its two networks and its etcd.
#include <algorithm>
#include <format>
#include <utility>

#include "tests/unit/ha/world.hpp"

namespace gw::ha::sim {
namespace {

constexpr ms kTick{10};
constexpr unsigned kTicksPerHeartbeat = 5;
constexpr ms kHold{120};
constexpr ms kSilent{150};
constexpr ms kControlPatience{1000};

}  // namespace

// --- gw-fastpath ------------------------------------------------------------------------------------------------

std::vector<Claim> World::claims_of(const Fastpath& f) const {
  std::vector<Claim> claims;
  if (!f.up) return claims;
  for (const auto& [address, gate] : f.gates)
    claims.push_back({address, gate.epoch, gate.owned ? Ownership::kOwned : Ownership::kStandby});
  return claims;
}

void World::fastpath_loop(Node& n, unsigned life) {
  fastpath_at(n, now_ + kTick, [this, &n, life] {
    fastpath_tick(n);
    fastpath_loop(n, life);
  });
}

void World::fastpath_tick(Node& n) {
  Fastpath& f = n.fastpath;
  if (now_ - f.last_tick > kHold) f.woke = now_;
  f.last_tick = now_;
  // Nobody answers: nobody is there who could have replaced us.
  if (f.woke && now_ - *f.woke >= kSilent &&
      std::ranges::none_of(f.heard, [&](const auto& h) { return h.second.at >= *f.woke; }))
    f.woke.reset();
  if (!f.woke) f.lease_until = now_ + kHold;
  for (auto& [peer, heard] : f.heard) {
    if (!heard.alive || now_ - heard.at <= kSilent) continue;
    heard.alive = false;
    tell_path(n, peer);
  }
  if (++f.ticks % kTicksPerHeartbeat == 0) send_heartbeats(n);
}

void World::send_heartbeats(Node& n) {
  for (Node& other : nodes_) {
    if (other.id == n.id || data_cut_ || n.links.vnet == Link::kDown || other.links.vnet == Link::kDown) continue;
    const Link control = link(n.gwd_up || now_ - n.gwd_died < kControlPatience);
    const Heartbeat h{n.id, now_, n.fastpath.heard[other.id].sent, control, claims_of(n.fastpath)};
    const unsigned copies = chance(faults.loss) ? 0 : chance(faults.duplicate) ? 2 : 1;
    for (unsigned i = 0; i < copies; ++i) {
      const auto way = us(100 + random(1000)) + ms(random(static_cast<std::uint64_t>(faults.jitter.count()) + 1));
      at(now_ + way, [this, &other, h] { fastpath_at(other, now_, [this, &other, h] { fastpath_hears(other, h); }); });
    }
  }
}

void World::fastpath_hears(Node& n, const Heartbeat& h) {
  Fastpath& f = n.fastpath;
  Fastpath::Heard& heard = f.heard[h.from];
  if (h.sent <= heard.sent) return;  // late or twice
  for (const Claim& c : h.claims) {
    const auto gate = f.gates.find(c.address);
    if (gate == f.gates.end() || !gate->second.owned || c.ownership != Ownership::kOwned ||
        c.epoch <= gate->second.epoch)
      continue;
    gate->second.owned = false;
    note(std::format("{}: fast path gives way for {}", config_.name_of(n.id), c.address));
    if (n.gwd_up) gwd_at(n, now_ + between(0, 3), [this, &n, c] { handle(n, EndpointLost{c.address, c.epoch}); });
  }
  if (f.woke && h.echo >= *f.woke) f.woke.reset();
  const bool news = !heard.alive || heard.control != h.control || heard.claims != h.claims;
  heard = {now_, h.sent, true, h.control, h.claims};
  if (news) tell_path(n, h.from);
}

void World::tell_path(Node& n, Instance peer) {
  const Fastpath::Heard heard = n.fastpath.heard[peer];
  const Link link = heard.alive ? Link::kUp : Link::kDown;
  if (!n.gwd_up) return;
  const unsigned life = n.fastpath.life;
  gwd_at(n, now_ + ms(1), [this, &n, life, e = DataPath{peer, link, link, heard.control, heard.at, heard.claims}] {
    if (n.fastpath.life == life) handle(n, e);
  });
}

void World::tell_health(Node& n) {
  LocalHealth health = n.links;
  health.fastpath = n.fastpath.up && !n.fastpath.hung ? Link::kUp : Link::kDown;
  if (health.fastpath == Link::kDown) health.forwarding = Link::kDown;
  if (n.gwd_up) gwd_at(n, now_ + ms(1), [this, &n, health] { handle(n, health); });
}

void World::kill_fastpath(unsigned i) {
  Node& n = nodes_[i];
  if (!n.fastpath.up) return;
  note(std::format("{}: gw-fastpath dies", config_.name_of(n.id)));
  ++n.fastpath.life;
  n.fastpath.up = false;
  n.fastpath.gates.clear();
  n.fastpath.heard.clear();
  tell_health(n);
}

void World::start_fastpath(unsigned i) {
  Node& n = nodes_[i];
  if (n.fastpath.up) return;
  note(std::format("{}: gw-fastpath starts", config_.name_of(n.id)));
  const unsigned life = n.fastpath.life + 1;
  n.fastpath = {.life = life, .last_tick = now_, .woke = now_};
  fastpath_loop(n, life);
  tell_health(n);
}

void World::hang_fastpath(unsigned i, bool hung) {
  Node& n = nodes_[i];
  if (!n.fastpath.up || n.fastpath.hung == hung) return;
  n.fastpath.hung = hung;
  note(std::format("{}: gw-fastpath {}", config_.name_of(n.id), hung ? "hangs" : "goes on"));
  if (hung) return after(ms(100), [this, &n] { tell_health(n); });
  tell_health(n);
  for (std::function<void()>& what : std::exchange(n.stopped, {})) what();
}

void World::freeze(unsigned i) {
  Node& n = nodes_[i];
  if (n.frozen) return;
  note(std::format("{}: freezes", config_.name_of(n.id)));
  n.frozen = true;
  const MonoTime since = now_;
  for (unsigned other = 0; other < nodes_.size(); ++other)
    if (other != i)
      after(between(1000, 3000), [this, &n, i, other, since] {
        if (n.frozen && now_ - since < ms(3001)) disconnect(i, other);
      });
}

void World::thaw(unsigned i) {
  Node& n = nodes_[i];
  if (!n.frozen) return;
  note(std::format("{}: wakes", config_.name_of(n.id)));
  n.frozen = false;
  for (std::function<void()>& what : std::exchange(n.stopped, {})) what();
  for (unsigned other = 0; other < nodes_.size(); ++other)
    if (other != i) after(between(50, 300), [this, i, other] { connect(i, other); });
}

void World::links(unsigned i, LocalHealth health) {
  nodes_[i].links = health;
  tell_health(nodes_[i]);
}

// --- the sync channel -----------------------------------------------------------------------------------------------

World::Channel& World::channel(Instance a, Instance b) {
  return channels_[{std::min(number(a), number(b)), std::max(number(a), number(b))}];
}

void World::send_sync(Node& from, Instance to, Event event) {
  Channel& c = channel(from.id, to);
  if (!c.up) return;
  Node& target = nodes_[number(to)];
  const unsigned direction = from.id < to ? 0 : 1;
  const unsigned life = c.life;
  auto deliver = [this, &c, &target, life, event = std::move(event)] {
    if (c.life == life)
      gwd_at(target, now_, [this, &c, &target, life, event] {
        if (c.life == life) handle(target, event);
      });
  };
  if (sync_cut_) return c.held[direction].push_back(std::move(deliver));
  const auto way = us(200 + random(1500)) + ms(random(static_cast<std::uint64_t>(faults.jitter.count()) + 1));
  c.last[direction] = std::max(c.last[direction], now_ + way);
  at(c.last[direction], std::move(deliver));
}

void World::connect(unsigned a, unsigned b) {
  Node& x = nodes_[a];
  Node& y = nodes_[b];
  Channel& c = channel(x.id, y.id);
  if (c.up || sync_cut_ || !x.gwd_up || !y.gwd_up || x.frozen || y.frozen) return;
  c.up = true;
  const unsigned life = ++c.life;
  c.last[0] = c.last[1] = now_;
  for (const auto& [n, peer] : {std::pair{&x, y.id}, std::pair{&y, x.id}}) {
    gwd_at(*n, now_, [this, n, peer, &c, life] {
      if (c.life != life) return;
      handle(*n, SyncChannel{peer, Link::kUp});
      send_sync(*n, peer, ReportHeard{n->id, n->machine->report(peer)});
    });
    gwd_at(*n, now_ + between(100, 400), [this, n, peer, &c, life] {
      if (c.life == life) handle(*n, SyncProgress{peer, Link::kUp});
    });
  }
}

void World::disconnect(unsigned a, unsigned b) {
  Node& x = nodes_[a];
  Node& y = nodes_[b];
  Channel& c = channel(x.id, y.id);
  if (!c.up) return;
  // The end of a process is heard at once, that of a network when nothing has come for a while.
  const bool unheard = sync_cut_;
  c.up = false;
  ++c.life;
  c.held[0].clear();
  c.held[1].clear();
  for (const auto& [n, peer] : {std::pair{&x, y.id}, std::pair{&y, x.id}})
    gwd_at(*n, now_ + (unheard ? between(300, 1000) : between(1, 5)), [this, n, peer] {
      if (channel(n->id, peer).up) return;
      handle(*n, SyncChannel{peer, Link::kDown});
      handle(*n, SyncProgress{peer, Link::kDown});
    });
  after(between(50, 300), [this, a, b] { connect(a, b); });
}

void World::cut_sync(bool cut) {
  if (sync_cut_ == cut) return;
  sync_cut_ = cut;
  note(cut ? "sync network cut" : "sync network whole");
  if (cut)
    return after(between(300, 1000), [this] {
      if (!sync_cut_) return;
      for (unsigned a = 0; a < nodes_.size(); ++a)
        for (unsigned b = a + 1; b < nodes_.size(); ++b) disconnect(a, b);
    });
  for (auto& [ends, c] : channels_) {
    for (unsigned direction : {0U, 1U})
      for (std::function<void()>& deliver : std::exchange(c.held[direction], {})) {
        c.last[direction] = std::max(c.last[direction], now_ + us(500));
        at(c.last[direction], std::move(deliver));
      }
  }
  for (unsigned a = 0; a < nodes_.size(); ++a)
    for (unsigned b = a + 1; b < nodes_.size(); ++b) after(between(50, 300), [this, a, b] { connect(a, b); });
}

void World::cut_data(bool cut) {
  if (data_cut_ != cut) note(cut ? "data path cut" : "data path whole");
  data_cut_ = cut;
}

// --- etcd
// -------------------------------------------------------------------------------------------------------------

void World::reach_etcd(unsigned i, bool reachable) {
  Node& n = nodes_[i];
  if (n.etcd_reachable == reachable) return;
  n.etcd_reachable = reachable;
  note(std::format("{}: etcd {}", config_.name_of(n.id), reachable ? "in reach" : "out of reach"));
  if (reachable) {
    renew(n);
    return tell_leases(n);
  }
  if (n.gwd_up)
    gwd_at(n, now_ + ms(500), [this, &n] {
      if (!n.etcd_reachable) handle(n, LeaseService{Link::kDown, "no answer"});
    });
}

void World::ask_lease(Node& n, const AskLease& ask) {
  const MonoTime sent = now_;
  const auto nothing = [this, &n, ask] {
    gwd_at(n, now_ + ms(500), [this, &n, ask] { handle(n, LeaseDenied{ask.address, std::nullopt, 0}); });
  };
  if (!n.etcd_reachable) return nothing();
  after(between(1, 10), [this, &n, ask, sent, nothing] {
    Lease& lease = leases_[ask.address];
    if (lease.holder && (!ask.succeeds || *ask.succeeds != lease.epoch)) {
      gwd_at(n, now_ + between(1, 10),
             [this, &n, e = LeaseDenied{ask.address, lease.holder, lease.epoch}] { handle(n, e); });
      return;
    }
    lease = {n.id, next_epoch(std::max(lease.epoch, ask.above), n.id), now_ + kTtl};
    announce_lease(ask.address);
    if (chance(faults.loss / 4)) return nothing();  // granted, and the answer lost
    gwd_at(n, now_ + between(1, 10), [this, &n, a = ask.address, epoch = lease.epoch, sent] {
      n.leases[a] = epoch;
      handle(n, LeaseGranted{a, epoch, sent + kTtl - kTtl / 10});
    });
  });
}

void World::drop_lease(Node& n, const DropLease& drop) {
  if (n.leases[drop.address] == drop.epoch) n.leases.erase(drop.address);
  if (!n.etcd_reachable) return;  // it ends by itself
  after(between(1, 10), [this, &n, drop] {
    Lease& lease = leases_[drop.address];
    if (lease.holder != n.id || lease.epoch != drop.epoch) return;
    lease.holder.reset();
    announce_lease(drop.address);
  });
}

void World::keepalive(Node& n, unsigned life) {
  gwd_at(n, now_ + kTtl / 3, [this, &n, life] {
    keepalive(n, life);
    renew(n);
  });
}

void World::renew(Node& n) {
  if (!n.etcd_reachable || n.frozen) return;
  for (const auto& [address, epoch] : n.leases)
    after(between(1, 10), [this, &n, a = address, e = epoch, sent = now_] {
      Lease& lease = leases_[a];
      if (lease.holder != n.id || lease.epoch != e) return;
      lease.expires = now_ + kTtl;
      gwd_at(n, now_ + between(1, 10),
             [this, &n, a, e, sent] { handle(n, LeaseRenewed{a, e, sent + kTtl - kTtl / 10}); });
    });
}

void World::expire_leases() {
  for (auto& [address, lease] : leases_) {
    if (!lease.holder || now_ < lease.expires) continue;
    note(std::format("etcd: lease of {} ends", address));
    lease.holder.reset();
    announce_lease(address);
  }
  after(kTick, [this] { expire_leases(); });
}

void World::tell_lease(Node& n, const IpAddress& address) {
  const Lease& lease = leases_[address];
  n.watch_free = std::max(n.watch_free, now_) + between(1, 10);
  gwd_at(n, n.watch_free, [this, &n, e = LeaseHolder{address, lease.holder, lease.epoch}] { handle(n, e); });
}

void World::announce_lease(const IpAddress& address) {
  for (Node& n : nodes_)
    if (n.gwd_up && n.etcd_reachable) tell_lease(n, address);
}

void World::tell_leases(Node& n) {
  if (!n.gwd_up || config_.lease != LeaseKind::kEtcd) return;
  gwd_at(n, now_ + between(20, 100), [this, &n] {
    if (!n.etcd_reachable) return;
    handle(n, LeaseService{Link::kUp, ""});
    for (const Endpoint& e : config_.endpoints) tell_lease(n, e.address);
  });
}

}  // namespace gw::ha::sim
