// Short ways to write candidates in tests. Addresses of RFC 5737 and 3849.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "routes/candidate.hpp"

namespace gw::routes::test {

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
inline Prefix net(std::string_view text) { return Prefix::parse(text).value(); }

/// A plain eBGP route of 65021 through 169.254.21.2; tests change what they are about.
struct Build {
  Source source{.kind = SourceKind::kVpnTunnel,
                .name = "a",
                .type = PeerType::kEbgp,
                .peer_asn = 65021,
                .router_id = ip("192.0.2.1"),
                .peer_address = ip("169.254.21.2")};
  Attributes attributes{.next_hop = ip("169.254.21.2"), .as_path = AsPath::sequence({65021})};
  Candidate operator()() const {
    return {std::make_shared<const Source>(source), std::make_shared<const Attributes>(attributes)};
  }
  AttributesPtr shared() const { return std::make_shared<const Attributes>(attributes); }
};

inline Candidate route(std::string name, std::string_view next_hop = "169.254.21.2") {
  Build b;
  b.source.name = std::move(name);
  b.source.peer_address = ip(next_hop);
  b.attributes.next_hop = ip(next_hop);
  return b();
}

}  // namespace gw::routes::test
