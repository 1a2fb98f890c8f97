// Rules about programs and tunnels: is everything there, does it carry packets, does it carry large ones, and would
// the backup carry any. Pure, any thread.
#include <algorithm>
#include <format>
#include <iterator>

#include "gwd/doctor/facts.hpp"
#include "gwd/doctor/rules.hpp"

namespace gw::doctor {
namespace {

// Of a tunnel whose device answers the gateway's echoes, every 5 s, or BFD. Fewer packets than this may be the first
// ones after the tunnel came up.
constexpr std::uint64_t kSilentSeconds = 30;
constexpr std::uint64_t kSilentPackets = 5;
// An echo every 5 s: after this time a path that works has been proven many times.
constexpr std::uint64_t kProofSeconds = 60;
// Out of 20: one lost echo is the internet, not a black hole.
constexpr std::uint32_t kFullEchoesLost = 3;
constexpr std::uint32_t kSmallEchoesAnswered = 3;

std::string_view without(std::string_view program) {
  if (program == "gw-fastpath") return "no packet passes any tunnel";
  if (program == "charon") return "tunnels go on until their SAs are due for rekeying, and none can be set up";
  if (program == "bgpd") return "routes stay as they were for 120 s, then those learned by BGP are gone";
  if (program == "bfdd") return "dead paths are noticed after BGP's hold time only, not within a second";
  return "what it does is not done";
}

std::string remedy_for(const api::Component& component) {
  if (!component.connected()) return component.detail();
  if (component.name() == "bgpd")
    return "change in gateway.yaml what bgpd refuses, or gwctl rollback; journalctl -u gwd has its words";
  return "make gateway.yaml and the program's options name the same ports";
}

// A device that has never answered an echo or BFD is heard by BGP alone: two keepalives.
std::uint64_t longest_silence(const api::Snapshot& snapshot, const api::SnapshotTunnel& tunnel) {
  const api::SnapshotSession* session = session_of(snapshot, tunnel);
  if (tunnel.proof().proven_unix_ms() != 0 || session == nullptr) return kSilentSeconds;
  const std::uint64_t agreed = session->agreed_hold_seconds();
  const std::uint64_t hold = agreed != 0 ? agreed : session->hold_seconds();
  return std::max(kSilentSeconds, hold * 2 / 3);
}

std::string remedy_for(const api::Tunnel& tunnel) {
  const std::string& fault = tunnel.fault();
  if (fault == "Authentication")
    return std::format("compare connections[{}].secret.psk_file and the identities with the device's",
                       tunnel.connection());
  if (fault == "PeerReachability")
    return std::format("let UDP 500, UDP 4500 and protocol 50 pass between {} and {}; ping {}", tunnel.local_address(),
                       tunnel.remote_address(), tunnel.remote_address());
  if (fault == "IkePolicyMismatch")
    return std::format("make connections[{}].ike and .ipsec the same as on the device", tunnel.connection());
  if (fault == "TrafficSelectorMismatch")
    return std::format("the device of {} must take 0.0.0.0/0 and ::/0 as traffic selectors (route-based)",
                       tunnel.connection());
  return std::format("gwctl show tunnels --details; journalctl -u gw-charon | grep {}", tunnel.connection());
}

std::string drops_text(const google::protobuf::RepeatedPtrField<api::DropCounter>& drops) {
  std::string out;
  for (const api::DropCounter& drop : drops)
    if (drop.packets() > 0) out += std::format("{}{} {}", out.empty() ? "" : ", ", drop.packets(), drop.reason());
  return out;
}

/// The circuit carries the site's traffic, this tunnel waits.
bool is_standby(const api::SnapshotSession& session) {
  return session.routes_behind_circuit() > 0 && session.routes_best() == 0;
}

std::string echoes_text(std::uint32_t bytes, std::uint32_t answered, std::uint32_t sent) {
  return std::format("echoes of {} bytes: {} of {} answered", bytes, answered, sent);
}

}  // namespace

void service_not_running(const api::Snapshot& snapshot, Findings& findings) {
  if (!snapshot.status().config_error().empty())
    findings.push_back({.name = "ServiceNotRunning",
                        .severity = Severity::kCritical,
                        .subject = "gwd",
                        .evidence = {"no configuration runs: " + snapshot.status().config_error()},
                        .consequence = "the gateway does nothing",
                        .remedy = {"gwctl validate; gwctl apply"}});
  for (const api::Component& component : snapshot.status().components()) {
    const bool away = !component.connected();
    // zebra's problem is one of routes: route_not_in_frr().
    if (!away && (component.problem().empty() || component.name() == "zebra")) continue;
    findings.push_back(
        {.name = "ServiceNotRunning",
         .severity = component.name() == "gw-fastpath" ? Severity::kCritical : Severity::kError,
         .subject = component.name(),
         .evidence = {away ? std::format("away for {}", duration_text(age_seconds(snapshot, component.since_unix_ms())))
                           : component.problem()},
         .consequence = away ? std::string(without(component.name())) : "it does not do what gateway.yaml says",
         .remedy = {remedy_for(component)}});
  }
}

void connections_not_connected(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotTunnel& t : snapshot.tunnels()) {
    const api::Tunnel& tunnel = t.tunnel();
    if (tunnel.state() == "up" || tunnel.state() == "disabled" || tunnel.state() == "removed") continue;
    // With either away service_not_running() says it. A gw-fastpath that runs may refuse one tunnel's keys.
    if (!component_connected(snapshot, "gw-fastpath") || !component_connected(snapshot, "charon")) continue;
    const bool carries = tunnel.state() == "esp-only";
    const bool no_fault = tunnel.fault().empty() || tunnel.fault() == "NoFault";
    Finding finding{.name = "ConnectionsNotConnected",
                    .severity = carries ? Severity::kWarning : Severity::kCritical,
                    .subject = tunnel.name(),
                    .evidence = {std::format("{} to {}: {}{}", tunnel.state(), tunnel.remote_address(),
                                             tunnel.reason().empty() ? "no reason is known yet" : tunnel.reason(),
                                             no_fault ? "" : " (" + tunnel.fault() + ")")},
                    .consequence = carries ? "packets pass until the SAs are due for rekeying"
                                           : "nothing passes between the gateway and this device",
                    .remedy = {remedy_for(tunnel)}};
    findings.push_back(std::move(finding));
  }
}

void tunnel_black_hole(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotTunnel& t : snapshot.tunnels()) {
    const api::TrafficWindow& window = t.window();
    if (!is_up(t) || window.silent_seconds() < longest_silence(snapshot, t) || window.out_since_in() < kSilentPackets)
      continue;
    const api::Tunnel& tunnel = t.tunnel();
    Finding finding{
        .name = "TunnelBlackHole",
        .severity = Severity::kCritical,
        .subject = tunnel.name(),
        .evidence = {std::format("IKE is up; {} sent in the last {}, none came in",
                                 count_text(window.out_since_in(), "packet"), duration_text(window.silent_seconds())),
                     t.last_in_unix_ms() == 0 ? "nothing ever came in"
                                              : std::format("the last packet that came in is {} old",
                                                            duration_text(age_seconds(snapshot, t.last_in_unix_ms())))},
        .consequence = "the tunnel looks healthy and what is sent into it is lost, until BGP gives it up"};
    if (const std::string drops = drops_text(t.in_drops()); !drops.empty())
      finding.evidence.push_back("dropped here since the start: " + drops);
    if (!tunnel.udp_encapsulation())
      finding.remedy.push_back(
          std::format("a firewall between {} and {} may let IKE pass and not protocol 50: allow it, or set "
                      "connections[{}].encapsulation: udp",
                      tunnel.local_address(), tunnel.remote_address(), tunnel.connection()));
    finding.remedy.push_back(
        std::format("look at the device's own counters for its SA with {}: does it receive, decrypt and send?",
                    tunnel.local_address()));
    findings.push_back(std::move(finding));
  }
}

void mtu_black_hole(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotTunnel& t : snapshot.tunnels()) {
    const api::PathProof& proof = t.proof();
    if (!is_up(t) || proof.full_answered() > 0 || proof.full_sent() < kFullEchoesLost) continue;
    if (proof.small_answered() < kSmallEchoesAnswered) continue;  // then it is not about size
    const api::Tunnel& tunnel = t.tunnel();
    Finding finding{.name = "MtuBlackHole",
                    .severity = Severity::kError,
                    .subject = tunnel.name(),
                    .evidence = {std::format("small echoes through the tunnel: {} of {} answered",
                                             proof.small_answered(), proof.small_sent()),
                                 echoes_text(proof.full_bytes(), proof.full_answered(), proof.full_sent())},
                    .consequence = "connections are set up and hang with the first large packet"};
    finding.evidence.push_back(
        tunnel.path_mtu() == 0
            ? "no router on the way reported a path MTU: their ICMP does not arrive, or the device drops large ones"
            : std::format("routers reported a path MTU of {}, which is more than gets through", tunnel.path_mtu()));
    if (const std::uint32_t passes = proof.largest_answered_bytes(); passes > 0) {
      finding.evidence.push_back(std::format("the largest echo that is answered has {} bytes", passes));
      finding.remedy.push_back(std::format("connections[{}].mtu: {}", tunnel.connection(), passes));
    } else {
      finding.remedy.push_back(std::format("a smaller connections[{}].mtu, now {}", tunnel.connection(), tunnel.mtu()));
    }
    finding.remedy.push_back(std::format("let ICMP \"fragmentation needed\" pass to {}", tunnel.local_address()));
    findings.push_back(std::move(finding));
  }
}

void rate_exceeded(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotTunnel& t : snapshot.tunnels()) {
    const api::TrafficWindow& w = t.window();
    const api::Tunnel& tunnel = t.tunnel();
    const bool own = w.over_rate_in() + w.over_rate_out() > 0;
    if (!own && w.over_gateway_rate_in() + w.over_gateway_rate_out() == 0) continue;
    Finding finding{.name = "RateExceeded",
                    .severity = Severity::kWarning,
                    .subject = tunnel.name(),
                    .evidence = {},
                    .consequence = "TCP slows down to the rate; what does not is lost",
                    .remedy = {own ? std::format("a larger connections[{}].rate, or less traffic", tunnel.connection())
                                   : "a larger gateway.sku or gateway.rate, or less traffic"}};
    const auto say = [&](std::uint64_t in, std::uint64_t out, std::string_view limit) {
      if (in + out == 0) return;
      finding.evidence.push_back(std::format("over {} in the last {}: {} from the site dropped, {} to it", limit,
                                             duration_text(w.seconds()), count_text(in, "packet"),
                                             count_text(out, "packet")));
    };
    say(w.over_rate_in(), w.over_rate_out(), "its own rate");
    say(w.over_gateway_rate_in(), w.over_gateway_rate_out(), "its share of the gateway's rate");
    findings.push_back(std::move(finding));
  }
}

void backup_not_proven(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotTunnel& t : snapshot.tunnels()) {
    const api::SnapshotSession* session = session_of(snapshot, t);
    if (!is_up(t) || session == nullptr || !is_standby(*session)) continue;
    const api::PathProof& proof = t.proof();
    if (proof.watched_since_unix_ms() == 0 || age_seconds(snapshot, proof.watched_since_unix_ms()) < kProofSeconds)
      continue;  // too early to say
    const std::uint64_t age = age_seconds(snapshot, proof.proven_unix_ms());
    const bool never = proof.proven_unix_ms() == 0;
    if (!never && age < kProofSeconds) continue;
    findings.push_back(
        {.name = "BackupNotProven",
         .severity = Severity::kError,
         .subject = t.tunnel().name(),
         .evidence = {never ? std::format("up for {}, and nothing has proven that it carries packets both ways",
                                          duration_text(age_seconds(snapshot, proof.watched_since_unix_ms())))
                            : std::format("it last carried a packet both ways {} ago", duration_text(age)),
                      std::format("echoes to {}: {} of {} answered; BFD: {}", session->peer().neighbor(),
                                  proof.small_answered(), proof.small_sent(),
                                  session->peer().bfd().empty() ? "off" : session->peer().bfd())},
         .consequence = std::format("the circuit carries {} of site {}; nobody knows whether the tunnel can take over",
                                    count_text(session->routes_behind_circuit(), "prefix"), session->site()),
         .remedy = {std::format("let the device answer ping from {} in the tunnel, or BFD (connections[{}].bgp.bfd)",
                                session->peer().local_address(), t.tunnel().connection())}});
  }
}

}  // namespace gw::doctor
