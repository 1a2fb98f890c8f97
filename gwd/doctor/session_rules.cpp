// Rules about BGP sessions of every kind: down, refused for an AS number, near their limit, without BFD.
// Pure, any thread.
#include <algorithm>
#include <format>

#include "gwd/doctor/facts.hpp"
#include "gwd/doctor/rules.hpp"

namespace gw::doctor {
namespace {

// A tunnel's session comes seconds after the tunnel; until then it is not late.
constexpr std::uint64_t kSessionGraceSeconds = 20;

// From 80 % on, as routes/policy.hpp; 0 is no limit.
bool near(std::uint64_t routes, std::uint64_t limit) { return limit > 0 && routes * 5 >= limit * 4; }

std::string state_line(const api::SnapshotSession& session) {
  const api::BgpPeer& peer = session.peer();
  return std::format("session with {} (AS {}): {}{}", peer.neighbor(), peer.asn(), peer.state(),
                     peer.last_error().empty() ? "" : ", " + peer.last_error());
}

std::string health_of_tunnels(const api::Snapshot& snapshot) {
  const auto up = std::ranges::count_if(snapshot.tunnels(), is_up);
  return std::format("{} of {} up: they look healthy", up,
                     count_text(std::uint64_t(snapshot.tunnels_size()), "tunnel"));
}

/// Where gateway.yaml says which AS number the peer has.
std::string asn_line(const api::SnapshotSession& session) {
  if (is_circuit(session)) return std::format("circuits[].asn: {} (default 12076)", session.peer().asn());
  if (session.kind() == "vnet") return std::format("vnet.routers[].asn: {}", session.peer().asn());
  if (session.kind() == "wan") return std::format("gateway.instances[].wan.routers[].asn: {}", session.peer().asn());
  return std::format("sites[{}].asn: {}", session.site(), session.peer().asn());
}

}  // namespace

// The iBGP session between the VPN pair and the ER pair: without it neither knows the other's routes.
void vpn_er_session_down(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotSession& session : snapshot.sessions()) {
    if (session.kind() != "partner" || !is_down(snapshot, session)) continue;
    const bool pair = session.name().starts_with("partner:");
    findings.push_back(
        {.name = pair ? "VpnErSessionDown" : "InstanceSessionDown",
         .severity = pair ? Severity::kCritical : Severity::kError,
         .subject = session.name(),
         .evidence = {state_line(session), health_of_tunnels(snapshot)},
         .consequence = pair ? "the VPN pair and the ER pair do not know each other's routes: no traffic flows between "
                               "VPN sites and the VNet, although every tunnel is up"
                             : "an instance that loses its own path cannot hand traffic to the other one",
         .remedy = {std::format("ping {} from {}: it must be reached on the VNet, TCP 179 both ways",
                                session.peer().neighbor(), session.peer().local_address()),
                    pair ? "coexistence.partner must name the other pair's instances, and theirs this pair's; both "
                           "need gateway.instances[].vnet.address"
                         : "both instances need the same gateway.yaml, with gateway.instances[].vnet.address"}});
  }
}

void circuit_session_down(const api::Snapshot& snapshot, Findings& findings) {
  const auto& sessions = snapshot.sessions();
  const bool others = std::ranges::any_of(sessions, [](const auto& s) { return is_circuit(s) && is_established(s); });
  for (const api::SnapshotSession& session : sessions) {
    const bool vnet = session.kind() == "vnet";
    if (!(is_circuit(session) || vnet) || !is_down(snapshot, session) || refused_for_asn(session)) continue;
    findings.push_back(
        {.name = vnet ? "VnetSessionDown" : "CircuitSessionDown",
         .severity = others || vnet ? Severity::kError : Severity::kCritical,
         .subject = session.name(),
         .evidence = {state_line(session),
                      std::format("BFD: {}", session.path_died()            ? "ended the session"
                                             : session.peer().bfd().empty() ? "off"
                                                                            : session.peer().bfd())},
         .consequence = vnet     ? "this VNet router is not told the routes of sites and circuit"
                        : others ? "the circuit has lost its redundancy"
                                 : "the circuit carries nothing; sites that have a tunnel use that",
         .remedy = {std::format("ping {}; check the link and both ends' addresses, TCP 179", session.peer().neighbor()),
                    "gwctl show bgp peers"}});
  }
}

// Endpoints that move by BGP: the routers on the wan send packets to whoever announces them.
void wan_session_down(const api::Snapshot& snapshot, Findings& findings) {
  const auto is_wan = [](const api::SnapshotSession& session) { return session.kind() == "wan"; };
  const auto& sessions = snapshot.sessions();
  const auto v6 = [](const api::SnapshotSession& session) { return session.peer().neighbor().contains(':'); };
  for (const api::SnapshotSession& session : sessions) {
    if (!is_wan(session) || !is_down(snapshot, session) || refused_for_asn(session)) continue;
    const bool others = std::ranges::any_of(
        sessions, [&](const auto& s) { return is_wan(s) && v6(s) == v6(session) && is_established(s); });
    const std::string family = v6(session) ? "IPv6" : "IPv4";
    findings.push_back(
        {.name = "WanSessionDown",
         .severity = others ? Severity::kError : Severity::kCritical,
         .subject = session.name(),
         .evidence = {state_line(session),
                      std::format("BFD: {}", session.path_died()            ? "ended the session"
                                             : session.peer().bfd().empty() ? "off"
                                                                            : session.peer().bfd())},
         .consequence = others ? "this router is not told which endpoints are here; another one is"
                               : std::format("no router is told which {} endpoints are here: what they send to reaches "
                                             "this instance only if another instance or a static route does not say "
                                             "otherwise",
                                             family),
         .remedy = {std::format("ping {} from {}; check the link, both ends' addresses, TCP 179 and UDP 3784 both ways",
                                session.peer().neighbor(), session.peer().local_address()),
                    "gwctl show bgp peers",
                    "endpoints that must be reached now: gwctl ha move, to an instance whose "
                    "sessions on the wan are open"}});
  }
}

void asn_mismatch(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotSession& session : snapshot.sessions()) {
    if (!is_down(snapshot, session) || !refused_for_asn(session)) continue;
    const bool by_peer = session.last_reset().contains("received");
    findings.push_back(
        {.name = "AsnMismatch",
         .severity = Severity::kCritical,
         .subject = session.name(),
         .evidence = {state_line(session),
                      by_peer ? std::format("{} refused our OPEN: Bad Peer AS", session.peer().neighbor())
                              : std::format("{} sent an OPEN with another AS number than {}", session.peer().neighbor(),
                                            session.peer().asn())},
         .consequence = "the session never comes up and no route is exchanged, although the tunnel or link is up",
         .remedy = {by_peer ? "the device's remote-as must be the gateway's: gateway.asn (65515 by default)"
                            : "make it the AS number that the device has: " + asn_line(session),
                    "vtysh -c 'show bgp neighbors' on the device says which one it uses"}});
  }
}

void bgp_session_down(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotSession& session : snapshot.sessions()) {
    const api::SnapshotTunnel* tunnel = tunnel_of(snapshot, session);
    if (tunnel == nullptr || !is_up(*tunnel) || !is_down(snapshot, session)) continue;
    if (refused_for_asn(session) || ended_by_limit(session)) continue;  // have their own rules
    const std::uint64_t up_since = tunnel->tunnel().up_since_unix_ms();
    if (up_since == 0 || age_seconds(snapshot, up_since) < kSessionGraceSeconds) continue;
    Finding finding{
        .name = "BgpSessionDown",
        .severity = Severity::kCritical,
        .subject = session.name(),
        .evidence = {state_line(session),
                     std::format("the tunnel is up for {}", duration_text(age_seconds(snapshot, up_since)))},
        .consequence = std::format("the tunnel is up, and nothing of site {} is routed through it", session.site())};
    if (session.path_died()) finding.evidence.emplace_back("BFD found that nothing passes the tunnel");
    if (tunnel->proof().small_sent() > 0)
      finding.evidence.push_back(std::format("echoes to {} in the tunnel: {} of {} answered", session.peer().neighbor(),
                                             tunnel->proof().small_answered(), tunnel->proof().small_sent()));
    finding.remedy.push_back(std::format("compare with the device: its address {}, neighbour {}, password",
                                         session.peer().neighbor(), session.peer().local_address()));
    finding.remedy.emplace_back("gwctl show bgp peers");
    findings.push_back(std::move(finding));
  }
}

// RFC 4271 4.4: something is said at least three times in a hold time. A device whose BGP hangs still answers TCP.
void bgp_session_stuck(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotSession& session : snapshot.sessions()) {
    const std::uint32_t hold = session.agreed_hold_seconds();
    const std::uint32_t silent = session.silent_seconds();
    if (session.disabled() || !is_established(session) || hold == 0 || silent * 3 < hold * 2) continue;
    Finding finding{
        .name = "BgpSessionStuck",
        .severity = Severity::kError,
        .subject = session.name(),
        .evidence = {std::format("{} is Established and has said nothing for {}; a KEEPALIVE is due every {} s",
                                 session.peer().neighbor(), duration_text(silent), hold / 3)},
        .consequence = std::format("its {} stay in use, and what it learns or loses is not heard; the hold time of {} "
                                   "s ends the session",
                                   count_text(session.routes_v4() + session.routes_v6(), "route"), hold)};
    if (session.unsent_messages() > 0)
      finding.evidence.push_back(
          std::format("{} for it wait: its TCP takes nothing", count_text(session.unsent_messages(), "message")));
    if (const api::SnapshotTunnel* tunnel = tunnel_of(snapshot, session); tunnel && tunnel->proof().small_sent() > 0)
      finding.evidence.push_back(std::format("echoes to it in the tunnel: {} of {} answered",
                                             tunnel->proof().small_answered(), tunnel->proof().small_sent()));
    finding.remedy = {std::format("look at BGP on {}: the process hangs or has no CPU; if echoes are not answered "
                                  "either, at the path",
                                  session.peer().neighbor()),
                      std::format("vtysh -c 'clear bgp {}' here ends the session now, and its routes are let go of",
                                  session.peer().neighbor()),
                      "a shorter bgp.hold in gateway.yaml ends such a session sooner; BFD notices a dead path, a "
                      "hanging BGP only where the device runs BFD in it"};
    findings.push_back(std::move(finding));
  }
}

// A peer that answers nothing has no BFD problem.
void bfd_not_answered(const api::Snapshot& snapshot, Findings& findings) {
  if (!component_connected(snapshot, "bfdd")) return;
  for (const api::SnapshotSession& session : snapshot.sessions()) {
    if (session.disabled() || !session.bfd_wanted() || !is_established(session)) continue;
    if (session.peer().bfd() != "not answered" || session.peer().connected_seconds() < kSessionGraceSeconds) continue;
    findings.push_back(
        {.name = "BfdNotAnswered",
         .severity = Severity::kWarning,
         .subject = session.name(),
         .evidence = {std::format("{} does not answer BFD; BGP with it is up for {}", session.peer().neighbor(),
                                  duration_text(session.peer().connected_seconds()))},
         .consequence = std::format("a dead path is noticed after BGP's hold time of {} s, not within a second",
                                    session.hold_seconds()),
         .remedy = {"switch BFD on at the device (asynchronous; UDP 3784, over several hops 4784, both ways)",
                    "or say that it has none: no_bfd: true in the session's bgp: of gateway.yaml"}});
  }
}

void route_limit_near(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotSession& session : snapshot.sessions()) {
    if (session.disabled()) continue;
    if (!is_established(session) && ended_by_limit(session)) {
      findings.push_back({.name = "RouteLimitNear",
                          .severity = Severity::kCritical,
                          .subject = session.name(),
                          .evidence = {state_line(session), std::format("limit: {} of a family", session.max_routes())},
                          .consequence = "the session was ended: none of its routes is used",
                          .remedy = {"announce fewer prefixes at the site, or a larger bgp.max_routes for the session, "
                                     "or limit_action: warn"}});
      continue;
    }
    for (const auto& [family, routes] :
         {std::pair("IPv4", session.routes_v4()), std::pair("IPv6", session.routes_v6())}) {
      if (!near(routes, session.max_routes())) continue;
      const bool reached = routes >= session.max_routes();
      findings.push_back(
          {.name = "RouteLimitNear",
           .severity = reached ? Severity::kError : Severity::kWarning,
           .subject = session.name(),
           .evidence = {std::format("{} {} routes learned, the limit is {}", routes, family, session.max_routes())},
           .consequence = session.drops_at_limit() ? "at the limit the session ends and all its routes are lost"
                                                   : "what is over the limit is logged and used",
           .remedy = {"summarize at the site, or a larger bgp.max_routes for the session"}});
    }
    for (const auto& [family, told] :
         {std::pair("IPv4", session.advertised_v4()), std::pair("IPv6", session.advertised_v6())}) {
      if (!near(told, session.advertised_limit())) continue;
      findings.push_back(
          {.name = "RouteLimitNear",
           .severity = told > session.advertised_limit() ? Severity::kError : Severity::kWarning,
           .subject = session.name(),
           .evidence = {std::format("{} {} routes told to the peer, it takes {}", told, family,
                                    session.advertised_limit())},
           .consequence = "above its limit the peer ends the session, and the circuit is lost",
           .remedy = {"fewer vnet.prefixes and spokes (summarize), or an export_filter for the session"}});
    }
  }
}

}  // namespace gw::doctor
