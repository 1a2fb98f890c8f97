// BFD control packets (RFC 5880 4.1): bytes to fields and back. Bytes come from the wire: every check of 6.8.6 that
// needs no session is made here, and what does not pass has a name. Pure, any thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>

namespace gw::bfd {

using Interval = std::chrono::duration<std::uint32_t, std::micro>;

/// As on the wire.
enum class State : std::uint8_t { kAdminDown = 0, kDown = 1, kInit = 2, kUp = 3 };
std::string_view to_string(State state);

/// Why the session was last down; as on the wire. Others are passed on as they are.
enum class Diagnostic : std::uint8_t {
  kNone = 0,
  kDetectionTimeExpired = 1,
  kNeighborSignaledDown = 3,
  kPathDown = 5,
  kAdministrativelyDown = 7,
};
std::string_view to_string(Diagnostic diagnostic);

struct Packet {
  Diagnostic diagnostic = Diagnostic::kNone;
  State state = State::kDown;
  bool poll = false;
  bool final = false;
  bool control_plane_independent = false;
  bool demand = false;
  std::uint8_t detect_multiplier = 3;
  std::uint32_t my_discriminator = 0;
  std::uint32_t your_discriminator = 0;
  Interval desired_min_tx{0};
  Interval required_min_rx{0};  // 0: send me none
  Interval required_min_echo_rx{0};
  friend bool operator==(const Packet&, const Packet&) = default;
};

/// Why a packet that came was not believed.
enum class Refusal : std::uint8_t {
  kTruncated,        // shorter than the header, or than it says
  kVersion,          // not 1
  kLength,           // impossible
  kMultiplier,       // 0
  kMultipoint,       // RFC 8562, not spoken
  kDiscriminator,    // "my discriminator" is 0
  kNoYours,          // "your discriminator" is 0 in a session that is said to be up
  kAuthentication,   // none is configured
  kTtl,              // came from farther away than the session may (RFC 5881 5, 5883 5)
  kUnknownSession,   // no session has this discriminator, or these addresses
  kAnotherPlace,     // the session's discriminator, not its peer or interface
  kSessionDisabled,  // it is administratively down here
};
inline constexpr std::size_t kRefusals = 12;
std::string_view to_string(Refusal refusal);

inline constexpr std::size_t kPacketBytes = 24;  // without authentication, which we do not speak

std::expected<Packet, Refusal> parse(std::span<const std::uint8_t> bytes);
std::array<std::uint8_t, kPacketBytes> serialize(const Packet& packet);

}  // namespace gw::bfd
