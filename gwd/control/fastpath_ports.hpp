// The document's ports as gw-fastpath's options, in a file that its unit reads (EnvironmentFile=), and what the host's
// firewall has to let in: the document is the one place where an operator names them. Owner: main; thread: control.
#pragma once

#include <string>

#include "base/result.hpp"
#include "gwd/config/model.hpp"

namespace gw::gwd {

/// Lines: GW_FASTPATH_PORTS="--wan eth0 --vnet eth1 ..."; GW_SYNC_PORT="9621" where there is another instance;
/// GW_WAN_ROUTERS="192.0.2.1 2001:db8::1" where routers on the wan have BGP sessions.
std::string render_fastpath_ports(const config::GatewayModel& model);

/// Replaces the file in one step; one that says the same stays untouched (systemd watches it). Readable for all.
Status write_fastpath_ports(const std::string& file, const config::GatewayModel& model);

}  // namespace gw::gwd
