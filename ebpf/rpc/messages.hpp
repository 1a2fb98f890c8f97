// Between the RPC's protobuf and our own types. Pure. Parsing checks everything that can be checked
// without knowing what is installed; faults name the field as the client wrote it ("add[2].prefix").
#pragma once

#include "base/result.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tracer.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/fib/table.hpp"
#include "ebpf/liveness/peer_port.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"

namespace gw::rpc {

namespace fp = ::gw::fastpath::v1;

/// Names are for people and logs: a client's, a tunnel's.
inline constexpr std::size_t kMaxNameBytes = 255;
Status check_name(std::string_view name);
/// 4 or 16 bytes in network order.
Result<IpAddress> parse_address(std::string_view bytes, std::string field);
Result<control::SaKey> parse_sa_id(const fp::SaId& id);
Result<control::SaRequest> parse_add_sa(const fp::AddSa& message, const esp::TransformPermissions& allowed);
/// Overwrites what the message has of keys.
void wipe_keys(fp::AddSa& message);
Result<control::SaMove> parse_update_sa(const fp::UpdateSa& message);
Result<std::vector<control::EndpointClaim>> parse_put_endpoints(const fp::PutEndpoints& message);
/// Without `own_instance`; none: no address.
Result<std::optional<liveness::PeerSettings>> parse_put_peer(const fp::PutPeer& message);
void fill(const liveness::PartnerStatus& status, fp::PeerState& out);
Result<control::TraceQuery> parse_trace(const fp::Trace& message);
void fill(const control::Trace& trace, fp::TraceReply& out);
Result<worker::Rates> parse_rates(std::uint64_t in_bps, std::uint64_t out_bps);
Result<control::TunnelSettings> parse_put_tunnel(const fp::PutTunnel& message);

/// Finds a configured tunnel for the forwarding table.
using TunnelLookup = std::function<std::optional<fib::TunnelRef>(std::uint32_t id)>;
/// Whether this gw-fastpath has a circuit port.
enum class CircuitPort : std::uint8_t { kNone, kThere };
/// What routes may lead to.
struct Destinations {
  TunnelLookup tunnels;
  CircuitPort circuit = CircuitPort::kNone;
};
struct RouteUpdate {
  std::vector<fib::Route> add;
  std::vector<Prefix> remove;
};
Result<std::vector<IpAddress>> parse_read_forwarding(const fp::ReadForwarding& message);
Result<RouteUpdate> parse_update_routes(const fp::UpdateRoutes& message, const Destinations& destinations);

fp::Code code_of(Errc code);
void fill(const Error& error, fp::Status& out);
void fill(const control::SaKey& key, fp::SaId& out);
void fill(const esp::Endpoint& endpoint, fp::Endpoint& out);
void fill(const esp::RuntimeRecord& record, fp::SaCounters& out);
void fill(const fib::Route& route, fp::Route& out);
void fill(const control::EndpointClaim& claim, fp::EndpointClaim& out);
void add_drop(std::string_view reason, std::uint64_t packets, google::protobuf::RepeatedPtrField<fp::DropCount>& out);

}  // namespace gw::rpc
