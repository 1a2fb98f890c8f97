#include "ebpf/bfd/dplane_message.hpp"

#include <algorithm>
#include <cstring>

#include "base/wire.hpp"

namespace gw::bfd {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kHeader = 8;
constexpr std::size_t kMaxMessage = 1024;  // several times the longest that there is

enum Type : std::uint16_t {
  kEchoRequest = 0,
  kEchoReply = 1,
  kAddSession = 2,
  kDeleteSession = 3,
  kStateChange = 4,
  kRequestCounters = 5,
  kCounters = 6,
};

enum Flag : std::uint32_t {
  kMultihop = 1 << 0,
  kDemand = 1 << 1,
  kEcho = 1 << 3,
  kIpv6 = 1 << 4,
  kPassive = 1 << 5,
  kShutdown = 1 << 6,
};

// struct bfddp_session
constexpr std::size_t kSessionFlags = 0, kSessionSource = 4, kSessionDestination = 20, kSessionId = 36,
                      kSessionMinTx = 40, kSessionMinRx = 44, kSessionTtl = 60, kSessionMultiplier = 61,
                      kSessionName = 68, kSessionNameBytes = 64, kSessionBytes = 132;

std::vector<std::uint8_t> message(Type type, std::uint16_t request, std::size_t content) {
  std::vector<std::uint8_t> m(kHeader + content);
  m[0] = kVersion;
  store_be(&m[2], static_cast<std::uint16_t>(type));
  store_be(&m[4], request);
  store_be(&m[6], static_cast<std::uint16_t>(m.size()));
  return m;
}

IpAddress address_at(const std::uint8_t* at, std::uint32_t flags) {
  if (flags & kIpv6) return IpAddress::from_v6(std::span<const std::uint8_t, 16>(at, 16));
  return IpAddress::from_v4(load_be<std::uint32_t>(at));
}

std::string text_at(const std::uint8_t* at, std::size_t room) {
  const auto* end = std::find(at, at + room, std::uint8_t{0});
  return {reinterpret_cast<const char*>(at), static_cast<std::size_t>(end - at)};
}

DplaneId id_at(const std::uint8_t* at) { return DplaneId{load_be<std::uint32_t>(at)}; }

AddSession read_session(const std::uint8_t* c) {
  const auto flags = load_be<std::uint32_t>(c + kSessionFlags);
  AddSession s;
  s.id = id_at(c + kSessionId);
  s.key.hops = (flags & kMultihop) ? Hops::kMulti : Hops::kSingle;
  s.key.local = address_at(c + kSessionSource, flags);
  s.key.peer = address_at(c + kSessionDestination, flags);
  // A multihop session has the name of its VRF, if any, nothing that its packets are bound to.
  if (s.key.hops == Hops::kSingle) s.key.device = text_at(c + kSessionName, kSessionNameBytes);
  s.settings = {.desired_min_tx = Interval(load_be<std::uint32_t>(c + kSessionMinTx)),
                .required_min_rx = Interval(load_be<std::uint32_t>(c + kSessionMinRx)),
                .detect_multiplier = c[kSessionMultiplier],
                .role = (flags & kPassive) ? Role::kPassive : Role::kActive,
                .admin = (flags & kShutdown) ? Admin::kDisabled : Admin::kEnabled};
  s.min_ttl = s.key.hops == Hops::kMulti ? c[kSessionTtl] : std::uint8_t{255};
  if (flags & kDemand) s.refused.emplace_back("demand mode");
  if (flags & kEcho) s.refused.emplace_back("echo mode");
  return s;
}

}  // namespace

std::string to_string(const SessionKey& key) {
  std::string text = std::format("{}", key.peer);
  if (key.hops == Hops::kMulti) text += " (multihop)";
  if (!key.device.empty()) text += std::format(" on {}", key.device);
  return text;
}

Result<std::optional<DplaneMessage>> DplaneReader::next() {
  using Message = std::optional<DplaneMessage>;
  for (;;) {
    if (buffer_.size() < kHeader) return Message{};
    if (buffer_[0] != kVersion)
      return fail(Errc::kUnsupported, std::format("bfdd speaks version {} of the data-plane protocol", buffer_[0]));
    const std::size_t length = load_be<std::uint16_t>(&buffer_[6]);
    if (length < kHeader || length > kMaxMessage)
      return fail(Errc::kMalformed, std::format("a message of bfdd says that it has {} bytes", length));
    if (buffer_.size() < length) return Message{};
    const std::vector<std::uint8_t> m(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(length));
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(length));
    const auto type = load_be<std::uint16_t>(&m[2]);
    const auto request = load_be<std::uint16_t>(&m[4]);
    const std::uint8_t* const content = m.data() + kHeader;
    const auto has = [&](std::size_t bytes) { return length >= kHeader + bytes; };
    switch (type) {
      case kAddSession:
        if (!has(kSessionBytes)) break;
        return Message{read_session(content)};
      case kDeleteSession:
        if (!has(kSessionBytes)) break;
        return Message{DeleteSession{id_at(content + kSessionId)}};
      case kRequestCounters:
        if (!has(4)) break;
        return Message{CountersRequest{id_at(content), request}};
      case kEchoRequest:
        if (!has(8)) break;
        return Message{EchoRequest{request, load_be<std::uint64_t>(content)}};
      default: continue;  // of a later version, or an answer that nobody asked for
    }
    return fail(Errc::kMalformed, std::format("bfdd's message of type {} has only {} bytes", type, length));
  }
}

std::vector<std::uint8_t> state_change(DplaneId id, const Session& session) {
  constexpr std::size_t kBytes = 28;  // 27, and what the compiler adds to bfdd's struct
  auto m = message(kStateChange, 0, kBytes);
  std::uint8_t* const c = m.data() + kHeader;
  const Remote& r = session.remote();
  store_be(c, static_cast<std::uint32_t>(id));
  store_be(c + 4, r.discriminator);
  store_be(c + 8, (r.control_plane_independent ? 1u : 0u) | (r.demand ? 2u : 0u));
  store_be(c + 12, r.desired_min_tx.count());
  store_be(c + 16, r.required_min_rx.count());
  store_be(c + 20, r.required_min_echo_rx.count());
  c[24] = static_cast<std::uint8_t>(session.state());
  c[25] = static_cast<std::uint8_t>(r.diagnostic);
  c[26] = r.detect_multiplier;
  return m;
}

std::vector<std::uint8_t> counters_reply(const CountersRequest& request, const Counts& counts) {
  // struct bfddp_session_counters: the u64 begin at 8.
  auto m = message(kCounters, request.request, 72);
  std::uint8_t* const c = m.data() + kHeader;
  store_be(c, static_cast<std::uint32_t>(request.id));
  store_be(c + 8, counts.in_bytes);
  store_be(c + 16, counts.in_packets);
  store_be(c + 24, counts.out_bytes);
  store_be(c + 32, counts.out_packets);
  return m;
}

std::vector<std::uint8_t> echo_reply(const EchoRequest& request) {
  auto m = message(kEchoReply, request.request, 16);
  store_be(m.data() + kHeader, request.sent);
  return m;
}

}  // namespace gw::bfd
