// Host routes of the endpoints that move by BGP (`move: bgp`): the wan's routers are told exactly these, and nothing is
// learned from them. What is announced is bgpd's running configuration and not part of diff(): an endpoint that moves
// does not wait for anything else that bgpd is to do. Pure, any thread. ADR 25.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "bgp/config_model.hpp"
#include "bgp/policy_maps.hpp"

namespace gw::bgp {

/// Less with every claim (ha::Epoch), so that of two instances' announcements routers use the newer claim's at once,
/// whatever the one that is gone has left behind. RFC 4271 9.1.2.2 c: compared, as both are of one AS.
std::uint32_t med_of_claim(std::uint64_t epoch);

/// The route-maps that announcements by these MEDs name. Making one costs bgpd a copy of all of its route-maps and
/// lists (12 ms for 400 of them, 150 ms for 4,000), so they are made before they are needed.
Commands claim_maps(const std::set<std::uint32_t>& meds);
Commands remove_claim_maps(const std::set<std::uint32_t>& meds);
/// "GW-ENDPOINT-3999999968"
std::string claim_map_name(std::uint32_t med);
/// Prints what read_claim_maps() reads.
inline constexpr const char* kShowClaimMaps = "show running-config | include ^route-map GW-ENDPOINT-";
std::set<std::uint32_t> read_claim_maps(std::string_view shown);

/// What has bgpd announce it (0.3 ms), by a route-map that it has; nothing changes if it does already.
Commands announce(std::uint32_t asn, const EndpointIntent& endpoint);
/// bgpd refuses the `no` of one that it does not have.
Commands withdraw(std::uint32_t asn, const IpAddress& address);

/// Nothing is learned on the wan.
RouteMap wan_import_map();
/// The endpoints' host routes of the session's own family, so that the next hop is the session's address.
RouteMap wan_export_map(const BgpIntent& intent, std::optional<Family> session, Family family, PolicyObjects& objects);

}  // namespace gw::bgp
