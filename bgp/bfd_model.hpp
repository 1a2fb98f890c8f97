// BFD (RFC 5880, 5881, 5883) as bfdd is told of it and tells of it. Pure, any thread.
//
// bgpd 10.3 keeps a session Idle while its BFD is down, also when the peer has never answered any. So the BFD
// sessions are bfdd's own, there whatever BGP does (they outlive bgpd, too), and bgpd is asked to watch one
// (`neighbor X bfd`) only while the peer answers and BGP is up: attend(). A peer without BFD is on BGP's timers.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "bgp/config_model.hpp"
#include "bgp/summary.hpp"

namespace gw::bgp {

/// One session of bfdd, by the key of its BGP session: the peer's address, or (both link-local) this side's.
struct BfdSession {
  IpAddress local;
  std::string device;         // single hop only; empty: found by routing
  std::uint8_t multihop = 0;  // hops to the peer at most; 0: on link
  BfdIntent timers;
  IpAddress learned{};  // the peer's address where it is not the key; unspecified: nobody knows it yet
  friend bool operator==(const BfdSession&, const BfdSession&) = default;
};
using BfdSessions = std::map<IpAddress, BfdSession>;

/// Of every peer that is to be watched.
BfdSessions bfd_sessions(const BgpIntent& intent, const std::map<IpAddress, PeerStatus>& peers = {});
/// What is wanted of bfdd, which has `present`: a session to a peer that nobody knows yet stays as it is.
BfdSessions possible(const BfdSessions& wanted, const BfdSessions& present);

/// For configure() on bfdd: from `before` to `after`.
Commands bfd_diff(const BfdSessions& before, const BfdSessions& after);

struct BfdStatus {
  BfdSession session;
  bool configured = false;  // and not only watched by bgpd
  bool up = false;
  std::chrono::seconds since{0};  // how long up, or down
  std::string diagnostic;         // RFC 5880 4.1: "control detection time expired"
  /// It was up, and nothing is heard any more: the path is dead. Where the neighbour said that it went down, it is
  /// after kBackBy: a neighbour that still hears us is up again by then.
  static constexpr std::chrono::seconds kBackBy{2};
  bool path_died() const;
};
using BfdStates = std::map<IpAddress, BfdStatus>;
/// What bfdd has been told, by this gwd or an earlier one.
BfdSessions configured(const BfdStates& states);

inline constexpr const char* kShowBfd = "show bfd peers json";
Result<BfdStates> parse_bfd(std::string_view json);

/// For configure() on bgpd: makes it watch the BFD of established peers that answer, and let go of those of sessions
/// that are down, which it would not start again otherwise. Empty: nothing to do.
Commands attend(const BgpIntent& intent, const std::map<IpAddress, PeerStatus>& peers, const BfdStates& bfd);

}  // namespace gw::bgp
