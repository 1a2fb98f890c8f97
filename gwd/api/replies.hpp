// API messages from what the controllers know and what gw-fastpath listed; shared by the API and the metrics.
// Reads only. Thread: control.
#pragma once

#include "base/memory_use.hpp"
#include "gw/api/v1/api.pb.h"
#include "gwd/config/finding.hpp"
#include "gwd/control/gateway.hpp"
#include "gwd/control/sources.hpp"

namespace gw::gwd {

namespace api = ::gw::api::v1;

std::uint64_t unix_ms(WallTime time);

/// `tunnels` as gw-fastpath listed them; empty when it is away.
api::TunnelsReply make_tunnels_reply(const Gateway& gateway, const fp::TunnelList& tunnels);
api::SasReply make_sas_reply(const Gateway& gateway, const fp::SaList& sas);
/// What operators call a session's peer: its address, or the device of an unnumbered one.
std::string neighbour_text(const SessionSource& session);
api::BgpPeersReply make_bgp_peers_reply(const Gateway& gateway);
/// `own`: of gwd.
api::MemoryReply make_memory_reply(const fp::Memory& memory, const ProcessMemory& own);
api::CountersReply make_counters_reply(const Gateway& gateway, const fp::Counters& counters);
api::WorkersReply make_workers_reply(const fp::Counters& counters);
api::InterfacesReply make_interfaces_reply(const fp::PortList& ports);
/// Every candidate of exactly this prefix, best first; nothing when there is none.
void add_effective_route(const Gateway& gateway, const Clock& clock, const Prefix& prefix,
                         google::protobuf::RepeatedPtrField<api::EffectiveRoute>& out);
/// The Origin column of a route that a peer is told: Network, EBgp or IBgp, by where the best route to it comes from.
std::string advertised_origin(const Gateway& gateway, const bgp::RouteRow& row);
/// With what a tunnel last carried both ways.
void fill_proof(const PathProof& proof, api::PathProof& out);
void fill_finding(api::Finding& out, const config::Finding& finding);
/// With what the reason means.
void fill_drop(const fp::DropCount& drop, api::DropCounter& out);

}  // namespace gw::gwd
