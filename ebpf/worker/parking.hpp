// Packets that wait for a moment, bounded in places (a frame each) and time, in order of arrival. Worker thread.
//   SPIs       of an inbound SPI that charon has offered to a peer, but whose SA is not installed yet: the peer may
//   send
//              as soon as it has answered (RFC 7296 1.2), while our charon still works on that answer. Delivered when
//              the SA comes, so that bringing a tunnel up anew loses nothing. Only SPIs reserved over the RPC get here.
//   endpoints  for a tunnel whose endpoint has just been handed over to the other instance. They go there, or into the
//              tunnel after all, as soon as the forwarding table or the gate says so (waiting.cpp).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.hpp"

namespace gw::worker {

struct ParkingLimits {
  std::size_t places;
  std::size_t places_per_key;
  std::uint32_t longest_ms;  // a duration cannot be a template's argument
};
/// A quarter of a second at 1,000 packets/s; a sixtieth of the frames. charon needs milliseconds; a second covers a
/// busy machine.
inline constexpr ParkingLimits kForSpis{256, 128, 1000};
/// A move takes about ten milliseconds: that of 100,000 packets/s, in 4 MiB. Who waits for longer than
/// a quarter of a second has been sent again by TCP, and is too old for anything else.
inline constexpr ParkingLimits kForEndpoints{2048, 1024, 250};

template <class Key, class Packet, ParkingLimits kLimits = kForSpis>
class Parking {
 public:
  static constexpr std::size_t kPlaces = kLimits.places;
  static constexpr std::size_t kPlacesPerKey = kLimits.places_per_key;
  static constexpr std::chrono::milliseconds kLongest{kLimits.longest_ms};

  Parking() { parked_.reserve(kPlaces); }

  /// False when full: the caller drops the packet. Otherwise its frame is ours.
  bool park(const Key& key, const Packet& packet, MonoTime now) {
    const auto same = std::ranges::count(parked_, key, &Entry::key);
    if (parked_.size() >= kPlaces || static_cast<std::size_t>(same) >= kPlacesPerKey) return false;
    parked_.push_back({key, packet, now});
    return true;
  }

  /// Moves the oldest packets of `key` out, in order of arrival; how many.
  std::size_t take(const Key& key, std::span<Packet> out) {
    return take_if([&](const Key& k, const Packet&) { return k == key; }, out);
  }
  /// The same of those for which wanted(key, packet).
  template <class Wanted>
  std::size_t take_if(Wanted wanted, std::span<Packet> out) {
    std::size_t taken = 0;
    const auto gone = std::ranges::remove_if(parked_, [&](const Entry& e) {
      if (taken == out.size() || !wanted(e.key, e.packet)) return false;
      out[taken++] = e.packet;
      return true;
    });
    parked_.erase(gone.begin(), gone.end());
    return taken;
  }

  /// Calls `drop(key, packet)` for each that has waited too long.
  template <class Drop>
  void expire(MonoTime now, Drop drop) {
    const auto late = std::ranges::remove_if(parked_, [&](const Entry& e) {
      if (now - e.since < kLongest) return false;
      drop(e.key, e.packet);
      return true;
    });
    parked_.erase(late.begin(), late.end());
  }

  std::size_t size() const { return parked_.size(); }
  bool empty() const { return parked_.empty(); }

 private:
  struct Entry {
    Key key;
    Packet packet;
    MonoTime since;
  };
  std::vector<Entry> parked_;  // in order of arrival

 public:
  /// Beside its frame.
  static constexpr std::size_t kBytesOfOne = sizeof(Entry);
};

}  // namespace gw::worker
