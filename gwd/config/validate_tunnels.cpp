// Rules that only show once connections meet instances: endpoints, tunnels that look the same to IKE, and
// the inner addresses of BGP.
#include <algorithm>
#include <format>
#include <map>
#include <tuple>

#include "gwd/config/allocate.hpp"
#include "gwd/config/rules.hpp"
#include "gwd/config/slots.hpp"

namespace gw::config {
namespace {

const std::string& identity_of(const v1::Device& device) {
  return device.identity().empty() ? device.address() : device.identity();
}

Path path_of(int connection) { return std::format("connections[{}]", connection); }

void check_endpoint(Rules& rules, int index) {
  const v1::Connection& connection = rules.config().connections(index);
  const Path path = path_of(index) + ".endpoint";
  const auto wanted = rules.address(path, connection.endpoint());
  if (!wanted) return;
  const auto remote = find_device(rules.config(), connection.device());
  const auto device = remote ? IpAddress::parse(remote->device->address()) : fail(Errc::kNotFound, "");
  if (device && device->family() != wanted->family())
    return rules.error(path, std::format("{} is of another family than the device's {}", *wanted, *device),
                       device->is_v4() ? "an IPv4 endpoint" : "an IPv6 endpoint");
  for (const v1::Instance& instance : rules.config().gateway().instances())
    for (const v1::EndpointAddress& endpoint : instance.wan().endpoints())
      if (*wanted == IpAddress::parse(endpoint.address())) return;
  rules.error(path, std::format("{} is no endpoint of any instance", *wanted),
              "an address of gateway.instances[].wan.endpoints");
}

// Which instances get no tunnel of a connection, because they have no endpoint of the device's family.
void check_coverage(Rules& rules, int index, const std::vector<TunnelSlot>& slots) {
  const auto remote = find_device(rules.config(), rules.config().connections(index).device());
  if (!remote || !IpAddress::parse(remote->device->address())) return;
  std::vector<std::string> without;
  const auto& instances = rules.config().gateway().instances();
  for (int i = 0; i < instances.size(); ++i) {
    const bool has = std::ranges::any_of(
        slots, [&](const TunnelSlot& s) { return s.connection_index == index && s.instance_index == i; });
    const bool broken = rules.faulty(std::format("gateway.instances[{}].wan", i)) ||
                        instances[i].wan().endpoints().empty() ||
                        std::ranges::any_of(instances[i].wan().endpoints(),
                                            [](const auto& e) { return !IpAddress::parse(e.address()); });
    if (!has && !broken) without.push_back(instances[i].name());
  }
  const Path path = path_of(index) + ".device";
  const std::string what = std::format("has an endpoint of the family of {}", remote->device->address());
  if (!without.empty() && without.size() == static_cast<std::size_t>(instances.size()))
    return rules.error(path, "no instance " + what, "a wan endpoint for it");
  for (const std::string& name : without)
    rules.warning(
        path,
        std::format("{} has no endpoint of the family of {}, so no tunnel there", name, remote->device->address()),
        std::format("an {} endpoint of {}, if the site is to have a tunnel to it",
                    IpAddress::parse(remote->device->address())->is_v4() ? "IPv4" : "IPv6", name));
}

// charon tells connections apart by both addresses and the peer's identity.
void check_ambiguity(Rules& rules, const std::vector<TunnelSlot>& slots) {
  std::map<std::tuple<int, std::string, std::string, std::string>, const TunnelSlot*> seen;
  for (const TunnelSlot& slot : slots) {
    const v1::Device& device = *slot.remote.device;
    const auto [first, is_new] = seen.emplace(
        std::tuple(slot.instance_index, slot.endpoint->address(), device.address(), identity_of(device)), &slot);
    const Path path = path_of(slot.connection_index) + ".device";
    if (!is_new && !rules.faulty(path))
      rules.error(path,
                  std::format("the same tunnel as connection {}: from {} to {}", first->second->connection->name(),
                              slot.endpoint->address(), device.address()),
                  "another device, endpoint or identity");
  }
}

// charon finds a pre-shared key by the peer's identity alone (ike/connection.hpp): of two keys for one identity it
// takes either for both.
void check_keys(Rules& rules) {
  struct First {
    const v1::Connection* connection;
    Secret key;
  };
  std::map<std::string, First> keys;  // by identity
  for (int i = 0; i < rules.config().connections_size(); ++i) {
    const v1::Connection& connection = rules.config().connections(i);
    const auto remote = find_device(rules.config(), connection.device());
    const Path path = path_of(i) + ".secret.psk_file";
    auto key = rules.secret(path, connection.secret().psk_file());
    if (!remote || !key || connection.disabled()) continue;
    const std::string identity = identity_of(*remote->device);
    const auto first = keys.find(identity);
    if (first == keys.end())
      keys.emplace(identity, First{&connection, std::move(*key)});
    else if (!(first->second.key == *key))
      rules.error(path,
                  std::format("another key than that of connection {}, whose device has the same identity, {}",
                              first->second.connection->name(), identity),
                  "the same key, or an `identity` of its own for each device");
  }
}

// The inner addresses that the document gives, and who has them.
class InnerAddresses {
 public:
  explicit InnerAddresses(Rules& rules) : rules_(rules) {}

  void check(int connection_index) {
    const v1::Connection& connection = rules_.config().connections(connection_index);
    // The map's own order is not the text's; by name, findings are the same on every run.
    const std::map<std::string, v1::TunnelAddresses> sorted(connection.bgp().addresses().begin(),
                                                            connection.bgp().addresses().end());
    for (const auto& [instance, pair] : sorted) check_pair({connection_index, instance}, pair);
  }

 private:
  struct Key {
    int connection;
    std::string instance;
  };
  struct Owner {
    std::string instance;
    Path path;
  };

  void check_pair(const Key& key, const v1::TunnelAddresses& pair) {
    const Path path = std::format("{}.bgp.addresses[{}]", path_of(key.connection), key.instance.substr(0, 40));
    const auto& instances = rules_.config().gateway().instances();
    if (!std::ranges::contains(instances, key.instance, &v1::Instance::name))
      return rules_.error(path, std::format("there is no instance '{}'", key.instance.substr(0, 40)),
                          "a name of gateway.instances");
    rules_.required_text(path + ".local", pair.local(), "the gateway's address in the tunnel");
    rules_.required_text(path + ".peer", pair.peer(), "the site's address in the tunnel");
    const auto local = rules_.address(path + ".local", pair.local());
    const auto peer = rules_.address(path + ".peer", pair.peer());
    if (local) check_local(path + ".local", *local, key.instance);
    if (!local || !peer) return;
    if (local->family() != peer->family())
      return rules_.error(path + ".peer", std::format("{} and {} are of different families", *local, *peer),
                          "two of one family");
    if (*local == *peer)
      return rules_.error(path + ".peer", std::format("{} is also `local`", *peer), "the site's address");
    check_peer(path + ".peer", *peer, key);
  }

  // Tunnels of one instance may have it in common, as clouds do: the peers tell them apart. Two instances may not:
  // either can have both instances' tunnels.
  void check_local(const Path& path, const IpAddress& local, const std::string& instance) {
    const auto [first, is_new] = locals_.emplace(local, Owner{instance, path});
    if (!is_new && first->second.instance != instance)
      return rules_.error(path, std::format("{} is also {}", local, first->second.path),
                          "an address of its own for each instance");
    // 169.254.21.0 to 169.254.22.255
    if (local.is_v4() && local.is_link_local() && (local.v4() < 0xa9fe1500U || local.v4() > 0xa9fe16ffU))
      rules_.warning(path, std::format("{} is outside the clouds' range for gateways", local),
                     "169.254.21.0 to 169.254.22.255, or no link-local address");
  }

  void check_peer(const Path& path, const IpAddress& peer, const Key& key) {
    const auto [first, is_new] = peers_.emplace(std::pair(key.instance, peer), path);
    if (!is_new)
      return rules_.error(path, std::format("{} is also {}", peer, first->second),
                          "an address of its own for each neighbour of an instance");
    const auto remote = find_device(rules_.config(), rules_.config().connections(key.connection).device());
    // The tunnel's own packets would be routed into the tunnel.
    if (remote && peer == IpAddress::parse(remote->device->address()))
      rules_.error(path, std::format("{} is the device's address outside the tunnel", peer), "its address inside");
  }

  Rules& rules_;
  std::map<IpAddress, Owner> locals_;
  std::map<std::pair<std::string, IpAddress>, Path> peers_;
};

// What has no addresses of its own gets some from the instance's range, as far as it goes.
void check_capacity(Rules& rules, const std::vector<TunnelSlot>& slots) {
  const auto pairs = inner_pairs(rules.config(), slots);
  std::set<int> reported;
  for (const TunnelSlot& slot : slots) {
    const bool given = slot.connection->bgp().addresses().contains(slot.instance->name());
    if (slot.remote.site->asn() == 0 || given || pairs.contains(slot.name) ||
        !reported.insert(slot.instance_index).second)
      continue;
    rules.error(
        path_of(slot.connection_index),
        std::format("no inner addresses are left for {}: the range of an instance has {}", slot.name, kInnerPairs),
        "bgp.addresses of its own");
  }
}

}  // namespace

void check_tunnels(Rules& rules) {
  const std::vector<TunnelSlot> slots = tunnel_slots(rules.config());
  InnerAddresses inner(rules);
  for (int i = 0; i < rules.config().connections_size(); ++i) {
    check_endpoint(rules, i);
    check_coverage(rules, i, slots);
    inner.check(i);
  }
  check_ambiguity(rules, slots);
  check_keys(rules);
  check_capacity(rules, slots);
}

}  // namespace gw::config
