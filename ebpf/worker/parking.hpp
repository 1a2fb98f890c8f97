// Packets of an inbound SPI that charon has offered to a peer, but whose SA is not installed yet: the peer
// may send as soon as it has answered (RFC 7296 1.2), while our charon still works on that answer. Kept for
// a moment and delivered when the SA comes, so that bringing a tunnel up anew loses nothing. Bounded in
// places and time; only SPIs reserved over the RPC get here. Worker thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <span>
#include <vector>

#include "base/clock.hpp"

namespace gw::worker {

template <class Key, class Packet>
class Parking {
 public:
  /// A quarter of a second at 1,000 packets/s; a sixtieth of the frames.
  static constexpr std::size_t kPlaces = 256;
  static constexpr std::size_t kPlacesPerSpi = 128;
  /// charon needs milliseconds; a second covers a busy machine.
  static constexpr std::chrono::seconds kLongest{1};

  Parking() { parked_.reserve(kPlaces); }

  /// False when full: the caller drops the packet. Otherwise its frame is ours.
  bool park(const Key& key, const Packet& packet, MonoTime now) {
    const auto same = std::ranges::count(parked_, key, &Entry::key);
    if (parked_.size() >= kPlaces || static_cast<std::size_t>(same) >= kPlacesPerSpi) return false;
    parked_.push_back({key, packet, now});
    return true;
  }

  /// Moves the oldest packets of `key` out, in order of arrival; how many.
  std::size_t take(const Key& key, std::span<Packet> out) {
    std::size_t taken = 0;
    const auto gone = std::ranges::remove_if(parked_, [&](const Entry& e) {
      if (taken == out.size() || !(e.key == key)) return false;
      out[taken++] = e.packet;
      return true;
    });
    parked_.erase(gone.begin(), gone.end());
    return taken;
  }

  /// Calls `drop(packet)` for each that has waited too long.
  template <class Drop>
  void expire(MonoTime now, Drop drop) {
    const auto late = std::ranges::remove_if(parked_, [&](const Entry& e) {
      if (now - e.since < kLongest) return false;
      drop(e.packet);
      return true;
    });
    parked_.erase(late.begin(), late.end());
  }

  bool empty() const { return parked_.empty(); }

 private:
  struct Entry {
    Key key;
    Packet packet;
    MonoTime since;
  };
  std::vector<Entry> parked_;  // in order of arrival
};

}  // namespace gw::worker
