#include "ebpf/bfd/packet.hpp"

#include "base/wire.hpp"

namespace gw::bfd {
namespace {

constexpr unsigned kVersion = 1;
// Second byte: state in the two highest bits, then these.
constexpr std::uint8_t kPoll = 0x20;
constexpr std::uint8_t kFinal = 0x10;
constexpr std::uint8_t kControlPlaneIndependent = 0x08;
constexpr std::uint8_t kAuthentication = 0x04;
constexpr std::uint8_t kDemand = 0x02;
constexpr std::uint8_t kMultipoint = 0x01;
constexpr std::size_t kMinAuthenticated = 26;  // RFC 5880 6.8.6

std::uint8_t flag(bool set, std::uint8_t bit) { return set ? bit : std::uint8_t{0}; }

Interval interval_at(const std::uint8_t* p) { return Interval(load_be<std::uint32_t>(p)); }

}  // namespace

std::string_view to_string(State state) {
  switch (state) {
    case State::kAdminDown: return "admin_down";
    case State::kDown: return "down";
    case State::kInit: return "init";
    case State::kUp: return "up";
  }
  return "unknown";
}

std::string_view to_string(Diagnostic diagnostic) {
  switch (static_cast<unsigned>(diagnostic)) {
    case 0: return "none";
    case 1: return "control detection time expired";
    case 2: return "echo function failed";
    case 3: return "neighbor signaled session down";
    case 4: return "forwarding plane reset";
    case 5: return "path down";
    case 6: return "concatenated path down";
    case 7: return "administratively down";
    case 8: return "reverse concatenated path down";
    default: return "unassigned";
  }
}

std::string_view to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::kTruncated: return "truncated";
    case Refusal::kVersion: return "version";
    case Refusal::kLength: return "length";
    case Refusal::kMultiplier: return "detect_multiplier";
    case Refusal::kMultipoint: return "multipoint";
    case Refusal::kDiscriminator: return "my_discriminator";
    case Refusal::kNoYours: return "your_discriminator";
    case Refusal::kAuthentication: return "authentication";
    case Refusal::kTtl: return "ttl";
    case Refusal::kUnknownSession: return "unknown_session";
    case Refusal::kAnotherPlace: return "another_place";
    case Refusal::kSessionDisabled: return "session_disabled";
  }
  return "unknown";
}

// RFC 5880 6.8.6, in its order.
std::expected<Packet, Refusal> parse(std::span<const std::uint8_t> bytes) {
  const auto refused = [](Refusal r) { return std::unexpected(r); };
  if (bytes.size() < kPacketBytes) return refused(Refusal::kTruncated);
  const std::uint8_t* const b = bytes.data();
  if (b[0] >> 5 != kVersion) return refused(Refusal::kVersion);
  const std::uint8_t flags = b[1];
  const std::size_t length = b[3];
  if (length < ((flags & kAuthentication) ? kMinAuthenticated : kPacketBytes)) return refused(Refusal::kLength);
  if (length > bytes.size()) return refused(Refusal::kTruncated);
  if (b[2] == 0) return refused(Refusal::kMultiplier);
  if (flags & kMultipoint) return refused(Refusal::kMultipoint);
  Packet p{.diagnostic = static_cast<Diagnostic>(b[0] & 0x1f),
           .state = static_cast<State>(b[1] >> 6),
           .poll = (flags & kPoll) != 0,
           .final = (flags & kFinal) != 0,
           .control_plane_independent = (flags & kControlPlaneIndependent) != 0,
           .demand = (flags & kDemand) != 0,
           .detect_multiplier = b[2],
           .my_discriminator = load_be<std::uint32_t>(b + 4),
           .your_discriminator = load_be<std::uint32_t>(b + 8),
           .desired_min_tx = interval_at(b + 12),
           .required_min_rx = interval_at(b + 16),
           .required_min_echo_rx = interval_at(b + 20)};
  if (p.my_discriminator == 0) return refused(Refusal::kDiscriminator);
  if (p.your_discriminator == 0 && p.state != State::kDown && p.state != State::kAdminDown)
    return refused(Refusal::kNoYours);
  if (flags & kAuthentication) return refused(Refusal::kAuthentication);
  return p;
}

std::array<std::uint8_t, kPacketBytes> serialize(const Packet& p) {
  std::array<std::uint8_t, kPacketBytes> b{};
  b[0] = static_cast<std::uint8_t>(kVersion << 5 | (static_cast<unsigned>(p.diagnostic) & 0x1f));
  b[1] =
      static_cast<std::uint8_t>(static_cast<unsigned>(p.state) << 6 | flag(p.poll, kPoll) | flag(p.final, kFinal) |
                                flag(p.control_plane_independent, kControlPlaneIndependent) | flag(p.demand, kDemand));
  b[2] = p.detect_multiplier;
  b[3] = kPacketBytes;
  store_be(&b[4], p.my_discriminator);
  store_be(&b[8], p.your_discriminator);
  store_be(&b[12], p.desired_min_tx.count());
  store_be(&b[16], p.required_min_rx.count());
  store_be(&b[20], p.required_min_echo_rx.count());
  return b;
}

}  // namespace gw::bfd
