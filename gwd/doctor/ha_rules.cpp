// Rules about two instances that are one gateway. Pure, any thread.
#include <format>
#include <map>

#include "gwd/doctor/facts.hpp"
#include "gwd/doctor/rules.hpp"

namespace gw::doctor {
namespace {

// Packets of a minute. Two hosts that ping each other are not worth a line.
constexpr std::uint64_t kWorthALine = 1000;
// BFD that waits for so many takeovers ends no session that one keeps (patient_bfd of gwd/config).
constexpr std::uint32_t kTakeovers = 2;

/// One site's packets at both instances.
struct SiteTraffic {
  Traffic here;
  Traffic there;
  std::vector<std::string> ways_here;  // tunnels, with what passed
  std::vector<std::string> ways_there;
  std::uint64_t best_here = 0;  // prefixes that this instance sends into its own tunnels
};

std::string way(std::string_view tunnel, const Traffic& traffic, std::uint64_t seconds) {
  return std::format("{}: {} packets of the site came in, {} went out in the last {}", tunnel, traffic.in, traffic.out,
                     duration_text(seconds));
}

std::map<std::string, SiteTraffic> traffic_by_site(const api::Snapshot& snapshot) {
  std::map<std::string, SiteTraffic> sites;
  for (const api::PeerTunnel& t : snapshot.peer_tunnels()) {
    SiteTraffic& site = sites[t.site()];
    const Traffic traffic{t.in_packets(), t.out_packets()};
    site.there.in += traffic.in;
    site.there.out += traffic.out;
    site.ways_there.push_back(way(t.name(), traffic, t.seconds()));
  }
  for (const api::SnapshotTunnel& t : snapshot.tunnels()) {
    const auto site = sites.find(t.site());
    if (site == sites.end() || !is_up(t) || t.window().seconds() == 0) continue;
    const Traffic traffic = forwarded(t.window());
    site->second.here.in += traffic.in;
    site->second.here.out += traffic.out;
    site->second.ways_here.push_back(way(t.tunnel().name(), traffic, t.window().seconds()));
    if (const api::SnapshotSession* session = session_of(snapshot, t)) site->second.best_here += session->routes_best();
  }
  return sites;
}

std::string other_instance(const api::Snapshot& snapshot) {
  return snapshot.ha().peers_size() > 0 ? snapshot.ha().peers(0).instance() : "the other instance";
}

}  // namespace

// A site's packets come in by one instance and its answers leave by the other. Neither needs the other's state.
void asymmetric_instances(const api::Snapshot& snapshot, Findings& findings) {
  const std::string& self = snapshot.status().instance();
  const std::string other = other_instance(snapshot);
  for (const auto& [name, site] : traffic_by_site(snapshot)) {
    const bool in_here = one_way(site.here.in, site.here.out) && one_way(site.there.out, site.there.in);
    const bool in_there = one_way(site.there.in, site.there.out) && one_way(site.here.out, site.here.in);
    if ((!in_here && !in_there) || site.here.in + site.there.in < kWorthALine ||
        site.here.out + site.there.out < kWorthALine)
      continue;
    const std::string& arrives = in_here ? self : other;
    const std::string& leaves = in_here ? other : self;
    Finding finding{.name = "AsymmetricInstances", .severity = Severity::kInfo, .subject = "site " + name};
    finding.evidence = site.ways_here;
    finding.evidence.insert(finding.evidence.end(), site.ways_there.begin(), site.ways_there.end());
    finding.evidence.push_back(
        std::format("{} sends to {} of the site through its own tunnels", self, count_text(site.best_here, "prefix")));
    finding.evidence.emplace_back(
        "few long connections look like this by chance: the site and the VNet spread them over the instances, each for "
        "itself");
    finding.consequence = std::format(
        "none for the gateway: answers need no state. The site's packets arrive at {} and leave by {}: a firewall at "
        "the "
        "site that keeps the state of each tunnel for itself drops such connections",
        arrives, leaves);
    finding.remedy = {
        std::format("only if it is not meant: at the site's router a higher local-preference for routes from {}",
                    leaves),
        std::format("or have the VNet's routers send to the site by {}", arrives)};
    findings.push_back(std::move(finding));
  }
}

// A site that has one tunnel, or whose tunnels all end at one instance, waits for a takeover; its BFD should, too.
void bfd_before_takeover(const api::Snapshot& snapshot, Findings& findings) {
  const std::uint32_t takeover = snapshot.takeover_ms();
  for (const api::SnapshotSession& session : snapshot.sessions()) {
    const std::uint32_t bfd = session.bfd_detection_ms();
    if (!session.only_way() || !session.peer().bfd().starts_with("up") || bfd >= kTakeovers * takeover) continue;
    const std::uint32_t interval = (kTakeovers * takeover / 3 + 99) / 100 * 100;
    const std::string connection = session.name().substr(0, session.name().find('/'));
    findings.push_back(
        {.name = "BfdBeforeTakeover",
         .severity = Severity::kInfo,
         .subject = session.name(),
         .evidence = {std::format("site {} has no open session by way of the other instance's endpoints",
                                  session.site()),
                      std::format("BFD of this one: {}, so {} ms; a takeover lasts about {} ms", session.peer().bfd(),
                                  bfd, takeover)},
         .consequence = "when the instance that has the endpoint dies, BGP with the site may end before the other one "
                        "goes on with it, and is back after about 3 s",
         .remedy = {std::format("connections[{}].bgp.bfd: {{ interval: {}ms, multiplier: 3 }}, and the same at the "
                                "device",
                                connection, interval),
                    "or (active-active) the site's tunnel to the other instance, with its BGP session"}});
  }
}

// Each runs its own until somebody decides; an endpoint that moves meets other tunnels there.
void configurations_differ(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::HaAlarm& alarm : snapshot.ha().alarms()) {
    if (alarm.kind() != "HaConfigurationsDiffer") continue;
    findings.push_back({.name = "ConfigurationsDiffer",
                        .severity = Severity::kError,
                        .subject = "the two instances",
                        .evidence = {alarm.text()},
                        .consequence = "each instance runs its own document: after a takeover sites meet the other one",
                        .remedy = {"gwctl diff FILE on both, with the document that is meant",
                                   "gwctl apply FILE on one of them: both run it then"}});
  }
}

// Both instances make new connections of the sync channel all the time; TLS wants certificates that are good.
void certificate_ends(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::HaCertificate& certificate : snapshot.ha().certificates()) {
    if (certificate.severity().empty()) continue;
    const bool expired = certificate.seconds_left() <= 0;
    findings.push_back({.name = "CertificateEnds",
                        .severity = certificate.severity() == "warning" ? Severity::kWarning : Severity::kError,
                        .subject = certificate.file(),
                        .evidence = {certificate.text()},
                        .consequence = expired
                                           ? "the instances cannot connect to each other: nothing is synced, and IKE "
                                             "SAs made since then cannot be taken over"
                                           : "from then on the instances cannot connect to each other, and neither "
                                             "takes over what the other one has made since",
                        .remedy = {certificate.renewal(), "gwctl ha certificates"}});
  }
}

}  // namespace gw::doctor
