// The document's ports as gw-fastpath's options, in a file that its unit reads (EnvironmentFile=): the document is the
// one place where an operator names them. Owner: main; thread: control.
#pragma once

#include <string>

#include "base/result.hpp"
#include "gwd/config/model.hpp"

namespace gw::gwd {

/// GW_FASTPATH_PORTS="--wan eth0 --vnet eth1 ...", and a line end.
std::string render_fastpath_ports(const config::GatewayModel& model);

/// Replaces the file in one step; one that says the same stays untouched (systemd watches it). Readable for all.
Status write_fastpath_ports(const std::string& file, const config::GatewayModel& model);

}  // namespace gw::gwd
