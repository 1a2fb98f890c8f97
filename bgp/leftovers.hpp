// What a running bgpd has that the intent has not: of a configuration that changed while gwd was away. render() only
// sets. Pure, any thread.
#pragma once

#include <cstddef>
#include <string_view>

#include "bgp/config_model.hpp"

namespace gw::bgp {

/// Prints what leftovers() reads, and no password.
inline constexpr const char* kShowConfigured =
    "show running-config | include ^(router bgp |exit| address-family | exit-address-family|  network |  ?neighbor [^ "
    "]+ "
    "(peer-group|interface|shutdown|ebgp-multihop|graceful-restart-disable|bfd|sender-as-path|soo|as-override|remove-"
    "private-AS|"
    "maximum-prefix|route-map)|route-map GW-|ip prefix-list GW-|ipv6 prefix-list GW-|bgp community-list standard GW-|"
    "bgp as-path access-list GW-)";

struct Leftovers {
  Commands before;        // before render(): neighbours, what they have, what is originated
  Commands after;         // after it: policy objects that nobody uses then
  std::size_t found = 0;  // without the passwords, which are taken from every neighbour that is to have none
};
Leftovers leftovers(std::string_view configured, const BgpIntent& intent);

}  // namespace gw::bgp
