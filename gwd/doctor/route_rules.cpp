// Rules about routes: refused for a loop, taken away by more specific ones, one way only, or not where they should be.
// Pure, any thread.
#include <algorithm>
#include <format>
#include <map>
#include <string>
#include <vector>

#include "gwd/doctor/facts.hpp"
#include "gwd/doctor/rules.hpp"

namespace gw::doctor {
namespace {

constexpr std::size_t kExamples = 3;

void add_differences(const api::Snapshot& snapshot, std::string_view where, const Finding& what, Findings& findings) {
  std::vector<std::string> examples;
  std::size_t count = 0;
  for (const api::RouteDifference& d : snapshot.routes().differences()) {
    if (d.where() != where) continue;
    if (++count <= kExamples)
      examples.push_back(
          std::format("{}: {}{}{}", d.prefix(), d.what(),
                      d.since_unix_ms() == 0 ? "" : " for " + duration_text(age_seconds(snapshot, d.since_unix_ms())),
                      d.detail().empty() ? "" : "; " + d.detail()));
  }
  if (count == 0) return;
  if (count > kExamples) examples.push_back(std::format("and {} more", count - kExamples));
  Finding finding = what;
  finding.subject = count_text(count, "prefix");
  finding.evidence = std::move(examples);
  findings.push_back(std::move(finding));
}

void add_refused(const api::Snapshot& snapshot, std::string_view reason, const Finding& what, Findings& findings) {
  for (const api::RefusedRoute& refused : snapshot.routes().refused()) {
    if (refused.reason() != reason || refused.count() == 0) continue;
    Finding finding = what;
    finding.subject = refused.source();
    finding.evidence = {std::format("{} refused, for example {} with AS path {}", count_text(refused.count(), "route"),
                                    refused.example(), refused.as_path())};
    findings.push_back(std::move(finding));
  }
}

}  // namespace

void asn_loop(const api::Snapshot& snapshot, Findings& findings) {
  add_refused(snapshot, "own-asn",
              {.name = "AsnLoop",
               .severity = Severity::kError,
               .consequence = "the gateway's own AS number is in the path: refused as a loop, and there is no other "
                              "route to these prefixes",
               .remedy = {"two networks use the gateway's AS number: give one another (gateway.asn), or the device "
                          "that passes the routes on must replace it (as-override)"}},
              findings);
}

void gateway_subnet_route_loop(const api::Snapshot& snapshot, Findings& findings) {
  add_refused(snapshot, "vnet-prefix",
              {.name = "GatewaySubnetRouteLoop",
               .severity = Severity::kWarning,
               .consequence = "the site claims addresses of the VNet; the gateway refuses that, but inside the site "
                              "traffic to the VNet goes astray",
               .remedy = {"stop announcing the VNet's prefixes at the site (a static or summary route there)"}},
              findings);
}

void more_specific_via_vpn(const api::Snapshot& snapshot, Findings& findings) {
  if (snapshot.prefers() == "vpn") return;  // then the circuit loses them anyway
  std::map<std::string, std::vector<const api::MoreSpecificRoute*>> by_source;
  for (const api::MoreSpecificRoute& route : snapshot.routes().more_specific())
    by_source[route.source()].push_back(&route);
  for (const auto& [source, routes] : by_source) {
    Finding finding{.name = "MoreSpecificViaVpn", .severity = Severity::kWarning, .subject = source};
    for (std::size_t i = 0; i < std::min(routes.size(), kExamples); ++i)
      finding.evidence.push_back(std::format("{} is learned here and lies inside {} of {}", routes[i]->prefix(),
                                             routes[i]->covering_prefix(), routes[i]->covering_source()));
    if (routes.size() > kExamples) finding.evidence.push_back(std::format("and {} more", routes.size() - kExamples));
    finding.consequence =
        "the longest prefix wins before anything else: this traffic takes the tunnel although the circuit is up";
    finding.remedy = {
        "announce the same prefixes on the circuit, or only the shorter ones in the tunnel",
        std::format("or refuse them here: the connection's bgp.import_filter, {{prefix: {}, action: refuse}}",
                    routes.front()->prefix()),
        std::format("gwctl routes effective {}", routes.front()->prefix())};
    findings.push_back(std::move(finding));
  }
}

void asymmetric_path(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::SnapshotTunnel& t : snapshot.tunnels()) {
    const api::SnapshotSession* session = session_of(snapshot, t);
    if (session == nullptr || !is_up(t) || t.window().seconds() == 0) continue;
    const Traffic traffic = forwarded(t.window());
    const bool site_by_tunnel =
        session->routes_best() == 0 && session->routes_behind_circuit() > 0 && one_way(traffic.in, traffic.out);
    const bool we_by_tunnel = session->routes_over_circuit() > 0 && one_way(traffic.out, traffic.in);
    if (!site_by_tunnel && !we_by_tunnel) continue;
    findings.push_back(
        {.name = "AsymmetricPath",
         .severity = Severity::kWarning,
         .subject = t.tunnel().name(),
         .evidence = {std::format("in the last {}: {} packets came out of the tunnel, {} went into it",
                                  duration_text(t.window().seconds()), traffic.in, traffic.out),
                      site_by_tunnel
                          ? std::format("the gateway sends to {} of site {} by the circuit",
                                        count_text(session->routes_behind_circuit(), "prefix"), session->site())
                          : std::format("the gateway prefers the tunnel for {} that the circuit has, too",
                                        count_text(session->routes_over_circuit(), "prefix"))},
         .consequence = "the site and the gateway prefer different ways: stateful firewalls drop such connections, and "
                        "the fast way is used in one direction only",
         .remedy = {site_by_tunnel
                        ? "at the site's router: set local-preference 200 on routes from the circuit (tunnel: 100)"
                        : "at the site's router a higher local-preference for routes from the tunnel, or "
                          "coexistence.prefer: circuit here"}});
  }
}

void route_not_in_fastpath(const api::Snapshot& snapshot, Findings& findings) {
  add_differences(
      snapshot, "fast path",
      {.name = "RouteNotInFastPath",
       .severity = Severity::kCritical,
       .consequence = "packets to these prefixes do not go where the routes say",
       .remedy = {"if a table is full: gw-fastpath --fib-v4-groups, --fib-v6-lines, --fib-next-hops; "
                  "journalctl -u gwd -u gw-fastpath",
                  "if packets meet another way than gwd's: systemctl restart gw-fastpath makes the table anew"}},
      findings);
}

void route_not_in_frr(const api::Snapshot& snapshot, Findings& findings) {
  Finding what{.name = "RouteNotInFrr",
               .severity = Severity::kError,
               .consequence =
                   "bgpd tells the neighbours something else than what is forwarded here, and the "
                   "gateway's own packets may go another way",
               .remedy = {"gwctl support-bundle; then systemctl restart gw-bgpd (routes go on meanwhile)"}};
  add_differences(snapshot, "frr", what, findings);
  if (std::ranges::contains(snapshot.routes().differences(), "frr", &api::RouteDifference::where)) return;
  // Numbers of routes that differ have no prefixes.
  for (const api::Component& component : snapshot.status().components()) {
    if (component.name() != "zebra" || !component.connected() || component.problem().empty()) continue;
    what.subject = "numbers of routes";
    what.evidence = {component.problem()};
    findings.push_back(std::move(what));
    return;
  }
}

}  // namespace gw::doctor
