// BGP UPDATE messages (RFC 4271 4.3) with multiprotocol routes (RFC 4760, 8950) and error handling of
// RFC 7606: attributes that are wrong cost their routes, never the stream. Part of bmp.hpp.
#include <algorithm>
#include <format>

#include "base/wire.hpp"
#include "bgp/bmp.hpp"

namespace gw::bgp {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kHeaderBytes = 19;  // marker, length, type
constexpr std::uint8_t kUpdate = 2;

// RFC 4271 5, 1997, 4760, 6793
constexpr std::uint8_t kOrigin = 1;
constexpr std::uint8_t kAsPath = 2;
constexpr std::uint8_t kNextHop = 3;
constexpr std::uint8_t kMed = 4;
constexpr std::uint8_t kLocalPref = 5;
constexpr std::uint8_t kCommunities = 8;
constexpr std::uint8_t kMpReach = 14;
constexpr std::uint8_t kMpUnreach = 15;
constexpr std::uint8_t kAs4Path = 17;
constexpr std::uint8_t kExtendedLength = 0x10;

constexpr std::uint16_t kAfiIpv4 = 1;
constexpr std::uint16_t kAfiIpv6 = 2;
constexpr std::uint8_t kSafiUnicast = 1;

std::unexpected<Error> bad(std::string what) { return fail(Errc::kMalformed, std::move(what)); }

/// Takes from the front; short input is an error.
class Cursor {
 public:
  explicit Cursor(Bytes bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  std::size_t left() const { return rest_.size(); }
  Result<Bytes> take(std::size_t n) {
    if (rest_.size() < n) return bad("cut short");
    const Bytes out = rest_.first(n);
    rest_ = rest_.subspan(n);
    return out;
  }
  template <class T>
  Result<T> number() {
    GW_TRY_ASSIGN(const Bytes bytes, take(sizeof(T)));
    return load_be<T>(bytes.data());
  }

 private:
  Bytes rest_;
};

Result<std::vector<Prefix>> parse_prefixes(Bytes bytes, Family family) {
  std::vector<Prefix> out;
  Cursor cursor(bytes);
  while (!cursor.empty()) {
    GW_TRY_ASSIGN(const unsigned length, cursor.number<std::uint8_t>());
    if (length > address_bits(family)) return bad(std::format("prefix of {} bits", length));
    GW_TRY_ASSIGN(const Bytes head, cursor.take((length + 7) / 8));
    std::array<std::uint8_t, 16> address{};
    std::ranges::copy(head, address.begin());
    GW_TRY_ASSIGN(const IpAddress ip, IpAddress::from_bytes(Bytes(address).first(address_bytes(family))));
    GW_TRY_ASSIGN(const Prefix prefix, Prefix::make(ip, length));  // clears trailing bits (RFC 4271 4.3)
    out.push_back(prefix);
  }
  return out;
}

Result<routes::AsPath> parse_as_path(Bytes bytes, AsnWidth width) {
  std::vector<routes::AsSegment> segments;
  Cursor cursor(bytes);
  while (!cursor.empty()) {
    GW_TRY_ASSIGN(const unsigned type, cursor.number<std::uint8_t>());
    if (type < 1 || type > 4) return bad(std::format("AS_PATH segment of type {}", type));
    GW_TRY_ASSIGN(const std::size_t count, cursor.number<std::uint8_t>());
    if (count == 0) return bad("empty AS_PATH segment");  // RFC 7606 7.2
    routes::AsSegment segment{static_cast<routes::AsSegment::Type>(type), {}};
    for (std::size_t i = 0; i < count; ++i) {
      if (width == AsnWidth::kFour) {
        GW_TRY_ASSIGN(const std::uint32_t asn, cursor.number<std::uint32_t>());
        segment.asns.push_back(asn);
      } else {
        GW_TRY_ASSIGN(const std::uint32_t asn, cursor.number<std::uint16_t>());
        segment.asns.push_back(asn);
      }
    }
    segments.push_back(std::move(segment));
  }
  return routes::AsPath(std::move(segments));
}

/// RFC 6793 4.2.3: the leading ASes that AS4_PATH does not know, then AS4_PATH.
routes::AsPath merge_as4(const routes::AsPath& path, const routes::AsPath& as4) {
  if (as4.segments().empty() || path.length() < as4.length()) return path;
  std::size_t extra = path.length() - as4.length();
  std::vector<routes::AsSegment> out;
  for (const routes::AsSegment& s : path.segments()) {
    if (extra == 0) break;
    if (s.type != routes::AsSegment::Type::kSequence) {
      out.push_back(s);
      extra -= s.type == routes::AsSegment::Type::kSet ? 1 : 0;
      continue;
    }
    const std::size_t n = std::min(extra, s.asns.size());
    out.push_back({s.type, {s.asns.begin(), s.asns.begin() + static_cast<std::ptrdiff_t>(n)}});
    extra -= n;
  }
  out.insert(out.end(), as4.segments().begin(), as4.segments().end());
  return routes::AsPath(std::move(out));
}

/// A v4-mapped next hop is the IPv4 address that it means.
IpAddress unmapped(Bytes sixteen) {
  constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::ranges::equal(sixteen.first(12), kMapped)) {
    return IpAddress::from_v4(load_be<std::uint32_t>(sixteen.data() + 12));
  }
  return IpAddress::from_v6(sixteen.first<16>());
}

/// RFC 2545 3: global, or global and link-local; some send :: for the global one.
Result<IpAddress> parse_mp_next_hop(Bytes bytes) {
  if (bytes.size() == 4) return IpAddress::from_bytes(bytes);
  if (bytes.size() != 16 && bytes.size() != 32) return bad(std::format("next hop of {} bytes", bytes.size()));
  const IpAddress global = unmapped(bytes.first(16));
  if (bytes.size() == 32 && global.is_unspecified()) return unmapped(bytes.subspan(16));
  return global;
}

std::optional<Family> family_of(std::uint16_t afi, std::uint8_t safi) {
  if (safi != kSafiUnicast) return std::nullopt;
  if (afi == kAfiIpv4) return Family::kV4;
  if (afi == kAfiIpv6) return Family::kV6;
  return std::nullopt;
}

/// What the attributes of one UPDATE say.
struct Attrs {
  routes::Attributes values;
  bool has_origin = false;
  bool has_path = false;
  bool has_next_hop = false;  // NEXT_HOP
  std::optional<routes::AsPath> as4;
  std::optional<IpAddress> mp_next_hop;
  std::vector<Prefix> mp_announced;
  std::vector<Prefix> mp_withdrawn;
  std::optional<Family> mp_unreach;  // family of an MP_UNREACH_NLRI
  std::size_t count = 0;
  std::string malformed;  // the first fault that costs the routes
};

class AttributeParser {
 public:
  explicit AttributeParser(AsnWidth width) : width_(width) {}

  /// An error only where not even the prefixes can be told (RFC 7606 5.3).
  Result<Attrs> parse(Bytes bytes) {
    Cursor cursor(bytes);
    while (!cursor.empty()) {
      const auto one = next(cursor);
      if (!one) {
        note("attributes are cut short");  // RFC 7606 4
        break;
      }
      ++attrs_.count;
      GW_TRY(take(one->type, one->value));
    }
    if (attrs_.as4 && width_ == AsnWidth::kTwo) attrs_.values.as_path = merge_as4(attrs_.values.as_path, *attrs_.as4);
    return std::move(attrs_);
  }

 private:
  struct Raw {
    std::uint8_t type;
    Bytes value;
  };

  static Result<Raw> next(Cursor& cursor) {
    GW_TRY_ASSIGN(const std::uint8_t flags, cursor.number<std::uint8_t>());
    GW_TRY_ASSIGN(const std::uint8_t type, cursor.number<std::uint8_t>());
    std::size_t length = 0;
    if ((flags & kExtendedLength) != 0) {
      GW_TRY_ASSIGN(length, cursor.number<std::uint16_t>());
    } else {
      GW_TRY_ASSIGN(length, cursor.number<std::uint8_t>());
    }
    GW_TRY_ASSIGN(const Bytes value, cursor.take(length));
    return Raw{type, value};
  }

  void note(std::string what) {
    if (attrs_.malformed.empty()) attrs_.malformed = std::move(what);
  }

  Status take(std::uint8_t type, Bytes value) {
    if (seen_.contains(type)) {
      if (type == kMpReach || type == kMpUnreach) return bad("MP attribute twice");  // RFC 7606 3 g
      return {};                                                                     // the first one counts
    }
    seen_.insert(type);
    if (type == kMpReach) return take_reach(value);
    if (type == kMpUnreach) return take_unreach(value);
    if (const Status ok = take_plain(type, value); !ok) note(ok.error().message);
    return {};
  }

  Status take_plain(std::uint8_t type, Bytes value) {
    routes::Attributes& a = attrs_.values;
    switch (type) {
      case kOrigin:
        if (value.size() != 1 || value[0] > 2) return bad("ORIGIN is none");
        a.origin = static_cast<routes::Origin>(value[0]);
        attrs_.has_origin = true;
        return {};
      case kAsPath: {
        GW_TRY_ASSIGN(a.as_path, parse_as_path(value, width_));
        attrs_.has_path = true;
        return {};
      }
      case kAs4Path: {
        auto as4 = parse_as_path(value, AsnWidth::kFour);
        if (as4) attrs_.as4 = std::move(*as4);  // RFC 6793 6: a bad one is ignored
        return {};
      }
      case kNextHop: {
        if (value.size() != 4) return bad("NEXT_HOP is no IPv4 address");
        GW_TRY_ASSIGN(a.next_hop, IpAddress::from_bytes(value));
        attrs_.has_next_hop = true;
        return {};
      }
      case kMed: return take_number(value, a.med, "MULTI_EXIT_DISC");
      case kLocalPref: return take_number(value, a.local_preference, "LOCAL_PREF");
      case kCommunities: return take_communities(value);
      default: return {};  // nothing that decides here
    }
  }

  static Status take_number(Bytes value, std::optional<std::uint32_t>& into, std::string_view name) {
    if (value.size() != 4) return bad(std::format("{} of {} bytes", name, value.size()));
    into = load_be<std::uint32_t>(value.data());
    return {};
  }

  Status take_communities(Bytes value) {
    if (value.empty() || value.size() % 4 != 0) return bad("COMMUNITIES are not four bytes each");
    for (std::size_t i = 0; i < value.size(); i += 4) {
      attrs_.values.communities.push_back(load_be<std::uint32_t>(value.data() + i));
    }
    return {};
  }

  Status take_reach(Bytes value) {
    Cursor cursor(value);
    GW_TRY_ASSIGN(const std::uint16_t afi, cursor.number<std::uint16_t>());
    GW_TRY_ASSIGN(const std::uint8_t safi, cursor.number<std::uint8_t>());
    GW_TRY_ASSIGN(const std::size_t hop_bytes, cursor.number<std::uint8_t>());
    GW_TRY_ASSIGN(const Bytes hop, cursor.take(hop_bytes));
    GW_TRY(cursor.take(1));  // reserved
    const auto family = family_of(afi, safi);
    if (!family) return {};
    GW_TRY_ASSIGN(const Bytes nlri, cursor.take(cursor.left()));
    GW_TRY_ASSIGN(attrs_.mp_announced, parse_prefixes(nlri, *family));
    const auto address = parse_mp_next_hop(hop);
    if (address)
      attrs_.mp_next_hop = *address;
    else
      note(address.error().message);
    return {};
  }

  Status take_unreach(Bytes value) {
    Cursor cursor(value);
    GW_TRY_ASSIGN(const std::uint16_t afi, cursor.number<std::uint16_t>());
    GW_TRY_ASSIGN(const std::uint8_t safi, cursor.number<std::uint8_t>());
    attrs_.mp_unreach = family_of(afi, safi);
    if (!attrs_.mp_unreach) return {};
    GW_TRY_ASSIGN(const Bytes nlri, cursor.take(cursor.left()));
    GW_TRY_ASSIGN(attrs_.mp_withdrawn, parse_prefixes(nlri, *attrs_.mp_unreach));
    return {};
  }

  AsnWidth width_;
  Attrs attrs_;
  std::set<std::uint8_t> seen_;
};

/// RFC 7606 3: what an announcement may not lack.
void check_mandatory(Attrs& a, const ParsedUpdate& u) {
  const auto note = [&](const char* what) {
    if (a.malformed.empty()) a.malformed = what;
  };
  const bool plain = !u.announced.empty();
  if (!plain && a.mp_announced.empty()) return;
  if (!a.has_origin) note("ORIGIN is missing");
  if (!a.has_path) note("AS_PATH is missing");
  if (plain && !a.has_next_hop) note("NEXT_HOP is missing");
  // Two next hops for one set of attributes; senders must not (RFC 7606 5.1).
  if (plain && !a.mp_announced.empty()) note("routes in NLRI and in MP_REACH_NLRI");
}

bool is_end_of_rib_v4(const ParsedUpdate& u, const Attrs& a) {
  return a.count == 0 && a.malformed.empty() && u.announced.empty() && u.withdrawn.empty();
}

ParsedUpdate assemble(ParsedUpdate u, Attrs a) {
  if (is_end_of_rib_v4(u, a)) {
    u.end_of_rib = Family::kV4;  // RFC 4724 2
    return u;
  }
  if (a.mp_unreach && a.count == 1 && a.mp_withdrawn.empty() && u.announced.empty() && u.withdrawn.empty()) {
    u.end_of_rib = a.mp_unreach;
    return u;
  }
  check_mandatory(a, u);
  if (a.mp_next_hop && u.announced.empty()) a.values.next_hop = *a.mp_next_hop;
  u.announced.insert(u.announced.end(), a.mp_announced.begin(), a.mp_announced.end());
  u.withdrawn.insert(u.withdrawn.end(), a.mp_withdrawn.begin(), a.mp_withdrawn.end());
  if (!a.malformed.empty()) {  // treat as withdraw
    u.malformed = std::move(a.malformed);
    u.withdrawn.insert(u.withdrawn.end(), u.announced.begin(), u.announced.end());
    u.announced.clear();
  }
  if (!u.announced.empty()) u.attributes = std::make_shared<const routes::Attributes>(std::move(a.values));
  return u;
}

}  // namespace

Result<ParsedUpdate> parse_update(Bytes message, AsnWidth width, const std::optional<IpAddress>& next_hop) {
  if (message.size() < kHeaderBytes || load_be<std::uint16_t>(message.data() + 16) != message.size()) {
    return bad("UPDATE with a wrong length");
  }
  if (message[18] != kUpdate) return bad(std::format("BGP message of type {} where an UPDATE belongs", message[18]));
  Cursor cursor(message.subspan(kHeaderBytes));
  GW_TRY_ASSIGN(const std::size_t withdrawn_bytes, cursor.number<std::uint16_t>());
  GW_TRY_ASSIGN(const Bytes withdrawn, cursor.take(withdrawn_bytes));
  GW_TRY_ASSIGN(const std::size_t attribute_bytes, cursor.number<std::uint16_t>());
  GW_TRY_ASSIGN(const Bytes attributes, cursor.take(attribute_bytes));
  GW_TRY_ASSIGN(const Bytes nlri, cursor.take(cursor.left()));
  ParsedUpdate update;
  GW_TRY_ASSIGN(update.withdrawn, parse_prefixes(withdrawn, Family::kV4));
  GW_TRY_ASSIGN(update.announced, parse_prefixes(nlri, Family::kV4));
  GW_TRY_ASSIGN(Attrs attrs, AttributeParser(width).parse(attributes));
  if (next_hop && !attrs.has_next_hop && !update.announced.empty()) {
    attrs.values.next_hop = *next_hop;
    attrs.has_next_hop = true;
  }
  return assemble(std::move(update), std::move(attrs));
}

}  // namespace gw::bgp
