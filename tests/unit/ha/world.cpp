#include "tests/unit/ha/world.hpp"

#include <algorithm>
#include <format>
#include <utility>

namespace gw::ha::sim {
namespace {

constexpr ms kTick{10};
constexpr ms kReport{50};

Configuration configuration_for(unsigned instances, LeaseKind lease) {
  Configuration c{.lease = lease};
  for (unsigned i = 0; i < instances; ++i) {
    const Instance id = static_cast<Instance>(i);
    c.members.push_back({id, std::format("gw-{}", static_cast<char>('a' + i))});
    c.endpoints.push_back({IpAddress::from_v4(0xcb00710a + i), id});
  }
  c.timing.failback_delay = ms(2000);  // a minute is the same, but longer
  c.timing.foreign_wait = ms(3000);
  c.timing.control_grace = ms(4000);
  return c;
}

}  // namespace

World::World(unsigned instances, LeaseKind lease, std::uint64_t seed, Record record)
    : config_(configuration_for(instances, lease)), rng_(seed), record_(record) {
  for (unsigned i = 0; i < instances; ++i) {
    Node& n = nodes_.emplace_back();
    n.id = static_cast<Instance>(i);
    n.fastpath.last_tick = now_;
    n.fastpath.woke = now_;
    fastpath_loop(n, n.fastpath.life);
  }
  if (lease == LeaseKind::kEtcd) after(kTick, [this] { expire_leases(); });
}

// --- the order of things -----------------------------------------------------------------------------------

void World::at(MonoTime when, std::function<void()> what) {
  queue_.push({std::max(when, now_), order_++, std::move(what)});
}

void World::gwd_at(Node& n, MonoTime when, std::function<void()> what) {
  const unsigned life = n.gwd_life;
  at(when, [this, &n, life, what = std::move(what)]() mutable {
    if (n.gwd_life != life || !n.gwd_up) return;
    if (n.frozen) return n.stopped.push_back([this, &n, what = std::move(what)] { gwd_at(n, now_, what); });
    what();
  });
}

void World::fastpath_at(Node& n, MonoTime when, std::function<void()> what) {
  const unsigned life = n.fastpath.life;
  at(when, [this, &n, life, what = std::move(what)]() mutable {
    if (n.fastpath.life != life || !n.fastpath.up) return;
    if (n.frozen || n.fastpath.hung)
      return n.stopped.push_back([this, &n, what = std::move(what)] { fastpath_at(n, now_, what); });
    what();
  });
}

void World::run(std::chrono::nanoseconds duration) {
  (void)run_until([] { return false; }, duration);
}

std::optional<std::chrono::nanoseconds> World::run_until(const std::function<bool()>& condition,
                                                         std::chrono::nanoseconds limit) {
  const MonoTime start = now_;
  const MonoTime end = now_ + limit;
  if (condition()) return std::chrono::nanoseconds{0};
  while (!queue_.empty() && queue_.top().at <= end) {
    Item item = queue_.top();
    queue_.pop();
    now_ = item.at;
    item.what();
    check();
    if (condition()) return now_ - start;
  }
  now_ = end;
  check();  // where everything stands still nothing has happened since long
  return std::nullopt;
}

void World::note(std::string text) {
  if (record_ == Record::kNo) return;
  history_.push_back(std::format("{:9.3f} {}", std::chrono::duration<double>(now_.time_since_epoch()).count(), text));
  if (history_.size() > 600) history_.pop_front();
}

std::string World::history() const {
  std::string text;
  for (const std::string& line : history_) text += line + "\n";
  return text;
}

// --- gwd -----------------------------------------------------------------------------------------------------

void World::start(unsigned i) {
  Node& n = nodes_[i];
  if (n.gwd_up) return;
  if (!n.fastpath.up) start_fastpath(i);
  n.gwd_up = true;
  ++n.gwd_life;
  n.controller_free = n.watch_free = now_;
  n.tick_at = {};
  n.last_own.clear();
  n.leases.clear();
  Configuration c = config_;
  c.self = n.id;
  n.machine = std::make_unique<Machine>(c, order_, now_);
  note(std::format("{}: gwd starts", c.name_of(n.id)));
  gwd_at(n, now_ + between(5, 30), [this, &n] {
    handle(n, Adopted{claims_of(n.fastpath)});
    tell_health(n);
    for (const Node& other : nodes_)
      if (other.id != n.id) tell_path(n, other.id);
  });
  for (unsigned other = 0; other < nodes_.size(); ++other)
    if (other != i) after(between(50, 300), [this, i, other] { connect(i, other); });
  heartbeat_loop(n, n.gwd_life);
  if (config_.lease != LeaseKind::kEtcd) return;
  keepalive(n, n.gwd_life);
  tell_leases(n);
}

void World::kill_gwd(unsigned i) {
  Node& n = nodes_[i];
  if (!n.gwd_up) return;
  note(std::format("{}: gwd dies", config_.name_of(n.id)));
  n.gwd_up = false;
  n.gwd_died = now_;
  ++n.gwd_life;
  n.machine.reset();
  for (unsigned other = 0; other < nodes_.size(); ++other)
    if (other != i) disconnect(i, other);
}

void World::handle(Node& n, const Event& event) {
  if (!n.machine) return;
  carry_out(n, n.machine->handle(now_, event));
  arm(n);
}

void World::arm(Node& n) {
  const MonoTime due = n.machine->next_deadline();
  if (n.tick_at > now_ && n.tick_at <= due) return;
  n.tick_at = due;
  gwd_at(n, due, [this, &n, due] {
    if (n.tick_at != due) return;
    n.tick_at = {};
    handle(n, Tick{});
  });
}

void World::heartbeat_loop(Node& n, unsigned life) {
  gwd_at(n, now_ + kReport, [this, &n, life] {
    for (Node& other : nodes_)
      if (other.id != n.id) send_sync(n, other.id, ReportHeard{n.id, n.machine->report(other.id)});
    heartbeat_loop(n, life);
  });
}

MonoTime World::controller_step(Node& n, unsigned low, unsigned high) {
  n.controller_free = std::max(n.controller_free, now_) + between(low, high);
  return n.controller_free;
}

void World::carry_out(Node& n, const std::vector<Action>& actions) {
  for (const Action& action : actions) carry_out_one(n, action);
}

/// Whatever happens, instances do not take an endpoint from each other again and again.
void World::note_taken(const IpAddress& address) {
  constexpr std::size_t kMost = 10;
  std::deque<MonoTime>& times = taken_[address];
  times.push_back(now_);
  if (times.size() > kMost) times.pop_front();
  if (times.size() == kMost && now_ - times.front() < ms(1000))
    violate(std::format("{} was taken {} times within a second", address, kMost));
}

void World::carry_out_one(Node& n, const Action& action) {
  if (const auto* own = std::get_if<Own>(&action)) {
    Epoch& last = n.last_own[own->address];
    if (own->epoch < last) violate(std::format("{} owns with a lower epoch than before", config_.name_of(n.id)));
    last = own->epoch;
    ++moves_;
    note_taken(own->address);
    gwd_at(n, controller_step(n, 0, 3), [this, &n, own = *own] {
      fastpath_at(n, now_, [&n, own] { n.fastpath.gates[own.address] = {true, own.epoch, own.until}; });
    });
    gwd_at(n, controller_step(n, 5, 40), [this, &n, own = *own] { handle(n, OwnDone{own.address, own.epoch}); });
  } else if (const auto* extend = std::get_if<Extend>(&action)) {
    gwd_at(n, controller_step(n, 0, 1), [this, &n, e = *extend] {
      fastpath_at(n, now_, [&n, e] {
        Gate& gate = n.fastpath.gates[e.address];
        if (gate.owned && gate.epoch == e.epoch) gate.until = e.until;
      });
    });
  } else if (const auto* release = std::get_if<Release>(&action)) {
    gwd_at(n, controller_step(n, 0, 3), [this, &n, r = *release] {
      const auto done = [this, &n, r] {
        gwd_at(n, now_ + between(0, 2), [this, &n, r] { handle(n, ReleaseDone{r.address, r.epoch}); });
      };
      if (!n.fastpath.up) return done();
      fastpath_at(n, now_, [&n, r, done] {
        n.fastpath.gates[r.address] = {false, r.epoch, std::nullopt};
        done();
      });
    });
  } else if (const auto* ready = std::get_if<GetReady>(&action)) {
    gwd_at(n, now_ + between(1, 30), [this, &n, r = *ready] { handle(n, ReadyDone{r.address, r.epoch}); });
  } else if (const auto* shutdown = std::get_if<GracefulShutdown>(&action)) {
    if (shutdown->address && shutdown->to == Switch::kOn && chance(0.7))
      gwd_at(n, now_ + between(20, 600), [this, &n, a = *shutdown->address] { handle(n, SitesMoved{a}); });
  } else if (const auto* tell = std::get_if<Tell>(&action)) {
    note(std::format("{} -> {}: {}", config_.name_of(n.id), config_.name_of(tell->to), describe(tell->message)));
    send_sync(n, tell->to, MessageHeard{n.id, tell->message});
  } else if (std::holds_alternative<TellReports>(action)) {
    for (Node& other : nodes_)
      if (other.id != n.id) send_sync(n, other.id, ReportHeard{n.id, n.machine->report(other.id)});
  } else if (const auto* ask = std::get_if<AskLease>(&action)) {
    ask_lease(n, *ask);
  } else if (const auto* drop = std::get_if<DropLease>(&action)) {
    drop_lease(n, *drop);
  } else if (const auto* alarm = std::get_if<Alarm>(&action)) {
    note(std::format("{}: {} {}: {}", config_.name_of(n.id), alarm->to == Switch::kOn ? "ALARM" : "clear",
                     to_string(alarm->kind), alarm->text));
  } else if (const auto* t = std::get_if<Transition>(&action)) {
    note(std::format("{}: {} {} -> {}: {} [{}]", config_.name_of(n.id), t->address, to_string(t->from),
                     to_string(t->to), t->cause, t->situation));
  }
}

Status World::command(unsigned i, const Command& command) {
  Node& n = nodes_[i];
  if (!n.machine || n.frozen) return fail(Errc::kClosed, "gwd is not there");
  if (std::holds_alternative<Takeover>(command)) forced_ = now_;
  auto result = n.machine->command(now_, command);
  note(std::format("{}: operator: {}", config_.name_of(n.id), result ? "yes" : result.error().describe()));
  if (result) carry_out(n, *result);
  arm(n);
  return result ? Status{} : std::unexpected(result.error());
}

void World::reconfigure(const std::function<void(Configuration&)>& change) {
  change(config_);
  for (Node& n : nodes_)
    gwd_at(n, now_ + between(0, 20), [this, &n] {
      Configuration c = config_;
      c.self = n.id;
      carry_out(n, n.machine->reconfigure(now_, c));
      arm(n);
    });
}

State World::state(unsigned i, const IpAddress& address) {
  if (!nodes_[i].machine) return State::kStandby;
  for (const Snapshot::Endpoint& e : nodes_[i].machine->snapshot(now_).endpoints)
    if (e.address == address) return e.state;
  return State::kStandby;
}

// --- invariants --------------------------------------------------------------------------------------------------

bool World::may_send(unsigned i, const IpAddress& address) const {
  const Node& n = nodes_[i];
  if (!n.fastpath.up || n.frozen || n.fastpath.hung) return false;
  const auto gate = n.fastpath.gates.find(address);
  if (gate == n.fastpath.gates.end() || !gate->second.owned) return false;
  if (config_.lease == LeaseKind::kEmbedded) return now_ <= n.fastpath.lease_until;
  return gate->second.until && now_ < *gate->second.until;
}

std::vector<unsigned> World::senders(const IpAddress& address) const {
  std::vector<unsigned> found;
  for (unsigned i = 0; i < nodes_.size(); ++i)
    if (may_send(i, address)) found.push_back(i);
  return found;
}

bool World::calm() const {
  constexpr LocalHealth kFine{Link::kUp, Link::kUp, Link::kUp, Link::kUp};
  return !sync_cut_ && !data_cut_ && faults.loss == 0 && faults.jitter <= ms(10) &&
         std::ranges::all_of(nodes_, [&](const Node& n) {
           return n.gwd_up && n.fastpath.up && !n.fastpath.hung && !n.frozen && n.links == kFine && n.etcd_reachable;
         });
}

void World::violate(std::string text) {
  note("VIOLATION: " + text);
  if (violations_.size() < 10) violations_.push_back(std::move(text));
}

void World::check() {
  if (!calm()) disturbed_ = now_;
  for (const Endpoint& e : config_.endpoints) {
    unsigned sending = 0;
    for (unsigned i = 0; i < nodes_.size(); ++i) sending += may_send(i, e.address) ? 1U : 0U;
    if (sending < 2) {
      overlap_since_.erase(e.address);
      continue;
    }
    const bool began = overlap_since_.try_emplace(e.address, now_).second;
    if (config_.lease == LeaseKind::kEtcd) {
      if (began) violate(std::format("two send for {} though etcd gives the leases", e.address));
      continue;
    }
    if (began && now_ - disturbed_ > ms(2000) && now_ - forced_ > ms(1000))
      violate(std::format("two send for {} though nothing was wrong", e.address));
    // A heartbeat, its way, and the tick of who hears it.
    const MonoTime since = std::max(overlap_since_[e.address], disturbed_);
    if (now_ - since > ms(250)) {
      violate(std::format("two send for {} though both paths are whole", e.address));
      overlap_since_[e.address] = now_;
    }
  }
}

}  // namespace gw::ha::sim
