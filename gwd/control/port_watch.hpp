// Whether anything is heard on a port. A link that is up may lead nowhere: a switch that died behind it, a VLAN that
// was taken away, a network of virtual machines that forgot this one. Carrier does not tell; silence does, when
// somebody who has to answer is asked. An instance that hears nothing must not believe that the other one is dead.
// Owner: HaController; thread: control. PortSilence is pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"

namespace gw::gwd {

/// A packet of any kind within `patience` is enough. After that the next hops are asked at every look, and `patience`
/// without any packet after the first question is silence.
class PortSilence {
 public:
  enum class Verdict : std::uint8_t { kHeard, kAsk, kSilent };  // kSilent: asked, and to be asked again

  explicit PortSilence(std::chrono::nanoseconds patience) : patience_(patience) {}
  /// `received`: the port's packet counter; any change is a packet.
  Verdict look(MonoTime now, std::uint64_t received);

 private:
  std::chrono::nanoseconds patience_;
  std::optional<std::uint64_t> received_;
  MonoTime heard_{};
  std::optional<MonoTime> asked_;  // first, since it was heard
};

class PortWatch {
 public:
  /// How often the kernel is asked again which next hops there are.
  static constexpr std::chrono::seconds kNextHops{5};

  PortWatch(const Clock& clock, std::chrono::nanoseconds patience) : clock_(clock), silence_(patience) {}
  /// next_hops: of the document. towards: addresses whose routes' gateways are next hops, too.
  void configure(std::string interface, std::vector<IpAddress> next_hops, std::vector<IpAddress> towards);
  /// Looks, and asks if need be. A port without a next hop to ask, or without a counter, is never silent.
  PortSilence::Verdict look();

 private:
  void find_next_hops();

  const Clock& clock_;
  PortSilence silence_;
  std::string interface_;
  std::vector<IpAddress> given_;
  std::vector<IpAddress> towards_;
  std::vector<IpAddress> next_hops_;
  std::optional<MonoTime> found_at_;
};

}  // namespace gw::gwd
