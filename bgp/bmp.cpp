#include "bgp/bmp.hpp"

#include <algorithm>
#include <format>
#include <functional>
#include <utility>

#include "base/wire.hpp"

namespace gw::bgp {
namespace {

using Bytes = std::span<const std::uint8_t>;

// RFC 7854 4.1
constexpr std::uint8_t kVersion = 3;
constexpr std::size_t kCommonHeader = 6;
constexpr std::uint8_t kRouteMonitoring = 0;
constexpr std::uint8_t kStatistics = 1;
constexpr std::uint8_t kPeerDown = 2;
constexpr std::uint8_t kPeerUp = 3;
constexpr std::uint8_t kInitiation = 4;
constexpr std::uint8_t kTermination = 5;
constexpr std::uint8_t kMirroring = 6;

// RFC 7854 4.2, 8671 4, 9069 4.1
constexpr std::size_t kPeerHeader = 42;
constexpr std::uint8_t kFlagIpv6 = 0x80;
constexpr std::uint8_t kFlagPostPolicy = 0x40;
constexpr std::uint8_t kFlagAs2 = 0x20;
constexpr std::uint8_t kFlagAdjRibOut = 0x10;
constexpr std::uint8_t kPeerTypeLocRib = 3;

std::unexpected<Error> bad(std::string what) { return fail(Errc::kMalformed, std::move(what)); }

struct PeerHeader {
  BmpPeer peer;
  std::uint8_t flags = 0;
  bool wanted = false;  // Adj-RIB-In before policy
  AsnWidth width() const { return (flags & kFlagAs2) != 0 ? AsnWidth::kTwo : AsnWidth::kFour; }
};

/// 16 bytes, IPv4 in the last four unless the flag says IPv6.
IpAddress padded_address(Bytes sixteen, std::uint8_t flags) {
  if ((flags & kFlagIpv6) != 0) return IpAddress::from_v6(sixteen.first<16>());
  return IpAddress::from_v4(load_be<std::uint32_t>(sixteen.data() + 12));
}

Result<PeerHeader> parse_peer_header(Bytes body) {
  if (body.size() < kPeerHeader) return bad("BMP per-peer header is cut short");
  PeerHeader h;
  h.flags = body[1];
  h.wanted = body[0] != kPeerTypeLocRib && (h.flags & (kFlagPostPolicy | kFlagAdjRibOut)) == 0;
  h.peer.address = padded_address(body.subspan(10, 16), h.flags);
  h.peer.asn = load_be<std::uint32_t>(body.data() + 26);
  h.peer.router_id = IpAddress::from_v4(load_be<std::uint32_t>(body.data() + 30));
  return h;
}

/// Printable, bounded: it ends in logs.
std::string text_of(Bytes value) {
  std::string out;
  for (const std::uint8_t c : value.first(std::min<std::size_t>(value.size(), 256))) {
    out += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '?';
  }
  return out;
}

/// Type, length, value (RFC 7854 4.4); `each` gets every one.
template <class Each>
Status for_each_tlv(Bytes body, Each each) {
  while (!body.empty()) {
    if (body.size() < 4) return bad("BMP TLV is cut short");
    const auto type = load_be<std::uint16_t>(body.data());
    const std::size_t length = load_be<std::uint16_t>(body.data() + 2);
    body = body.subspan(4);
    if (body.size() < length) return bad("BMP TLV is cut short");
    each(type, body.first(length));
    body = body.subspan(length);
  }
  return {};
}

Result<std::optional<BmpEvent>> parse_initiation(Bytes body) {
  BmpInitiation event;
  GW_TRY(for_each_tlv(body, [&](std::uint16_t type, Bytes value) {
    if (type == 1) event.description = text_of(value);
    if (type == 2) event.system_name = text_of(value);
  }));
  return event;
}

Result<std::optional<BmpEvent>> parse_termination(Bytes body) {
  BmpTermination event;
  GW_TRY(for_each_tlv(body, [&](std::uint16_t type, Bytes value) {
    if (type == 1 && value.size() == 2) event.reason = load_be<std::uint16_t>(value.data());
  }));
  return event;
}

constexpr std::size_t kOpenFixed = 29;  // RFC 4271 4.2, with the header

bool is_open(Bytes message) {
  constexpr std::uint8_t kOpen = 1;
  return message.size() >= kOpenFixed && message[18] == kOpen;
}

/// Calls `visit` with code and value of each capability (RFC 5492). Optional parameters of RFC 9072's extended form are
/// not looked into.
void for_each_capability(Bytes open, const std::function<void(std::uint8_t, Bytes)>& visit) {
  constexpr std::uint8_t kCapabilities = 2;
  Bytes parameters = open.subspan(kOpenFixed);
  parameters = parameters.first(std::min<std::size_t>(parameters.size(), open[28]));
  while (parameters.size() >= 2) {
    const std::size_t length = parameters[1];
    if (parameters.size() - 2 < length) break;
    Bytes capabilities = parameters.subspan(2, parameters[0] == kCapabilities ? length : 0);
    while (capabilities.size() >= 2 && capabilities.size() - 2 >= capabilities[1]) {
      visit(capabilities[0], capabilities.subspan(2, capabilities[1]));
      capabilities = capabilities.subspan(2 + std::size_t{capabilities[1]});
    }
    parameters = parameters.subspan(2 + length);
  }
}

/// The four-byte AS number of the OPEN's capability (RFC 6793 3), else its My Autonomous System.
std::uint32_t asn_of_open(Bytes open) {
  constexpr std::uint8_t kFourByteAs = 65;
  std::uint32_t asn = load_be<std::uint16_t>(open.data() + 20);
  for_each_capability(open, [&](std::uint8_t code, Bytes value) {
    if (code == kFourByteAs && value.size() == 4) asn = load_be<std::uint32_t>(value.data());
  });
  return asn;
}

GracefulRestart graceful_restart_of_open(Bytes open) {
  constexpr std::uint8_t kGracefulRestart = 64;
  constexpr std::uint8_t kUnicast = 1;
  GracefulRestart out;
  for_each_capability(open, [&](std::uint8_t code, Bytes value) {
    if (code != kGracefulRestart || value.size() < 2) return;
    out.restart_time = std::chrono::seconds(load_be<std::uint16_t>(value.data()) & 0x0fff);
    for (Bytes rest = value.subspan(2); rest.size() >= 4; rest = rest.subspan(4)) {
      const std::uint16_t afi = load_be<std::uint16_t>(rest.data());
      if (rest[2] == kUnicast && (afi == 1 || afi == 2)) out.families.insert(afi == 1 ? Family::kV4 : Family::kV6);
    }
  });
  return out;
}

/// RFC 4760 8: who does not say takes part in IPv4. What stands in RFC 9072's extended form is not known: both.
std::set<Family> families_of_open(Bytes open) {
  constexpr std::uint8_t kMultiprotocol = 1;
  constexpr std::uint8_t kUnicast = 1;
  constexpr std::uint8_t kExtended = 255;
  if (open[28] == kExtended) return {Family::kV4, Family::kV6};
  std::set<Family> out;
  bool said = false;
  for_each_capability(open, [&](std::uint8_t code, Bytes value) {
    if (code != kMultiprotocol || value.size() != 4) return;
    said = true;
    const std::uint16_t afi = load_be<std::uint16_t>(value.data());
    if (value[3] == kUnicast && (afi == 1 || afi == 2)) out.insert(afi == 1 ? Family::kV4 : Family::kV6);
  });
  if (!said) out.insert(Family::kV4);
  return out;
}

/// The message in front, without what follows it; empty if it is cut short.
Bytes first_message(Bytes bytes) {
  if (bytes.size() < 19) return {};
  const std::size_t length = load_be<std::uint16_t>(bytes.data() + 16);
  return length > bytes.size() ? Bytes() : bytes.first(length);
}

Result<std::optional<BmpEvent>> parse_peer_up(const PeerHeader& header, Bytes body) {
  // Local address, two ports, the OPEN sent, the OPEN received (RFC 7854 4.10).
  if (body.size() < 20) return bad("BMP peer up is cut short");
  BmpPeerUp event{header.peer, padded_address(body.first(16), header.flags)};
  const Bytes sent = first_message(body.subspan(20));
  const Bytes received = first_message(body.subspan(20 + sent.size()));
  if (is_open(sent)) event.local_asn = asn_of_open(sent);
  if (!sent.empty() && is_open(received)) {
    event.graceful_restart = graceful_restart_of_open(received);
    event.families = families_of_open(received);
  }
  return event;
}

/// RFC 4271 4.5 and RFC 4486, the ones that operators meet.
std::string notification_text(Bytes message) {
  if (message.size() < 21) return "a notification without a code";
  const unsigned code = message[19];
  const unsigned subcode = message[20];
  switch (code) {
    case 2: return std::format("OPEN message error {}", subcode);
    case 3: return std::format("UPDATE message error {}", subcode);
    case 4: return "hold timer expired";
    case 5: return "state machine error";
    case 6:
      switch (subcode) {
        case 1: return "maximum number of prefixes reached";
        case 2: return "administrative shutdown";
        case 3: return "peer de-configured";
        case 4: return "administrative reset";
        case 5: return "connection rejected";
        case 6: return "other configuration change";
        case 7: return "connection collision";
        case 9: return "hard reset";
        case 10: return "BFD down";
        default: return std::format("cease {}", subcode);
      }
    default: return std::format("notification {}/{}", code, subcode);
  }
}

Result<std::optional<BmpEvent>> parse_peer_down(const PeerHeader& header, Bytes body) {
  if (body.empty()) return bad("BMP peer down is cut short");
  BmpPeerDown event{header.peer, body[0], {}};
  switch (event.reason) {  // RFC 7854 4.9
    case 1: event.text = "this side closed the session: " + notification_text(body.subspan(1)); break;
    case 2: event.text = "this side closed the session"; break;
    case 3: event.text = "the peer closed the session: " + notification_text(body.subspan(1)); break;
    case 4: event.text = "the connection was lost"; break;
    case 5: event.text = "the peer was de-configured"; break;
    default: event.text = std::format("reason {}", event.reason);
  }
  return event;
}

std::optional<BmpEvent> to_event(const BmpPeer& peer, ParsedUpdate update) {
  if (update.end_of_rib) return BmpEndOfRib{peer, *update.end_of_rib};
  if (update.announced.empty() && update.withdrawn.empty() && update.malformed.empty()) return std::nullopt;
  return BmpRoutes{peer, std::move(update.attributes), std::move(update.announced), std::move(update.withdrawn),
                   std::move(update.malformed)};
}

std::optional<BmpEvent> parse_route_monitoring(const PeerHeader& header, Bytes body) {
  const auto& session = header.peer.address;
  auto update = parse_update(body, header.width(), session.is_v6() ? std::optional(session) : std::nullopt);
  if (update) return to_event(header.peer, std::move(*update));
  // The frame of BMP is whole: one UPDATE is lost, not the stream.
  return BmpRoutes{header.peer, nullptr, {}, {}, update.error().describe()};
}

}  // namespace

void BmpSession::feed(Bytes bytes) {
  if (consumed_ > 0) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(consumed_));
    consumed_ = 0;
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Result<std::optional<BmpEvent>> BmpSession::next() {
  for (;;) {
    const Bytes rest = Bytes(buffer_).subspan(consumed_);
    if (rest.size() < kCommonHeader) return std::nullopt;
    if (rest[0] != kVersion) return bad(std::format("BMP version {}, this is version {}", rest[0], kVersion));
    const std::size_t length = load_be<std::uint32_t>(rest.data() + 1);
    if (length < kCommonHeader || length > kMaxBmpMessage) return bad(std::format("BMP message of {} bytes", length));
    if (rest.size() < length) return std::nullopt;
    consumed_ += length;
    GW_TRY_ASSIGN(auto event, parse(rest.first(length)));
    if (!event || !name_link(*event) || is_repeated(*event)) continue;
    if (auto* routes = std::get_if<BmpRoutes>(&*event)) strip_local_as(*routes);
    return event;
  }
}

Result<std::optional<BmpEvent>> BmpSession::parse(Bytes message) {
  const std::uint8_t type = message[5];
  const Bytes body = message.subspan(kCommonHeader);
  switch (type) {
    case kInitiation: return parse_initiation(body);
    case kTermination: return parse_termination(body);
    case kRouteMonitoring:
    case kPeerDown:
    case kPeerUp: break;
    case kStatistics:
    case kMirroring: return std::nullopt;
    default: return bad(std::format("BMP message of unknown type {}", type));
  }
  GW_TRY_ASSIGN(const PeerHeader header, parse_peer_header(body));
  if (!header.wanted) return std::nullopt;
  const Bytes rest = body.subspan(kPeerHeader);
  if (type == kPeerUp) return parse_peer_up(header, rest);
  if (type == kPeerDown) return parse_peer_down(header, rest);
  return parse_route_monitoring(header, rest);
}

std::optional<IpAddress> BmpSession::find_link(const BmpPeer& peer) const {
  if (const auto exact = links_.find(peer); exact != links_.end()) return exact->second;
  // A PEER DOWN may lack AS number and router id.
  const auto same = [&](const auto& link) { return link.first.address == peer.address; };
  const auto found = std::ranges::find_if(links_, same);
  if (found == links_.end() || std::ranges::count_if(links_, same) > 1) return std::nullopt;
  return found->second;
}

bool BmpSession::name_link(BmpEvent& event) {
  const auto name = [this](BmpPeer& peer) {
    if (!peer.address.is_v6() || !peer.address.is_link_local()) return true;
    const auto link = find_link(peer);
    if (link) peer.address = *link;
    return link.has_value();
  };
  if (auto* up = std::get_if<BmpPeerUp>(&event); up && up->peer.address.is_v6() && up->peer.address.is_link_local()) {
    std::erase_if(links_, [&](const auto& link) { return link.second == up->local_address; });
    links_[up->peer] = up->local_address;
  }
  return std::visit(
      [&](auto& e) {
        if constexpr (requires { e.peer; })
          return name(e.peer);
        else
          return true;
      },
      event);
}

bool BmpSession::is_repeated(const BmpEvent& event) {
  if (const auto* up = std::get_if<BmpPeerUp>(&event)) {
    up_[up->peer.address] = up->local_asn;
    end_of_rib_.erase({up->peer.address, Family::kV4});
    end_of_rib_.erase({up->peer.address, Family::kV6});
    return false;
  }
  if (const auto* down = std::get_if<BmpPeerDown>(&event)) return up_.erase(down->peer.address) == 0;
  if (const auto* end = std::get_if<BmpEndOfRib>(&event)) {
    return !end_of_rib_.insert({end->peer.address, end->family}).second;
  }
  return false;
}

void BmpSession::strip_local_as(BmpRoutes& change) const {
  const auto local = up_.find(change.peer.address);
  if (!change.attributes || local == up_.end() || local->second == change.peer.asn) return;  // iBGP prepends nothing
  const auto& segments = change.attributes->as_path.segments();
  if (segments.empty() || segments.front().type != routes::AsSegment::Type::kSequence) return;
  if (segments.front().asns.front() != local->second) return;
  auto rest = segments;
  rest.front().asns.erase(rest.front().asns.begin());
  if (rest.front().asns.empty()) rest.erase(rest.begin());
  routes::Attributes attributes = *change.attributes;
  attributes.as_path = routes::AsPath(std::move(rest));
  change.attributes = std::make_shared<const routes::Attributes>(std::move(attributes));
}

}  // namespace gw::bgp
