// The whole configuration is fixed lines, policy objects and all settings, in an order in which nothing is used before
// it is there. A difference is the objects that are new, the settings whose value differs and the objects that nobody
// uses any more.
#include "bgp/config_model.hpp"

#include <algorithm>
#include <format>
#include <map>
#include <ranges>
#include <set>
#include <string_view>
#include <utility>

#include "bgp/endpoint_routes.hpp"
#include "bgp/peer_groups.hpp"
#include "bgp/settings.hpp"

namespace gw::bgp {
namespace {

constexpr std::string_view kGlobalLines[] = {
    // The default of 5 s leaves routes without a best path (frr-findings). Route-maps never change: nothing is missed.
    "bgp route-map delay-timer 0",
};

constexpr std::string_view kRouterLines[] = {
    "bgp log-neighbor-changes",
    "no bgp default ipv4-unicast",
    "no bgp ebgp-requires-policy",  // there always is one: the group's
    "no bgp network import-check",  // what is originated is configuration, not a kernel route
    "bgp always-compare-med",       // routes/decide step 6: without it 10.3's choice depends on the order of arrival
    "bgp bestpath as-path multipath-relax",
    "bgp bestpath compare-routerid",  // routes/decide step 8
    "bgp graceful-restart",
    "bgp graceful-restart preserve-fw-state",
    // One dead site must not hold up the best paths of all others for the default of 360 s after a restart.
    "bgp graceful-restart select-defer-time 30",
};

constexpr std::string_view kFamilyLines[] = {"maximum-paths 8", "maximum-paths ibgp 8"};

/// What an intent comes to.
struct Rendering {
  explicit Rendering(const BgpIntent& wanted) : intent(wanted), policy(wanted) {
    for (const auto& [kind, maps] : policy.groups()) {
      std::ranges::move(group_settings(kind, *maps), std::back_inserter(groups));
    }
    gateway = gateway_settings(wanted, policy);
    for (std::size_t i = 0; i < wanted.peers.size(); ++i) {
      const PeerIntent& peer = wanted.peers[i];
      neighbours[peer.peer] = {&peer, &wanted.policy->peer(peer.name), &policy.of_peer(i),
                               policy.groups().at(peer.kind)};
    }
  }
  const BgpIntent& intent;
  PolicyRender policy;
  Settings groups;
  Settings gateway;
  std::map<IpAddress, Neighbour> neighbours;
};

// Route-maps and prefix-lists are transactions, each of which costs bgpd a copy of all of them: one by one 7 s for a
// large policy, in one transaction 0.15 s. A neighbour that is made between these two commands, or in the second after
// them, is not started before that second is over.
constexpr const char* kBeginTransaction = "XFRR_start_configuration";
constexpr const char* kEndTransaction = "XFRR_end_configuration";

void add_transaction(Commands& out, Commands commands) {
  std::ranges::move(in_transaction(std::move(commands)), std::back_inserter(out));
}

/// Commands of each block; blocks without any leave no trace.
class Script {
 public:
  Commands& in(Block block) { return blocks_[block]; }
  /// Neighbours that go, then new ones, which are down; before policy, because they are not held up then.
  Commands& neighbours() { return neighbours_; }
  /// New policy objects; then all blocks.
  Commands& objects() { return objects_; }
  /// Inside the router block, after everything else.
  Commands& trailer() { return trailer_; }
  /// Policy objects that are not used any more.
  Commands& cleanup() { return cleanup_; }

  Commands finish(std::uint32_t asn) && {
    Commands out;
    const std::string router = std::format("router bgp {}", asn);
    if (!neighbours_.empty() && !objects_.empty()) {
      out.emplace_back(router);
      std::ranges::move(std::exchange(neighbours_, {}), std::back_inserter(out));
      out.emplace_back("exit");
    }
    add_transaction(out, std::move(objects_));
    std::ranges::move(blocks_[Block::kGlobal], std::back_inserter(out));
    const bool inside =
        std::ranges::any_of(blocks_, [](const auto& b) { return b.first != Block::kGlobal && !b.second.empty(); });
    if (inside || !neighbours_.empty() || !trailer_.empty()) {
      out.emplace_back(router);
      std::ranges::move(neighbours_, std::back_inserter(out));
      append(out, Block::kRouter, {}, {});
      append(out, Block::kBmp, "bmp targets GW", "exit");
      append(out, Block::kIpv4, "address-family ipv4 unicast", "exit-address-family");
      append(out, Block::kIpv6, "address-family ipv6 unicast", "exit-address-family");
      std::ranges::move(trailer_, std::back_inserter(out));
      out.emplace_back("exit");
    }
    add_transaction(out, std::move(cleanup_));
    return out;
  }

 private:
  void append(Commands& out, Block block, std::string open, std::string close) {
    Commands& commands = blocks_[block];
    if (commands.empty()) return;
    if (!open.empty()) out.emplace_back(std::move(open));
    std::ranges::move(commands, std::back_inserter(out));
    if (!close.empty()) out.emplace_back(std::move(close));
  }

  std::map<Block, Commands> blocks_;
  Commands neighbours_;
  Commands objects_;
  Commands trailer_;
  Commands cleanup_;
};

void add_lines(Commands& out, std::span<const std::string_view> lines) {
  for (const std::string_view line : lines) out.emplace_back(std::string(line));
}

void add_settings(Script& script, const Settings& settings) {
  for (const Setting& s : settings) script.in(s.block).push_back(s.on.clone());
}

void add_object(Commands& out, const PolicyObject& object) {
  for (const std::string& line : object.lines) out.emplace_back(line);
}

using Key = std::pair<Block, std::string_view>;

std::map<Key, const Setting*> index_of(const Settings& settings) {
  std::map<Key, const Setting*> out;
  for (const Setting& s : settings) out.emplace(Key{s.block, s.key}, &s);
  return out;
}

bool same(const Command& a, const Command& b) { return a.text == b.text && a.secret == b.secret; }

void remove_gone(Script& script, const Settings& before, const Settings& after) {
  const auto kept = index_of(after);
  for (const Setting& s : before) {
    if (!s.off.empty() && !kept.contains(Key{s.block, s.key})) script.in(s.block).emplace_back(s.off);
  }
}

void set_changed(Script& script, const Settings& before, const Settings& after) {
  const auto known = index_of(before);
  for (const Setting& s : after) {
    const auto was = known.find(Key{s.block, s.key});
    if (was == known.end() || !same(was->second->on, s.on)) script.in(s.block).push_back(s.on.clone());
  }
}

void change(Script& script, const Settings& before, const Settings& after) {
  remove_gone(script, before, after);
  set_changed(script, before, after);
}

/// A neighbour of another kind is another neighbour: bgpd cannot move one between groups.
bool survives(const Neighbour& before, const Rendering& after) {
  const auto it = after.neighbours.find(before.intent->peer);
  return it != after.neighbours.end() && it->second.intent->kind == before.intent->kind &&
         neighbour_name(*it->second.intent) == neighbour_name(*before.intent);
}

/// `no neighbor` takes all of its settings along.
void remove_owners(Script& script, const Rendering& before, const Rendering& after) {
  for (const auto& [address, neighbour] : before.neighbours) {
    if (!survives(neighbour, after))
      script.neighbours().emplace_back(std::format("no neighbor {}", neighbour_name(*neighbour.intent)));
  }
  for (const auto& [kind, maps] : before.policy.groups()) {
    if (after.policy.groups().contains(kind)) continue;
    script.in(Block::kRouter).emplace_back(std::format("no neighbor {} peer-group", group_name(kind)));
  }
}

void change_groups(Script& script, const Rendering& before, const Rendering& after) {
  Settings kept;
  for (const Setting& s : before.groups) {
    const bool stays = std::ranges::any_of(after.groups, [&](const Setting& a) { return a.owner == s.owner; });
    if (stays) kept.push_back({s.block, s.key, s.owner, s.on.clone(), s.off});
  }
  change(script, kept, after.groups);
}

/// Down until it is complete: the trailer brings it up.
void add_neighbour(Script& script, const Neighbour& neighbour) {
  const std::string name = neighbour_name(*neighbour.intent);
  for (const Setting& s : neighbour_settings(neighbour)) {
    const bool makes_it = s.key.ends_with(" remote-as");
    (makes_it ? script.neighbours() : script.in(s.block)).push_back(s.on.clone());
    if (makes_it) script.neighbours().emplace_back(std::format("neighbor {} shutdown", name));
  }
  if (!neighbour.intent->disabled) script.trailer().emplace_back(std::format("no neighbor {} shutdown", name));
}

void change_neighbours(Script& script, const Rendering& before, const Rendering& after) {
  for (const PeerIntent& peer : after.intent.peers) {
    const Neighbour& now = after.neighbours.at(peer.peer);
    const auto was = before.neighbours.find(peer.peer);
    if (was == before.neighbours.end() || !survives(was->second, after))
      add_neighbour(script, now);
    else if (!same_settings(was->second, now))
      change(script, neighbour_settings(was->second), neighbour_settings(now));
  }
}

/// New ones before anything names them, old ones when nobody does any more.
void change_objects(Script& script, const PolicyObjects& before, const PolicyObjects& after) {
  for (const PolicyObject* object : after.in_order()) {
    if (!before.contains(object->name)) add_object(script.objects(), *object);
  }
  for (const PolicyObject* object : before.in_order() | std::views::reverse) {
    if (!after.contains(object->name)) script.cleanup().emplace_back(object->off);
  }
}

Commands whole(const BgpIntent& intent) {
  const Rendering all(intent);
  Commands out;
  add_lines(out, kGlobalLines);
  for (const PolicyObject* object : all.policy.objects().in_order()) add_object(out, *object);
  // Groups come complete before any neighbour, so that a neighbour is never without policy.
  Script groups;
  add_lines(groups.in(Block::kRouter), kRouterLines);
  for (const Block family : {Block::kIpv4, Block::kIpv6}) add_lines(groups.in(family), kFamilyLines);
  add_settings(groups, all.groups);
  std::ranges::move(std::move(groups).finish(intent.asn), std::back_inserter(out));
  Script rest;
  add_settings(rest, all.gateway);
  for (const PeerIntent& peer : intent.peers) add_settings(rest, neighbour_settings(all.neighbours.at(peer.peer)));
  std::ranges::move(std::move(rest).finish(intent.asn), std::back_inserter(out));
  return out;
}

}  // namespace

std::string neighbour_name(const PeerIntent& peer) { return peer.unnumbered ? peer.device : peer.peer.to_string(); }

Commands in_transaction(Commands commands) {
  if (commands.size() < 2) return commands;
  commands.insert(commands.begin(), Command(kBeginTransaction));
  commands.emplace_back(kEndTransaction);
  return commands;
}

Commands render(const BgpIntent& intent) {
  Commands out;
  add_transaction(out, whole(intent));
  return out;
}

Commands diff(const BgpIntent& before, const BgpIntent& after) {
  if (before.asn != after.asn) {
    Commands out;
    out.emplace_back(std::format("no router bgp {}", before.asn));
    std::ranges::move(render(after), std::back_inserter(out));
    return out;
  }
  const Rendering was(before);
  const Rendering now(after);
  Script script;
  change_objects(script, was.policy.objects(), now.policy.objects());
  remove_owners(script, was, now);
  // What we originate moves before policy does: bgpd would forget it (choose_again).
  change(script, was.gateway, now.gateway);
  change_groups(script, was, now);
  change_neighbours(script, was, now);
  return std::move(script).finish(after.asn);
}

bool changes_import(const Commands& commands) {
  return std::ranges::any_of(commands, [](const Command& c) {
    return c.text.contains("neighbor ") && c.text.contains(" route-map ") && c.text.ends_with(" in");
  });
}

Commands choose_again(const BgpIntent& intent) {
  Commands out;
  out.emplace_back(std::format("router bgp {}", intent.asn));
  out.emplace_back("bgp bestpath compare-routerid");  // set already; bgpd does not ask
  out.emplace_back("exit");
  return out;
}

Secret render_file(const BgpIntent& intent) {
  Commands lines;
  lines.emplace_back("! Written by gwd for the next start of bgpd; changes here are lost.");
  lines.emplace_back("frr defaults traditional");
  std::ranges::move(whole(intent), std::back_inserter(lines));
  for (const EndpointIntent& endpoint : intent.endpoints) {
    if (!endpoint.med) continue;
    std::ranges::move(claim_maps({*endpoint.med}), std::back_inserter(lines));
    std::ranges::move(announce(intent.asn, endpoint), std::back_inserter(lines));
  }
  std::size_t size = 0;
  for (const Command& c : lines) size += c.text.size() + c.secret.size() + 1;
  std::string text;
  text.reserve(size);  // one allocation: wiping it leaves no copy
  for (const Command& c : lines) {
    text += c.text;
    text += c.secret.text();
    text += '\n';
  }
  Secret out(text);
  wipe(text);
  return out;
}

}  // namespace gw::bgp
