// RouteController, bgpd's BMP stream itself: it comes, ends with bgpd, and is opened anew when sessions went down.
#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "gwd/control/route_controller.hpp"

namespace gw::gwd {

void RouteController::handle(const bgp::BmpConnected&) {
  bmp_connected_ = true;
  const auto reopened = std::exchange(reopened_, std::nullopt);
  if (reopened && clock_.now() - *reopened < kReopen) return;
  log::info("routes", "bgpd's BMP stream is there");
  for (auto& [address, peer] : peers_) {  // bgpd died, and its sessions have to come first
    if (std::exchange(peer.asked_again, false)) sweep_later(peer, kRestartTime);
    // Its tunnel died meanwhile: nothing passes, and there is a bgpd again that would say what does.
    if (!peer.moved && !peer.held && rib_.count(peer.source).stale > 0 && !has_carrier(peer)) withdraw(peer);
  }
  publish();
}

void RouteController::handle(const bgp::BmpDisconnected&) {
  bmp_connected_ = false;
  open_.clear();
  stall_.reopened(rib_.size(), clock_.now());
  if (reopened_) {
    for (auto& [address, peer] : peers_)
      if (peer.up) wait_again(peer);
    return;
  }
  log::warning("routes", "bgpd's BMP stream ended; its routes stay for {} s", kRestartTime.count());
  for (auto& [address, peer] : peers_) {
    if (peer.moved) continue;
    peer.end_of_rib.clear();
    peer.up = false;
    peer.restarting = false;
    rib_.mark_stale(peer.source);
    sweep_later(peer, kRestartTime);
  }
}

bool RouteController::is_told_again(std::string_view source) const {
  return std::ranges::any_of(
      peers_, [&](const auto& entry) { return entry.second.asked_again && name_of(entry.second) == source; });
}

// Nothing is wrong with it: it will be told again in a moment.
void RouteController::wait_again(Peer& peer) {
  peer.end_of_rib.clear();
  peer.up = false;
  peer.asked_again = true;
  rib_.mark_stale(peer.source);
  sweep_later(peer, kRelearn);
}

// bgpd's queue for the stream stops at what the session had told.
void RouteController::reopen_after_loss(std::size_t routes) {
  stall_.lost(routes, clock_.now());
  if (!stall_.due()) return;
  reopen_.expires_after(*stall_.due() - clock_.now());
  reopen_.async_wait([this](const boost::system::error_code& error) {
    if (!error) reopen();
  });
}

// The stream says once that a session is up, and what it told then. Whoever was not known here at that time (the
// document came later, or it was decided later what is carried here; a new name; taken out and put back before bgpd saw
// it) would have no routes until the session ends.
void RouteController::hear_untold() {
  const auto untold = std::ranges::find_if(peers_, [this](const auto& entry) {
    return !entry.second.up && !entry.second.moved && open_.contains(entry.first);
  });
  if (untold == peers_.end()) return;
  log::info("routes", "{}: its session is up and was not known here when bgpd said so", name_of(untold->second));
  reopen_after_loss(1);
}

void RouteController::reopen() {
  if (!bmp_connected_ || !stall_.due()) return;  // it begins anew by itself
  log::info("routes", "bgpd's BMP stream is opened anew");
  reopened_ = clock_.now();
  bmp_.reopen({Errc::kClosed, "opened anew", {}, {}});
  if (bmp_connected_) reopened_.reset();  // there was nothing to close
}

// Of a session that was up all the time: what was not told now was withdrawn meanwhile.
void RouteController::take_as_whole(Peer& peer, Family family) {
  rib_.sweep(peer.source, family);
  if (!std::ranges::includes(peer.end_of_rib, peer.families)) return;
  peer.asked_again = false;
  tell_what_is_left(peer);
}

// A session that ended while the stream was being opened: its end is not told, only that it is not there.
void RouteController::judge_unheard(Peer& peer, const bgp::PeerStatus* session) {
  if (!peer.asked_again || peer.up || !bmp_connected_ || session == nullptr || session->established()) return;
  peer.asked_again = false;
  if (has_carrier(peer))
    keep_for_restart(peer);
  else
    withdraw(peer);
  publish();
}

}  // namespace gw::gwd
