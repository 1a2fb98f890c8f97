// Rules for what makes two instances one gateway: `sync`, `move`, `mode`, `lease`, `ha`.
#include <algorithm>
#include <format>
#include <map>
#include <set>

#include "base/duration.hpp"
#include "gwd/config/ha_model.hpp"
#include "gwd/config/rules.hpp"
#include "gwd/config/sessions.hpp"
#include "gwd/config/slots.hpp"

namespace gw::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kMaxPaths = 2;
constexpr std::uint64_t kMaxPort = 65535;
// After a takeover FRR has refreshed what it kept within 3 s when tried.
constexpr milliseconds kShortFailback{10'000};
constexpr std::size_t kNamed = 3;  // of many sites

Path path_of(int instance) { return std::format("gateway.instances[{}]", instance); }

bool is_absolute_path(const std::string& text) { return text.starts_with('/') && !text.ends_with('/'); }

/// Whose address it is among those that move or are another's.
std::string owner_of(const v1::Gateway& gateway, const IpAddress& address, int asking) {
  for (int i = 0; i < gateway.instances_size(); ++i) {
    const v1::Instance& instance = gateway.instances(i);
    for (const v1::EndpointAddress& endpoint : instance.wan().endpoints())
      if (address == IpAddress::parse(endpoint.address()))
        return std::format("an endpoint of {}, which moves", instance.name());
    if (i != asking && address == IpAddress::parse(instance.vnet().address()))
      return std::format("the VNet address of {}", instance.name());
  }
  return {};
}

void check_sync(Rules& rules, int index, std::map<IpAddress, Path>& seen) {
  const v1::Gateway& gateway = rules.config().gateway();
  const v1::Instance& instance = gateway.instances(index);
  const Path path = path_of(index) + ".sync";
  if (instance.sync_size() > kMaxPaths)
    rules.error(path, std::format("there are {}", instance.sync_size()), "one or two addresses");
  for (int i = 0; i < instance.sync_size(); ++i) {
    const Path own = std::format("{}[{}]", path, i);
    const auto address = rules.address(own, instance.sync(i));
    if (!address) continue;
    const auto [first, is_new] = seen.emplace(*address, own);
    if (!is_new)
      rules.error(own, std::format("{} is also {}", *address, first->second), "an address of its own");
    else if (const std::string owner = owner_of(gateway, *address, index); !owner.empty())
      rules.error(own, std::format("{} is {}", *address, owner), "an address that stays with this instance");
  }
}

/// The n-th address of one instance talks to the n-th of the other.
void check_paths(Rules& rules) {
  const v1::Gateway& gateway = rules.config().gateway();
  const v1::Instance& first = gateway.instances(0);
  const v1::Instance& second = gateway.instances(1);
  if (rules.faulty(path_of(0) + ".sync") || rules.faulty(path_of(1) + ".sync")) return;
  if (first.sync_size() != second.sync_size())
    return rules.error(
        path_of(first.sync_size() < second.sync_size() ? 0 : 1) + ".sync",
        std::format("{} has {}, {} has {}", first.name(), first.sync_size(), second.name(), second.sync_size()),
        "as many sync addresses on both instances");
  for (int i = 0; i < first.sync_size(); ++i) {
    const auto a = IpAddress::parse(first.sync(i));
    const auto b = IpAddress::parse(second.sync(i));
    if (a && b && a->family() != b->family())
      rules.error(std::format("{}.sync[{}]", path_of(1), i), std::format("{} and {} cannot reach each other", *a, *b),
                  "two of one family");
  }
}

void check_move(Rules& rules, const Path& path, const v1::EndpointAddress& endpoint) {
  if (endpoint.move() == v1::MOVE_HOOK) {
    if (!rules.required_text(path + ".hook", endpoint.hook(), "the program that moves the address")) return;
  } else if (!endpoint.hook().empty()) {
    return rules.error(path + ".hook", "is run by `move: hook` only", "`move: hook`, or no `hook`");
  }
  if (!endpoint.hook().empty() && !is_absolute_path(endpoint.hook()))
    rules.error(path + ".hook", std::format("'{}' is not an absolute path", endpoint.hook().substr(0, 60)),
                "a program, e.g. /usr/local/lib/gw/move-address");
}

// The data path's heartbeat goes between the VNet addresses: without it, a sync network that is cut would look like a
// dead instance.
void check_second_opinion(Rules& rules) {
  for (int i = 0; i < rules.config().gateway().instances_size(); ++i) {
    const v1::Instance& instance = rules.config().gateway().instances(i);
    const Path path = path_of(i) + ".vnet.address";
    if (instance.has_vnet() && instance.vnet().address().empty() && !rules.faulty(path))
      rules.error(path, "is missing: the heartbeat of the data path goes between the VNet addresses",
                  "the instance's own address on the VNet");
  }
}

bool is_etcd_endpoint(const std::string& text) {
  const std::string_view rest = text.starts_with("https://")  ? std::string_view(text).substr(8)
                                : text.starts_with("http://") ? std::string_view(text).substr(7)
                                                              : std::string_view();
  const std::size_t colon = rest.rfind(':');
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(".-:[]").contains(c);
  };
  return colon != std::string_view::npos && colon > 0 && colon + 1 < rest.size() && rest.size() - colon <= 6 &&
         std::ranges::all_of(rest, plain) &&
         rest.substr(colon + 1).find_first_not_of("0123456789") == std::string_view::npos;
}

void check_etcd(Rules& rules, const v1::Lease& lease) {
  bool secure = false;
  rules.required("gateway.lease.endpoints", lease.endpoints_size() > 0, "etcd's addresses");
  for (int i = 0; i < lease.endpoints_size(); ++i) {
    const Path path = std::format("gateway.lease.endpoints[{}]", i);
    secure = secure || lease.endpoints(i).starts_with("https:");
    if (!rules.faulty(path) && !is_etcd_endpoint(lease.endpoints(i)))
      rules.error(path, std::format("'{}' is no address of etcd", lease.endpoints(i).substr(0, 60)),
                  "e.g. https://192.0.2.1:2379");
  }
  if (lease.endpoints_size() > 0 && !secure)
    rules.warning("gateway.lease.endpoints", "whoever is on the way to etcd can take the gateway over",
                  "https, and `tls`");
  const v1::LeaseTls& tls = lease.tls();
  if (secure && rules.required("gateway.lease.tls", lease.has_tls(), "{ ca_file }: whom to believe to be etcd"))
    rules.required_text("gateway.lease.tls.ca_file", tls.ca_file(), "etcd's certificate authority");
  rules.existing_file("gateway.lease.tls.ca_file", tls.ca_file());
  rules.existing_file("gateway.lease.tls.cert_file", tls.cert_file());
  rules.secret_file("gateway.lease.tls.key_file", tls.key_file(), 4096);
  if (tls.cert_file().empty() != tls.key_file().empty())
    rules.required_text(tls.key_file().empty() ? "gateway.lease.tls.key_file" : "gateway.lease.tls.cert_file", {},
                        "certificate and key, or neither");
  // Below, a restart of gwd (about a second) would lose the lease; above, a takeover takes that long.
  rules.seconds("gateway.lease.ttl", lease.ttl(), {seconds(2), seconds(60)});
}

void check_lease(Rules& rules) {
  const v1::Lease& lease = rules.config().gateway().lease();
  if (lease.kind() == v1::LEASE_KIND_ETCD) return check_etcd(rules, lease);
  for (const char* name : {"endpoints", "tls", "ttl"}) {
    const Path path = std::format("gateway.lease.{}", name);
    if (rules.given(path)) rules.error(path, "is for etcd", "`kind: etcd`, or no such key");
  }
}

void check_settings(Rules& rules) {
  const v1::HaSettings& ha = rules.config().gateway().ha();
  const auto failback =
      rules.milliseconds("gateway.ha.failback_delay", ha.failback_delay(), {milliseconds(0), milliseconds(86'400'000)});
  if (failback && *failback < kShortFailback)
    rules.warning("gateway.ha.failback_delay",
                  "a site's router that has not heard all routes again by then drops them for seconds (RFC 4724 4.2)",
                  "10s or more");
  rules.milliseconds("gateway.ha.heartbeat", ha.heartbeat(), {milliseconds(20), milliseconds(5000)});
  rules.number("gateway.ha.multiplier", ha.multiplier(), {2, 50});
  rules.milliseconds("gateway.ha.hook_timeout", ha.hook_timeout(), {milliseconds(100), milliseconds(300'000)});
  rules.number("gateway.ha.port", ha.port(), {1, kMaxPort});
  if (rules.given("gateway.ha.tls_dir"))
    rules.required_text("gateway.ha.tls_dir", ha.tls_dir(), "the folder that `gwctl ha init` made");
}

milliseconds takeover_of(const v1::HaSettings& ha) {
  return takeover_time(parse_duration(ha.heartbeat()).value_or(kDefaultHeartbeat),
                       ha.multiplier() == 0 ? kDefaultMultiplier : ha.multiplier());
}

/// Sites whose tunnels all end at one instance: when that is lost, they have no other way until it is taken over.
std::set<std::string> sites_with_one_way(const v1::Config& config) {
  std::map<std::string, std::set<int>> instances;
  for (const TunnelSlot& slot : tunnel_slots(config))
    if (!slot.connection->disabled()) instances[slot.remote.site->name()].insert(slot.instance_index);
  const bool standby = config.gateway().mode() == v1::GATEWAY_MODE_ACTIVE_STANDBY;
  std::set<std::string> sites;
  for (const auto& [site, of] : instances)
    if (standby || of.size() == 1) sites.insert(site);
  return sites;
}

std::string some_of(const std::vector<std::string>& sites) {
  std::string text = sites.size() == 1 ? "site " : "sites ";
  for (std::size_t i = 0; i < std::min(sites.size(), kNamed); ++i) text += (i == 0 ? "" : ", ") + sites[i];
  return sites.size() <= kNamed ? text : std::format("{} and {} more", text, sites.size() - kNamed);
}

// BFD that is sooner than a takeover ends BGP with a site that has nowhere else to turn to. One finding for all of
// them, at the first: with active-standby that is every site. (No BFD that is worth having waits for etcd's lease.)
void check_bfd_of_takeovers(Rules& rules) {
  const v1::Config& config = rules.config();
  if (config.gateway().lease().kind() == v1::LEASE_KIND_ETCD) return;
  const milliseconds takeover = takeover_of(config.gateway().ha());
  const std::set<std::string> alone = sites_with_one_way(config);
  std::vector<std::string> sites;
  Path first;
  milliseconds soonest{};
  for (int i = 0; i < config.connections_size(); ++i) {
    const v1::Connection& connection = config.connections(i);
    const auto remote = find_device(config, connection.device());
    if (!remote || connection.disabled() || remote->site->asn() == 0 || !alone.contains(remote->site->name())) continue;
    const auto bfd = tunnel_bfd(connection.bgp());
    if (!bfd || bfd->interval * bfd->multiplier >= patient_bfd(takeover)) continue;
    if (sites.empty()) {
      first = std::format("connections[{}].bgp.bfd", i);
      soonest = bfd->interval * bfd->multiplier;
    }
    if (!std::ranges::contains(sites, remote->site->name())) sites.push_back(remote->site->name());
  }
  if (sites.empty() || rules.faulty(first + ".interval") || rules.faulty(first + ".multiplier")) return;
  const auto enough = std::chrono::ceil<std::chrono::duration<int, std::deci>>(patient_bfd(takeover) / 3);
  rules.warning(
      first,
      std::format("notices a takeover (about {} ms) after {} ms: BGP with {} may end then, takes about 3 s to "
                  "be back, and nothing else leads there meanwhile",
                  takeover.count(), soonest.count(), some_of(sites)),
      std::format("`bfd: {{ interval: {}ms, multiplier: 3 }}`, at the devices as well", milliseconds(enough).count()));
}

// bgpd tells sessions apart by the peer's address, and whoever takes over has both instances' tunnels.
void check_shared_peers(Rules& rules) {
  const v1::Config& config = rules.config();
  const std::vector<TunnelSlot> slots = tunnel_slots(config);
  const auto pairs = inner_pairs(config, slots);
  std::map<IpAddress, const TunnelSlot*> seen;
  std::set<int> told;
  for (const TunnelSlot& slot : slots) {
    const auto pair = pairs.find(slot.name);
    if (slot.remote.site->asn() == 0 || slot.connection->bgp().unnumbered() || pair == pairs.end()) continue;
    const std::string& loopback = slot.remote.device->loopback();
    const auto peer = loopback.empty() ? Result<IpAddress>(pair->second.peer) : IpAddress::parse(loopback);
    if (!peer) continue;  // reported
    const auto [first, fresh] = seen.emplace(*peer, &slot);
    if (fresh || first->second->instance_index == slot.instance_index || !told.insert(slot.connection_index).second)
      continue;
    rules.warning(
        std::format("connections[{}].{}", slot.connection_index, loopback.empty() ? "bgp.addresses" : "device"),
        std::format("{} and {} have one BGP peer, {}: while one instance has both tunnels there is one session "
                    "for both, which begins anew when the other tunnel comes and goes",
                    first->second->name, slot.name, *peer),
        "a peer's address of its own in each tunnel: `bgp.addresses`, and no `loopback` of the device");
  }
}

void check_preferred(Rules& rules) {
  const v1::Gateway& gateway = rules.config().gateway();
  if (!rules.given("gateway.preferred") || rules.faulty("gateway.preferred")) return;
  if (gateway.mode() != v1::GATEWAY_MODE_ACTIVE_STANDBY)
    return rules.error("gateway.preferred", "is for active-standby: in active-active each has its own endpoints",
                       "`mode: active-standby`, or no `preferred`");
  if (!std::ranges::contains(gateway.instances(), gateway.preferred(), &v1::Instance::name))
    rules.error("gateway.preferred", std::format("there is no instance '{}'", gateway.preferred().substr(0, 40)),
                "a name of gateway.instances");
}

/// Keys that mean nothing while each instance is on its own.
void check_alone(Rules& rules) {
  for (const char* path : {"gateway.mode", "gateway.preferred", "gateway.lease", "gateway.ha"})
    if (rules.given(path) && !rules.faulty(path))
      rules.error(path, "needs two instances with `sync`: without it, each is on its own",
                  "`sync: [ address ]` in both instances");
}

}  // namespace

void check_ha(Rules& rules) {
  const v1::Gateway& gateway = rules.config().gateway();
  bool any = false;
  for (int i = 0; i < gateway.instances_size(); ++i) {
    any = any || rules.given(path_of(i) + ".sync");
    for (int k = 0; k < gateway.instances(i).wan().endpoints_size(); ++k)
      check_move(rules, std::format("{}.wan.endpoints[{}]", path_of(i), k), gateway.instances(i).wan().endpoints(k));
  }
  if (!any) return check_alone(rules);
  if (gateway.instances_size() == 1)
    return rules.error(path_of(0) + ".sync", "there is no other instance", "two instances, or no `sync`");
  if (gateway.instances_size() != 2) return;  // reported
  std::map<IpAddress, Path> seen;
  for (int i = 0; i < 2; ++i) {
    rules.required(path_of(i) + ".sync", gateway.instances(i).sync_size() > 0, "one or two addresses: both need them");
    check_sync(rules, i, seen);
  }
  check_paths(rules);
  check_second_opinion(rules);
  check_preferred(rules);
  check_lease(rules);
  check_settings(rules);
  check_bfd_of_takeovers(rules);
  check_shared_peers(rules);
}

}  // namespace gw::config
