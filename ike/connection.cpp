#include "ike/connection.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <span>

namespace gw::ike {
namespace {

using std::chrono::seconds;

struct Name {
  std::string_view cloud;
  std::string_view swan;
};

// The clouds' names (azure-conventions) and strongSwan's proposal keywords. What is broken (DES, 3DES, MD5,
// DHGroup1) is left out on purpose; DHGroup2 and SHA1 are there because devices in the field know nothing else.
constexpr std::array kIkeGcm{Name{"GCMAES256", "aes256gcm16"}, Name{"GCMAES128", "aes128gcm16"}};
constexpr std::array kIkeCbc{Name{"AES256", "aes256"}, Name{"AES192", "aes192"}, Name{"AES128", "aes128"}};
constexpr std::array kIntegrity{Name{"SHA384", "sha384"}, Name{"SHA256", "sha256"}, Name{"SHA1", "sha1"}};
constexpr std::array kPrf{Name{"SHA384", "prfsha384"}, Name{"SHA256", "prfsha256"}, Name{"SHA1", "prfsha1"}};
constexpr std::array kDh{Name{"ECP384", "ecp384"},          Name{"ECP256", "ecp256"},
                         Name{"DHGroup14", "modp2048"},     Name{"DHGroup2048", "modp2048"},
                         Name{"DHGroup24", "modp2048s256"}, Name{"DHGroup2", "modp1024"}};
std::string known(std::span<const Name> names) {
  std::string out;
  for (const Name& n : names) out += std::format("{}{}", out.empty() ? "" : ", ", n.cloud);
  return out;
}

struct Field {
  std::string_view name;
};
Result<std::string_view> translate(Field field, std::string_view value, std::span<const Name> names) {
  const auto it = std::ranges::find(names, value, &Name::cloud);
  if (it == names.end()) return fail_field(field.name, std::format("'{}' is not one of {}", value, known(names)));
  return it->swan;
}

// charon_settings() below; retransmission i waits timeout * base^i.
constexpr double kRetransmitTimeout = 2.0;
constexpr double kRetransmitBase = 1.5;
constexpr int kRetransmitTries = 4;

/// Half the sequence space of a non-ESN SA goes by before it is replaced; the rest is room for a slow peer.
constexpr std::uint64_t kRekeyPackets = std::uint64_t{1} << 31;
constexpr std::uint64_t kLifePackets = (std::uint64_t{1} << 32) - (std::uint64_t{1} << 26);
constexpr std::uint32_t kMaxReplayWindow = 4096;  // of gw-fastpath
constexpr std::size_t kMaxSelectors = 100;        // azure-conventions

std::string in_seconds(seconds s) { return std::format("{}s", s.count()); }

std::string identity(const IkeEnd& end) { return end.identity.empty() ? end.address.to_string() : end.identity; }

ViciMessage::List selectors(const std::vector<Prefix>& prefixes, IkeVersion version) {
  if (prefixes.empty() && version == IkeVersion::kV1) return {"0.0.0.0/0"};  // quick mode has one pair, RFC 2409 5.5
  if (prefixes.empty()) return {"0.0.0.0/0", "::/0"};
  ViciMessage::List out;
  for (const Prefix& p : prefixes) out.push_back(p.to_string());
  return out;
}

/// charon lists ids in `owners` and prints names in logs: nothing that could be taken for another one.
bool plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~' && c != '{' && c != '}' && c != '"'; });
}

Status check_names(const TunnelIntent& t) {
  if (t.name.empty() || t.name.size() > kMaxViciName || !plain(t.name)) {
    return fail_field("name", std::format("1 to {} printable characters without spaces", kMaxViciName));
  }
  if (t.tunnel_id == 0) return fail_field("tunnel_id", "0 is no interface id");
  if (!plain(t.local.identity)) return fail_field("local.identity", "printable characters without spaces");
  if (!plain(t.remote.identity)) return fail_field("remote.identity", "printable characters without spaces");
  if (identity(t.local) == identity(t.remote)) {
    return fail_field("remote.identity", std::format("both ends are '{}'", identity(t.local)));
  }
  if (t.local.address.is_unspecified()) return fail_field("local.address", "must be an address of this gateway");
  if (t.remote.address.is_unspecified()) return fail_field("remote.address", "must be the peer's address");
  if (t.local.address.family() != t.remote.address.family()) {
    return fail_field("remote.address",
                      std::format("{} and {} are of different families", t.remote.address, t.local.address));
  }
  return {};
}

// charon takes a rekey time of 0 for "never", and a jitter beyond it for a very long time.
Status check_lifetime(Field field, const Lifetime& l) {
  if (l.rekey < seconds(1) || l.hard <= l.rekey)
    return fail_field(field.name, "rekeyed after 1 s or more, and before it ends");
  if (l.jitter < seconds(0) || l.jitter >= l.rekey) return fail_field(field.name, "a jitter below the rekey time");
  return {};
}

Status check_numbers(const TunnelIntent& t) {
  GW_TRY(check_lifetime({"ike_lifetime"}, t.ike_lifetime));
  GW_TRY(check_lifetime({"ipsec_lifetime"}, t.ipsec_lifetime));
  if (t.ipsec_lifetime_kb != 0 && t.ipsec_lifetime_kb < 1024) return fail_field("ipsec_lifetime_kb", "at least 1024");
  if (t.dpd_delay < seconds(1) || t.dpd_delay > seconds(3600)) return fail_field("dpd_delay", "1 s to 3600 s");
  if (t.replay_window > kMaxReplayWindow) {
    return fail_field("replay_window", std::format("at most {} packets", kMaxReplayWindow));
  }
  if (t.version == IkeVersion::kV1 && (t.local_selectors.size() > 1 || t.remote_selectors.size() > 1))
    return fail_field("local_selectors", "IKEv1 has one pair of networks for each tunnel");
  if (t.version == IkeVersion::kV1 && t.esn != Esn::kNever) return fail_field("esn", "not with IKEv1");
  if (t.local_selectors.size() > kMaxSelectors) return fail_field("local_selectors", "at most 100");
  if (t.remote_selectors.size() > kMaxSelectors) return fail_field("remote_selectors", "at most 100");
  return {};
}

Status check_proposals(const TunnelIntent& t) {
  if (t.ike_proposals.empty()) return fail_field("ike_proposals", "at least one");
  if (t.esp_proposals.empty()) return fail_field("esp_proposals", "at least one");
  for (const IkeProposal& p : t.ike_proposals) {
    GW_TRY(ike_keyword(p));
    if (t.version == IkeVersion::kV1 && p.encryption.starts_with("GCM"))
      return fail_field("ike.encryption", std::format("IKEv1 has no {} for its own messages", p.encryption));
  }
  // charon says which word it does not know; here only that it is one proposal.
  for (const std::string& p : t.esp_proposals)
    if (p.empty() || !plain(p) || p.contains(',')) return fail_field("esp_proposals", std::format("'{}' is none", p));
  return {};
}

ViciMessage render_end(const IkeEnd& end) {
  ViciMessage m;
  m.add("auth", "psk");
  m.add("id", identity(end));
  return m;
}

void add_volume_limits(const TunnelIntent& t, ViciMessage& child) {
  if (t.ipsec_lifetime_kb != 0) {
    const std::uint64_t bytes = t.ipsec_lifetime_kb * 1024;
    child.add("life_bytes", std::format("{}", bytes));
    child.add("rekey_bytes", std::format("{}", bytes - bytes / 10));
    child.add("rand_bytes", std::format("{}", bytes / 20));
  }
  if (t.esn == Esn::kNever) {
    child.add("life_packets", std::format("{}", kLifePackets));
    child.add("rekey_packets", std::format("{}", kRekeyPackets));
    child.add("rand_packets", std::format("{}", kRekeyPackets / 20));
  }
}

Result<ViciMessage> render_child(const TunnelIntent& t) {
  ViciMessage::List proposals(t.esp_proposals.begin(), t.esp_proposals.end());
  ViciMessage child;
  child.add("mode", "tunnel")
      .add_list("esp_proposals", std::move(proposals))
      .add_list("local_ts", selectors(t.local_selectors, t.version))
      .add_list("remote_ts", selectors(t.remote_selectors, t.version))
      .add("if_id_in", std::format("{}", t.tunnel_id))
      .add("if_id_out", std::format("{}", t.tunnel_id))
      .add("life_time", in_seconds(t.ipsec_lifetime.hard))
      .add("rekey_time", in_seconds(t.ipsec_lifetime.rekey))
      .add("rand_time", in_seconds(t.ipsec_lifetime.jitter))
      .add("replay_window", std::format("{}", t.replay_window))
      .add("start_action", "none")
      .add("close_action", "none")
      .add("dpd_action", "clear");
  if (t.tfc_padding != 0) child.add("tfc_padding", std::format("{}", t.tfc_padding));
  add_volume_limits(t, child);
  return child;
}

}  // namespace

Result<std::string> ike_keyword(const IkeProposal& p) {
  const bool gcm = std::ranges::contains(kIkeGcm, std::string_view(p.encryption), &Name::cloud);
  if (!gcm && !std::ranges::contains(kIkeCbc, std::string_view(p.encryption), &Name::cloud)) {
    return fail_field("ike.encryption",
                      std::format("'{}' is not one of {}, {}", p.encryption, known(kIkeGcm), known(kIkeCbc)));
  }
  std::string_view encryption;
  if (gcm) {
    GW_TRY_ASSIGN(encryption, translate({"ike.encryption"}, p.encryption, kIkeGcm));
  } else {
    GW_TRY_ASSIGN(encryption, translate({"ike.encryption"}, p.encryption, kIkeCbc));
  }
  GW_TRY_ASSIGN(const std::string_view prf, translate({"ike.integrity"}, p.integrity, kPrf));
  GW_TRY_ASSIGN(const std::string_view integrity, translate({"ike.integrity"}, p.integrity, kIntegrity));
  GW_TRY_ASSIGN(const std::string_view dh, translate({"ike.dh_group"}, p.dh_group, kDh));
  // An AEAD has no integrity algorithm, its PRF must be named (RFC 5282 8).
  return std::format("{}-{}-{}", encryption, gcm ? prf : integrity, dh);
}

Status validate(const TunnelIntent& t) {
  GW_TRY(check_names(t));
  GW_TRY(check_numbers(t));
  return check_proposals(t);
}

Result<ViciMessage> render_connection(const TunnelIntent& t) {
  GW_TRY(validate(t));
  ViciMessage::List proposals;
  for (const IkeProposal& p : t.ike_proposals) {
    GW_TRY_ASSIGN(std::string keyword, ike_keyword(p));
    proposals.push_back(std::move(keyword));
  }
  GW_TRY_ASSIGN(ViciMessage child, render_child(t));
  ViciMessage children;
  children.add_section(t.name, std::move(child));

  ViciMessage connection;
  connection.add("version", t.version == IkeVersion::kV1 ? "1" : "2")
      .add_list("local_addrs", {t.local.address.to_string()})
      .add_list("remote_addrs", {t.remote.address.to_string()})
      .add_list("proposals", std::move(proposals))
      .add("unique", "never")
      .add("mobike", "no")
      .add("encap", t.encapsulation == Encapsulation::kForceUdp ? "yes" : "no")
      .add("fragmentation", "yes")
      .add("keyingtries", "1")
      .add("dpd_delay", in_seconds(t.dpd_delay))
      .add("rekey_time", in_seconds(t.ike_lifetime.rekey))
      .add("over_time", in_seconds(t.ike_lifetime.hard - t.ike_lifetime.rekey))
      .add("rand_time", in_seconds(t.ike_lifetime.jitter))
      .add("reauth_time", "0s")
      .add("send_certreq", "no")
      .add("if_id_in", std::format("{}", t.tunnel_id))
      .add("if_id_out", std::format("{}", t.tunnel_id))
      .add_section("local", render_end(t.local))
      .add_section("remote", render_end(t.remote))
      .add_section("children", std::move(children));
  ViciMessage message;
  message.add_section(t.name, std::move(connection));
  return message;
}

Result<ViciMessage> render_secret(const TunnelIntent& t) {
  GW_TRY(check_names(t));
  if (t.psk.empty()) return fail_field("psk", "an empty pre-shared key");
  ViciMessage m;
  m.add("id", t.name).add("type", "IKE").add_secret("data", t.psk.clone()).add_list("owners", {identity(t.remote)});
  return m;
}

ViciMessage render_initiate(std::string_view tunnel) {
  ViciMessage m;
  m.add("ike", std::string(tunnel)).add("child", std::string(tunnel)).add("timeout", "-1").add("init-limits", "no");
  return m;
}

ViciMessage render_terminate(std::string_view tunnel) {
  ViciMessage m;
  m.add("ike", std::string(tunnel)).add("timeout", "-1");
  return m;
}

ViciMessage render_rekey(std::string_view tunnel) {
  ViciMessage m;
  m.add("child", std::string(tunnel));
  return m;
}

const std::vector<std::pair<std::string_view, std::string_view>>& charon_settings() {
  static const std::vector<std::pair<std::string_view, std::string_view>> kSettings{
      {"retransmit_timeout", "2.0"},  // charon's 4 s, 1.8 and 5 give up after 165 s
      {"retransmit_base", "1.5"},     {"retransmit_tries", "4"},
      {"install_routes", "no"},  // routes are gw-fastpath's
      {"install_virtual_ip", "no"},   {"ikesa_table_size", "4096"},
      {"reuse_ikesa", "no"},  // one IKE SA per tunnel, also between the same two addresses
      {"ikesa_table_segments", "16"}, {"half_open_timeout", "30"},
  };
  return kSettings;
}

std::chrono::milliseconds detection_time(seconds dpd_delay) {
  double total = 0;
  double wait = kRetransmitTimeout;
  for (int i = 0; i <= kRetransmitTries; ++i, wait *= kRetransmitBase) total += wait;
  return dpd_delay + std::chrono::milliseconds(static_cast<std::int64_t>(total * 1000));
}

}  // namespace gw::ike
