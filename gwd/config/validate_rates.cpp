// Rules for rates and SKUs: of `gateway` and of every connection.
#include <algorithm>
#include <format>
#include <set>

#include "gwd/config/rates.hpp"
#include "gwd/config/rules.hpp"
#include "gwd/config/slots.hpp"
#include "gwd/config/suggest.hpp"

namespace gw::config {
namespace {

constexpr std::string_view kHow = "e.g. 500Mbit/s or 1.25Gbit/s; leave it out for no limit";

void check_rate(Rules& rules, const Path& path, const std::string& text) {
  if (!rules.given(path) || rules.faulty(path)) return;
  if (const auto bps = parse_rate(text); !bps)
    rules.error(path, text.empty() ? "is empty" : bps.error().message, std::string(kHow));
}

template <class Message>
void check_rates(Rules& rules, const Path& path, const Message& m) {
  check_rate(rules, path + ".rate", m.rate());
  check_rate(rules, path + ".rate_in", m.rate_in());
  check_rate(rules, path + ".rate_out", m.rate_out());
  if (!m.rate().empty() && !m.rate_in().empty() && !m.rate_out().empty())
    rules.warning(path + ".rate", "`rate_in` and `rate_out` say it for both directions", "no `rate`");
}

void check_sku(Rules& rules) {
  const v1::Config& config = rules.config();
  const std::string& name = config.gateway().sku();
  const Sku* const sku = find_sku(name);
  if (sku == nullptr) {
    std::vector<std::string> known;
    for (const Sku& s : skus()) known.emplace_back(s.name);
    const std::string meant = suggest(name, known);
    return rules.error("gateway.sku",
                       std::format("there is no SKU '{}'{}", name.substr(0, 64),
                                   meant.empty() ? "" : std::format(", did you mean '{}'?", meant)),
                       "one of " + join(known));
  }
  const auto connections = static_cast<std::size_t>(config.connections_size());
  if (sku->tunnels != 0 && connections > sku->tunnels)
    rules.error("gateway.sku",
                std::format("{} is for {} tunnels, and there are {} connections", name, sku->tunnels, connections),
                "a larger SKU, or none");
  if (sku->bgp == Bgp::kNo)
    if (const auto speaker = std::ranges::find_if(config.sites(), [](const v1::Site& s) { return s.asn() != 0; });
        speaker != config.sites().end())
      rules.error("gateway.sku", std::format("{} has no BGP, and site {} wants it", name, speaker->name()),
                  "another SKU, or sites without `asn`");
}

/// More than all may have together is no fault, but what the operator meant is something else.
void check_sum(Rules& rules, const Path& path, const std::vector<StatedRate>& tunnel, const RateSettings& all) {
  for (const auto& [key, rates] : tunnel) {
    const auto over = [](std::uint64_t one, std::uint64_t most) { return most != 0 && one > most; };
    const bool in = over(rates.in_bps, all.in_bps);
    if (!in && !over(rates.out_bps, all.out_bps)) continue;
    const std::string most = rate_text(in ? all.in_bps : all.out_bps);
    rules.warning(std::format("{}.{}", path, key),
                  std::format("is more than the whole gateway may carry: its {} is the limit", most),
                  std::format("at most {}, or no `{}`", most, key));
  }
}

}  // namespace

void check_rates(Rules& rules) {
  const v1::Config& config = rules.config();
  const v1::Gateway& gateway = config.gateway();
  check_sku(rules);
  check_rates(rules, "gateway", gateway);
  const auto all = resolve_rates(gateway);
  for (int i = 0; i < config.connections_size(); ++i) {
    const v1::Connection& connection = config.connections(i);
    const Path path = std::format("connections[{}]", i);
    check_rates(rules, path, connection);
    if (all) check_sum(rules, path, stated_rates(connection), *all);
  }
}

}  // namespace gw::config
