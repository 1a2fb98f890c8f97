// Whoever asks first opens the BGP session of a tunnel. Both ends of a session may connect (RFC 4271 8), and after an
// endpoint has moved both do so a second later, at the same moment: a collision (6.8), which FRR now and then ends by
// opening the session and closing it again. A router with graceful restart holds the routes of the session before until
// then, and drops them at the second end. So a connection that one side begins holds back the other side's for 2 s (ADR
// 26).
#pragma once

#include <string>
#include <string_view>

namespace gw::gwd {

/// nftables: sets and the chains from_site and to_site, of a table of family inet. Pure.
std::string_view render_turn_chains();
/// Rules that lead BGP in tunnels into them, of the hooks input and output.
std::string_view render_turn_input();
std::string_view render_turn_output();

}  // namespace gw::gwd
