#include "gwd/doctor/doctor.hpp"

#include <algorithm>
#include <array>

#include "gwd/doctor/rules.hpp"

namespace gw::doctor {
namespace {

constexpr auto kRules = std::to_array<Rule>({
    {"ServiceNotRunning", service_not_running},
    {"ConnectionsNotConnected", connections_not_connected},
    {"TunnelBlackHole", tunnel_black_hole},
    {"MtuBlackHole", mtu_black_hole},
    {"RateExceeded", rate_exceeded},
    {"BackupNotProven", backup_not_proven},
    {"VpnErSessionDown", vpn_er_session_down},
    {"CircuitSessionDown", circuit_session_down},
    {"WanSessionDown", wan_session_down},
    {"AsnMismatch", asn_mismatch},
    {"BgpSessionDown", bgp_session_down},
    {"BgpSessionStuck", bgp_session_stuck},
    {"BfdNotAnswered", bfd_not_answered},
    {"RouteLimitNear", route_limit_near},
    {"AsnLoop", asn_loop},
    {"GatewaySubnetRouteLoop", gateway_subnet_route_loop},
    {"MoreSpecificViaVpn", more_specific_via_vpn},
    {"AsymmetricPath", asymmetric_path},
    {"RouteNotInFastPath", route_not_in_fastpath},
    {"RouteNotInFrr", route_not_in_frr},
    {"ConfigurationsDiffer", configurations_differ},
    {"CertificateEnds", certificate_ends},
    {"BfdBeforeTakeover", bfd_before_takeover},
    {"AsymmetricInstances", asymmetric_instances},
});

// What a rule cannot see while it is away.
void add_blind_spots(const api::Snapshot& snapshot, api::DoctorReply& reply) {
  for (const api::Component& component : snapshot.status().components()) {
    if (component.connected()) continue;
    const std::string_view unseen = component.name() == "gw-fastpath" ? "tunnels' packets, drops and probes"
                                    : component.name() == "charon"    ? "the state of IKE"
                                    : component.name() == "bfdd"      ? "who answers BFD"
                                                                      : "BGP sessions";
    reply.add_blind(component.name() + " is away: " + std::string(unseen) + " are not known");
  }
}

}  // namespace

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::kCritical: return "critical";
    case Severity::kError: return "error";
    case Severity::kWarning: return "warning";
    case Severity::kInfo: return "info";
  }
  return "error";
}

std::span<const Rule> rules() { return kRules; }

Findings examine(const api::Snapshot& snapshot) {
  Findings findings;
  for (const Rule& rule : kRules) rule.look(snapshot, findings);
  std::ranges::stable_sort(findings, {}, &Finding::severity);
  return findings;
}

api::DoctorReply report(const api::Snapshot& snapshot) {
  api::DoctorReply reply;
  reply.set_gateway(snapshot.status().gateway());
  reply.set_instance(snapshot.status().instance());
  reply.set_taken_unix_ms(snapshot.taken_unix_ms());
  for (const Rule& rule : kRules) reply.add_rules(std::string(rule.name));
  add_blind_spots(snapshot, reply);
  for (const Finding& finding : examine(snapshot)) {
    api::DoctorFinding& out = *reply.add_findings();
    out.set_name(std::string(finding.name));
    out.set_severity(std::string(to_string(finding.severity)));
    out.set_subject(finding.subject);
    for (const std::string& line : finding.evidence) out.add_evidence(line);
    out.set_consequence(finding.consequence);
    for (const std::string& line : finding.remedy) out.add_remedy(line);
  }
  return reply;
}

}  // namespace gw::doctor
