// Rules for `gateway`, `vnet` and `management`.
#include <format>
#include <map>

#include "gwd/config/asn.hpp"
#include "gwd/config/metrics_address.hpp"
#include "gwd/config/rules.hpp"

namespace gw::config {
namespace {

constexpr int kMaxInstances = 2;

// What must differ between instances.
struct Taken {
  std::set<std::string> names;
  std::map<IpAddress, Path> addresses;
  std::map<IpAddress, Path> router_ids;
};

void unique(Rules& rules, const Path& path, const IpAddress& address, std::map<IpAddress, Path>& taken) {
  const auto [first, is_new] = taken.emplace(address, path);
  if (!is_new) rules.error(path, std::format("{} is also {}", address, first->second), "an address of its own");
}

void check_endpoint(Rules& rules, const Path& path, const v1::EndpointAddress& endpoint, Taken& taken) {
  rules.required_text(path + ".address", endpoint.address(), "the address on the wan interface");
  const auto address = rules.address(path + ".address", endpoint.address());
  if (address) unique(rules, path + ".address", *address, taken.addresses);
  const auto outside = rules.address(path + ".public", endpoint.public_());
  if (!outside) return;
  if (address && outside->family() != address->family())
    return rules.error(path + ".public", std::format("{} and {} are of different families", *outside, *address),
                       address->is_v4() ? "an IPv4 address" : "an IPv6 address");
  if (outside != address) unique(rules, path + ".public", *outside, taken.addresses);
}

void check_router_id(Rules& rules, const Path& path, const v1::Instance& instance, Taken& taken) {
  const Path own = path + ".router_id";
  if (!instance.router_id().empty()) {
    const auto id = rules.address(own, instance.router_id());
    if (id && !id->is_v4()) return rules.error(own, std::format("{} is not an IPv4 address", *id), "an IPv4 address");
    if (id) unique(rules, own, *id, taken.router_ids);
    return;
  }
  for (const v1::EndpointAddress& endpoint : instance.wan().endpoints()) {
    const auto address = IpAddress::parse(endpoint.address());
    if (!address || address->is_v4()) return;
  }
  if (instance.wan().endpoints_size() > 0)
    rules.required(own, false, "an IPv4 address: there is no IPv4 endpoint to take it from");
}

void check_circuit_port(Rules& rules, const Path& path, const v1::Instance& instance) {
  if (!instance.has_circuit()) return;
  const std::string& interface = instance.circuit().interface();
  rules.interface(path + ".circuit.interface", interface);
  if (interface.empty()) return;
  if (interface == instance.wan().interface() || interface == instance.vnet().interface())
    rules.error(
        path + ".circuit.interface",
        std::format("{} is the {} interface", interface, interface == instance.wan().interface() ? "wan" : "vnet"),
        "another interface");
}

void check_instance(Rules& rules, const Path& path, const v1::Instance& instance, Taken& taken) {
  rules.name(path + ".name", instance.name(), taken.names);
  if (rules.required(path + ".wan", instance.has_wan(), "{ interface, endpoints }")) {
    rules.interface(path + ".wan.interface", instance.wan().interface());
    rules.required(path + ".wan.endpoints", instance.wan().endpoints_size() > 0, "at least one { address }");
    for (int i = 0; i < instance.wan().endpoints_size(); ++i)
      check_endpoint(rules, std::format("{}.wan.endpoints[{}]", path, i), instance.wan().endpoints(i), taken);
  }
  if (rules.required(path + ".vnet", instance.has_vnet(), "{ interface }")) {
    rules.interface(path + ".vnet.interface", instance.vnet().interface());
    if (!instance.vnet().interface().empty() && instance.vnet().interface() == instance.wan().interface())
      rules.error(path + ".vnet.interface", std::format("{} is the wan interface", instance.vnet().interface()),
                  "another interface");
    const auto address = rules.address(path + ".vnet.address", instance.vnet().address());
    if (address && !address->is_v4())
      rules.error(path + ".vnet.address", std::format("{} is not an IPv4 address", *address), "an IPv4 address");
    else if (address)
      unique(rules, path + ".vnet.address", *address, taken.addresses);
  }
  check_circuit_port(rules, path, instance);
  check_router_id(rules, path, instance, taken);
}

void check_vnet(Rules& rules) {
  const v1::Vnet& vnet = rules.config().vnet();
  if (!rules.required("vnet", rules.config().has_vnet(), "{ prefixes }")) return;
  rules.required("vnet.prefixes", vnet.prefixes_size() > 0, "at least one prefix");
  std::vector<Prefix> seen;
  for (int i = 0; i < vnet.prefixes_size(); ++i) {
    const Path path = std::format("vnet.prefixes[{}]", i);
    const auto prefix = rules.prefix(path, vnet.prefixes(i));
    if (!prefix) continue;
    if (prefix->length() == 0) rules.error(path, "is the default route", "the VNet's own prefixes");
    for (const Prefix& other : seen)
      if (prefix->overlaps(other))
        rules.error(path, std::format("{} overlaps {}", *prefix, other), "prefixes that do not overlap");
    seen.push_back(*prefix);
  }
  const auto next_hop = rules.address("vnet.next_hop", vnet.next_hop());
  const auto next_hop6 = rules.address("vnet.next_hop6", vnet.next_hop6());
  if (next_hop6 && next_hop6->is_v4())
    rules.error("vnet.next_hop6", std::format("{} is an IPv4 address", *next_hop6),
                "an IPv6 address; vnet.next_hop is for IPv4");
  if (next_hop6 && next_hop && next_hop->is_v6())
    rules.error("vnet.next_hop6", std::format("{} is the next hop for IPv6 already", *next_hop),
                "vnet.next_hop with an IPv4 address");
}

}  // namespace

void check_gateway(Rules& rules) {
  const v1::Config& config = rules.config();
  if (rules.required("version", rules.given("version"), "1") && !rules.faulty("version") && config.version() != 1)
    rules.error("version", std::format("{} is not a version of this file that gwd knows", config.version()), "1");
  if (rules.required("gateway", config.has_gateway(), "{ name, asn, instances }")) {
    const v1::Gateway& gateway = config.gateway();
    std::set<std::string> gateways;
    rules.name("gateway.name", gateway.name(), gateways);
    if (rules.given("gateway.asn") && !rules.faulty("gateway.asn"))
      if (const std::string_view why = reserved_for_gateway(gateway.asn()); !why.empty())
        rules.error("gateway.asn", std::format("{} is {}", gateway.asn(), why), "e.g. 65515, or 64512 to 65534");
    const int count = gateway.instances_size();
    if (rules.required("gateway.instances", count > 0, "1 or 2 instances") && count > kMaxInstances)
      rules.error("gateway.instances", std::format("there are {}", count), "1 or 2");
    Taken taken;
    for (int i = 0; i < count; ++i)
      check_instance(rules, std::format("gateway.instances[{}]", i), gateway.instances(i), taken);
  }
  check_vnet(rules);
  if (!config.management().metrics().empty() && !rules.faulty("management.metrics"))
    if (const auto listen = parse_metrics_address(config.management().metrics()); !listen)
      rules.error("management.metrics", listen.error().message,
                  "a loopback address and port, e.g. 127.0.0.1:9620 or [::1]:9620");
}

}  // namespace gw::config
