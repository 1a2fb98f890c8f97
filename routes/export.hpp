// Who is told what: the export table of the architecture, and what a route looks like when it is told.
//
//   from \ to             VNet, spokes   circuit        VPN site       branch VNet    partner
//   VNet, spokes          -              yes            yes            yes            yes
//   circuit               yes            no             transit only   transit only   yes
//   VPN site, static      yes            transit only   unless isolated  yes          yes
//   branch VNet           yes            transit only   yes            transit only   yes
//   partner               if publishing  as the original source  ...   ...            never back
//
// Only best routes are told (bgpd's rule, too); the caller asks for those. Each verdict names the line that made it.
// Pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ip.hpp"
#include "routes/candidate.hpp"
#include "routes/import.hpp"

namespace gw::routes {

enum class Cell : std::uint8_t { kYes, kNo, kTransitOnly, kUnlessIsolated, kIfPublishing };
/// One cell of the table. `from`: the original kind of the route; `to`: the kind of the peer.
Cell export_cell(SourceKind from, SourceKind to);

enum class Told : std::uint8_t { kYes, kNo };

struct ExportVerdict {
  Told told = Told::kNo;
  std::string line;  // "export table: circuit -> vpn tunnel needs transit", "policy backup-paris"
};

/// Whether peer `to` is told `route` (a best one), and by which line. `attributes` become what it is told: local
/// preference leaves to the partner only, weight never, MED only when a rule sets it (or it is ours, 0), the next hop
/// is bgpd's to set. The partner hears the class of the route and whether its site is isolated, as communities.
ExportVerdict apply_export(const Policy& policy, const Prefix& prefix, const Candidate& route, const Source& to,
                           Attributes& attributes);

}  // namespace gw::routes
