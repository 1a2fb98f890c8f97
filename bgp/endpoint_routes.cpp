#include "bgp/endpoint_routes.hpp"

#include <algorithm>
#include <charconv>
#include <format>

namespace gw::bgp {
namespace {

// Claims are counted up from 1; there is room for 250 million changes of owner.
constexpr std::uint32_t kFirstMed = 4'000'000'000;
constexpr std::string_view kClaimMap = "GW-ENDPOINT-";

const char* family_block(Family family) {
  return family == Family::kV4 ? "address-family ipv4 unicast" : "address-family ipv6 unicast";
}

Prefix host_route(const IpAddress& address) {
  return Prefix::make(address, static_cast<std::uint8_t>(address_bits(address.family()))).value();
}

Commands in_family(std::uint32_t asn, Family family, std::string line) {
  Commands out;
  out.emplace_back(std::format("router bgp {}", asn));
  out.emplace_back(family_block(family));
  out.emplace_back(std::move(line));
  out.emplace_back("exit-address-family");
  out.emplace_back("exit");
  return out;
}

}  // namespace

std::uint32_t med_of_claim(std::uint64_t epoch) {
  return kFirstMed - static_cast<std::uint32_t>(std::min<std::uint64_t>(epoch, kFirstMed));
}

std::string claim_map_name(std::uint32_t med) { return std::format("{}{}", kClaimMap, med); }

Commands claim_maps(const std::set<std::uint32_t>& meds) {
  Commands out;
  for (const std::uint32_t med : meds) {
    RouteMap map;
    map.add(RouteMap::Entry::kPermit, 10,
            {std::format("set metric {}", med),
             std::format("set community {}", community_text(routes::kEndpointCommunity))});
    for (std::string& line : map.lines(claim_map_name(med))) out.emplace_back(std::move(line));
  }
  return out;
}

Commands remove_claim_maps(const std::set<std::uint32_t>& meds) {
  Commands out;
  for (const std::uint32_t med : meds) out.emplace_back(std::format("no route-map {}", claim_map_name(med)));
  return out;
}

std::set<std::uint32_t> read_claim_maps(std::string_view shown) {
  std::set<std::uint32_t> out;
  for (std::size_t at = shown.find(kClaimMap); at != std::string_view::npos; at = shown.find(kClaimMap, at)) {
    at += kClaimMap.size();
    std::uint32_t med = 0;
    const char* begin = shown.data() + at;
    if (std::from_chars(begin, shown.data() + shown.size(), med).ec == std::errc()) out.insert(med);
  }
  return out;
}

Commands announce(std::uint32_t asn, const EndpointIntent& endpoint) {
  return in_family(asn, endpoint.address.family(),
                   std::format("network {} route-map {}", host_route(endpoint.address), claim_map_name(*endpoint.med)));
}

Commands withdraw(std::uint32_t asn, const IpAddress& address) {
  return in_family(asn, address.family(), std::format("no network {}", host_route(address)));
}

RouteMap wan_import_map() {
  RouteMap map;
  map.add(RouteMap::Entry::kDeny, 10, {"description nothing is learned on the wan"});
  return map;
}

RouteMap wan_export_map(const BgpIntent& intent, std::optional<Family> session, Family family, PolicyObjects& objects) {
  RouteMap map;
  std::vector<std::string> entries;
  for (const EndpointIntent& endpoint : intent.endpoints) {
    if (endpoint.address.family() == family) entries.push_back(std::format("permit {}", host_route(endpoint.address)));
  }
  if (session != family || entries.empty()) {
    map.add(RouteMap::Entry::kDeny, 10, {"description no endpoint of this family moves by this session"});
    return map;
  }
  // By the community and by the address: a site that announces an endpoint's address does not get through here.
  const std::string mark =
      objects.community_list("ENDPOINT", {std::format("permit {}", community_text(routes::kEndpointCommunity))});
  map.add(RouteMap::Entry::kPermit, 10,
          {match_prefixes(family, objects.prefix_list("ENDPOINTS", family, entries)),
           std::format("match community {}", mark), delete_internal(objects)});
  return map;
}

}  // namespace gw::bgp
