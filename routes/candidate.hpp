// One route as one source offers it: who says it, with which BGP attributes. Attributes and sources are
// shared and immutable, because one UPDATE carries many prefixes and a table has many routes of few
// sources. Pure data, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"

namespace gw::routes {

enum class SourceKind : std::uint8_t {
  kVnet,        // the private network's own prefixes
  kStaticSite,  // prefixes of a site without BGP
  kVpnTunnel,   // learned by BGP over a tunnel
  kCircuit,     // learned by BGP from the private circuit
  kBranchVnet,  // another VNet's gateway
  kPartner,     // the partner pair or the other instance (iBGP)
  kSpoke,       // a peered network that uses this gateway (gateway transit)
  kWan,         // no source: a router on the wan, which is told endpoints' addresses and from which nothing is learned
};
/// Those that routes are of.
inline constexpr std::size_t kSourceKinds = 7;
std::string_view to_string(SourceKind kind);

enum class PeerType : std::uint8_t { kLocal, kEbgp, kIbgp };
std::string_view to_string(PeerType type);

/// Where routes come from: a BGP session, or this gateway's own configuration.
struct Source {
  SourceKind kind = SourceKind::kVpnTunnel;
  std::string name;  // "paris-ce1/gw-a"; unique in a Rib
  PeerType type = PeerType::kEbgp;
  std::uint32_t peer_asn = 0;  // 0 for kLocal
  IpAddress router_id;         // the peer's BGP identifier
  IpAddress peer_address;
  std::string site{};      // "paris"; empty: not a site's
  std::string instance{};  // whose session it is: "gw-a"
  friend bool operator==(const Source&, const Source&) = default;
};
using SourcePtr = std::shared_ptr<const Source>;

enum class Origin : std::uint8_t { kIgp = 0, kEgp = 1, kIncomplete = 2 };  // RFC 4271 4.3, in order of preference
std::string_view to_string(Origin origin);

struct AsSegment {
  enum class Type : std::uint8_t { kSet = 1, kSequence = 2, kConfedSequence = 3, kConfedSet = 4 };
  Type type = Type::kSequence;
  std::vector<std::uint32_t> asns;
  friend bool operator==(const AsSegment&, const AsSegment&) = default;
};

/// RFC 6996: 64512-65534, 4200000000-4294967294.
bool is_private_asn(std::uint32_t asn);

class AsPath {
 public:
  AsPath() = default;
  explicit AsPath(std::vector<AsSegment> segments) : segments_(std::move(segments)) {}
  /// One AS_SEQUENCE.
  static AsPath sequence(std::vector<std::uint32_t> asns);

  /// RFC 4271 9.1.2.2 a: a set counts one; RFC 5065: confederation segments count nothing.
  unsigned length() const;
  /// The leftmost AS of the first non-confederation sequence, or 0.
  std::uint32_t neighbour_as() const;
  bool contains(std::uint32_t asn) const;
  const std::vector<AsSegment>& segments() const { return segments_; }

  /// The same path with `asn` in front of it, `count` times.
  AsPath prepended(std::uint32_t asn, unsigned count) const;
  /// Without any private AS number (RFC 6996) but `keep`, by which the peer sees a loop: FRR's "remove-private-AS all".
  /// Empty segments go.
  AsPath without_private(std::uint32_t keep = 0) const;
  /// `from` becomes `to`, FRR's "as-override".
  AsPath replaced(std::uint32_t from, std::uint32_t to) const;
  /// "65021 65022 {64512,64513}", as every router prints it.
  std::string to_string() const;
  friend bool operator==(const AsPath&, const AsPath&) = default;

 private:
  std::vector<AsSegment> segments_;
};

inline constexpr std::uint32_t kGracefulShutdown = 0xffff0000;   // RFC 8326: 65535:0
inline constexpr std::uint32_t kBlackhole = 0xffff029a;          // RFC 7999: 65535:666
inline constexpr std::uint32_t kNoExport = 0xffffff01;           // RFC 1997
inline constexpr std::uint32_t kNoAdvertise = 0xffffff02;        // RFC 1997
inline constexpr std::uint32_t kNoExportSubconfed = 0xffffff03;  // RFC 1997; FRR's "local-AS"
inline constexpr std::uint32_t kDefaultLocalPreference = 100;

struct Attributes {
  IpAddress next_hop{};
  AsPath as_path{};
  Origin origin = Origin::kIgp;
  std::optional<std::uint32_t> med{};
  std::optional<std::uint32_t> local_preference{};  // absent: kDefaultLocalPreference
  std::uint16_t weight = 0;                         // this gateway's source class (FRR weight)
  std::vector<std::uint32_t> communities{};         // high 16 bits: ASN
  friend bool operator==(const Attributes&, const Attributes&) = default;

  bool has_community(std::uint32_t community) const;
};
using AttributesPtr = std::shared_ptr<const Attributes>;

std::size_t hash_value(const Attributes& attributes);

/// A route that policy let in, as the decision sees it.
struct Candidate {
  SourcePtr source;          // never null
  AttributesPtr attributes;  // never null; after policy
};

}  // namespace gw::routes
