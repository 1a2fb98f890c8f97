#include "bgp/bmp.hpp"

#include <format>
#include <utility>

#include "bgp/wire_cursor.hpp"

namespace gw::bgp {
namespace {

constexpr std::size_t kCommonHeaderBytes = 6;  // RFC 7854 4.1
constexpr std::uint8_t kVersion = 3;

enum MessageType : std::uint8_t { kRouteMonitoring = 0, kPeerDown = 2, kPeerUp = 3, kInitiation = 4, kTermination = 5 };

constexpr std::uint8_t kPeerTypeGlobal = 0;
constexpr std::uint8_t kFlagIpv6 = 0x80;
constexpr std::uint8_t kFlagPostPolicy = 0x40;
constexpr std::uint8_t kFlagAs2 = 0x20;
constexpr std::uint8_t kFlagAdjRibOut = 0x10;  // RFC 8671

struct PeerHeader {
  BmpPeer peer;
  AsnWidth width = AsnWidth::kFour;
  bool pre_policy_in = false;  // the only view that is wanted
};

// IPv4 addresses stand in the last 4 of 16 bytes.
Result<IpAddress> read_address(std::span<const std::uint8_t> sixteen, Family family) {
  return IpAddress::from_bytes(family == Family::kV4 ? sixteen.last(4) : sixteen);
}

Result<PeerHeader> read_peer_header(WireCursor& cursor) {
  PeerHeader header;
  const auto type = cursor.take<std::uint8_t>();
  const auto flags = cursor.take<std::uint8_t>();
  cursor.take_bytes(8);  // distinguisher
  const auto address = cursor.take_bytes(16);
  header.peer.asn = cursor.take<std::uint32_t>();
  header.peer.router_id = IpAddress::from_v4(cursor.take<std::uint32_t>());
  cursor.take_bytes(8);  // time stamp: not reliable
  if (cursor.failed()) return fail(Errc::kMalformed, "a BMP per-peer header is cut off");
  GW_TRY_ASSIGN(header.peer.address, read_address(address, (flags & kFlagIpv6) != 0 ? Family::kV6 : Family::kV4));
  if ((flags & kFlagAs2) != 0) header.width = AsnWidth::kTwo;
  header.pre_policy_in = type == kPeerTypeGlobal && (flags & (kFlagPostPolicy | kFlagAdjRibOut)) == 0;
  return header;
}

std::string_view notification_name(std::uint8_t code) {
  switch (code) {  // RFC 4271 4.5
    case 1: return "message header error";
    case 2: return "OPEN message error";
    case 3: return "UPDATE message error";
    case 4: return "hold timer expired";
    case 5: return "state machine error";
    case 6: return "cease";
    default: return "unknown reason";
  }
}

// RFC 7854 4.9: reasons 1 and 3 carry the NOTIFICATION, code and subcode behind its header.
std::string down_text(std::uint8_t reason, std::span<const std::uint8_t> data) {
  const auto notification = [&]() -> std::string {
    if (data.size() < 21) return "no details";
    return std::format("{} ({}/{})", notification_name(data[19]), data[19], data[20]);
  };
  switch (reason) {
    case 1: return "we closed the session: " + notification();
    case 2: return "we closed the session without a NOTIFICATION";
    case 3: return "the peer closed the session: " + notification();
    case 4: return "the connection to the peer broke";
    case 5: return "the peer is not monitored any more";
    default: return std::format("reason {}", reason);
  }
}

Result<BmpEvent> read_initiation(WireCursor cursor) {
  BmpInitiation event;
  while (!cursor.empty()) {
    const auto type = cursor.take<std::uint16_t>();
    const auto value = cursor.take_bytes(cursor.take<std::uint16_t>());
    if (cursor.failed()) return fail(Errc::kMalformed, "a BMP initiation is cut off");
    const std::string text(reinterpret_cast<const char*>(value.data()), value.size());
    if (type == 1) event.description = text;
    if (type == 2) event.system_name = text;
  }
  return event;
}

Result<BmpEvent> read_termination(WireCursor cursor) {
  BmpTermination event;
  while (!cursor.empty()) {
    const auto type = cursor.take<std::uint16_t>();
    const auto value = cursor.take_bytes(cursor.take<std::uint16_t>());
    if (cursor.failed()) return fail(Errc::kMalformed, "a BMP termination is cut off");
    if (type == 1 && value.size() == 2) event.reason = load_be<std::uint16_t>(value.data());
  }
  return event;
}

}  // namespace

void BmpSession::feed(std::span<const std::uint8_t> bytes) {
  if (consumed_ > 0) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(consumed_));
    consumed_ = 0;
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Result<std::optional<BmpEvent>> BmpSession::next() {
  for (;;) {
    const auto rest = std::span(buffer_).subspan(consumed_);
    if (rest.size() < kCommonHeaderBytes) return std::nullopt;
    if (rest[0] != kVersion) return fail(Errc::kMalformed, std::format("BMP version {}, not 3", rest[0]));
    const std::size_t length = load_be<std::uint32_t>(rest.data() + 1);
    if (length < kCommonHeaderBytes || length > kMaxBmpMessage) return fail(Errc::kMalformed, std::format("BMP message of {} bytes", length));
    if (rest.size() < length) return std::nullopt;
    consumed_ += length;
    GW_TRY_ASSIGN(auto event, parse(rest.first(length)));
    if (event && is_news(*event)) return event;
  }
}

// `message` is whole; absent: a kind or a view that is not wanted.
Result<std::optional<BmpEvent>> BmpSession::parse(std::span<const std::uint8_t> message) {
  WireCursor cursor(message.subspan(kCommonHeaderBytes));
  const std::uint8_t type = message[5];
  if (type == kInitiation) return read_initiation(cursor);
  if (type == kTermination) return read_termination(cursor);
  if (type != kRouteMonitoring && type != kPeerDown && type != kPeerUp) return std::nullopt;

  GW_TRY_ASSIGN(const PeerHeader header, read_peer_header(cursor));
  if (!header.pre_policy_in) return std::nullopt;
  if (type == kPeerDown) {
    const auto reason = cursor.take<std::uint8_t>();
    if (cursor.failed()) return fail(Errc::kMalformed, "a BMP peer down is cut off");
    return BmpPeerDown{header.peer, reason, down_text(reason, cursor.rest())};
  }
  if (type == kPeerUp) {
    const auto local = cursor.take_bytes(16);
    cursor.take_bytes(4);  // ports
    if (cursor.failed()) return fail(Errc::kMalformed, "a BMP peer up is cut off");
    BmpPeerUp event{header.peer, {}};
    GW_TRY_ASSIGN(event.local_address, read_address(local, header.peer.address.family()));
    return event;
  }
  GW_TRY_ASSIGN(ParsedUpdate update, parse_update(cursor.rest(), header.width));
  if (update.end_of_rib) return BmpEndOfRib{header.peer, *update.end_of_rib};
  if (update.announced.empty() && update.withdrawn.empty()) return std::nullopt;
  return BmpRoutes{header.peer, std::move(update.attributes), std::move(update.announced), std::move(update.withdrawn), std::move(update.malformed)};
}

// bgpd repeats PEER DOWN on every failed connect, and End-of-RIB for either policy view.
bool BmpSession::is_news(const BmpEvent& event) {
  const auto forget = [this](const IpAddress& peer) {
    for (const Family family : {Family::kV4, Family::kV6}) end_of_rib_.erase({peer, family});
  };
  if (const auto* up = std::get_if<BmpPeerUp>(&event)) {
    forget(up->peer.address);
    up_.insert(up->peer.address);
    return true;
  }
  if (const auto* down = std::get_if<BmpPeerDown>(&event)) {
    forget(down->peer.address);
    return up_.erase(down->peer.address) > 0;
  }
  if (const auto* end = std::get_if<BmpEndOfRib>(&event)) return end_of_rib_.insert({end->peer.address, end->family}).second;
  return true;
}

}  // namespace gw::bgp
