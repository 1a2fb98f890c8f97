// gw-policy: a gateway's policy on standard input, what it is for bgpd and what it is for routes/ on standard output,
// so that a test can hold the two beside each other. Answers end with a line ".".
//   peer NAME KIND SITE ADDRESS LOCAL ASN ROUTER-ID      KIND vpn|branch|circuit|vnet|partner; "-" is absent
//   origin NAME KIND SITE PREFIX...                      KIND vnet|spoke|static
//   policy KEY=VALUE...                                  from here on it is another policy
//   session NAME KEY=VALUE...                            routes::PeerPolicy of a session
//   filter NAME in|out accept|refuse PREFIX SHORT LONG   one more line
//   rule in|out NAME accept|refuse KEY=VALUE...          one more rule
//   apply    the policy is complete: prints bgpd's commands to get there from the last one
//   again    prints what gwd has bgpd do some time later
//   file     prints what bgpd is started with
//   announce NAME PREFIX NEXT-HOP ORIGIN MED LOCAL-PREFERENCE COMMUNITIES PATH; withdraw NAME PREFIX
//   routes   prints "PREFIX SOURCE accept|refuse PLACE WEIGHT LOCAL-PREFERENCE MED COMMUNITIES PATH | line"
//   told     prints "PEER PREFIX SOURCE LOCAL-PREFERENCE MED COMMUNITIES PATH | line"
#include <algorithm>
#include <format>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "bgp/config_model.hpp"
#include "routes/export.hpp"
#include "routes/rib.hpp"
#include "tests/support/route_words.hpp"

namespace gw::routes {
namespace {

using words::number;

std::string text(std::optional<std::uint32_t> value) { return value ? std::format("{}", *value) : "-"; }

std::string text(std::vector<std::uint32_t> communities) {
  std::ranges::sort(communities);
  std::string out;
  for (const std::uint32_t c : communities) out += std::format("{}{}:{}", out.empty() ? "" : ",", c >> 16, c & 0xffff);
  return out.empty() ? "-" : out;
}

std::string text(const AsPath& path) {
  std::string out = path.to_string();
  std::ranges::replace(out, ' ', '_');
  return out.empty() ? "-" : out;
}

std::string_view text(Place place) { return place == Place::kNotUsed ? "unused" : to_string(place); }

Prefix prefix(const std::string& word) { return Prefix::parse(word).value(); }

std::optional<std::string> absent_or(const std::string& word) {
  return word == "-" ? std::nullopt : std::optional(word);
}

using Setters = std::map<std::string, std::function<void(const std::string&)>>;

void set_all(std::istringstream& line, const Setters& setters) {
  for (std::string word; line >> word;) {
    const auto equals = word.find('=');
    setters.at(word.substr(0, equals))(word.substr(equals + 1));
  }
}

PrefixRange range(const std::string& word) {  // 10.0.0.0/8,16,24
  std::istringstream parts(word);
  std::string net, shortest, longest;
  std::getline(parts, net, ',');
  std::getline(parts, shortest, ',');
  std::getline(parts, longest);
  return {prefix(net), static_cast<std::uint8_t>(std::stoul(shortest)), static_cast<std::uint8_t>(std::stoul(longest))};
}

class Tool {
 public:
  void run() {
    const std::map<std::string, void (Tool::*)(std::istringstream&)> commands{
        {"peer", &Tool::peer},         {"origin", &Tool::origin},     {"policy", &Tool::policy},
        {"session", &Tool::session},   {"filter", &Tool::filter},     {"rule", &Tool::rule},
        {"apply", &Tool::apply},       {"file", &Tool::file},         {"again", &Tool::again},
        {"announce", &Tool::announce}, {"withdraw", &Tool::withdraw}, {"routes", &Tool::routes},
        {"told", &Tool::told}};
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream rest(line);
      std::string command;
      rest >> command;
      (this->*commands.at(command))(rest);
    }
  }

 private:
  void peer(std::istringstream& in) {
    std::string name, kind, site, address, local, asn, router_id;
    in >> name >> kind >> site >> address >> local >> asn >> router_id;
    bgp::PeerIntent& p = peers_.emplace_back();
    p.name = name;
    p.kind = words::kind(kind);
    p.site = absent_or(site).value_or("");
    p.local = IpAddress::parse(local).value();
    p.peer = IpAddress::parse(address).value();
    p.remote_asn = *number(asn);
    sources_[name] = {.kind = p.kind,
                      .name = name,
                      .type = p.kind == SourceKind::kPartner ? PeerType::kIbgp : PeerType::kEbgp,
                      .peer_asn = p.remote_asn,
                      .router_id = IpAddress::parse(router_id).value(),
                      .peer_address = p.peer,
                      .site = p.site,
                      .instance = "gw-a"};
    rib_.put_source(sources_[name]);
  }

  void origin(std::istringstream& in) {
    std::string name, kind, site;
    in >> name >> kind >> site;
    bgp::OriginIntent& o = origins_.emplace_back();
    o.source = {.kind = words::kind(kind),
                .name = name,
                .type = PeerType::kLocal,
                .site = absent_or(site).value_or(""),
                .instance = "gw-a"};
    for (std::string word; in >> word;) o.prefixes.push_back(prefix(word));
    rib_.announce(rib_.put_source(o.source), std::make_shared<const Attributes>(), o.prefixes, {});
  }

  void policy(std::istringstream& in) {
    policy_ = {};
    set_all(in,
            {{"transit", [&](const auto& v) { policy_.transit = v == "open" ? Transit::kOpen : Transit::kClosed; }},
             {"vnet_is",
              [&](const auto& v) {
                if (v == "silent") policy_.vnet = Publishing::kSilent;
              }},
             {"prefer",
              [&](const auto& v) { policy_.weights = class_weights(v == "vpn" ? Prefer::kVpn : Prefer::kCircuit); }},
             {"default", [&](const auto&) { policy_.safe.default_route = DefaultRoute::kAllow; }},
             {"allowed", [&](const auto& v) { policy_.safe.allowed_asns.push_back(*number(v)); }},
             {"vnet", [&](const auto& v) { policy_.safe.vnet_prefixes.push_back(prefix(v)); }}});
  }

  void session(std::istringstream& in) {
    std::string name;
    in >> name;
    PeerPolicy& p = policy_.peers[name];
    set_all(in, {{"default", [&](const auto&) { p.default_route = DefaultRoute::kAllow; }},
                 {"advertise_default", [&](const auto&) { p.advertise_default_route = DefaultRoute::kAllow; }},
                 {"allowed", [&](const auto& v) { p.allowed_asns.push_back(*number(v)); }},
                 {"max", [&](const auto& v) { p.max_routes = *number(v); }},
                 {"limit",
                  [&](const auto& v) { p.at_limit = v == "warn" ? LimitAction::kWarn : LimitAction::kDropSession; }},
                 {"remove_private", [&](const auto&) { p.private_asns = PrivateAsns::kRemove; }},
                 {"as_override", [&](const auto&) { p.as_override = AsOverride::kYes; }},
                 {"isolate", [&](const auto&) { p.isolation = Isolation::kIsolated; }}});
  }

  void filter(std::istringstream& in) {
    std::string name, direction, action, net, shortest, longest;
    in >> name >> direction >> action >> net >> shortest >> longest;
    PeerPolicy& p = policy_.peers[name];
    auto& lines = direction == "in" ? p.import_filter : p.export_filter;
    lines.push_back({std::format("{}-{}/{}", name, direction, 10 * (lines.size() + 1)),
                     range(std::format("{},{},{}", net, shortest, longest)),
                     action == "accept" ? Action::kAccept : Action::kRefuse});
  }

  void rule(std::istringstream& in) {
    std::string direction, name, action;
    in >> direction >> name >> action;
    Rule& r = (direction == "in" ? policy_.import_rules : policy_.export_rules).emplace_back();
    r.name = name;
    r.action = action == "accept" ? Action::kAccept : Action::kRefuse;
    set_all(in, {{"kind", [&](const auto& v) { r.match.kind = words::kind(v); }},
                 {"site", [&](const auto& v) { r.match.site = v; }},
                 {"instance", [&](const auto& v) { r.match.instance = v; }},
                 {"source", [&](const auto& v) { r.match.source = v; }},
                 {"prefix", [&](const auto& v) { r.match.prefixes.push_back(range(v)); }},
                 {"community", [&](const auto& v) { r.match.community = number(v); }},
                 {"asn", [&](const auto& v) { r.match.asn_in_path = number(v); }},
                 {"lp", [&](const auto& v) { r.set.local_preference = number(v); }},
                 {"weight", [&](const auto& v) { r.set.weight = static_cast<std::uint16_t>(*number(v)); }},
                 {"med", [&](const auto& v) { r.set.med = number(v); }},
                 {"add", [&](const auto& v) { r.set.add_communities.push_back(*number(v)); }},
                 {"prepend", [&](const auto& v) { r.set.prepend = static_cast<std::uint8_t>(*number(v)); }}});
  }

  void apply(std::istringstream&) {
    auto next = std::make_unique<bgp::BgpIntent>();
    next->instance = "gw-a";
    next->router_id = IpAddress::parse("192.0.2.1").value();
    for (const bgp::PeerIntent& p : peers_) {
      bgp::PeerIntent& copy = next->peers.emplace_back();
      copy.name = p.name;
      copy.kind = p.kind;
      copy.site = p.site;
      copy.local = p.local;
      copy.peer = p.peer;
      copy.remote_asn = p.remote_asn;
    }
    next->origins = origins_;
    next->policy = std::make_shared<const Policy>(policy_);
    rib_.set_policy(next->policy);
    if (const Status ok = bgp::validate(*next); !ok) std::cout << "invalid: " << ok.error().describe() << '\n';
    for (const bgp::Command& c : applied_ ? bgp::diff(*applied_, *next) : bgp::render(*next)) {
      std::cout << c.text << '\n';
    }
    applied_ = std::move(next);
    std::cout << ".\n" << std::flush;
  }

  void again(std::istringstream&) {
    for (const bgp::Command& c : bgp::choose_again(*applied_)) std::cout << c.text << '\n';
    std::cout << ".\n" << std::flush;
  }

  void file(std::istringstream&) { std::cout << bgp::render_file(*applied_).text() << ".\n" << std::flush; }

  void announce(std::istringstream& in) {
    std::string name, net, next_hop, origin, med, preference, communities, path_text;
    in >> name >> net >> next_hop >> origin >> med >> preference >> communities >> path_text;
    Attributes a{.next_hop = IpAddress::parse(next_hop).value(),
                 .as_path = words::path(path_text),
                 .origin = static_cast<Origin>(*number(origin)),
                 .med = number(med),
                 .local_preference = number(preference)};
    std::istringstream each(communities);
    for (std::string c; std::getline(each, c, ',');) {
      if (const auto value = number(c)) a.communities.push_back(*value);
    }
    const Prefix p = prefix(net);
    rib_.announce(*rib_.find_source(name), std::make_shared<const Attributes>(std::move(a)), {&p, 1}, {});
  }

  void withdraw(std::istringstream& in) {
    std::string name, net;
    in >> name >> net;
    const Prefix p = prefix(net);
    rib_.withdraw(*rib_.find_source(name), {&p, 1});
  }

  void routes(std::istringstream&) {
    rib_.drain();
    for (const Prefix& net : rib_.prefixes()) {
      for (const Explanation& e : rib_.explain(net)) {
        const Attributes& a = *e.candidate.attributes;
        std::cout << std::format("{} {} {} {} {} {} {} {} {} | {}\n", net, e.candidate.source->name,
                                 e.action == Action::kAccept ? "accept" : "refuse",
                                 e.action == Action::kAccept ? text(e.ranked.place) : "-", a.weight,
                                 text(a.local_preference), text(a.med), text(a.communities), text(a.as_path), e.line);
      }
    }
    std::cout << ".\n" << std::flush;
  }

  void told(std::istringstream&) {
    rib_.drain();
    for (const Prefix& net : rib_.prefixes()) {
      const auto all = rib_.explain(net);
      const auto best = std::ranges::find_if(
          all, [](const Explanation& e) { return e.action == Action::kAccept && e.ranked.place == Place::kBest; });
      if (best == all.end()) continue;
      for (const auto& [name, to] : sources_) {
        Attributes a;
        const ExportVerdict verdict = apply_export(*applied_->policy, net, best->candidate, to, a);
        if (verdict.told == Told::kNo) continue;
        std::cout << std::format("{} {} {} {} {} {} {} | {}\n", name, net, best->candidate.source->name,
                                 text(a.local_preference), text(a.med), text(a.communities), text(a.as_path),
                                 verdict.line);
      }
    }
    std::cout << ".\n" << std::flush;
  }

  std::vector<bgp::PeerIntent> peers_;
  std::vector<bgp::OriginIntent> origins_;
  std::map<std::string, Source> sources_;  // that have sessions
  Policy policy_;
  std::unique_ptr<const bgp::BgpIntent> applied_;
  Rib rib_;
};

}  // namespace
}  // namespace gw::routes

int main() {
  gw::routes::Tool().run();
  return 0;
}
