#include "gwd/api/ha.hpp"

#include <algorithm>
#include <chrono>
#include <format>

namespace gw::gwd {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;

std::uint64_t ms(std::chrono::nanoseconds time) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration_cast<milliseconds>(time).count()));
}

std::string words(ha::Reason reason) { return reason == ha::Reason::kNone ? "" : std::string(to_string(reason)); }

Result<HaController*> controller(Gateway& gateway) {
  if (gateway.ha() != nullptr) return gateway.ha();
  return fail(Errc::kNotFound,
              "this gateway has no other instance to share state with (gateway.instances[].sync in the document)");
}

Result<IpAddress> endpoint_address(const std::string& text) {
  auto address = IpAddress::parse(text);
  if (!address) return fail_field("address", std::format("'{}' is not an address", text));
  return *address;
}

void fill_peers(const HaController& ha, const ha::Snapshot& snapshot, api::HaReply& reply) {
  for (const ha::Snapshot::Peer& peer : snapshot.peers) {
    api::HaPeer& out = *reply.add_peers();
    out.set_instance(ha.name_of(peer.id));
    out.set_sync(peer.sync == ha::Link::kUp);
    if (peer.sync_age) out.set_sync_age_ms(ms(*peer.sync_age));
    out.set_data(peer.data == ha::Link::kUp);
    if (peer.data_age) out.set_data_age_ms(ms(*peer.data_age));
    out.set_unfit(words(peer.unfit));
    out.set_has_all_of_ours(peer.in_sync == ha::Link::kUp);
    out.set_we_have_all_of_its(peer.we_are_in_sync == ha::Link::kUp);
  }
}

void fill_endpoints(const HaController& ha, const ha::Snapshot& snapshot, MonoTime now, api::HaReply& reply) {
  for (const ha::Snapshot::Endpoint& endpoint : snapshot.endpoints) {
    api::HaEndpoint& out = *reply.add_endpoints();
    out.set_address(endpoint.address.to_string());
    out.set_home(ha.name_of(endpoint.home));
    out.set_preferred(ha.name_of(endpoint.preferred));
    if (endpoint.owner) out.set_owner(ha.name_of(*endpoint.owner));
    out.set_state(std::string(to_string(endpoint.state)));
    out.set_term(ha::term(endpoint.epoch));
    if (endpoint.moving_to) out.set_moving_to(ha.name_of(*endpoint.moving_to));
    out.set_cause(endpoint.cause);
    out.set_since_ms(ms(now - endpoint.since));
    if (endpoint.failback_in) out.set_failback_in_ms(ms(*endpoint.failback_in));
    out.set_stays(endpoint.stay == ha::Stay::kUntilMoved);
  }
}

void fill_moves(const config::HaModel& model, const WanAnnouncements& wan, api::HaReply& reply) {
  for (api::HaEndpoint& endpoint : *reply.mutable_endpoints()) {
    const auto it = std::ranges::find(model.endpoints, endpoint.address(),
                                      [](const config::HaEndpoint& e) { return e.address.to_string(); });
    if (it == model.endpoints.end()) continue;
    endpoint.set_move(std::string(to_string(it->move)));
    for (const std::string& session : wan.announced_to(it->address)) endpoint.add_announced_to(session);
  }
}

void fill_certificates(const HaController& ha, WallTime now, api::HaReply& reply) {
  for (const pki::CertificateEnd& end : ha.certificates()) {
    const pki::Lifetime lifetime = pki::lifetime(end.until, now);
    api::HaCertificate& out = *reply.add_certificates();
    out.set_file(end.file);
    out.set_until_unix_ms(ms(end.until.time_since_epoch()));
    out.set_seconds_left(std::chrono::floor<std::chrono::seconds>(end.until - now).count());
    out.set_severity(std::string(severity(lifetime)));
    out.set_text(describe(end, now));
    out.set_renewal(end.renewal);
    if (out.severity().empty()) continue;
    api::HaAlarm& alarm = *reply.add_alarms();
    alarm.set_kind(lifetime == pki::Lifetime::kExpired ? "HaCertificateExpired" : "HaCertificateEnds");
    alarm.set_text(std::format("{}: {}", out.text(), end.renewal));
    alarm.set_severity(out.severity());
  }
}

void fill_channel(const HaController& ha, api::HaReply& reply) {
  const sync::ChannelStats& stats = ha.channel();
  const config::HaModel& model = ha.model();
  for (std::size_t i = 0; i < stats.paths.size(); ++i) {
    const sync::PathState& path = stats.paths[i];
    api::HaPath& out = *reply.add_paths();
    if (i < model.instances[model.self].sync.size()) out.set_local(model.instances[model.self].sync[i].to_string());
    if (i < model.instances[model.peer()].sync.size())
      out.set_remote(model.instances[model.peer()].sync[i].to_string());
    out.set_connected(path.connected);
    out.set_problem(path.problem);
    out.set_round_trip_us(static_cast<std::uint64_t>(path.round_trip.count()));
  }
  for (const sync::Kind kind : sync::kKinds) {
    const sync::KindCounters& counters = stats.kinds[sync::index_of(kind)];
    api::HaStream& out = *reply.add_streams();
    out.set_kind(std::string(sync::to_string(kind)));
    out.set_sent_messages(counters.sent_messages);
    out.set_sent_bytes(counters.sent_bytes);
    out.set_received_messages(counters.received_messages);
    out.set_received_bytes(counters.received_bytes);
    out.set_lag_us(static_cast<std::uint64_t>(counters.lag.count()));
  }
}

}  // namespace

Result<api::HaReply> make_ha_reply(const Gateway& gateway, const ConfigService& config, const Clock& clock) {
  const HaController* ha = gateway.ha();
  if (ha == nullptr)
    return fail(Errc::kNotFound,
                "this gateway has no other instance to share state with (gateway.instances[].sync in the document)");
  const ha::Snapshot snapshot = ha->snapshot();
  const config::HaModel& model = ha->model();
  api::HaReply reply;
  reply.set_instance(ha->name_of(snapshot.self));
  reply.set_mode(model.mode == config::HaMode::kActiveStandby ? "active-standby" : "active-active");
  if (model.mode == config::HaMode::kActiveStandby)
    reply.set_preferred(ha->name_of(static_cast<ha::Instance>(model.preferred)));
  reply.set_lease(model.lease == config::LeaseKind::kEtcd ? "etcd" : "embedded");
  reply.set_unfit(words(snapshot.unfit));
  reply.set_drained(snapshot.drained == ha::Switch::kOn);
  fill_peers(*ha, snapshot, reply);
  fill_endpoints(*ha, snapshot, clock.now(), reply);
  fill_moves(model, gateway.wan(), reply);
  for (const ha::Alarm& alarm : snapshot.alarms) {
    api::HaAlarm& out = *reply.add_alarms();
    out.set_kind(std::string(to_string(alarm.kind)));
    if (alarm.address) out.set_address(alarm.address->to_string());
    out.set_text(alarm.text);
    out.set_severity("error");
  }
  if (!config.sync_alarm().empty()) {
    api::HaAlarm& out = *reply.add_alarms();
    out.set_kind("HaConfigurationsDiffer");
    out.set_text(config.sync_alarm());
    out.set_severity("error");
  }
  fill_certificates(*ha, clock.wall(), reply);
  fill_channel(*ha, reply);
  reply.mutable_ike()->set_charon(ha->ike().charon);
  reply.mutable_ike()->set_synced(ha->ike().synced);
  reply.mutable_ike()->set_held(ha->ike().held);
  return reply;
}

Status ha_drain(Gateway& gateway) {
  GW_TRY_ASSIGN(HaController* const ha, controller(gateway));
  return ha->command(ha::Drain{});
}

Status ha_undrain(Gateway& gateway) {
  GW_TRY_ASSIGN(HaController* const ha, controller(gateway));
  return ha->command(ha::Undrain{});
}

Status ha_move(Gateway& gateway, const api::HaMoveRequest& request) {
  GW_TRY_ASSIGN(HaController* const ha, controller(gateway));
  GW_TRY_ASSIGN(const IpAddress address, endpoint_address(request.address()));
  const config::HaModel& model = ha->model();
  if (request.instance().empty()) {
    // The other one of whoever has it.
    const auto endpoints = ha->snapshot().endpoints;
    const auto it = std::ranges::find(endpoints, address, &ha::Snapshot::Endpoint::address);
    const bool ours = it != endpoints.end() && it->owner == static_cast<ha::Instance>(model.self);
    return ha->command(ha::Move{address, static_cast<ha::Instance>(ours ? model.peer() : model.self)});
  }
  const auto to = std::ranges::find(model.instances, request.instance(), &config::HaInstance::name);
  if (to == model.instances.end())
    return fail_field("instance", std::format("there is no instance '{}'", request.instance()), Errc::kNotFound);
  return ha->command(ha::Move{address, static_cast<ha::Instance>(to - model.instances.begin())});
}

Status ha_takeover(Gateway& gateway, const api::HaTakeoverRequest& request) {
  GW_TRY_ASSIGN(HaController* const ha, controller(gateway));
  if (request.address().empty()) return ha->command(ha::Takeover{});
  GW_TRY_ASSIGN(const IpAddress address, endpoint_address(request.address()));
  return ha->command(ha::Takeover{address});
}

}  // namespace gw::gwd
