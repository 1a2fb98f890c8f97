// API messages from what the controllers know and what gw-fastpath listed; shared by the API and the metrics.
// Reads only. Thread: control.
#pragma once

#include "gw/api/v1/api.pb.h"
#include "gwd/control/gateway.hpp"

namespace gw::gwd {

namespace api = ::gw::api::v1;

std::uint64_t unix_ms(WallTime time);

/// `tunnels` as gw-fastpath listed them; empty when it is away.
api::TunnelsReply make_tunnels_reply(const Gateway& gateway, const fp::TunnelList& tunnels);
api::SasReply make_sas_reply(const Gateway& gateway, const fp::SaList& sas);
api::BgpPeersReply make_bgp_peers_reply(const Gateway& gateway);
api::CountersReply make_counters_reply(const Gateway& gateway, const fp::Counters& counters);
api::InterfacesReply make_interfaces_reply(const fp::PortList& ports);
/// With what the reason means.
void fill_drop(const fp::DropCount& drop, api::DropCounter& out);

}  // namespace gw::gwd
