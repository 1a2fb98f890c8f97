// BMP version 3 (RFC 7854) and the BGP UPDATEs inside it (RFC 4271, 4760, 6793, 7606) as typed events.
// Pure and strict: a message whose lengths do not agree is an error and ends the stream; an UPDATE whose
// attributes are malformed is a withdrawal of its prefixes (RFC 7606 2). One thread.
//
// bgpd's habits (frr-findings, seen again on 10.3): it prepends its own AS to the paths of eBGP peers, taken
// off here with the help of the OPEN in PEER UP. End-of-RIB comes at the end of a dump only, so not for a peer
// that comes up on a standing connection: ask PeerStatus::end_of_rib then. PEER DOWN repeats on each failed connect,
// sometimes without the peer's AS and id, and End-of-RIB comes for the pre- and the post-policy view: both are told
// once. There is no LOCAL_PREF on eBGP. Views that were not asked for (post-policy, Adj-RIB-Out, Loc-RIB) are ignored.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "routes/candidate.hpp"

namespace gw::bgp {

/// A message is a BGP message and at most about 100 bytes; peer-up carries two OPENs.
inline constexpr std::size_t kMaxBmpMessage = std::size_t{256} << 10;

struct BmpPeer {
  IpAddress address;  // where both ends are link-local: this side's, see BmpSession
  std::uint32_t asn = 0;
  IpAddress router_id;
  friend auto operator<=>(const BmpPeer&, const BmpPeer&) = default;
};

struct BmpInitiation {
  std::string system_name;
  std::string description;
};
struct BmpTermination {
  std::optional<std::uint16_t> reason;
};
/// Of the peer's OPEN (RFC 4724 3): for how long, and of which families, its routes stay in use when it restarts.
struct GracefulRestart {
  std::chrono::seconds restart_time{0};
  std::set<Family> families;
};
struct BmpPeerUp {
  BmpPeer peer;
  IpAddress local_address;
  std::uint32_t local_asn = 0;  // of the OPEN that bgpd sent; 0: it did not say
  GracefulRestart graceful_restart{};
  /// Of the peer's OPEN (RFC 4760 8): it says End-of-RIB for these.
  std::set<Family> families{Family::kV4, Family::kV6};
};
struct BmpPeerDown {
  BmpPeer peer;
  std::uint8_t reason = 0;  // RFC 7854 4.9
  std::string text;         // "the peer closed the session: hold timer expired"
};
/// Adj-RIB-In, pre-policy. Withdrawals come first, a prefix in both lists is announced.
struct BmpRoutes {
  BmpPeer peer;
  routes::AttributesPtr attributes;  // null: nothing is announced
  std::vector<Prefix> announced;
  std::vector<Prefix> withdrawn;
  std::string malformed;  // why an announcement was treated as withdrawal; empty: it was not
};
struct BmpEndOfRib {
  BmpPeer peer;
  Family family = Family::kV4;
};
using BmpEvent = std::variant<BmpInitiation, BmpTermination, BmpPeerUp, BmpPeerDown, BmpRoutes, BmpEndOfRib>;

/// One BMP stream: bytes in, events out. A link-local address (fe80::/10) does not name a peer, for many links may have
/// the same at their far ends: such a peer is told by this side's address, which bgpd says in PEER UP. Two peers of one
/// address, AS number and router id are one to BMP: the later one has the name.
class BmpSession {
 public:
  void feed(std::span<const std::uint8_t> bytes);
  /// The next event; nothing when more bytes are needed; an error when the stream is beyond repair.
  Result<std::optional<BmpEvent>> next();

 private:
  Result<std::optional<BmpEvent>> parse(std::span<const std::uint8_t> message);
  bool is_repeated(const BmpEvent& event);
  /// False: of a peer that is not up.
  bool name_link(BmpEvent& event);
  std::optional<IpAddress> find_link(const BmpPeer& peer) const;
  void strip_local_as(BmpRoutes& routes) const;

  std::vector<std::uint8_t> buffer_;
  std::size_t consumed_ = 0;
  std::map<BmpPeer, IpAddress> links_;     // as bgpd says it -> this side's address
  std::map<IpAddress, std::uint32_t> up_;  // local ASN by address alone: a PEER DOWN may lack the rest
  std::set<std::pair<IpAddress, Family>> end_of_rib_;
};

/// How wide AS numbers in AS_PATH are: two bytes only where BMP says so (flag A), AS4_PATH is merged then.
enum class AsnWidth : std::uint8_t { kTwo = 2, kFour = 4 };
/// An UPDATE of the standard: marker, length and type included.
struct ParsedUpdate {
  routes::AttributesPtr attributes;
  std::vector<Prefix> announced;
  std::vector<Prefix> withdrawn;
  std::optional<Family> end_of_rib;
  std::string malformed;
};
/// `next_hop`: of IPv4 routes whose NEXT_HOP is left out; without it they are malformed. bgpd's BMP (10.3) leaves it
/// out where the next hop is an IPv6 address (RFC 8950).
Result<ParsedUpdate> parse_update(std::span<const std::uint8_t> message, AsnWidth width,
                                  const std::optional<IpAddress>& next_hop = {});

}  // namespace gw::bgp
