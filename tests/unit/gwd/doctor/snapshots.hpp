// A snapshot in which nothing is wrong, and cases: one thing in it is, or nearly.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gwd/doctor/doctor.hpp"

namespace gw::doctor::test {

inline constexpr std::uint64_t kNow = 1'700'000'000'000;
inline constexpr std::uint64_t kHourAgo = kNow - 3'600'000;

/// paris: circuit, and a tunnel that waits. berlin: a tunnel only. The partner is the VPN pair's other side.
api::Snapshot healthy();
inline constexpr int kParis = 0, kBerlin = 1, kPrimary = 2, kSecondary = 3, kPartner = 4, kInstance = 5,
                     kVnetRouter = 6;

api::SnapshotSession session(const std::string& name, const std::string& kind, std::uint32_t asn);
/// A route of berlin's is refused for this.
void refuse(api::Snapshot& s, const char* reason);
inline api::BgpPeer& peer(api::Snapshot& s, int session) { return *s.mutable_sessions(session)->mutable_peer(); }
inline api::SnapshotTunnel& tunnel(api::Snapshot& s, int index) { return *s.mutable_tunnels(index); }

struct Case {
  const char* about;
  std::function<void(api::Snapshot&)> change;
  std::vector<std::string> found;  // "Name subject severity", all of them
};

const std::vector<Case>& tunnel_cases();
const std::vector<Case>& session_cases();
const std::vector<Case>& route_cases();

}  // namespace gw::doctor::test
