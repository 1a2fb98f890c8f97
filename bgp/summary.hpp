// bgpd's JSON, as far as operators see it: sessions, and received or advertised routes in the clouds'
// columns (azure-conventions). Pure, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "bgp/config_model.hpp"

namespace gw::bgp {

struct PeerStatus {
  IpAddress peer;     // the key
  std::string name;   // as bgpd calls it: the address, or "tun7"
  IpAddress learned;  // the peer's own address where it is not the key; unspecified: none yet
  IpAddress local;    // unspecified until `neighbors` was read
  std::uint32_t asn = 0;
  std::uint32_t local_asn = 0;     // ours, towards it
  bool internal = false;           // iBGP
  std::string state;               // "Established", "Idle", "Idle (PfxCt)", "Connect"...
  std::chrono::seconds uptime{0};  // of the session, or since it went down
  std::uint64_t received_v4 = 0;   // prefixes
  std::uint64_t received_v6 = 0;
  std::uint64_t advertised_v4 = 0;
  std::uint64_t advertised_v6 = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t messages_sent = 0;
  // The peer has told all it has since the session is up (RFC 4724); BMP does not say so for a peer that comes
  // up on a standing connection.
  bool end_of_rib_v4 = false;
  bool end_of_rib_v6 = false;
  std::optional<BfdIntent> watched;  // bgpd ends the session when the BFD with these timers goes down
  std::chrono::seconds silent{0};    // since its last message, when `neighbors` was read
  std::chrono::seconds hold{0};      // agreed with the peer; 0: none
  std::uint64_t unsent = 0;          // messages for it that its TCP does not take
  bool path_died = false;            // the session is down because BFD noticed that nothing passes
  std::string last_error;            // "Hold Timer Expired"; empty: none
  std::string last_reset;            // who ended the session: "BGP Notification received", "BGP Notification send"
  bool established() const { return state == "Established"; }
  bool ended_by_limit() const { return state == "Idle (PfxCt)"; }
};

/// Of one peer at two times: whether what `neighbors` said of the one holds for the other. A session that ended and
/// came back in between is another one, though its state is the same.
bool is_same_session(const PeerStatus& before, const PeerStatus& after);

// The commands whose output the parsers below take.
inline constexpr const char* kShowSummary = "show bgp summary json";
inline constexpr const char* kShowNeighbors = "show bgp neighbors json";
// `neighbour`: as bgpd calls it, see neighbour_name().
std::string show_neighbor(std::string_view neighbour);
std::string show_advertised(std::string_view neighbour, Family family);
std::string show_received(std::string_view neighbour, Family family);
/// Whether its Adj-RIB-In has this prefix: rows as of show_received().
std::string show_received(std::string_view neighbour, const Prefix& prefix);
/// bgpd judges its Adj-RIB-In again, and tells all of it by BMP (pre-policy, 10.3).
std::string clear_soft_in(std::string_view neighbour, Family family);

/// Keys (PeerIntent::peer) of neighbours that bgpd calls by their device.
using DeviceKeys = std::map<std::string, IpAddress, std::less<>>;
DeviceKeys device_keys(const BgpIntent& intent);

Result<std::map<IpAddress, PeerStatus>> parse_summary(std::string_view json, const DeviceKeys& keys = {});
/// Adds local address, message counts and the last error to what parse_summary gave; unknown peers are added.
Status add_neighbors(std::string_view json, std::map<IpAddress, PeerStatus>& peers, const DeviceKeys& keys = {});

struct RouteRow {
  Prefix network;
  std::string next_hop;
  std::string local_address;
  std::string source_peer;
  std::string origin;   // Network | EBgp | IBgp; of an advertised route Network is whatever has no AS path before ours
  std::string as_path;  // "65021 65022"; of an advertised route as the peer sees it, ours first
  std::uint32_t weight = 0;
};

enum class Direction : std::uint8_t { kReceived, kAdvertised };
/// Rows sorted by network. `session` gives the columns that bgpd does not say.
Result<std::vector<RouteRow>> parse_routes(std::string_view json, const PeerStatus& session, Direction direction);

}  // namespace gw::bgp
