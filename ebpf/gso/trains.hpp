// Which consecutive datagrams leave in one system call: trains of equal size that UDP_SEGMENT cuts apart again
// (Linux 4.18, udp(7)). Pure; worker thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gw::gso {

/// The kernel's UDP_MAX_SEGMENTS was 64 until Linux 6.9; a train is one IP packet of at most 65,535 bytes until
/// it is cut.
inline constexpr std::size_t kMaxTrainSegments = 64;
inline constexpr std::size_t kMaxTrainBytes = 65000;

/// What has to be equal for all packets of a train.
struct Lane {
  std::uint64_t flow = 0;          // addresses and ports, by a number of the caller's
  std::uint8_t traffic_class = 0;  // of the outer header
  friend bool operator==(const Lane&, const Lane&) = default;
};

struct Datagram {
  Lane lane;
  std::uint32_t length = 0;  // UDP payload
};

/// How many from the front go together; at least 1 if there are any. All have the first one's length, but the
/// last may be shorter (it ends the train).
std::size_t train_length(std::span<const Datagram> queued);

}  // namespace gw::gso
