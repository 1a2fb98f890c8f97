#include "ebpf/rpc/messages.hpp"

#include <algorithm>
#include <array>

#include "base/secret.hpp"

namespace gw::rpc {
namespace {

constexpr std::uint32_t kMaxTunnelId = (1u << 24) - 1;
constexpr std::uint32_t kFirstSpi = 256;  // RFC 4303 2.1
constexpr std::size_t kMaxSelectors = 64;
constexpr std::uint64_t kMinBps = 64'000;  // a packet every 0.2 s

Result<esp::Endpoint> parse_endpoint(const fp::Endpoint& m, const std::string& field) {
  GW_TRY_ASSIGN(const IpAddress address, parse_address(m.address(), field + ".address"));
  if (m.port() > 65535) return fail_field(field + ".port", std::format("{} is no port", m.port()));
  return esp::Endpoint{address, static_cast<std::uint16_t>(m.port())};
}

Result<std::uint32_t> parse_tunnel_id(std::uint32_t id, std::string field) {
  if (id == 0 || id > kMaxTunnelId) return fail_field(field, std::format("{} is not in 1..{}", id, kMaxTunnelId));
  return id;
}

using Selectors = google::protobuf::RepeatedPtrField<fp::Selector>;

Result<std::vector<esp::Selector>> parse_selectors(const Selectors& list, const std::string& field) {
  if (list.empty()) return fail_field(field, "is empty: such an SA carries nothing");
  if (list.size() > static_cast<int>(kMaxSelectors))
    return fail_field(field, std::format("has more than {} entries", kMaxSelectors));
  std::vector<esp::Selector> out;
  for (int i = 0; i < list.size(); ++i) {
    const fp::Selector& m = list[i];
    const std::string path = std::format("{}[{}]", field, i);
    GW_TRY_ASSIGN(const IpAddress first, parse_address(m.first(), path + ".first"));
    GW_TRY_ASSIGN(const IpAddress last, parse_address(m.last(), path + ".last"));
    if (m.protocol() > 255) return fail_field(path + ".protocol", std::format("{} is no protocol", m.protocol()));
    if (m.first_port() > 65535 || m.last_port() > 65535) return fail_field(path + ".last_port", "is no port");
    out.push_back({first, last, static_cast<std::uint8_t>(m.protocol()), static_cast<std::uint16_t>(m.first_port()),
                   static_cast<std::uint16_t>(m.last_port())});
  }
  return out;
}

struct CipherName {
  fp::Encryption encryption;
  esp::Cipher cipher;
  std::size_t icv_bytes;  // 0: the integrity algorithm's
};
constexpr auto kCiphers = std::to_array<CipherName>({
    {fp::AES_GCM_16, esp::Cipher::kAesGcm, 16},
    {fp::AES_GCM_12, esp::Cipher::kAesGcm, 12},
    {fp::AES_GCM_8, esp::Cipher::kAesGcm, 8},
    {fp::CHACHA20_POLY1305, esp::Cipher::kChaCha20Poly1305, 16},
    {fp::AES_CBC, esp::Cipher::kAesCbc, 0},
    {fp::TRIPLE_DES_CBC, esp::Cipher::k3DesCbc, 0},
    {fp::NULL_CIPHER, esp::Cipher::kNull, 0},
});

struct IntegrityName {
  fp::Integrity message;
  esp::Integrity integrity;
  std::size_t icv_bytes;
};
constexpr auto kIntegrities = std::to_array<IntegrityName>({
    {fp::INTEGRITY_UNSPECIFIED, esp::Integrity::kCombined, 0},
    {fp::HMAC_SHA1_96, esp::Integrity::kHmacSha1, 12},
    {fp::HMAC_SHA2_256_128, esp::Integrity::kHmacSha256, 16},
    {fp::HMAC_SHA2_384_192, esp::Integrity::kHmacSha384, 24},
    {fp::HMAC_SHA2_512_256, esp::Integrity::kHmacSha512, 32},
});

/// Of enum values that this version does not know their numbers.
template <class Enum>
std::string name_of(Enum value, std::string name) {
  return name.empty() ? std::to_string(static_cast<int>(value)) : name;
}

Status check_permission(const esp::Transform& t, const esp::TransformPermissions& allowed) {
  if (allowed.allow(t.standing)) return {};
  return fail_field(
      "encryption",
      std::format("{} is refused: {}", t.name,
                  t.standing == esp::Standing::kLegacy ? "too weak; gw-fastpath --allow-legacy-crypto accepts it"
                                                       : "it does not encrypt; it exists for tests"),
      Errc::kUnsupported);
}

Result<const esp::Transform*> parse_transform(const fp::AddSa& m, const esp::TransformPermissions& allowed) {
  const auto cipher = std::ranges::find(kCiphers, m.encryption(), &CipherName::encryption);
  if (cipher == kCiphers.end())
    return fail_field(
        "encryption",
        std::format("algorithm {} is not built in", name_of(m.encryption(), fp::Encryption_Name(m.encryption()))),
        Errc::kUnsupported);
  const auto integrity = std::ranges::find(kIntegrities, m.integrity(), &IntegrityName::message);
  const bool together =
      integrity != kIntegrities.end() && std::ranges::any_of(esp::transforms(), [&](const esp::Transform& t) {
        return t.cipher == cipher->cipher && t.integrity == integrity->integrity;
      });
  if (!together)
    return fail_field("integrity",
                      std::format("{} does not go with {}", name_of(m.integrity(), fp::Integrity_Name(m.integrity())),
                                  fp::Encryption_Name(m.encryption())),
                      Errc::kUnsupported);
  const bool combined = integrity->integrity == esp::Integrity::kCombined;
  const std::size_t salt = combined ? esp::kAeadSaltBytes : 0;
  const std::size_t icv_bytes = combined ? cipher->icv_bytes : integrity->icv_bytes;
  const esp::Transform* t = nullptr;
  if (m.key().size() >= salt)
    t = esp::find_transform({cipher->cipher, integrity->integrity, m.key().size() - salt, icv_bytes});
  if (t == nullptr)
    return fail_field(
        "key", std::format("is {} bytes; {}{}{} has no such key", m.key().size(), fp::Encryption_Name(m.encryption()),
                           combined ? "" : " with ", combined ? "" : fp::Integrity_Name(m.integrity())));
  if (m.integrity_key().size() != t->integrity_key_bytes)
    return fail_field("integrity_key", std::format("is {} bytes; {} wants {}", m.integrity_key().size(), t->name,
                                                   t->integrity_key_bytes));
  GW_TRY(check_permission(*t, allowed));
  return t;
}

/// What the kernel takes as an interface name, and nothing that means something in a path or a pattern.
Status check_device(std::string_view name) {
  if (name.empty() || name.size() > 15)
    return fail_field("device", std::format("'{}' is not 1..15 characters", name.substr(0, 64)));
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '@';
  };
  if (!std::ranges::all_of(name, allowed) || name == "." || name == "..")
    return fail_field("device", std::format("'{}' is no interface name: letters, digits, '-', '_', '.', '@'", name));
  return {};
}

}  // namespace

Result<IpAddress> parse_address(std::string_view bytes, std::string field) {
  auto a = IpAddress::from_bytes(bytes);
  if (!a) return fail_field(field, std::format("is {} bytes; an address is 4 or 16", bytes.size()));
  return *a;
}

Result<control::SaKey> parse_sa_id(const fp::SaId& id) {
  if (id.spi() < kFirstSpi)
    return fail_field("id.spi", std::format("{} is reserved; SPIs begin at {}", id.spi(), kFirstSpi));
  GW_TRY_ASSIGN(const IpAddress dst, parse_address(id.dst(), "id.dst"));
  return control::SaKey{id.spi(), dst};
}

Result<control::SaRequest> parse_add_sa(const fp::AddSa& m, const esp::TransformPermissions& allowed) {
  control::SaRequest r;
  GW_TRY_ASSIGN(const control::SaKey key, parse_sa_id(m.id()));
  GW_TRY_ASSIGN(r.parameters.src, parse_endpoint(m.src(), "src"));
  GW_TRY_ASSIGN(r.parameters.dst, parse_endpoint(m.dst(), "dst"));
  if (r.parameters.dst.address != key.dst) return fail_field("dst.address", "differs from id.dst");
  GW_TRY_ASSIGN(r.tunnel_id, parse_tunnel_id(m.tunnel_id(), "tunnel_id"));
  GW_TRY_ASSIGN(r.parameters.transform, parse_transform(m, allowed));
  r.algorithm = r.parameters.transform->name;
  if (m.tfc_pad_to() > control::Tunnels::kMaxMtu)
    return fail_field("tfc_pad_to", std::format("{} is more than what always fits a buffer, {}", m.tfc_pad_to(),
                                                control::Tunnels::kMaxMtu));
  r.parameters.pad_to = static_cast<std::uint16_t>(m.tfc_pad_to());
  GW_TRY_ASSIGN(r.parameters.local, parse_selectors(m.local_selectors(), "local_selectors"));
  GW_TRY_ASSIGN(r.parameters.remote, parse_selectors(m.remote_selectors(), "remote_selectors"));
  r.direction = m.inbound() ? esp::Direction::kInbound : esp::Direction::kOutbound;
  r.origin = m.synced() ? esp::KeyOrigin::kSynced : m.fresh() ? esp::KeyOrigin::kFresh : esp::KeyOrigin::kReplayed;
  r.reqid = m.reqid();
  r.hard_lifetime = std::chrono::seconds(std::min<std::uint64_t>(m.lifetime().hard_seconds(), UINT32_MAX));
  r.parameters.spi = key.spi;
  r.parameters.encapsulation = m.udp_encapsulation() ? esp::Encapsulation::kUdp : esp::Encapsulation::kNative;
  r.parameters.sequence_mode = m.esn() ? esp::SequenceMode::kExtended : esp::SequenceMode::k32Bit;
  r.parameters.replay_window = std::clamp<std::uint32_t>((std::min(m.replay_window(), 4096u) + 63) / 64 * 64, 64, 4096);
  r.parameters.lifetime = {m.lifetime().soft_bytes(), m.lifetime().hard_bytes(), m.lifetime().soft_packets(),
                           m.lifetime().hard_packets()};
  r.parameters.key = Secret(std::string_view(m.key()));
  r.parameters.integrity_key = Secret(std::string_view(m.integrity_key()));
  return r;
}

void wipe_keys(fp::AddSa& m) {
  wipe(*m.mutable_key());
  wipe(*m.mutable_integrity_key());
}

Result<control::SaMove> parse_update_sa(const fp::UpdateSa& m) {
  control::SaMove move;
  GW_TRY_ASSIGN(move.key, parse_sa_id(m.id()));
  GW_TRY_ASSIGN(move.src, parse_endpoint(m.new_src(), "new_src"));
  GW_TRY_ASSIGN(move.dst, parse_endpoint(m.new_dst(), "new_dst"));
  move.encapsulation = m.udp_encapsulation() ? esp::Encapsulation::kUdp : esp::Encapsulation::kNative;
  return move;
}

Result<std::vector<control::EndpointClaim>> parse_put_endpoints(const fp::PutEndpoints& m) {
  std::vector<control::EndpointClaim> claims;
  for (int i = 0; i < m.endpoints_size(); ++i) {
    const fp::EndpointClaim& e = m.endpoints(i);
    const std::string field = std::format("endpoints[{}]", i);
    GW_TRY_ASSIGN(const IpAddress address, parse_address(e.address(), field + ".address"));
    if (e.ownership() != fp::OWNERSHIP_STANDBY && e.ownership() != fp::OWNERSHIP_OWNED)
      return fail_field(field + ".ownership", std::format("{} is unknown", static_cast<int>(e.ownership())));
    if (e.handover() != fp::HANDOVER_TAKEOVER && e.handover() != fp::HANDOVER_PLANNED)
      return fail_field(field + ".handover", std::format("{} is unknown", static_cast<int>(e.handover())));
    claims.push_back({
        .address = address,
        .ownership = e.ownership() == fp::OWNERSHIP_OWNED ? control::Ownership::kOwned : control::Ownership::kStandby,
        .lease_epoch = e.lease_epoch(),
        .deadline_ns = e.deadline_ns(),
        .handover = e.handover() == fp::HANDOVER_PLANNED ? control::Handover::kPlanned : control::Handover::kTakeover,
        .parting = e.parting(),
        .awaits_positions = e.awaits_positions(),
    });
  }
  return claims;
}

Result<std::optional<liveness::PeerSettings>> parse_put_peer(const fp::PutPeer& m) {
  using Peer = std::optional<liveness::PeerSettings>;
  if (m.peer_address().empty()) return Peer{};
  liveness::PeerSettings out;
  GW_TRY_ASSIGN(out.local, parse_address(m.local_address(), "local_address"));
  GW_TRY_ASSIGN(out.peer, parse_address(m.peer_address(), "peer_address"));
  if (out.local.family() != out.peer.family()) return fail_field("peer_address", "is of another family than ours");
  constexpr std::uint32_t kInstances = 16;
  if (m.instance() >= kInstances) return fail_field("instance", std::format("{} is not in 0..15", m.instance()));
  if (m.port() == 0 || m.port() > 65535) return fail_field("port", std::format("{} is no port", m.port()));
  if (m.key().size() != liveness::kHeartbeatKeyBytes)
    return fail_field("key", std::format("is {} bytes, not {}", m.key().size(), liveness::kHeartbeatKeyBytes));
  if (m.interval_ms() < 10 || m.interval_ms() > 10'000)
    return fail_field("interval_ms", std::format("{} is not in 10..10000", m.interval_ms()));
  if (m.multiplier() < 2 || m.multiplier() > 100)
    return fail_field("multiplier", std::format("{} is not in 2..100", m.multiplier()));
  out.partner.instance = static_cast<std::uint8_t>(m.instance());
  out.partner.timing = {std::chrono::milliseconds(m.interval_ms()), m.multiplier()};
  out.port = static_cast<std::uint16_t>(m.port());
  out.lease = m.embedded_lease() ? liveness::LeaseKind::kEmbedded : liveness::LeaseKind::kElsewhere;
  return Peer{out};
}

void fill(const liveness::PartnerStatus& status, fp::PeerState& out) {
  out.set_alive(status.alive);
  out.set_forwarding(status.forwarding == liveness::Forwarding::kYes);
  out.set_control_away(status.control == liveness::Control::kAway);
  if (status.last_heard) out.set_last_heard_ns(worker::boot_ns(*status.last_heard));
  for (const liveness::Claim& claim : status.claims) {
    fp::EndpointClaim& c = *out.add_claims();
    c.set_address(claim.endpoint.bytes_string());
    c.set_ownership(claim.ownership == liveness::Ownership::kOwned ? fp::OWNERSHIP_OWNED : fp::OWNERSHIP_STANDBY);
    c.set_lease_epoch(claim.lease_epoch);
  }
}

Status check_name(std::string_view name) {
  if (name.size() <= kMaxNameBytes) return {};
  return fail_field("name", std::format("has {} bytes; at most {}", name.size(), kMaxNameBytes));
}

namespace {

Result<esp::OuterPolicy> parse_outer(const fp::OuterHeader& m) {
  esp::OuterPolicy policy;
  if (m.dscp() > 63) return fail_field("outer.dscp", std::format("{} is not in 0..63", m.dscp()));
  policy.dscp = static_cast<std::uint8_t>(m.dscp());
  switch (m.dscp_policy()) {
    case fp::DSCP_COPY: policy.dscp_policy = esp::DscpPolicy::kCopy; break;
    case fp::DSCP_FIXED: policy.dscp_policy = esp::DscpPolicy::kFixed; break;
    default: return fail_field("outer.dscp_policy", std::format("{} is unknown", static_cast<int>(m.dscp_policy())));
  }
  switch (m.ecn()) {
    case fp::ECN_NORMAL: policy.ecn = esp::EcnPolicy::kNormal; break;
    case fp::ECN_COMPATIBILITY: policy.ecn = esp::EcnPolicy::kCompatibility; break;
    default: return fail_field("outer.ecn", std::format("policy {} is unknown", static_cast<int>(m.ecn())));
  }
  switch (m.df()) {
    case fp::DF_SET: policy.df = esp::DfPolicy::kSet; break;
    case fp::DF_COPY: policy.df = esp::DfPolicy::kCopy; break;
    case fp::DF_CLEAR: policy.df = esp::DfPolicy::kClear; break;
    default: return fail_field("outer.df", std::format("policy {} is unknown", static_cast<int>(m.df())));
  }
  return policy;
}

constexpr std::uint64_t kMaxBps = ip::kMaxBytesPerSecond * 8;

Result<ip::ByteRate> parse_rate(std::uint64_t bps, const char* field) {
  if (bps == 0) return ip::ByteRate{};
  if (bps < kMinBps || bps > kMaxBps)
    return fail_field(field, std::format("{} bit/s is not in {}..{}; 0: no limit", bps, kMinBps, kMaxBps));
  return ip::policed_at(bps / 8);
}

}  // namespace

Result<worker::Rates> parse_rates(std::uint64_t in_bps, std::uint64_t out_bps) {
  worker::Rates rates;
  GW_TRY_ASSIGN(rates.in, parse_rate(in_bps, "rate_in_bps"));
  GW_TRY_ASSIGN(rates.out, parse_rate(out_bps, "rate_out_bps"));
  return rates;
}

Result<control::TunnelSettings> parse_put_tunnel(const fp::PutTunnel& m) {
  control::TunnelSettings t;
  GW_TRY_ASSIGN(t.id, parse_tunnel_id(m.tunnel_id(), "tunnel_id"));
  GW_TRY(check_name(m.name()));
  GW_TRY(check_device(m.device()));
  if (m.mtu() < 576 || m.mtu() > control::Tunnels::kMaxJumboMtu)
    return fail_field("mtu", std::format("{} is not in 576..{}", m.mtu(), control::Tunnels::kMaxJumboMtu));
  if (m.mss_clamp() > m.mtu())
    return fail_field("mss_clamp", std::format("{} is more than the MTU {}", m.mss_clamp(), m.mtu()));
  if (m.carrier() != fp::CARRIER_FOLLOWS_SA && m.carrier() != fp::CARRIER_ALWAYS)
    return fail_field("carrier", std::format("policy {} is unknown", static_cast<int>(m.carrier())));
  GW_TRY_ASSIGN(t.outer, parse_outer(m.outer()));
  t.name = m.name();
  t.device = m.device();
  t.mtu = static_cast<std::uint16_t>(m.mtu());
  t.mss_clamp = static_cast<std::uint16_t>(m.mss_clamp());
  t.fragmentation = m.fragment() ? worker::InnerFragmentation::kCut : worker::InnerFragmentation::kRefuse;
  GW_TRY_ASSIGN(t.rates, parse_rates(m.rate_in_bps(), m.rate_out_bps()));
  if (!m.peer().empty()) {
    GW_TRY_ASSIGN(t.peer, parse_address(m.peer(), "peer"));
  }
  t.carrier = m.carrier() == fp::CARRIER_ALWAYS ? control::CarrierPolicy::kAlways : control::CarrierPolicy::kFollowsSa;
  return t;
}

fp::Code code_of(Errc code) {
  switch (code) {
    case Errc::kMalformed: return fp::MALFORMED;
    case Errc::kUnsupported: return fp::UNSUPPORTED;
    case Errc::kInvalidArgument: return fp::INVALID_ARGUMENT;
    case Errc::kAlreadyExists: return fp::ALREADY_EXISTS;
    case Errc::kNotFound: return fp::NOT_FOUND;
    case Errc::kLimit: return fp::LIMIT;
    case Errc::kNeedsRekey: return fp::NEEDS_REKEY;
    default: return fp::INTERNAL;
  }
}

void fill(const Error& error, fp::Status& out) {
  out.set_code(code_of(error.code));
  out.set_message(error.message);
  out.set_field(error.field);
}

void fill(const control::SaKey& key, fp::SaId& out) {
  out.set_spi(key.spi);
  out.set_dst(key.dst.bytes_string());
}

void fill(const esp::Endpoint& endpoint, fp::Endpoint& out) {
  out.set_address(endpoint.address.bytes_string());
  out.set_port(endpoint.port);
}

void fill(const esp::RuntimeRecord& record, fp::SaCounters& out) {
  const esp::SaCounters c = esp::counters_of(record);
  out.set_packets(c.packets);
  out.set_bytes(c.bytes);
  out.set_last_used_unix_ms(c.last_used_ms);
}

void fill(const control::EndpointClaim& claim, fp::EndpointClaim& out) {
  out.set_address(claim.address.bytes_string());
  out.set_ownership(claim.ownership == control::Ownership::kOwned ? fp::OWNERSHIP_OWNED : fp::OWNERSHIP_STANDBY);
  out.set_lease_epoch(claim.lease_epoch);
  out.set_deadline_ns(claim.deadline_ns);
  out.set_handover(claim.handover == control::Handover::kPlanned ? fp::HANDOVER_PLANNED : fp::HANDOVER_TAKEOVER);
}

void add_drop(std::string_view reason, std::uint64_t packets, google::protobuf::RepeatedPtrField<fp::DropCount>& out) {
  if (packets == 0) return;
  for (fp::DropCount& known : out) {
    if (known.reason() != reason) continue;
    known.set_packets(known.packets() + packets);
    return;
  }
  fp::DropCount* added = out.Add();
  added->set_reason(std::string(reason));
  added->set_packets(packets);
}

}  // namespace gw::rpc
