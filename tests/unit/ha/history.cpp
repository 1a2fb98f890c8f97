#include "tests/unit/ha/history.hpp"

#include <algorithm>
#include <map>

namespace gw::ha::sim {
namespace {

/// One disturbance and, some time later, its end.
void disturb(World& w, const Choose& choose) {
  const auto chance = [&](unsigned percent) { return choose(100) < percent; };
  const auto node = static_cast<unsigned>(choose(w.size()));
  const auto other = static_cast<unsigned>(choose(w.size()));
  const auto endpoint = w.endpoint(static_cast<unsigned>(choose(w.size())));
  switch (choose(18)) {
    case 0: return w.kill(node);
    case 1: return w.kill_gwd(node);
    case 2: return w.kill_fastpath(node);
    case 3: return w.freeze(node);
    case 4: return w.cut_sync(true);
    case 5: return w.cut_data(true);
    case 6: return w.cut_sync(false);
    case 7: return w.cut_data(false);
    case 8: return w.hang_fastpath(node, true);
    case 9:
      return w.links(node, {Link::kUp, chance(30) ? Link::kDown : Link::kUp, chance(50) ? Link::kDown : Link::kUp,
                            chance(30) ? Link::kDown : Link::kUp});
    case 10: w.faults = {chance(50) ? 0.3 : 0.05, 0.1, ms(choose(60))}; return;
    case 11: (void)w.command(node, Drain{}); return;
    case 12: (void)w.command(node, Undrain{}); return;
    case 13: (void)w.command(node, Move{endpoint, static_cast<Instance>(other)}); return;
    case 14: (void)w.command(node, chance(50) ? Takeover{} : Takeover{endpoint}); return;
    case 15:
      return w.reconfigure([mode = chance(50) ? Mode::kActiveActive : Mode::kActiveStandby, node](Configuration& c) {
        c.mode = mode;
        c.preferred = static_cast<Instance>(node);
      });
    case 16: return w.links(node, {Link::kUp, Link::kUp, Link::kUp, Link::kUp, Link::kUp, Link::kDown});
    default: return w.reach_etcd(node, false);
  }
}

void repair_some(World& w, const Choose& choose) {
  const auto node = static_cast<unsigned>(choose(w.size()));
  switch (choose(6)) {
    case 0: return w.start(node);
    case 1: return w.start_fastpath(node);
    case 2: return w.thaw(node);
    case 3: return w.hang_fastpath(node, false);
    case 4: return w.links(node, {Link::kUp, Link::kUp, Link::kUp, Link::kUp});
    default: return w.reach_etcd(node, true);
  }
}

void repair_all(World& w) {
  w.faults = {};
  w.cut_sync(false);
  w.cut_data(false);
  for (unsigned i = 0; i < w.size(); ++i) {
    w.thaw(i);
    w.hang_fastpath(i, false);
    w.start_fastpath(i);
    w.links(i, {Link::kUp, Link::kUp, Link::kUp, Link::kUp});
    w.reach_etcd(i, true);
    w.start(i);
    (void)w.command(i, Undrain{});
  }
}

bool served(World& w) {
  for (unsigned e = 0; e < w.size(); ++e)
    if (w.senders(w.endpoint(e)).size() != 1) return false;
  return true;
}

/// Each endpoint is owned by one machine whose fast path sends, where it belongs, and nobody is about to change that.
bool quiet(World& w) {
  std::map<IpAddress, unsigned> owners;
  for (unsigned i = 0; i < w.size(); ++i)
    for (const Snapshot::Endpoint& e : w.node(i).machine->snapshot(w.now()).endpoints) {
      if (e.state == State::kStandby) continue;
      if (e.state != State::kOwned || !w.may_send(i, e.address)) return false;
      if (e.stay == Stay::kUntilPreferred && number(e.preferred) != i) return false;
      ++owners[e.address];
    }
  return owners.size() == w.size() && served(w) &&
         std::ranges::all_of(owners, [](const auto& o) { return o.second == 1; });
}

/// Whatever is broken and stays so: those that are left come to an arrangement.
bool rests(World& w) {
  w.faults = {};
  w.run(ms(25'000));  // longer than every delay and grace, one after the other
  const auto moves = w.moves();
  w.run(ms(10'000));
  return w.moves() == moves;
}

}  // namespace

std::string live(World& w, const Choose& choose) {
  const auto chance = [&](unsigned percent) { return choose(100) < percent; };
  for (unsigned i = 0; i < w.size(); ++i)
    if (chance(90)) w.start(i);
  w.run(ms(choose(2000)));
  const auto disturbances = 1 + choose(10);
  for (unsigned i = 0; i < disturbances; ++i) {
    disturb(w, choose);
    w.run(ms(chance(50) ? choose(200) : choose(2500)));
    if (chance(60)) repair_some(w, choose);
    w.run(ms(choose(300)));
  }
  if (chance(30) && !rests(w)) return "endpoints keep moving while nothing changes";
  repair_all(w);
  if (!w.violations().empty()) return w.violations().front();
  // TTL, and those who come last wait for what is not theirs.
  if (!w.run_until([&] { return served(w); }, ms(9000))) return "an endpoint without an owner after 9 s of peace";
  const MonoTime limit = w.now() + ms(20'000);
  for (bool settled = false; !settled;) {
    if (!w.run_until([&] { return quiet(w); }, limit - w.now())) return "it does not settle within 20 s of peace";
    const auto moves = w.moves();
    w.run(ms(3000));  // longer than every delay but that of who came last
    settled = w.moves() == moves && quiet(w);
  }
  return w.violations().empty() ? "" : w.violations().front();
}

}  // namespace gw::ha::sim
