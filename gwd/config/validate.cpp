#include "gwd/config/validate.hpp"

#include "gwd/config/rules.hpp"

namespace gw::config {

Findings validate(const Document& document, const ValidateOptions& options) {
  // After a fault of the YAML itself nothing is loaded, and everything would be missing.
  const bool loaded = document.source.has("version") || document.source.has("gateway") || document.findings.empty();
  Rules rules(document, options);
  if (loaded) {
    check_gateway(rules);
    check_sites(rules);
    check_connections(rules);
    check_rates(rules);
    check_tunnels(rules);
    check_coexistence(rules);
    check_policy(rules);
    check_wan(rules);
    check_ha(rules);
  }
  Findings findings = rules.take();
  sort_findings(findings);
  return findings;
}

}  // namespace gw::config
