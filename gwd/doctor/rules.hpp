// The rules one by one; doctor.cpp has them in a table. Each adds what it finds. Pure, any thread.
#pragma once

#include "gwd/doctor/doctor.hpp"

namespace gw::doctor {

// tunnel_rules.cpp
void service_not_running(const api::Snapshot& snapshot, Findings& findings);
void connections_not_connected(const api::Snapshot& snapshot, Findings& findings);
void tunnel_black_hole(const api::Snapshot& snapshot, Findings& findings);
void mtu_black_hole(const api::Snapshot& snapshot, Findings& findings);
void rate_exceeded(const api::Snapshot& snapshot, Findings& findings);
void backup_not_proven(const api::Snapshot& snapshot, Findings& findings);

// session_rules.cpp
void vpn_er_session_down(const api::Snapshot& snapshot, Findings& findings);
void asn_mismatch(const api::Snapshot& snapshot, Findings& findings);
void route_limit_near(const api::Snapshot& snapshot, Findings& findings);
void bfd_not_answered(const api::Snapshot& snapshot, Findings& findings);
void bgp_session_stuck(const api::Snapshot& snapshot, Findings& findings);
void bgp_session_down(const api::Snapshot& snapshot, Findings& findings);
void circuit_session_down(const api::Snapshot& snapshot, Findings& findings);
void wan_session_down(const api::Snapshot& snapshot, Findings& findings);

// route_rules.cpp
void asn_loop(const api::Snapshot& snapshot, Findings& findings);
void gateway_subnet_route_loop(const api::Snapshot& snapshot, Findings& findings);
void more_specific_via_vpn(const api::Snapshot& snapshot, Findings& findings);
void asymmetric_path(const api::Snapshot& snapshot, Findings& findings);
void route_not_in_fastpath(const api::Snapshot& snapshot, Findings& findings);
void route_not_in_frr(const api::Snapshot& snapshot, Findings& findings);

// ha_rules.cpp
void configurations_differ(const api::Snapshot& snapshot, Findings& findings);
void certificate_ends(const api::Snapshot& snapshot, Findings& findings);
void bfd_before_takeover(const api::Snapshot& snapshot, Findings& findings);
void asymmetric_instances(const api::Snapshot& snapshot, Findings& findings);

}  // namespace gw::doctor
