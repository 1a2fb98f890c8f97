// Which endpoints this instance announces to the routers on the wan (`move: bgp`), and whether any of them hears it.
// What HA decides comes here at once; what the document says, with every model. Owner: Gateway; thread: control.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "bgp/summary.hpp"
#include "gwd/config/model.hpp"
#include "gwd/control/endpoint_announcer.hpp"
#include "ha/types.hpp"

namespace gw::gwd {

class WanAnnouncements {
 public:
  /// A session that is new, or comes back, takes a few seconds; so does bgpd.
  static constexpr std::chrono::seconds kGrace{5};

  WanAnnouncements(boost::asio::io_context& io, const Clock& clock, const std::string& vty_dir);

  void start() { announcer_.start(); }
  void stop() { announcer_.stop(); }

  /// Its host route is announced from now on by this claim, or not any more.
  void set(std::uint32_t asn, const IpAddress& address, std::optional<ha::Epoch> claim);
  /// What HA says of an endpoint, besides its orders.
  struct Claim {
    bool announced = false;          // its host route is to be announced here now
    std::set<ha::Epoch> expected{};  // the claims by which it may be, next
  };
  /// Endpoints that are not to be announced here (any more), and those that do not move by BGP any more, are not.
  /// Without HA (instances that cannot hear of each other) each announces its own.
  void set_document(const config::GatewayModel& document, const std::optional<std::map<IpAddress, Claim>>& claims);
  /// For bgpd's intent.
  std::vector<bgp::EndpointIntent> endpoints() const;

  void set_sessions(const config::GatewayModel& model, const std::map<IpAddress, bgp::PeerStatus>& sessions);
  /// The open sessions with routers on the wan by which it is announced; none: it is not announced here.
  std::vector<std::string> announced_to(const IpAddress& address) const;
  /// Why no router on the wan knows that it is here; empty: one does, or may yet.
  std::string unannounced(const IpAddress& address) const;

 private:
  void tell();

  const Clock& clock_;
  EndpointAnnouncer announcer_;
  std::uint32_t asn_ = 0;
  Announcements announcements_;
  struct Hearing {
    std::optional<MonoTime> none_since;  // no session is open
    std::string states;                  // "wan:edge1/gw-a is Active"
    std::vector<std::string> open;       // "wan:edge2/gw-a"
  };
  std::array<Hearing, 2> hearing_;  // by Family
};

}  // namespace gw::gwd
