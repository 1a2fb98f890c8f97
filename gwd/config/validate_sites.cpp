// Rules for `sites`: names, AS numbers, devices, static prefixes and their overlaps.
#include <algorithm>
#include <format>
#include <map>

#include "gwd/config/asn.hpp"
#include "gwd/config/rules.hpp"

namespace gw::config {
namespace {

void check_site_asn(Rules& rules, const Path& path, const v1::Site& site) {
  const Path own = path + ".asn";
  if (rules.faulty(own)) return;
  if (!rules.given(own)) {
    if (site.static__size() == 0 && !rules.faulty(path + ".static"))
      rules.required(own, false, "the site's AS number for BGP, or `static` prefixes");
    return;
  }
  if (const std::string_view why = reserved_for_site(site.asn()); !why.empty())
    return rules.error(own, std::format("{} is {}", site.asn(), why), "e.g. 64512 to 65514, 65516, 65521 to 65534");
  const std::uint32_t gateway = rules.given("gateway.asn") ? rules.config().gateway().asn() : kDefaultAsn;
  if (site.asn() == gateway)
    rules.error(own, std::format("{} is the gateway's own", site.asn()), "an ASN other than the gateway's");
}

// Identities go into charon's configuration; '%' begins its keywords ("%any").
void check_identity(Rules& rules, const Path& path, const std::string& identity) {
  constexpr std::size_t kLongest = 255;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._:@=,/+- ").contains(c);
  };
  if (identity.size() > kLongest || !std::ranges::all_of(identity, allowed))
    rules.error(path, std::format("'{}' is not an IKE identity", identity.substr(0, 40)),
                "an address, a host name, an e-mail address or a distinguished name");
}

void check_loopback(Rules& rules, const Path& path, const v1::Device& device) {
  rules.number(path + ".multihop", device.multihop(), {1, 255});
  const auto loopback = rules.address(path + ".loopback", device.loopback());
  // The tunnel's own packets would be routed into the tunnel.
  if (loopback && *loopback == IpAddress::parse(device.address()))
    rules.error(path + ".loopback", std::format("{} is the device's address outside the tunnel", *loopback),
                "an address behind the tunnel");
}

void check_device(Rules& rules, const Path& path, const v1::Device& device) {
  rules.required_text(path + ".address", device.address(), "the device's address for IKE");
  const auto address = rules.address(path + ".address", device.address());
  check_identity(rules, path + ".identity", device.identity());
  check_loopback(rules, path, device);
  if (!address) return;
  for (const v1::Instance& instance : rules.config().gateway().instances())
    for (const v1::EndpointAddress& endpoint : instance.wan().endpoints())
      if (*address == IpAddress::parse(endpoint.address()) || *address == IpAddress::parse(endpoint.public_()))
        rules.error(path + ".address", std::format("{} is an endpoint of {}", *address, instance.name()),
                    "the device's own address");
}

// `seen` has the static prefixes of the sites before this one.
void check_static(Rules& rules, const Path& path, const v1::Site& site, std::map<Prefix, std::string>& seen) {
  std::set<Prefix> own;
  for (int i = 0; i < site.static__size(); ++i) {
    const Path at = std::format("{}.static[{}]", path, i);
    const auto prefix = rules.prefix(at, site.static_(i));
    if (!prefix) continue;
    if (!own.insert(*prefix).second) rules.error(at, std::format("{} is there twice", *prefix), "each prefix once");
    for (const std::string& text : rules.config().vnet().prefixes()) {
      // A covering one is fine: the VNet's own prefix is more specific and wins.
      const auto vnet = Prefix::parse(text);
      if (vnet && vnet->contains(*prefix))
        rules.error(at, std::format("{} is inside the VNet's {}", *prefix, *vnet), "prefixes outside the VNet");
    }
    if (const auto other = seen.find(*prefix); other != seen.end())
      rules.warning(
          at,
          std::format("{} is also a static prefix of site {}: its flows are divided among the tunnels of both", *prefix,
                      other->second),
          "the prefix at one site, unless both lead to the same network");
  }
  for (const Prefix& prefix : own) seen.emplace(prefix, site.name());
}

bool is_used(const v1::Config& config, const v1::Site& site) {
  return std::ranges::any_of(config.connections(),
                             [&](const v1::Connection& c) { return c.device().starts_with(site.name() + "/"); });
}

}  // namespace

void check_sites(Rules& rules) {
  const v1::Config& config = rules.config();
  std::set<std::string> names;
  std::map<Prefix, std::string> statics;
  for (int i = 0; i < config.sites_size(); ++i) {
    const v1::Site& site = config.sites(i);
    const Path path = std::format("sites[{}]", i);
    rules.name(path + ".name", site.name(), names);
    check_site_asn(rules, path, site);
    rules.required(path + ".devices", site.devices_size() > 0, "at least one { name, address }");
    std::set<std::string> devices;
    for (int d = 0; d < site.devices_size(); ++d) {
      const Path device = std::format("{}.devices[{}]", path, d);
      rules.name(device + ".name", site.devices(d).name(), devices);
      check_device(rules, device, site.devices(d));
    }
    check_static(rules, path, site, statics);
    if (!site.name().empty() && !rules.faulty(path + ".name") && !rules.faulty("connections") && !is_used(config, site))
      rules.warning(path, std::format("no connection leads to site {}", site.name()),
                    std::format("`connections` with `device: {}/{}`, or no such site", site.name(),
                                site.devices_size() == 0 ? "..." : site.devices(0).name()));
  }
}

}  // namespace gw::config
