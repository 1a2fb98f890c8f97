// Gateway as one of two instances: what HA and the sync channel ask of it, when they begin and end.
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/control/gateway.hpp"
#include "gwd/control/site_moves.hpp"
#include "gwd/version.hpp"

namespace gw::gwd {
namespace {

constexpr std::chrono::milliseconds kHaEnds{5};  // how often it is asked whether it has

}  // namespace

// Without certificates the instances never hear of each other, and each would think that the other one is dead.
bool Gateway::wants_ha(const config::GatewayModel& document) const {
  if (!document.ha || paths_.ike_ha.empty()) return false;
  const config::HaModel& ha = *document.ha;
  const std::filesystem::path folder = ha.tls_dir;
  const std::string& name = ha.instances[ha.self].name;
  for (const std::string& file : {std::string("ca.crt"), name + ".crt", name + ".key"}) {
    std::error_code error;
    if (std::filesystem::exists(folder / file, error)) continue;
    log::error("ha", "{} is missing: endpoints stay at home; make it with `gwctl ha init`, then `gwctl apply` again",
               (folder / file).string());
    return false;
  }
  if (const auto ok = HaController::check(ha); !ok) {
    log::error("ha", "endpoints stay at home: {}", ok.error().describe());
    return false;
  }
  return true;
}

void Gateway::apply_ha(const config::GatewayModel& document) {
  if (ha_ending_) return;  // it looks at document_ when it has ended
  if (ha_) {
    if (wants_ha(document) && ha_->reconfigure(document)) return;
    // A document may come by the channel itself, and coroutines are under way: not here and now.
    ha_ending_ = true;
    boost::asio::co_spawn(io_, end_ha(), kEndOnException);
    return;
  }
  ha_ = std::make_unique<HaController>(HaController::Parts{.io = io_,
                                                           .clock = clock_,
                                                           .fastpath = fastpath_,
                                                           .kernel = kernel_,
                                                           .fastpath_socket = paths_.fastpath,
                                                           .ike_socket = paths_.ike_ha,
                                                           .release = std::string(kVersion)},
                                       document, ha_callbacks());
  if (const auto ok = ha_->start(); !ok) log::error("ha", "{}", ok.error().describe());
  fastpath_.renew();  // what it holds is in its answer to the hello: without that, everything would be put into standby
}

// What gw-fastpath has of two instances, from an earlier document or an earlier gwd, is over: its gates would stay as
// they are, and closed after its next start.
void Gateway::stand_alone() {
  if (!document_ || !fastpath_.connected()) return;
  const auto say = [](FastpathClient& fastpath) -> boost::asio::awaitable<void> {
    fp::ClientFrame endpoints;
    endpoints.mutable_put_endpoints();
    const auto done = co_await fastpath.request(std::move(endpoints));
    fp::ClientFrame peer;
    peer.mutable_put_peer();
    const auto alone = co_await fastpath.request(std::move(peer));
    for (const auto& answer : {std::cref(done), std::cref(alone)})
      if (!answer.get() && answer.get().error().code != Errc::kClosed)
        log::error("ha", "gw-fastpath does not take it that there is one instance: {}",
                   answer.get().error().describe());
  };
  boost::asio::co_spawn(io_, say(fastpath_), kEndOnException);
}

boost::asio::awaitable<void> Gateway::end_ha() {
  ha_->stop();
  boost::asio::steady_timer timer(io_);
  do {
    timer.expires_after(kHaEnds);
    co_await timer.async_wait(boost::asio::use_awaitable);
  } while (!ha_->idle());
  ha_.reset();
  routes_.sync_ended();
  draining_ = false;
  leaving_.clear();
  ha_ending_ = false;
  apply(document_);
}

HaController::Gateway Gateway::ha_callbacks() {
  const auto carried = [this](const config::Carriers& carriers) {
    return std::make_shared<const config::GatewayModel>(carried_model(*document_, carriers));
  };
  return {.route_by = [this, carried](const config::Carriers& carriers) { routes_.set_model(*carried(carriers)); },
          .carry_by =
              [this, carried](const config::Carriers& carriers) {
                std::erase_if(leaving_, [&](const IpAddress& address) {
                  const auto carrier = carriers.find(address);
                  return carrier == carriers.end() || carrier->second != document_->instance;
                });
                apply_model(carried(carriers));
              },
          .announce_route = [this](const IpAddress& address,
                                   std::optional<ha::Epoch> claim) { wan_.set(document_->asn, address, claim); },
          .unannounced = [this](const IpAddress& address) { return wan_.unannounced(address); },
          .forwarding_in_sync = [this] { return forwarding_.in_sync(); },
          .rekey =
              [this](std::vector<fp::SaId> sas) {
                boost::asio::co_spawn(io_, rekey_tunnels_of(std::move(sas)), kEndOnException);
              },
          .graceful_shutdown =
              [this](const ha::GracefulShutdown& order) {
                const bool on = order.to == ha::Switch::kOn;
                if (!order.address)
                  draining_ = on;
                else if (on)
                  leaving_.insert(*order.address);
                else
                  leaving_.erase(*order.address);
                apply_bgp();
              },
          .waits_for = [this](const IpAddress& endpoint) { return waits_for(endpoint); },
          .sync_reset = [this] { on_peer_session(); },
          .peer_lost =
              [this] {
                routes_.sync_ended();
                if (config_sync_.lost) config_sync_.lost();
              },
          .peer_back = [this] { on_peer_session(); },
          .peer_dead =
              [this] {
                // Whatever its bgpd promised: nothing passes there.
                if (!document_->ha) return;  // a document without: this controller is about to end
                const config::HaModel& ha = *document_->ha;
                if (const auto& address = ha.instances[ha.peer()].vnet_address) routes_.path_died(*address);
              },
          .connections_loaded = [this] { return ike_.connections_loaded(); },
          .ike_answers = [this] { return ike_.connected(); },
          .sync_message = [this](sync::Kind kind, const std::string& message) { on_peer_message(kind, message); }};
}

// Of a drain the VNet's and the circuit's routers are told, too. They may have no other way, and then go on sending to
// an instance that forwards for them: what comes from them says nothing. A site whose session has just opened is not
// ready for the next move.
std::optional<std::vector<std::uint32_t>> Gateway::waits_for(const IpAddress& endpoint) const {
  if (!model_) return std::vector<std::uint32_t>{};
  const auto asked = [this](const config::SessionModel& session) {
    const auto status = bgp_.sessions().find(session.bgp.peer);
    return session.kind != routes::SourceKind::kPartner && session.kind != routes::SourceKind::kWan &&
           status != bgp_.sessions().end() && status->second.established();
  };
  if (draining_ && std::ranges::any_of(model_->sessions, asked)) return std::nullopt;
  const auto just_opened = [&](const config::TunnelModel& tunnel) {
    return tunnel.bgp && tunnel.local == endpoint && routes_.has_just_opened(tunnel.bgp->peer);
  };
  if (std::ranges::any_of(model_->tunnels, just_opened)) return std::nullopt;
  return tunnels_to_wait_for(*model_, endpoint, leaving_,
                             [this](const std::string& tunnel) { return routes_.is_open(tunnel); });
}

void Gateway::on_peer_session() {
  routes_.sync_ended();
  routes_.sync_to([this](std::string message) { ha_->send(sync::Kind::kRoutes, std::move(message)); });
  if (config_sync_.session) config_sync_.session();
}

// For the other instance's doctor: which way a site's packets take is known by both together.
void Gateway::say_traffic() const {
  if (!ha_ || !model_) return;
  sync::TrafficByTunnel carried;
  for (const config::TunnelModel& tunnel : model_->tunnels) {
    const TrafficWindow window = prober_.traffic(tunnel.tunnel_id);
    if (window.in_of_hosts() == 0 && window.out_of_hosts() == 0) continue;
    carried[tunnel.name] = {static_cast<std::uint32_t>(window.length.count()), window.in_of_hosts(),
                            window.out_of_hosts()};
  }
  routes_.say_traffic(carried);
}

void Gateway::on_peer_message(sync::Kind kind, const std::string& message) {
  if (kind == sync::Kind::kConfig && config_sync_.message) return config_sync_.message(message);
  if (kind != sync::Kind::kRoutes) return;
  if (const auto ok = routes_.sync_from(message); !ok)
    log::warning("ha", "routes of the other instance: {}", ok.error().describe());
}

// Keys that came from the other instance and may not be used here.
boost::asio::awaitable<void> Gateway::rekey_tunnels_of(std::vector<fp::SaId> sas) {
  fp::ClientFrame frame;
  frame.mutable_list_sas();
  const auto reply = co_await fastpath_.request(std::move(frame));
  if (!reply) co_return;
  std::set<std::uint32_t> ids;
  for (const fp::SaInfo& sa : reply->sas().sas())
    if (std::ranges::any_of(sas,
                            [&](const fp::SaId& id) { return id.spi() == sa.id().spi() && id.dst() == sa.id().dst(); }))
      ids.insert(sa.tunnel_id());
  std::vector<std::string> names;
  for (const config::TunnelModel& tunnel : model_->tunnels)
    if (ids.contains(tunnel.tunnel_id)) names.push_back(tunnel.name);
  ike_.rekey(std::move(names));
}

}  // namespace gw::gwd
