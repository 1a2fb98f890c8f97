#include "ebpf/rpc/service.hpp"

#include <sys/random.h>

#include "base/log.hpp"
#include "ebpf/rpc/messages.hpp"

namespace gw::rpc {
namespace {

constexpr std::uint32_t kVersion = 1;

std::uint64_t random_epoch() {
  std::uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) std::abort();  // cannot happen for 8 bytes
  return value | 1;
}

std::string_view role_name(fp::Role role) {
  switch (role) {
    case fp::ROLE_IKE: return "ike";
    case fp::ROLE_CONTROL: return "control";
    case fp::ROLE_OBSERVER: return "observer";
    case fp::ROLE_SYNC: return "sync";
    default: return "none";
  }
}

/// Who may ask for this; ROLE_UNSPECIFIED: everybody.
fp::Role owner_of(fp::ClientFrame::BodyCase body) {
  switch (body) {
    case fp::ClientFrame::kAddSa:
    case fp::ClientFrame::kUpdateSa:
    case fp::ClientFrame::kDelSa:
    case fp::ClientFrame::kReserveSpi:
    case fp::ClientFrame::kActivateOutbound: return fp::ROLE_IKE;
    case fp::ClientFrame::kPutTunnel:
    case fp::ClientFrame::kDelTunnel:
    case fp::ClientFrame::kPutSettings:
    case fp::ClientFrame::kPutEndpoints:
    case fp::ClientFrame::kPutPeer:
    case fp::ClientFrame::kUpdateRoutes: return fp::ROLE_CONTROL;
    case fp::ClientFrame::kPeerSync:
    case fp::ClientFrame::kPeerSyncReset: return fp::ROLE_SYNC;
    default: return fp::ROLE_UNSPECIFIED;
  }
}

}  // namespace

Service::Service(Parts parts) : parts_(std::move(parts)), epoch_(random_epoch()), started_(parts_.clock.now()) {}

fp::Response Service::handle(Client& client, const fp::ClientFrame& request) {
  fp::Response response;
  if (auto done = dispatch(client, request, response); !done) {
    response.Clear();
    fill(done.error(), *response.mutable_status());
    log::info("rpc", "{}: {} refused: {}", client.name, static_cast<int>(request.body_case()), done.error().describe());
  }
  return response;
}

Status Service::dispatch(Client& client, const fp::ClientFrame& request, fp::Response& out) {
  const fp::Role owner = owner_of(request.body_case());
  if (owner != fp::ROLE_UNSPECIFIED && owner != client.role)
    return fail_field("hello.role", std::format("this request is for role '{}'; this client is '{}'", role_name(owner),
                                                role_name(client.role)));
  if (client.role == fp::ROLE_CONTROL) parts_.liveness.note_control();
  switch (request.body_case()) {
    case fp::ClientFrame::kHello: return hello(client, request.hello(), out);
    case fp::ClientFrame::kPing: return {};
    case fp::ClientFrame::kSyncDone: return sync_done(client);
    case fp::ClientFrame::kQuerySa: return query_sa(request.query_sa(), out);
    case fp::ClientFrame::kListSas: list_sas(*out.mutable_sas()); return {};
    case fp::ClientFrame::kListTunnels: list_tunnels(*out.mutable_tunnels()); return {};
    case fp::ClientFrame::kListRoutes:
      out.mutable_routes();
      for (const fib::Route& route : parts_.forwarding.routes()) fill(route, *out.mutable_routes()->add_routes());
      return {};
    case fp::ClientFrame::kReadForwarding: return read_forwarding(request.read_forwarding(), *out.mutable_routes());
    case fp::ClientFrame::kGetCounters: counters(*out.mutable_counters()); return {};
    case fp::ClientFrame::kGetMemory: memory(*out.mutable_memory()); return {};
    case fp::ClientFrame::kListPorts: list_ports(*out.mutable_ports()); return {};
    case fp::ClientFrame::kTrace: return trace(request.trace(), *out.mutable_trace());
    case fp::ClientFrame::kListBfd: parts_.liveness.list(*out.mutable_bfd()); return {};
    default: return write_request(client, request, out);
  }
}

Status Service::write_request(Client& client, const fp::ClientFrame& request, fp::Response& out) {
  switch (request.body_case()) {
    case fp::ClientFrame::kAddSa: return add_sa(client, request.add_sa(), out);
    case fp::ClientFrame::kUpdateSa: {
      GW_TRY_ASSIGN(const control::SaMove move, parse_update_sa(request.update_sa()));
      return parts_.sas.move(move);
    }
    case fp::ClientFrame::kDelSa: {
      GW_TRY_ASSIGN(const control::SaKey key, parse_sa_id(request.del_sa().id()));
      return parts_.sas.remove(key);
    }
    case fp::ClientFrame::kReserveSpi: {
      GW_TRY_ASSIGN(const control::SaKey key, parse_sa_id(request.reserve_spi().id()));
      return parts_.sas.reserve(key);
    }
    case fp::ClientFrame::kActivateOutbound: {
      GW_TRY_ASSIGN(const control::SaKey key, parse_sa_id(request.activate_outbound().id()));
      return parts_.sas.activate(key);
    }
    case fp::ClientFrame::kPutTunnel: return put_tunnel(client, request.put_tunnel());
    case fp::ClientFrame::kDelTunnel: return del_tunnel(request.del_tunnel().tunnel_id());
    case fp::ClientFrame::kUpdateRoutes: return update_routes(client, request.update_routes());
    case fp::ClientFrame::kPutSettings: return put_settings(client, request.put_settings());
    case fp::ClientFrame::kPutEndpoints: return put_endpoints(request.put_endpoints(), out);
    case fp::ClientFrame::kPutPeer: return put_peer(request.put_peer());
    case fp::ClientFrame::kPeerSync: return peer_sync(request.peer_sync());
    case fp::ClientFrame::kPeerSyncReset: return peer_sync_reset(request.peer_sync_reset());
    default: return fail(Errc::kUnsupported, "this version does not know the request");
  }
}

Status Service::hello(Client& client, const fp::Hello& m, fp::Response& out) {
  if (m.version() != kVersion)
    return fail_field("version", std::format("{} is not supported; {} is", m.version(), kVersion), Errc::kUnsupported);
  if (m.role() < fp::ROLE_IKE || m.role() > fp::ROLE_SYNC)
    return fail_field("role", std::format("{} is unknown", static_cast<int>(m.role())));
  GW_TRY(check_name(m.name()));
  if (m.role() == fp::ROLE_IKE && m.epoch() == 0) return fail_field("epoch", "is 0; an IKE client makes a random one");
  client = {m.role(), m.name().empty() ? std::string(role_name(m.role())) : m.name(), m.epoch(), ++generation_};
  if (m.role() == fp::ROLE_IKE) parts_.sas.on_hello(m.epoch());
  log::info("rpc", "{} connected as {}", client.name, role_name(m.role()));
  fp::HelloReply& reply = *out.mutable_hello();
  reply.set_version(kVersion);
  reply.set_epoch(epoch_);
  reply.set_crypto_backend(std::string(parts_.workers[0].crypto_name()));
  reply.set_max_tunnels(static_cast<std::uint32_t>(parts_.workers.shared().tunnels()));
  reply.set_max_sas(static_cast<std::uint32_t>(parts_.max_sas));
  if (m.role() == fp::ROLE_CONTROL)
    for (const auto& [address, endpoint] : parts_.sas.endpoints().all()) fill(endpoint.claim, *reply.add_endpoints());
  return {};
}

Status Service::add_sa(const Client& client, const fp::AddSa& m, fp::Response& out) {
  GW_TRY_ASSIGN(const control::SaRequest request, parse_add_sa(m, parts_.transforms));
  GW_TRY_ASSIGN(const std::uint32_t iv_epoch, parts_.sas.add(request, client.epoch));
  std::string kept = m.SerializeAsString();
  parts_.sas.keep_request(request.key(), Secret(std::string_view(kept)));
  wipe(kept);
  out.mutable_add_sa()->set_iv_epoch(iv_epoch);
  return {};
}

Status Service::query_sa(const fp::QuerySa& m, fp::Response& out) {
  GW_TRY_ASSIGN(const control::SaKey key, parse_sa_id(m.id()));
  const control::SaEntry* entry = parts_.sas.table().find(key);
  if (!entry)
    return fail_field("id", std::format("SPI {:08x} to {} is not installed", key.spi, key.dst), Errc::kNotFound);
  fill(*entry->record, *out.mutable_query_sa());
  return {};
}

Status Service::put_tunnel(const Client& client, const fp::PutTunnel& m) {
  GW_TRY_ASSIGN(const control::TunnelSettings settings, parse_put_tunnel(m));
  const auto before = parts_.tunnels.ref(settings.id);
  GW_TRY(parts_.tunnels.put(settings, client.generation));
  tunnel_requests_[settings.id] = m;
  parts_.sas.apply_outer_policy(settings.id);
  const auto now = parts_.tunnels.ref(settings.id);
  if (before && now && *before != *now) return parts_.forwarding.tunnel_changed(*now);
  return {};
}

Status Service::del_tunnel(std::uint32_t id) {
  if (!parts_.tunnels.ref(id))
    return fail_field("tunnel_id", std::format("tunnel {} is not configured", id), Errc::kNotFound);
  GW_TRY(parts_.forwarding.tunnel_removed(id));
  parts_.tunnels.remove(id);
  tunnel_requests_.erase(id);
  log::info("rpc", "tunnel {} removed", id);
  return {};
}

Status Service::update_routes(const Client& client, const fp::UpdateRoutes& m) {
  GW_TRY_ASSIGN(const RouteUpdate update,
                parse_update_routes(m, {[this](std::uint32_t id) { return parts_.tunnels.ref(id); }, parts_.circuit}));
  return parts_.forwarding.update(update.add, update.remove, client.generation);
}

Status Service::put_settings(const Client& client, const fp::PutSettings& m) {
  if (m.circuit_transit() && parts_.circuit == CircuitPort::kNone)
    return fail_field("circuit_transit", "there is no circuit port; gw-fastpath --circuit names its interface");
  GW_TRY_ASSIGN(const worker::Rates rates, parse_rates(m.rate_in_bps(), m.rate_out_bps()));
  settings_generation_ = client.generation;
  parts_.rates.set(rates);
  set_transit(m.circuit_transit() ? xdp::Transit::kOpen : xdp::Transit::kClosed);
  return {};
}

void Service::set_transit(xdp::Transit transit) {
  if (parts_.maps.transit() == transit) return;
  parts_.maps.set_transit(transit);
  parts_.workers.shared().circuit_transit = transit == xdp::Transit::kOpen;
  log::info("rpc", "transit between circuit and tunnels is {}", transit == xdp::Transit::kOpen ? "open" : "closed");
}

Status Service::put_endpoints(const fp::PutEndpoints& m, fp::Response& out) {
  GW_TRY_ASSIGN(const auto claims, parse_put_endpoints(m));
  const auto owned = [this] {
    std::set<IpAddress> addresses;
    for (const auto& [address, endpoint] : parts_.sas.endpoints().all())
      if (endpoint.claim.ownership == control::Ownership::kOwned) addresses.insert(address);
    return addresses;
  };
  const std::set<IpAddress> before = owned();
  GW_TRY_ASSIGN(const auto put, parts_.sas.put_endpoints(claims));
  if (owned() != before) endpoints_moved_ = parts_.clock.now();
  parts_.liveness.set_claims(parts_.sas.endpoints());
  fp::PutEndpointsReply& reply = *out.mutable_put_endpoints();
  for (const control::SaKey& key : put.needs_rekey) fill(key, *reply.add_needs_rekey());
  for (const IpAddress& address : put.awaited) reply.add_awaited(address.bytes_string());
  return {};
}

Status Service::put_peer(const fp::PutPeer& m) {
  GW_TRY_ASSIGN(const auto settings, parse_put_peer(m));
  GW_TRY(parts_.liveness.set_peer(settings, Secret(m.key())));
  std::string kept = m.SerializeAsString();
  peer_request_ = settings ? Secret(std::string_view(kept)) : Secret();
  wipe(kept);
  return {};
}

Status Service::peer_sync(const fp::PeerSync& m) {
  if (m.has_bfd()) return parts_.liveness.receive_sync(m.bfd());
  if (m.has_sa()) parts_.sas.sync().receive(m.sa());
  return {};
}

Status Service::peer_sync_reset(const fp::PeerSyncReset& m) {
  if (m.connected()) {
    parts_.sas.sync().connect();
    parts_.liveness.sync_connected();
  } else {
    parts_.sas.sync().disconnect();
    parts_.liveness.sync_disconnected();
  }
  return {};
}

Status Service::sync_done(const Client& client) {
  switch (client.role) {
    case fp::ROLE_IKE:
      parts_.sas.on_sync_done(client.epoch);
      parts_.tunnels.settle_all();
      return {};
    case fp::ROLE_CONTROL:
      if (settings_generation_ < client.generation) {
        set_transit(xdp::Transit::kClosed);
        parts_.rates.set({});
      }
      GW_TRY(parts_.forwarding.sweep(client.generation));
      for (const std::uint32_t id : parts_.tunnels.older_than(client.generation)) GW_TRY(del_tunnel(id));
      parts_.tunnels.drop_unclaimed();
      parts_.liveness.tell_peer();
      return {};
    default: return fail_field("hello.role", "an observer has nothing to sync");
  }
}

}  // namespace gw::rpc
