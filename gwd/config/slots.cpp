#include "gwd/config/slots.hpp"

namespace gw::config {

std::optional<DeviceRef> find_device(const v1::Config& config, std::string_view reference) {
  for (const v1::Site& site : config.sites())
    for (const v1::Device& device : site.devices())
      if (reference == site.name() + "/" + device.name()) return DeviceRef{&site, &device};
  return std::nullopt;
}

const v1::EndpointAddress* choose_endpoint(const v1::Instance& instance, const IpAddress& device,
                                           const std::string& wanted) {
  const v1::EndpointAddress* first = nullptr;
  const auto asked = IpAddress::parse(wanted);
  for (const v1::EndpointAddress& endpoint : instance.wan().endpoints()) {
    const auto address = IpAddress::parse(endpoint.address());
    if (!address || address->family() != device.family()) continue;
    if (asked && *asked == *address) return &endpoint;
    if (first == nullptr) first = &endpoint;
  }
  return first;
}

std::vector<TunnelSlot> tunnel_slots(const v1::Config& config) {
  std::vector<TunnelSlot> slots;
  for (int c = 0; c < config.connections_size(); ++c) {
    const v1::Connection& connection = config.connections(c);
    const auto remote = find_device(config, connection.device());
    if (!remote) continue;
    const auto address = IpAddress::parse(remote->device->address());
    if (!address) continue;
    for (int i = 0; i < config.gateway().instances_size(); ++i) {
      const v1::Instance& instance = config.gateway().instances(i);
      const v1::EndpointAddress* endpoint = choose_endpoint(instance, *address, connection.endpoint());
      if (endpoint == nullptr) continue;
      slots.push_back({connection.name() + "/" + instance.name(), c, i, &connection, &instance, endpoint, *remote});
    }
  }
  return slots;
}

std::map<std::string, InnerPair> inner_pairs(const v1::Config& config, const std::vector<TunnelSlot>& slots) {
  std::set<IpAddress> taken;
  for (const v1::Connection& connection : config.connections())
    for (const auto& [instance, pair] : connection.bgp().addresses())
      for (const std::string& text : {pair.local(), pair.peer()})
        if (const auto address = IpAddress::parse(text)) taken.insert(*address);
  std::map<std::string, InnerPair> out;
  std::map<int, std::vector<std::string>> without;
  for (const TunnelSlot& slot : slots) {
    if (slot.remote.site->asn() == 0) continue;
    const auto given = slot.connection->bgp().addresses().find(slot.instance->name());
    if (given == slot.connection->bgp().addresses().end()) {
      without[slot.instance_index].push_back(slot.name);
      continue;
    }
    const auto local = IpAddress::parse(given->second.local());
    const auto peer = IpAddress::parse(given->second.peer());
    if (local && peer) out.emplace(slot.name, InnerPair{*local, *peer});
  }
  for (const auto& [instance, names] : without)
    out.merge(allocate_inner_pairs(names, taken, static_cast<unsigned>(instance)));
  return out;
}

}  // namespace gw::config
