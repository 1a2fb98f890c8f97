// What the validation rules share: reporting a finding at a field's place, and checking one value of a
// common kind. A check that fails has reported it and returns nothing. Internal to gwd/config. Pure but for
// secret files; any thread.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/ip.hpp"
#include "base/secret.hpp"
#include "gwd/config/proposals.hpp"
#include "gwd/config/validate.hpp"

namespace gw::config {

/// A field's path in the document: "connections[0].dpd.delay".
using Path = std::string;

class Rules {
 public:
  Rules(const Document& document, const ValidateOptions& options);

  const v1::Config& config() const { return document_.config; }
  Findings take() { return std::move(findings_); }

  void error(const Path& path, std::string message, std::string expected = {}) {
    add(Severity::kError, path, std::move(message), std::move(expected));
  }
  void warning(const Path& path, std::string message, std::string expected = {}) {
    add(Severity::kWarning, path, std::move(message), std::move(expected));
  }

  /// The document has this key, whatever its value (proto3 does not tell 0 from absent).
  bool given(const Path& path) const { return document_.source.has(path); }
  /// The field has an error already: rules about it stay silent.
  bool faulty(const Path& path) const { return faulty_.contains(path); }

  /// Reports a missing or empty value. For messages and lists pass their presence.
  bool required(const Path& path, bool present, std::string_view what);
  bool required_text(const Path& path, const std::string& value, std::string_view what) {
    return required(path, !value.empty(), what);
  }

  /// Names: [a-z0-9][a-z0-9.-]{0,62}, required. Remembers it in `seen` and reports duplicates.
  void name(const Path& path, const std::string& value, std::set<std::string>& seen);
  void interface(const Path& path, const std::string& value);
  /// A unicast address.
  std::optional<IpAddress> address(const Path& path, const std::string& value);
  std::optional<Prefix> prefix(const Path& path, const std::string& value);

  struct Range {
    std::chrono::seconds min;
    std::chrono::seconds max;
  };
  /// Whole seconds; nothing for an empty value.
  std::optional<std::chrono::seconds> seconds(const Path& path, const std::string& value, const Range& range);
  struct FineRange {
    std::chrono::milliseconds min;
    std::chrono::milliseconds max;
  };
  std::optional<std::chrono::milliseconds> milliseconds(const Path& path, const std::string& value,
                                                        const FineRange& range);
  struct Limits {
    std::uint64_t min;
    std::uint64_t max;
  };
  /// Only if the document has the key.
  void number(const Path& path, std::uint64_t value, const Limits& limits);
  /// A cloud's algorithm name; empty is fine. Weak ones get a warning.
  void transform(const Path& path, const std::string& value, std::span<const Transform> known);
  /// The file of a secret of at most `max_bytes`; nothing is done for an empty name.
  void secret_file(const Path& path, const std::string& file, std::size_t max_bytes);
  /// What such a file holds; nothing where it cannot be read, which secret_file() reports, or is ignored.
  std::optional<Secret> secret(const Path& path, const std::string& file) const;
  /// A file that is there; nothing is done for an empty name, or where secret files are ignored.
  void existing_file(const Path& path, const std::string& file);
  /// The secret in `file` has no blanks.
  void one_word(const Path& path, const std::string& file);

 private:
  void add(Severity severity, const Path& path, std::string message, std::string expected);

  const Document& document_;
  const ValidateOptions& options_;
  Findings findings_;
  std::set<std::string, std::less<>> faulty_;
};

// The rules by part of the document; each file has its own part's.
void check_gateway(Rules& rules);      // gateway, vnet, management
void check_sites(Rules& rules);        // sites and their static prefixes
void check_connections(Rules& rules);  // profiles, connections
void check_rates(Rules& rules);        // sku and rate, of the gateway and of connections
void check_tunnels(Rules& rules);      // what only shows once connections meet instances
void check_coexistence(Rules& rules);  // circuits, vnet.routers, vnet.peerings, coexistence
void check_policy(Rules& rules);
void check_wan(Rules& rules);  // wan.routers, and endpoints that move by them
void check_ha(Rules& rules);   // what makes two instances one gateway: sync, move, mode, lease, ha

// Parts that stand in several places.
/// A `bgp` block.
void check_session(Rules& rules, const Path& path, const v1::BgpSession& bgp);
/// The same where there is no tunnel: keys that only a connection has are faults.
void check_session_without_tunnel(Rules& rules, const Path& path, const v1::BgpSession& bgp);
struct PrefixRangeText {
  const std::string& prefix;
  std::uint32_t ge = 0;
  std::uint32_t le = 0;
};
void check_prefix_range(Rules& rules, const Path& path, const PrefixRangeText& range);

}  // namespace gw::config
