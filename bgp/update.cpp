// The BGP UPDATE parser of bmp.hpp. Error handling follows RFC 7606: what makes the prefixes unreadable is an
// error of the stream; what makes only the attributes wrong is a withdrawal.
#include <algorithm>
#include <array>
#include <format>

#include "bgp/bmp.hpp"
#include "bgp/wire_cursor.hpp"

namespace gw::bgp {
namespace {

constexpr std::size_t kHeaderBytes = 19;       // RFC 4271 4.1
constexpr std::size_t kMaxMessageBytes = 65535;  // RFC 8654
constexpr std::uint8_t kTypeUpdate = 2;
constexpr std::uint8_t kFlagExtendedLength = 0x10;
constexpr std::uint8_t kFlagOptional = 0x80;
constexpr std::uint8_t kFlagTransitive = 0x40;
constexpr std::uint8_t kSafiUnicast = 1;

enum Attribute : std::uint8_t {  // RFC 4271 5, RFC 1997, RFC 4760
  kOrigin = 1,
  kAsPath = 2,
  kNextHop = 3,
  kMed = 4,
  kLocalPref = 5,
  kCommunities = 8,
  kMpReach = 14,
  kMpUnreach = 15,
};

std::optional<Family> family_of(std::uint16_t afi) {
  if (afi == 1) return Family::kV4;
  if (afi == 2) return Family::kV6;
  return std::nullopt;
}

// RFC 4271 4.3: length in bits, then as few bytes as hold it.
Status read_prefixes(std::span<const std::uint8_t> bytes, Family family, std::vector<Prefix>& out) {
  WireCursor cursor(bytes);
  while (!cursor.empty()) {
    const auto length = cursor.take<std::uint8_t>();
    if (length > address_bits(family)) return fail(Errc::kMalformed, std::format("prefix length {} in an UPDATE", length));
    const auto given = cursor.take_bytes((length + 7U) / 8U);
    if (cursor.failed()) return fail(Errc::kMalformed, "a prefix in an UPDATE is cut off");
    std::array<std::uint8_t, 16> padded{};
    std::ranges::copy(given, padded.begin());
    GW_TRY_ASSIGN(const IpAddress address, IpAddress::from_bytes(std::span(padded).first(address_bytes(family))));
    GW_TRY_ASSIGN(const Prefix prefix, Prefix::make(address, length));
    out.push_back(prefix);
  }
  return {};
}

// Collects what the attributes say; `malformed` keeps the first fault of RFC 7606 7.
class AttributeReader {
 public:
  explicit AttributeReader(AsnWidth width, ParsedUpdate& update) : width_(width), update_(update) {}

  Status read(std::span<const std::uint8_t> bytes) {
    WireCursor cursor(bytes);
    while (!cursor.empty()) {
      const auto flags = cursor.take<std::uint8_t>();
      const auto type = cursor.take<std::uint8_t>();
      const std::size_t length = (flags & kFlagExtendedLength) != 0 ? cursor.take<std::uint16_t>() : cursor.take<std::uint8_t>();
      const auto value = cursor.take_bytes(length);
      if (cursor.failed()) {
        complain("the attributes are cut off");  // RFC 7606 4
        return {};
      }
      GW_TRY(one(type, flags, value));
    }
    return {};
  }

  bool has(Attribute type) const { return seen_[type]; }
  void complain(std::string what) {
    if (update_.malformed.empty()) update_.malformed = std::move(what);
  }
  routes::Attributes attributes;
  std::optional<IpAddress> mp_next_hop;
  std::optional<Family> mp_unreach;
  std::size_t count = 0;

 private:
  Status one(std::uint8_t type, std::uint8_t flags, std::span<const std::uint8_t> value) {
    ++count;
    if (seen_[type]) {
      // RFC 7606 3 g: a second MP attribute makes the message unreadable, any other one is ignored.
      if (type == kMpReach || type == kMpUnreach) return fail(Errc::kMalformed, "an UPDATE has two multiprotocol attributes of a kind");
      return {};
    }
    seen_[type] = true;
    const bool well_known = type >= kOrigin && type <= kNextHop;
    if (well_known && (flags & (kFlagOptional | kFlagTransitive)) != kFlagTransitive) complain(std::format("attribute {} has wrong flags", type));
    switch (type) {
      case kOrigin: origin(value); return {};
      case kAsPath: as_path(value); return {};
      case kNextHop: next_hop(value); return {};
      case kMed: number(value, "MULTI_EXIT_DISC", attributes.med); return {};
      case kLocalPref: number(value, "LOCAL_PREF", attributes.local_preference); return {};
      case kCommunities: communities(value); return {};
      case kMpReach: return mp_reach(value);
      case kMpUnreach: return mp_unreach_routes(value);
      default: return {};
    }
  }

  void origin(std::span<const std::uint8_t> value) {
    if (value.size() != 1 || value[0] > 2) complain("ORIGIN is malformed");
    else attributes.origin = static_cast<routes::Origin>(value[0]);
  }

  void as_path(std::span<const std::uint8_t> value) {
    std::vector<routes::AsSegment> segments;
    WireCursor cursor(value);
    while (!cursor.empty()) {
      const auto type = cursor.take<std::uint8_t>();
      const auto length = cursor.take<std::uint8_t>();
      if (type < 1 || type > 4 || length == 0) return complain("AS_PATH is malformed");
      routes::AsSegment segment{static_cast<routes::AsSegment::Type>(type), {}};
      for (unsigned i = 0; i < length; ++i)
        segment.asns.push_back(width_ == AsnWidth::kFour ? cursor.take<std::uint32_t>() : cursor.take<std::uint16_t>());
      if (cursor.failed()) return complain("AS_PATH is cut off");
      segments.push_back(std::move(segment));
    }
    attributes.as_path = routes::AsPath(std::move(segments));
  }

  void next_hop(std::span<const std::uint8_t> value) {
    const auto address = IpAddress::from_bytes(value);
    if (value.size() != 4 || !address) return complain("NEXT_HOP is malformed");
    attributes.next_hop = *address;
  }

  void number(std::span<const std::uint8_t> value, std::string_view name, std::optional<std::uint32_t>& out) {
    if (value.size() != 4) complain(std::format("{} is malformed", name));
    else out = load_be<std::uint32_t>(value.data());
  }

  void communities(std::span<const std::uint8_t> value) {
    if (value.size() % 4 != 0) return complain("COMMUNITIES is malformed");
    for (std::size_t i = 0; i < value.size(); i += 4) attributes.communities.push_back(load_be<std::uint32_t>(value.data() + i));
  }

  // RFC 4760 3; the next hop may be an IPv6 address for IPv4 routes (RFC 8950), and a link-local one may follow.
  Status mp_reach(std::span<const std::uint8_t> value) {
    WireCursor cursor(value);
    const auto family = family_of(cursor.take<std::uint16_t>());
    const auto safi = cursor.take<std::uint8_t>();
    const auto hop = cursor.take_bytes(cursor.take<std::uint8_t>());
    cursor.take<std::uint8_t>();  // reserved
    if (cursor.failed()) return fail(Errc::kMalformed, "MP_REACH_NLRI is cut off");
    if (!family || safi != kSafiUnicast) return {};  // a family that was not asked for
    const auto address = IpAddress::from_bytes(hop.size() == 32 ? hop.first(16) : hop);
    if (!address) complain("the next hop in MP_REACH_NLRI is malformed");
    else mp_next_hop = *address;
    return read_prefixes(cursor.rest(), *family, update_.announced);
  }

  Status mp_unreach_routes(std::span<const std::uint8_t> value) {
    WireCursor cursor(value);
    const auto family = family_of(cursor.take<std::uint16_t>());
    const auto safi = cursor.take<std::uint8_t>();
    if (cursor.failed()) return fail(Errc::kMalformed, "MP_UNREACH_NLRI is cut off");
    if (!family || safi != kSafiUnicast) return {};
    mp_unreach = family;
    return read_prefixes(cursor.rest(), *family, update_.withdrawn);
  }

  AsnWidth width_;
  ParsedUpdate& update_;
  std::array<bool, 256> seen_{};
};

}  // namespace

Result<ParsedUpdate> parse_update(std::span<const std::uint8_t> message, AsnWidth width) {
  WireCursor cursor(message);
  const auto marker = cursor.take_bytes(16);
  const std::size_t length = cursor.take<std::uint16_t>();
  const auto type = cursor.take<std::uint8_t>();
  if (cursor.failed() || length != message.size() || length < kHeaderBytes || length > kMaxMessageBytes)
    return fail(Errc::kMalformed, "a BGP message's length is not its own");
  if (!std::ranges::all_of(marker, [](std::uint8_t b) { return b == 0xff; })) return fail(Errc::kMalformed, "a BGP message without its marker");
  if (type != kTypeUpdate) return fail(Errc::kMalformed, std::format("a BGP message of type {} where an UPDATE belongs", type));

  ParsedUpdate update;
  const auto withdrawn = cursor.take_bytes(cursor.take<std::uint16_t>());
  const auto attributes = cursor.take_bytes(cursor.take<std::uint16_t>());
  if (cursor.failed()) return fail(Errc::kMalformed, "an UPDATE's lengths do not agree");
  const auto nlri = cursor.rest();
  GW_TRY(read_prefixes(withdrawn, Family::kV4, update.withdrawn));
  AttributeReader reader(width, update);
  GW_TRY(reader.read(attributes));
  const bool multiprotocol = !update.announced.empty();
  GW_TRY(read_prefixes(nlri, Family::kV4, update.announced));

  if (message.size() == kHeaderBytes + 4) update.end_of_rib = Family::kV4;  // RFC 4724 2
  else if (reader.mp_unreach && reader.count == 1 && update.withdrawn.empty() && nlri.empty()) update.end_of_rib = reader.mp_unreach;
  if (update.announced.empty()) return update;

  if (!reader.has(kOrigin) || !reader.has(kAsPath)) reader.complain("ORIGIN or AS_PATH is missing");
  if (!nlri.empty() && !reader.has(kNextHop)) reader.complain("NEXT_HOP is missing");
  if (multiprotocol && nlri.empty() && reader.mp_next_hop) reader.attributes.next_hop = *reader.mp_next_hop;
  if (!update.malformed.empty()) {
    std::ranges::move(update.announced, std::back_inserter(update.withdrawn));
    update.announced.clear();
    return update;
  }
  update.attributes = std::make_shared<const routes::Attributes>(std::move(reader.attributes));
  return update;
}

}  // namespace gw::bgp
