#include "gwd/config/model.hpp"

#include <algorithm>
#include <format>
#include <set>

#include "base/duration.hpp"
#include "gwd/config/asn.hpp"
#include "gwd/config/esp_proposals.hpp"
#include "gwd/config/metrics_address.hpp"
#include "gwd/config/policy.hpp"
#include "gwd/config/profiles.hpp"
#include "gwd/config/proposals.hpp"
#include "gwd/config/sessions.hpp"
#include "gwd/config/slots.hpp"

namespace gw::config {
namespace {

using std::chrono::seconds;

constexpr std::uint8_t kDefaultMultihop = 5;
constexpr std::uint32_t kDefaultMtu = 1400;
constexpr std::uint32_t kDefaultMss = 1350;
constexpr std::uint32_t kMssBelowMtu = 50;  // 1350 at 1400
constexpr seconds kDefaultMargin{270};
// With a shorter margin than this, a rekeying that needs retransmits would come too late: the SA lives on
// for it after its lifetime.
constexpr seconds kGrace{30};

Result<seconds> whole_seconds(const std::string& text) {
  GW_TRY_ASSIGN(const auto value, parse_duration(text));
  return std::chrono::duration_cast<seconds>(value);
}

Result<RekeyTimes> rekey_times(const std::string& lifetime_text, const std::string& margin_text) {
  GW_TRY_ASSIGN(const seconds lifetime, whole_seconds(lifetime_text));
  seconds margin = std::min(kDefaultMargin, lifetime / 10);
  if (!margin_text.empty()) {
    GW_TRY_ASSIGN(margin, whole_seconds(margin_text));
  }
  return RekeyTimes{
      .rekey = lifetime - margin, .jitter = margin, .hard = margin >= kGrace ? lifetime : lifetime + kGrace};
}

Result<std::vector<Prefix>> prefixes(const auto& texts) {
  std::vector<Prefix> out;
  for (const std::string& text : texts) {
    GW_TRY_ASSIGN(const Prefix prefix, Prefix::parse(text));
    out.push_back(prefix);
  }
  return out;
}

Status resolve_profile(const v1::Profile& profile, TunnelModel& tunnel) {
  const v1::Ike& ike = profile.ike();
  tunnel.ike = {.version = ike.version(),
                .encryption = ike.encryption(),
                .integrity = ike.integrity(),
                .dh_group = ike.dh_group(),
                .proposals = ike_proposals(ike),
                .times = {}};
  GW_TRY_ASSIGN(tunnel.ike.times, rekey_times(ike.lifetime(), ike.rekey_margin()));
  v1::Ipsec ipsec = profile.ipsec();
  if (ike.version() == 1) {  // quick mode offers one of each: what every device has
    ipsec.set_no_esn(true);
    if (ipsec.pfs().empty()) ipsec.set_pfs("PFS14");
  }
  EspSettings& esp = tunnel.esp;
  esp.proposals = esp_proposals(ipsec);
  GW_TRY_ASSIGN(esp.times, rekey_times(ipsec.lifetime(), ipsec.rekey_margin()));
  esp.hard_bytes = ipsec.lifetime_kb() * 1024;
  esp.rekey_bytes = esp.hard_bytes - esp.hard_bytes / 10;
  esp.replay_window = ipsec.replay_window();
  esp.tfc_padding = ipsec.tfc_padding();
  esp.esn = !ipsec.no_esn();
  GW_TRY_ASSIGN(tunnel.dpd_delay, whole_seconds(profile.dpd().delay()));
  return {};
}

Initiate resolve_initiate(v1::Initiate initiate) {
  switch (initiate) {
    case v1::INITIATOR_ONLY: return Initiate::kInitiatorOnly;
    case v1::RESPONDER_ONLY: return Initiate::kResponderOnly;
    default: return Initiate::kDefault;
  }
}

Status resolve_addresses(const TunnelSlot& slot, TunnelModel& tunnel) {
  const v1::Device& device = *slot.remote.device;
  GW_TRY_ASSIGN(tunnel.local, IpAddress::parse(slot.endpoint->address()));
  GW_TRY_ASSIGN(tunnel.remote, IpAddress::parse(device.address()));
  tunnel.local_identity = tunnel.local.to_string();
  if (!slot.endpoint->public_().empty()) {
    GW_TRY_ASSIGN(const IpAddress outside, IpAddress::parse(slot.endpoint->public_()));
    tunnel.local_identity = outside.to_string();
  }
  tunnel.remote_identity = device.identity().empty() ? tunnel.remote.to_string() : device.identity();
  return {};
}

Result<TunnelModel> resolve_tunnel(const v1::Config& config, const TunnelSlot& slot, std::uint32_t id,
                                   const ResolveOptions& options) {
  const v1::Connection& connection = *slot.connection;
  TunnelModel tunnel;
  tunnel.name = slot.name;
  tunnel.connection = connection.name();
  tunnel.home = slot.instance->name();
  tunnel.carrier = tunnel.home;
  tunnel.site = slot.remote.site->name();
  tunnel.site_device = slot.remote.device->name();
  if (slot.remote.site->kind() == v1::SITE_KIND_VNET) tunnel.kind = routes::SourceKind::kBranchVnet;
  tunnel.tunnel_id = id;
  tunnel.device = std::format("tun{}", id);
  GW_TRY(resolve_addresses(slot, tunnel));
  GW_TRY_ASSIGN(tunnel.psk, SecretReader(options, tunnel.fault).read(connection.secret().psk_file()));
  GW_TRY(resolve_profile(effective_profile(config, connection), tunnel));
  tunnel.initiate = resolve_initiate(connection.initiate());
  tunnel.encapsulation = connection.udp_encapsulation() ? v1::ENCAPSULATION_UDP : connection.encapsulation();
  tunnel.disabled = connection.disabled();
  tunnel.fragment = connection.fragment();
  tunnel.mtu = connection.mtu() == 0 ? kDefaultMtu : connection.mtu();
  tunnel.mss = connection.mss() != 0 ? connection.mss() : std::min(kDefaultMss, tunnel.mtu - kMssBelowMtu);
  GW_TRY_ASSIGN(tunnel.outer, resolve_outer(connection.outer_header()));
  GW_TRY_ASSIGN(tunnel.rates, resolve_rates(connection));
  GW_TRY_ASSIGN(tunnel.static_prefixes, prefixes(slot.remote.site->static_()));
  return tunnel;
}

Result<BgpSettings> resolve_session(const TunnelSlot& slot, InnerPair ends, std::uint32_t tunnel_id,
                                    SecretReader secrets) {
  if (slot.connection->bgp().unnumbered()) ends.local = ends.peer = link_local_of(tunnel_id);
  const v1::Device& device = *slot.remote.device;
  if (!device.loopback().empty()) {
    GW_TRY_ASSIGN(ends.peer, IpAddress::parse(device.loopback()));
  }
  GW_TRY_ASSIGN(BgpSettings bgp, resolve_tunnel_bgp(slot.connection->bgp(), ends, slot.remote.site->asn(), secrets));
  bgp.multihop = static_cast<std::uint8_t>(device.multihop());
  if (bgp.multihop == 0 && !device.loopback().empty()) bgp.multihop = kDefaultMultihop;
  return bgp;
}

Status resolve_tunnels(const v1::Config& config, const ResolveOptions& options, GatewayModel& model) {
  const std::vector<TunnelSlot> slots = tunnel_slots(config);
  std::vector<std::string> names;
  for (const TunnelSlot& slot : slots) names.push_back(slot.name);
  // Over all instances: a tunnel keeps its id when it moves to the other one.
  const std::vector<std::uint32_t> ids = allocate_tunnel_ids(names);
  const auto pairs = inner_pairs(config, slots);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const TunnelSlot& slot = slots[i];
    const bool own = slot.instance->name() == model.instance;
    if (!own && !model.ha) continue;
    auto tunnel = resolve_tunnel(config, slot, ids[i], options);
    if (!tunnel) return std::unexpected(std::move(tunnel).error().with_context(slot.name));
    if (slot.remote.site->asn() != 0) {
      const auto pair = pairs.find(slot.name);
      if (pair == pairs.end()) return fail(Errc::kLimit, std::format("{}: no inner addresses for BGP", slot.name));
      auto bgp = resolve_session(slot, pair->second, ids[i], SecretReader(options, tunnel->fault));
      if (!bgp) return std::unexpected(std::move(bgp).error().with_context(slot.name));
      tunnel->bgp = std::move(*bgp);
    }
    (own ? model.tunnels : model.elsewhere).push_back(std::move(*tunnel));
  }
  return {};
}

Result<const v1::Instance*> find_instance(const v1::Config& config, const std::string& name) {
  const auto& instances = config.gateway().instances();
  if (name.empty() && instances.size() == 1) return &instances[0];
  const auto found = std::ranges::find(instances, name, &v1::Instance::name);
  if (found != instances.end()) return &*found;
  return fail_field("gateway.instances", std::format("there is no instance '{}'", name), Errc::kNotFound);
}

Status resolve_instance(const v1::Instance& instance, GatewayModel& model) {
  model.instance = instance.name();
  model.wan_interface = instance.wan().interface();
  model.vnet_interface = instance.vnet().interface();
  model.circuit_interface = instance.circuit().interface();
  if (!instance.vnet().address().empty()) {
    GW_TRY_ASSIGN(model.vnet_address, IpAddress::parse(instance.vnet().address()));
  }
  std::optional<IpAddress> first_v4;
  for (const v1::EndpointAddress& endpoint : instance.wan().endpoints()) {
    WanEndpoint out;
    GW_TRY_ASSIGN(out.address, IpAddress::parse(endpoint.address()));
    if (!endpoint.public_().empty()) {
      GW_TRY_ASSIGN(out.public_address, IpAddress::parse(endpoint.public_()));
    }
    if (out.address.is_v4() && !first_v4) first_v4 = out.address;
    model.endpoints.push_back(out);
  }
  if (!instance.router_id().empty()) {
    GW_TRY_ASSIGN(first_v4, IpAddress::parse(instance.router_id()));
  }
  if (!first_v4) return fail_field("router_id", "there is no IPv4 endpoint to take it from");
  model.router_id = *first_v4;
  return {};
}

}  // namespace

const TunnelModel* GatewayModel::find_tunnel(std::string_view name) const {
  const auto found = std::ranges::find(tunnels, name, &TunnelModel::name);
  return found == tunnels.end() ? nullptr : &*found;
}

Findings rates_beyond(const v1::Config& config, const GatewayModel& model, std::uint64_t wan_bps) {
  Findings findings;
  const auto check = [&](const std::string& path, const std::vector<StatedRate>& stated) {
    for (const auto& [key, rates] : stated) {
      const std::uint64_t bps = std::max(rates.in_bps, rates.out_bps);
      if (wan_bps == 0 || bps <= wan_bps) continue;
      findings.push_back({Severity::kError,
                          "",
                          {},
                          std::format("{}.{}", path, key),
                          std::format("{} is more than the link of {} carries, {}", rate_text(bps), model.wan_interface,
                                      rate_text(wan_bps)),
                          std::format("at most {}, or no `{}`", rate_text(wan_bps), key)});
    }
  };
  // A SKU is a product, whatever the machine.
  check("gateway", stated_rates(config.gateway()));
  for (int i = 0; i < config.connections_size(); ++i)
    if (std::ranges::contains(model.tunnels, config.connections(i).name(), &TunnelModel::connection))
      check(std::format("connections[{}]", i), stated_rates(config.connections(i)));
  return findings;
}

std::vector<IpAddress> wan_routers(const GatewayModel& model) {
  std::set<IpAddress> routers;
  for (const SessionModel& session : model.sessions)
    if (session.kind == routes::SourceKind::kWan) routers.insert(session.bgp.peer);
  return {routers.begin(), routers.end()};
}

GatewayModel carried_model(const GatewayModel& model, const Carriers& carriers) {
  GatewayModel out = model;
  out.tunnels.clear();
  out.elsewhere.clear();
  for (const auto* list : {&model.tunnels, &model.elsewhere}) {
    for (const TunnelModel& tunnel : *list) {
      const auto carrier = carriers.find(tunnel.local);
      const std::string name = carrier == carriers.end() ? "" : carrier->second;
      (name == model.instance ? out.tunnels : out.elsewhere).emplace_back(tunnel).carrier = name;
    }
  }
  return out;
}

Result<GatewayModel> resolve(const v1::Config& config, const ResolveOptions& options) {
  GW_TRY_ASSIGN(const v1::Instance* instance, find_instance(config, options.instance));
  GatewayModel model;
  model.gateway = config.gateway().name();
  model.asn = config.gateway().asn() == 0 ? kDefaultAsn : config.gateway().asn();
  GW_TRY(resolve_instance(*instance, model));
  GW_TRY_ASSIGN(model.rates, resolve_rates(config.gateway()));
  model.sku = find_sku(config.gateway().sku())->name;
  GW_TRY_ASSIGN(model.vnet_prefixes, prefixes(config.vnet().prefixes()));
  for (const std::string* text : {&config.vnet().next_hop(), &config.vnet().next_hop6()}) {
    if (text->empty()) continue;
    GW_TRY_ASSIGN(const IpAddress next_hop, IpAddress::parse(*text));
    model.vnet_next_hops.push_back(next_hop);
  }
  for (const v1::Peering& peering : config.vnet().peerings()) {
    if (!peering.use_remote_gateways()) continue;
    GW_TRY_ASSIGN(std::vector<Prefix> own, prefixes(peering.prefixes()));
    model.spokes.push_back({peering.name(), std::move(own)});
  }
  const std::string& metrics = config.management().metrics();
  GW_TRY_ASSIGN(const MetricsAddress listen,
                parse_metrics_address(metrics.empty() ? kDefaultMetrics : std::string_view(metrics)));
  model.metrics_address = listen.address.to_string();
  model.metrics_port = listen.port;
  GW_TRY_ASSIGN(model.ha, resolve_ha(config.gateway(), {model.instance, options.base_dir}));
  GW_TRY(resolve_tunnels(config, options, model));
  GW_TRY(resolve_sessions(config, options, model));
  GW_TRY_ASSIGN(model.policy, resolve_policy(config, model));
  return model;
}

}  // namespace gw::config
