// The BGP sessions of one instance: what a document's `bgp` blocks mean, and the sessions that are not a tunnel's
// (circuits, VNet routers, the wan's routers, the other instance, the partner pair). Pure but for secret files; any
// thread.
#pragma once

#include <optional>
#include <string>

#include "gw/config/v1/config.pb.h"
#include "gwd/config/allocate.hpp"
#include "gwd/config/model.hpp"

namespace gw::config {

/// The clouds' number of the circuit's routers.
inline constexpr std::uint32_t kCircuitAsn = 12076;

/// Reads a secret file; in the forgiving mode a lost one leaves an empty secret and says why in `fault`.
class SecretReader {
 public:
  SecretReader(const ResolveOptions& options, std::string& fault) : options_(options), fault_(fault) {}
  Result<Secret> read(const std::string& file);

 private:
  const ResolveOptions& options_;
  std::string& fault_;
};

/// Timers, BFD, password and limits of a tunnel's session. `ends`: ours and the peer's address.
Result<BgpSettings> resolve_tunnel_bgp(const v1::BgpSession& bgp, const InnerPair& ends, std::uint32_t peer_asn,
                                       SecretReader secrets);

/// BFD of a tunnel's session; none: it has none, or it cannot be read.
std::optional<BfdSettings> tunnel_bfd(const v1::BgpSession& bgp);

/// model.sessions and the addresses they need; model.asn, instance and vnet_address are there already.
Status resolve_sessions(const v1::Config& config, const ResolveOptions& options, GatewayModel& model);

/// "er1-primary/gw-a"
std::string circuit_session_name(const v1::Circuit& circuit, const v1::CircuitPeer& peer, std::string_view instance);

}  // namespace gw::config
