// What HaController hears: of its own fast path, of the other instance by the sync channel and the data path, of
// charon.
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/control/ha_controller.hpp"

namespace gw::gwd {
namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// A main loop that has said nothing for so long does not speak for its instance.
constexpr auto kLoopSilent = 1000ms;

std::vector<ha::Claim> read_claims(const auto& claims) {
  std::vector<ha::Claim> out;
  for (const fp::EndpointClaim& claim : claims) {
    const auto address = IpAddress::from_bytes(std::string_view(claim.address()));
    if (!address) continue;
    const bool owned = claim.ownership() == fp::OWNERSHIP_OWNED;
    out.push_back({*address, claim.lease_epoch(), owned ? ha::Ownership::kOwned : ha::Ownership::kStandby});
  }
  return out;
}

}  // namespace

void HaController::on_fastpath_up(const fp::HelloReply& hello) {
  fastpath_answers_ = true;
  if (!std::exchange(adopted_, true)) {
    feed(ha::Adopted{read_claims(hello.endpoints())});
  }
  switch_.resync();
  feed(ha::LocalHealth(health()));
  asio::co_spawn(parts_.io, put_peer(), kEndOnException);
}

void HaController::on_fastpath_down() {
  fastpath_answers_ = false;
  feed(ha::LocalHealth(health()));
}

// The session with it goes on, so nothing is said anew by itself; what was heard from the other instance before counts
// no more (ha::View). It answers put_peer() with what it hears now.
void HaController::on_fastpath_answers_again() {
  feed(ha::LocalHealth(health()));
  asio::co_spawn(parts_.io, put_peer(), kEndOnException);
}

void HaController::on_fastpath_event(const fp::Event& event) {
  if (event.has_peer_state()) {
    const fp::PeerState& state = event.peer_state();
    feed(ha::DataPath{.peer = peer(),
                      .link = ha::link(state.alive()),
                      .forwarding = ha::link(state.forwarding()),
                      .control = ha::link(!state.control_away()),
                      .last_heard = MonoTime(std::chrono::nanoseconds(state.last_heard_ns())),
                      .claims = read_claims(state.claims())});
  } else if (event.has_endpoint_lost()) {
    const auto address = IpAddress::from_bytes(std::string_view(event.endpoint_lost().address()));
    if (address) feed(ha::EndpointLost{*address, event.endpoint_lost().lease_epoch()});
  }
}

void HaController::on_sync_reset(const sync::PeerInfo& info) {
  log::info("ha", "a new session with {} (gwd {})", name_of(peer()), info.release);
  if (std::exchange(session_, true)) {
    ike_.channel_down();
    feed(ha::SyncChannel{peer(), ha::Link::kDown});
  }
  ike_.channel_up();
  feed(ha::SyncChannel{peer(), ha::Link::kUp});
  gateway_.sync_reset();
  send_heartbeat_key();
  tell_sync_progress();
}

void HaController::on_sync_message(sync::Kind kind, std::string payload) {
  switch (kind) {
    case sync::Kind::kControl: on_control(payload); break;
    case sync::Kind::kIke:
      if (const auto ok = ike_.receive(payload); !ok)
        log::warning("ha", "IKE state from {}: {}", name_of(peer()), ok.error().describe());
      break;
    default: gateway_.sync_message(kind, std::move(payload)); return;
  }
  wipe(payload);
}

void HaController::on_sync_heartbeat(const sync::PeerHeartbeat& heartbeat) {
  if (heartbeat.loop_age > kLoopSilent || heartbeat.status.empty()) return;
  const auto report = decode_report(heartbeat.status);
  if (!report) return log::warning("ha", "report of {}: {}", name_of(peer()), report.error().describe());
  feed(ha::ReportHeard{peer(), *report});
}

void HaController::on_sync_paths(const std::vector<sync::PathState>& paths) {
  const bool connected = std::ranges::any_of(paths, &sync::PathState::connected);
  if (std::exchange(connected_, connected) == connected) return;
  // A new session is on_sync_reset()'s.
  if (!connected)
    gateway_.peer_lost();
  else if (session_)
    gateway_.peer_back();
}

void HaController::on_control(std::string_view payload) {
  auto message = decode_control(payload);
  if (!message) return log::warning("ha", "from {}: {}", name_of(peer()), message.error().describe());
  if (auto* key = std::get_if<HeartbeatKey>(&*message)) {
    // The lower number makes the key; the higher one obeys.
    if (ha_.peer() < ha_.self) set_heartbeat_key(std::move(key->key));
    return;
  }
  if (const auto* forwards = std::get_if<Forwards>(&*message)) return switch_.taken(forwards->address, forwards->epoch);
  log::debug("ha", "{} says: {}", name_of(peer()), describe(std::get<ha::Message>(*message)));
  feed(ha::MessageHeard{peer(), std::get<ha::Message>(std::move(*message))});
}

void HaController::on_ike_state(const ike::HaLink::State& state) {
  if (!std::exchange(ike_there_, state.charon) && state.charon && gateway_.connections_loaded())
    ike_.connections_loaded();
  tell_sync_progress();
}

void HaController::on_connections_loaded() {
  if (ike_.state().charon) ike_.connections_loaded();
}

void HaController::tell_sync_progress() { feed(ha::SyncProgress{peer(), ha::link(session_ && ike_.state().synced)}); }

}  // namespace gw::gwd
