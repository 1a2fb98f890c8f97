// Rules for `policy`: what a line refers to exists, and what it sets is what the line's direction can set.
#include <algorithm>
#include <format>

#include "gwd/config/asn.hpp"
#include "gwd/config/policy.hpp"
#include "gwd/config/rules.hpp"
#include "gwd/config/suggest.hpp"

namespace gw::config {
namespace {

void check_reference(Rules& rules, const Path& path, const std::string& value, const auto& elements) {
  if (value.empty() || rules.faulty(path)) return;
  std::vector<std::string> known;
  for (const auto& element : elements) known.push_back(element.name());
  if (std::ranges::contains(known, value)) return;
  const std::string meant = suggest(value, known);
  rules.error(path,
              std::format("there is no '{}'{}", value.substr(0, 64),
                          meant.empty() ? "" : std::format(", did you mean '{}'?", meant)),
              known.empty() ? "nothing: the document has none" : "one of " + join(known));
}

void check_community(Rules& rules, const Path& path, const std::string& text) {
  if (rules.faulty(path)) return;
  const auto community = parse_community(text);
  if (!community)
    rules.error(path, std::format("'{}' is not a community", text.substr(0, 40)),
                "two numbers up to 65535, e.g. 65010:77, or graceful-shutdown, no-export, no-advertise, blackhole");
  else if (routes::is_internal_community(*community))
    rules.error(path, std::format("{} is the gateway's own: it tells its other instance where a route came from", text),
                "any other; 65515:1200 to 65515:1219 are taken");
}

void check_match(Rules& rules, const Path& path, const v1::PolicyMatch& match) {
  const v1::Config& config = rules.config();
  check_reference(rules, path + ".site", match.site(), config.sites());
  check_reference(rules, path + ".instance", match.instance(), config.gateway().instances());
  check_reference(rules, path + ".connection", match.connection(), config.connections());
  check_reference(rules, path + ".circuit", match.circuit(), config.circuits());
  if (!match.connection().empty() && !match.circuit().empty())
    rules.error(path + ".circuit", "no session is a connection's and a circuit's", "either `connection` or `circuit`");
  for (int i = 0; i < match.prefixes_size(); ++i) {
    const v1::PrefixRange& range = match.prefixes(i);
    check_prefix_range(rules, std::format("{}.prefixes[{}]", path, i), {range.prefix(), range.ge(), range.le()});
  }
  if (rules.given(path + ".community")) check_community(rules, path + ".community", match.community());
  rules.number(path + ".asn", match.asn(), {1, 4294967295});
}

void check_set(Rules& rules, const Path& path, const v1::PolicyRule& rule) {
  const v1::PolicySet& set = rule.set();
  if (rule.has_set() && rule.action() == v1::FILTER_ACTION_REFUSE)
    rules.error(path, "a refused route has nothing to be set", "no `set`, or `action: accept`");
  rules.number(path + ".weight", set.weight(), {0, 65535});
  rules.number(path + ".prepend", set.prepend(), {1, 10});
  for (int i = 0; i < set.communities_size(); ++i)
    check_community(rules, std::format("{}.communities[{}]", path, i), set.communities(i));
  if (rule.direction() != v1::POLICY_DIRECTION_EXPORT) return;
  // Neither ever leaves this gateway towards a site or a circuit.
  for (const char* name : {"local_preference", "weight"})
    if (rules.given(path + "." + name))
      rules.error(path + "." + name, "is not advertised", "`prepend`, `med` or `communities`, or direction import");
}

/// The sessions that an export rule is about and that take private AS numbers out of what they tell.
std::vector<std::string> sessions_without_private_asns(const v1::Config& config, const v1::PolicyMatch& match) {
  std::vector<std::string> out;
  const auto is = [](const std::string& wanted, const std::string& name) { return wanted.empty() || wanted == name; };
  const bool any_kind = match.source() == v1::POLICY_SOURCE_ANY;
  for (const v1::Connection& connection : config.connections()) {
    const bool vpn = any_kind || match.source() == v1::POLICY_SOURCE_VPN || match.source() == v1::POLICY_SOURCE_BRANCH;
    if (connection.bgp().remove_private_asns() && vpn && match.circuit().empty() &&
        is(match.site(), connection.device().substr(0, connection.device().find('/'))) &&
        is(match.connection(), connection.name()))
      out.push_back("connection " + connection.name());
  }
  if (!match.site().empty() || !match.connection().empty()) return out;
  for (const v1::Circuit& circuit : config.circuits())
    if (circuit.bgp().remove_private_asns() && (any_kind || match.source() == v1::POLICY_SOURCE_CIRCUIT) &&
        is(match.circuit(), circuit.name()))
      out.push_back("circuit " + circuit.name());
  for (const v1::VnetRouter& router : config.vnet().routers())
    if (router.bgp().remove_private_asns() && match.circuit().empty() &&
        (any_kind || match.source() == v1::POLICY_SOURCE_VNET))
      out.push_back("VNet router " + router.name());
  return out;
}

// bgpd takes private AS numbers out after the rules, so what a rule put in front goes as well; its own number in front
// of all is put there later (ADR 12).
void check_prepend(Rules& rules, const Path& path, const v1::PolicyRule& rule) {
  const v1::Config& config = rules.config();
  const std::uint32_t asn = config.gateway().asn() == 0 ? kDefaultAsn : config.gateway().asn();
  if (rule.direction() != v1::POLICY_DIRECTION_EXPORT || rule.set().prepend() == 0 || !routes::is_private_asn(asn))
    return;
  const std::vector<std::string> sessions = sessions_without_private_asns(config, rule.match());
  if (sessions.empty()) return;
  rules.warning(
      path + ".set.prepend",
      std::format("is lost towards {}: the gateway's number {} is a private one, and remove_private_asns there "
                  "takes out what is prepended, too",
                  join(sessions), asn),
      "`med` or `communities`, or no remove_private_asns");
}

}  // namespace

void check_policy(Rules& rules) {
  std::set<std::string> names;
  for (int i = 0; i < rules.config().policy_size(); ++i) {
    const v1::PolicyRule& rule = rules.config().policy(i);
    const Path path = std::format("policy[{}]", i);
    rules.name(path + ".name", rule.name(), names);
    check_match(rules, path + ".match", rule.match());
    check_set(rules, path + ".set", rule);
    check_prepend(rules, path, rule);
  }
}

}  // namespace gw::config
