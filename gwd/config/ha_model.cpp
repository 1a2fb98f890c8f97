#include "gwd/config/ha_model.hpp"

#include "base/duration.hpp"
#include "gwd/config/secret_file.hpp"

namespace gw::config {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDefaultFailbackDelay{60'000};
constexpr milliseconds kDefaultHookTimeout{10'000};
constexpr milliseconds kDefaultTtl{5'000};
constexpr std::uint16_t kDefaultPort = 9621;
constexpr const char* kDefaultTlsDir = "ha";

Result<milliseconds> duration_or(const std::string& text, milliseconds otherwise) {
  if (text.empty()) return otherwise;
  return parse_duration(text);
}

std::string path_or_none(const std::string& file, const std::string& base_dir) {
  return file.empty() ? std::string() : resolve_path(file, base_dir);
}

MoveBy resolve_move(v1::Move move) {
  switch (move) {
    case v1::MOVE_HOOK: return MoveBy::kHook;
    case v1::MOVE_BGP: return MoveBy::kBgp;
    default: return MoveBy::kGarp;
  }
}

Result<HaInstance> resolve_instance(const v1::Instance& instance) {
  HaInstance out{.name = instance.name()};
  for (const std::string& text : instance.sync()) {
    GW_TRY_ASSIGN(const IpAddress address, IpAddress::parse(text));
    out.sync.push_back(address);
  }
  if (!instance.vnet().address().empty()) {
    GW_TRY_ASSIGN(out.vnet_address, IpAddress::parse(instance.vnet().address()));
  }
  return out;
}

Result<HaEndpoint> resolve_endpoint(const v1::EndpointAddress& endpoint) {
  HaEndpoint out;
  GW_TRY_ASSIGN(out.address, IpAddress::parse(endpoint.address()));
  if (!endpoint.public_().empty()) {
    GW_TRY_ASSIGN(out.public_address, IpAddress::parse(endpoint.public_()));
  }
  out.move = resolve_move(endpoint.move());
  out.hook = endpoint.hook();
  return out;
}

Result<EtcdModel> resolve_etcd(const v1::Lease& lease, const std::string& base_dir) {
  EtcdModel out;
  out.endpoints.assign(lease.endpoints().begin(), lease.endpoints().end());
  out.ca_file = path_or_none(lease.tls().ca_file(), base_dir);
  out.cert_file = path_or_none(lease.tls().cert_file(), base_dir);
  out.key_file = path_or_none(lease.tls().key_file(), base_dir);
  GW_TRY_ASSIGN(const milliseconds ttl, duration_or(lease.ttl(), kDefaultTtl));
  out.ttl = std::chrono::duration_cast<std::chrono::seconds>(ttl);
  return out;
}

Status resolve_settings(const v1::HaSettings& settings, const std::string& base_dir, HaModel& model) {
  model.failback = settings.failback() == v1::FAILBACK_MANUAL ? Failback::kManual : Failback::kAuto;
  GW_TRY_ASSIGN(model.failback_delay, duration_or(settings.failback_delay(), kDefaultFailbackDelay));
  GW_TRY_ASSIGN(model.heartbeat, duration_or(settings.heartbeat(), kDefaultHeartbeat));
  GW_TRY_ASSIGN(model.hook_timeout, duration_or(settings.hook_timeout(), kDefaultHookTimeout));
  model.multiplier = settings.multiplier() == 0 ? kDefaultMultiplier : settings.multiplier();
  model.port = settings.port() == 0 ? kDefaultPort : static_cast<std::uint16_t>(settings.port());
  model.tls_dir = resolve_path(settings.tls_dir().empty() ? kDefaultTlsDir : settings.tls_dir(), base_dir);
  return {};
}

}  // namespace

std::string_view to_string(MoveBy move) {
  switch (move) {
    case MoveBy::kGarp: return "garp";
    case MoveBy::kHook: return "hook";
    case MoveBy::kBgp: return "bgp";
  }
  return "?";
}

Result<std::optional<HaModel>> resolve_ha(const v1::Gateway& gateway, const HaResolve& options) {
  constexpr int kPair = 2;
  if (gateway.instances_size() != kPair || gateway.instances(0).sync().empty()) return std::nullopt;
  HaModel model;
  for (InstanceNumber i = 0; i < kPair; ++i) {
    const v1::Instance& instance = gateway.instances(static_cast<int>(i));
    if (instance.name() == options.instance) model.self = i;
    if (instance.name() == gateway.preferred()) model.preferred = i;
    GW_TRY_ASSIGN(HaInstance own, resolve_instance(instance));
    model.instances.push_back(std::move(own));
    for (const v1::EndpointAddress& text : instance.wan().endpoints()) {
      GW_TRY_ASSIGN(HaEndpoint endpoint, resolve_endpoint(text));
      endpoint.home = i;
      model.endpoints.push_back(std::move(endpoint));
    }
  }
  if (gateway.mode() == v1::GATEWAY_MODE_ACTIVE_STANDBY) model.mode = HaMode::kActiveStandby;
  if (gateway.lease().kind() == v1::LEASE_KIND_ETCD) {
    model.lease = LeaseKind::kEtcd;
    GW_TRY_ASSIGN(model.etcd, resolve_etcd(gateway.lease(), options.base_dir));
  }
  GW_TRY(resolve_settings(gateway.ha(), options.base_dir, model));
  return model;
}

}  // namespace gw::config
