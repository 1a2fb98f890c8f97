// The streams of the sync channel: what travels in each, how urgent it is and how much of it may be under way.
// The numbers are on the wire: never reuse one. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace gw::gwd::sync {

enum class Kind : std::uint8_t {
  kControl = 1,   // messages of the ha machine: hand-overs
  kFastpath = 2,  // gw-fastpath's PeerSync; carried inside the sync thread, gwd's main loop never sees it
  kIke = 3,       // charon's ha plugin
  kSessions = 4,  // BGP sessions
  kAlarms = 5,
  kRoutes = 6,  // learned routes
  kConfig = 7,  // configuration revisions (gw.ha.v1.ConfigMessage)
};

/// Most urgent first: the order in which streams are served.
inline constexpr std::array kKinds{Kind::kControl, Kind::kFastpath, Kind::kIke,   Kind::kSessions,
                                   Kind::kAlarms,  Kind::kRoutes,   Kind::kConfig};

std::string_view to_string(Kind kind);  // "control", "fastpath", ...
std::optional<Kind> kind_of(std::uint32_t number);
/// 0 to kKinds.size() - 1, by urgency.
std::size_t index_of(Kind kind);

/// A frame's payload: what is urgent waits for at most one of these of every stream.
inline constexpr std::size_t kMaxChunk = std::size_t{16} << 10;
inline constexpr std::size_t kMaxFrame = std::size_t{64} << 10;
/// A configuration document has at most 4 MiB.
inline constexpr std::size_t kMaxMessage = std::size_t{8} << 20;
/// Chunks of a stream that the receiver takes before it has handed earlier ones on.
inline constexpr std::uint64_t kWindow = 128;
/// Unacknowledged bytes of a stream that are kept to be sent again. When it is more, the session ends and everything
/// is said again: what changed so much is no longer worth its history.
inline constexpr std::size_t kMaxUnacknowledged = std::size_t{32} << 20;

}  // namespace gw::gwd::sync
