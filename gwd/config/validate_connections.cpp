// Rules for `profiles` and `connections`, each by itself: references, algorithms, ranges, secrets.
#include <algorithm>
#include <format>

#include "base/duration.hpp"
#include "gwd/config/esp_proposals.hpp"
#include "gwd/config/outer.hpp"
#include "gwd/config/profiles.hpp"
#include "gwd/config/rules.hpp"
#include "gwd/config/slots.hpp"
#include "gwd/config/suggest.hpp"

namespace gw::config {
namespace {

// Jumbo packets. gw-fastpath refuses more than 1690 where its ports have no room for them, and says so.
constexpr std::uint32_t kMaxInnerMtu = 9000;
// What always fits one of its packet buffers with the outer headers.
constexpr std::uint32_t kMaxPadding = 1690;

using std::chrono::seconds;

constexpr seconds kShortestLifetime{1};  // rekey tests; the clouds' 300 s is a warning
constexpr seconds kCloudLifetime{300};
constexpr seconds kLongestLifetime{172'799};  // the clouds'

void check_lifetime(Rules& rules, const Path& path, const std::string& lifetime) {
  const auto value = rules.seconds(path, lifetime, {kShortestLifetime, kLongestLifetime});
  if (value && *value < kCloudLifetime)
    rules.warning(path, std::format("{} is shorter than clouds allow; fit for tests only", lifetime), "300s or more");
}

void check_ike(Rules& rules, const Path& path, const v1::Ike& ike) {
  if (rules.given(path + ".version") && ike.version() != 1 && ike.version() != 2)
    rules.error(path + ".version", std::format("there is no IKEv{}", ike.version()), "2, or 1 for devices without it");
  rules.transform(path + ".encryption", ike.encryption(), ike_encryptions());
  rules.transform(path + ".integrity", ike.integrity(), ike_integrities());
  rules.transform(path + ".dh_group", ike.dh_group(), ike_dh_groups());
  check_lifetime(rules, path + ".lifetime", ike.lifetime());
  rules.seconds(path + ".rekey_margin", ike.rekey_margin(), {seconds(0), kLongestLifetime});
}

void check_ipsec(Rules& rules, const Path& path, const v1::Ipsec& ipsec) {
  rules.transform(path + ".encryption", ipsec.encryption(), esp_encryptions());
  rules.transform(path + ".integrity", ipsec.integrity(), esp_integrities());
  rules.transform(path + ".pfs", ipsec.pfs(), esp_pfs_groups());
  rules.number(path + ".tfc_padding", ipsec.tfc_padding(), {0, kMaxPadding});
  check_lifetime(rules, path + ".lifetime", ipsec.lifetime());
  rules.seconds(path + ".rekey_margin", ipsec.rekey_margin(), {seconds(0), kLongestLifetime});
  rules.number(path + ".lifetime_kb", ipsec.lifetime_kb(), {1024, 2'147'483'647});
  rules.number(path + ".replay_window", ipsec.replay_window(), {64, 4096});
}

// What only the whole says, with what the values override laid under.
void check_esp_algorithms(Rules& rules, const Path& path, const v1::Ipsec& all) {
  constexpr std::string_view kWeak = "is weak; use it only for a device that has nothing better";
  for (int i = 0; i < all.proposals_size(); ++i) {
    const Path own = std::format("{}.proposals[{}]", path, i);
    if (const auto fault = check_esp_proposal(all.proposals(i), all))
      rules.error(own, fault->message, fault->expected);
    else if (const std::string weak = weak_part(all.proposals(i)); !weak.empty())
      rules.warning(own, std::format("{} {}", weak, kWeak), "e.g. aes256gcm16-ecp384, or aes256-sha256-modp2048");
  }
  if (all.proposals_size() != 0) {
    for (const char* name : {"encryption", "integrity", "pfs"})
      if (rules.given(path + "." + name))
        rules.error(path + "." + name, "`proposals` says it already", "either `proposals` or the three single values");
    return;
  }
  if (is_legacy_encryption(all.encryption())) {
    if (all.allow_legacy())
      rules.warning(path + ".encryption", std::format("{} {}", all.encryption(), kWeak), "GCMAES256, or AES256");
    else
      rules.error(path + ".encryption", std::format("{} is too weak", all.encryption()),
                  std::string(kHowToAllowLegacy));
  }
  if (!all.integrity().empty() && !wants_integrity(all.encryption()) && !rules.faulty(path + ".encryption"))
    rules.error(path + ".integrity",
                std::format("{} has its own integrity; {} is one too many", all.encryption(), all.integrity()),
                "no `integrity`, or an encryption that wants one");
}

// What only the whole says: the encryption may come from a profile.
void check_ikev1(Rules& rules, const Path& path, const v1::Ike& all) {
  if (all.version() != 1) return;
  if (!all.encryption().starts_with("GCM"))
    rules.warning(path + ".version", "IKEv1 is obsolete (RFC 9395); use it only for a device that has nothing better",
                  "2");
  else if (!rules.faulty(path + ".encryption"))
    rules.error(path + (rules.given(path + ".encryption") ? ".encryption" : ".version"),
                std::format("IKEv1 has no {} for its own messages", all.encryption()),
                "`ike: { encryption }` of AES256, AES192 or AES128; ESP keeps its own");
}

void check_outer_header(Rules& rules, const Path& path, const v1::OuterHeader& outer) {
  if (const auto dscp = parse_dscp(outer.dscp()); !dscp)
    rules.error(path + ".dscp", dscp.error().message, "copy, none, or 0 to 63");
}

void check_dpd(Rules& rules, const Path& path, const v1::Dpd& dpd) {
  const auto delay = rules.seconds(path + ".delay", dpd.delay(), {seconds(1), seconds(3600)});
  if (delay && *delay < seconds(9))
    rules.warning(path + ".delay", std::format("{} is shorter than clouds allow", dpd.delay()), "9s to 3600s");
}

// Where the lifetime comes from one place and the margin from another, only the sum can be judged.
void check_margin(Rules& rules, const Path& path, const std::string& lifetime, const std::string& margin) {
  if (margin.empty() || rules.faulty(path + ".lifetime") || rules.faulty(path + ".rekey_margin")) return;
  const auto total = parse_duration(lifetime);
  const auto each = parse_duration(margin);
  if (total && each && *each * 2 >= *total)
    rules.error(path + (rules.given(path + ".rekey_margin") || !rules.given(path + ".lifetime") ? ".rekey_margin"
                                                                                                : ".lifetime"),
                std::format("a rekey margin of {} does not fit a lifetime of {}", margin, lifetime),
                "a margin of less than half the lifetime");
}

void check_profiles(Rules& rules) {
  std::set<std::string> names;
  for (int i = 0; i < rules.config().profiles_size(); ++i) {
    const v1::Profile& profile = rules.config().profiles(i);
    const Path path = std::format("profiles[{}]", i);
    rules.name(path + ".name", profile.name(), names);
    if (std::ranges::contains(built_in_profiles(), profile.name(), &v1::Profile::name))
      rules.error(path + ".name", std::format("'{}' is built in", profile.name()), "another name");
    check_ike(rules, path + ".ike", profile.ike());
    check_ipsec(rules, path + ".ipsec", profile.ipsec());
    v1::Ipsec ipsec = built_in_profiles().front().ipsec();
    ipsec.MergeFrom(profile.ipsec());
    check_esp_algorithms(rules, path + ".ipsec", ipsec);
    check_dpd(rules, path + ".dpd", profile.dpd());
  }
}

void check_references(Rules& rules, const Path& path, const v1::Connection& connection) {
  const v1::Config& config = rules.config();
  const Path device = path + ".device";
  if (rules.required_text(device, connection.device(), "\"site/device\"") &&
      !find_device(config, connection.device())) {
    std::vector<std::string> known;
    for (const v1::Site& site : config.sites())
      for (const v1::Device& d : site.devices()) known.push_back(site.name() + "/" + d.name());
    const std::string meant = suggest(connection.device(), known);
    rules.error(device,
                std::format("there is no device '{}'{}", connection.device().substr(0, 130),
                            meant.empty() ? "" : std::format(", did you mean '{}'?", meant)),
                "\"site/device\" of `sites`");
  }
  const std::vector<std::string> profiles = profile_names(config);
  if (!connection.profile().empty() && !std::ranges::contains(profiles, connection.profile())) {
    const std::string meant = suggest(connection.profile(), profiles);
    rules.error(path + ".profile",
                std::format("there is no profile '{}'{}", connection.profile().substr(0, 64),
                            meant.empty() ? "" : std::format(", did you mean '{}'?", meant)),
                "one of " + join(profiles));
  }
}

bool asn_is_faulty(const Rules& rules, const v1::Site& site) {
  for (int i = 0; i < rules.config().sites_size(); ++i)
    if (&rules.config().sites(i) == &site) return rules.faulty(std::format("sites[{}].asn", i));
  return false;
}

void check_unnumbered(Rules& rules, const Path& path, const v1::BgpSession& bgp, const v1::Device* device) {
  if (bgp.addresses_size() > 0)
    rules.error(path + ".addresses", "an unnumbered session has link-local addresses only",
                "either `addresses` or `unnumbered`");
  if (device != nullptr && !device->loopback().empty())
    rules.error(path + ".unnumbered",
                std::format("the device has a loopback, {}, for its sessions", device->loopback()),
                "no `unnumbered`, or a device without `loopback`");
  if (device != nullptr && device->multihop() != 0 && device->loopback().empty())
    rules.error(path + ".unnumbered", "the device has `multihop`, and link-local addresses are one hop away",
                "no `unnumbered`, or a device without `multihop`");
}

void check_bgp(Rules& rules, const Path& path, const v1::Connection& connection) {
  if (!connection.has_bgp()) return;
  const v1::BgpSession& bgp = connection.bgp();
  const Path own = path + ".bgp";
  const auto remote = find_device(rules.config(), connection.device());
  // One fault, one complaint: an `asn` that is there but wrong was named where it stands.
  if (remote && remote->site->asn() == 0 && !asn_is_faulty(rules, *remote->site))
    rules.error(own, std::format("site {} has no `asn`", remote->site->name()),
                "an `asn` in the site, or no `bgp` here");
  check_session(rules, own, bgp);
  if (bgp.unnumbered()) check_unnumbered(rules, own, bgp, remote ? remote->device : nullptr);
}

// Two keys for one thing; `udp_encapsulation` is the older one.
void check_encapsulation(Rules& rules, const Path& path, const v1::Connection& connection) {
  const Path own = path + ".udp_encapsulation";
  if (!rules.given(path + ".encapsulation") || !rules.given(own)) return;
  const bool udp = connection.encapsulation() == v1::ENCAPSULATION_UDP;
  const std::string said =
      std::format("`encapsulation: {}`", udp                                                      ? "udp"
                                         : connection.encapsulation() == v1::ENCAPSULATION_NATIVE ? "native"
                                                                                                  : "auto");
  if (udp == connection.udp_encapsulation())
    rules.warning(own, std::format("{} says it already", said), "no `udp_encapsulation`");
  else
    rules.error(own, std::format("{} contradicts {}", connection.udp_encapsulation() ? "`true`" : "`false`", said),
                "no `udp_encapsulation`, which is the older spelling");
}

void check_connection(Rules& rules, const Path& path, const v1::Connection& connection) {
  check_references(rules, path, connection);
  if (rules.required(path + ".secret", connection.has_secret(), "{ psk_file }")) {
    rules.required_text(path + ".secret.psk_file", connection.secret().psk_file(), "the file with the pre-shared key");
    rules.secret_file(path + ".secret.psk_file", connection.secret().psk_file(), 4096);
  }
  check_ike(rules, path + ".ike", connection.ike());
  check_ipsec(rules, path + ".ipsec", connection.ipsec());
  check_dpd(rules, path + ".dpd", connection.dpd());
  const v1::Profile profile = effective_profile(rules.config(), connection);
  check_ikev1(rules, path + ".ike", profile.ike());
  check_margin(rules, path + ".ike", profile.ike().lifetime(), profile.ike().rekey_margin());
  check_margin(rules, path + ".ipsec", profile.ipsec().lifetime(), profile.ipsec().rekey_margin());
  if (connection.has_ipsec()) check_esp_algorithms(rules, path + ".ipsec", profile.ipsec());
  check_encapsulation(rules, path, connection);
  check_outer_header(rules, path + ".outer_header", connection.outer_header());
  check_bgp(rules, path, connection);
  rules.number(path + ".mtu", connection.mtu(), {576, kMaxInnerMtu});
  if (connection.mtu() >= 576 && connection.mtu() < 1280)
    rules.warning(path + ".mtu", std::format("{} is too small for IPv6 in the tunnel", connection.mtu()),
                  "1280 or more");
  const std::uint64_t mtu = connection.mtu() == 0 ? 1400 : connection.mtu();
  rules.number(path + ".mss", connection.mss(),
               {500, mtu < 576 ? kMaxInnerMtu - 40 : mtu - 40});  // IPv4 and TCP headers
}

}  // namespace

void check_connections(Rules& rules) {
  check_profiles(rules);
  std::set<std::string> names;
  for (int i = 0; i < rules.config().connections_size(); ++i) {
    const Path path = std::format("connections[{}]", i);
    rules.name(path + ".name", rules.config().connections(i).name(), names);
    check_connection(rules, path, rules.config().connections(i));
  }
}

}  // namespace gw::config
