// RouteController, sessions that break (RFC 4724): what is kept of them, and for how long.
#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "gwd/control/route_controller.hpp"

namespace gw::gwd {

// RFC 4724 4.2, as bgpd does it: what the peer did not offer to preserve goes at once.
void RouteController::keep_for_restart(Peer& peer) {
  if (!peer.graceful_restart || peer.offered.families.empty()) return withdraw(peer);
  rib_.mark_stale(peer.source);
  drop_unpreserved(peer);
  peer.restarting = true;
  sweep_later(peer, std::clamp(peer.offered.restart_time, std::chrono::seconds(1), kStalePath));
}

// It is back, and its restart time is of no meaning any more: it may wait for its other neighbours before it says
// anything, and what it kept goes with its End-of-RIB. What it does not offer to preserve this time goes at once.
void RouteController::restart_ended(Peer& peer) {
  drop_unpreserved(peer);
  if (rib_.count(peer.source).stale > 0) return sweep_later(peer, kStalePath);
  peer.sweep->cancel();
  release(peer);
}

void RouteController::drop_unpreserved(Peer& peer) {
  for (const Family family : {Family::kV4, Family::kV6})
    if (!peer.offered.families.contains(family)) rib_.sweep(peer.source, family);
  tell_what_is_left(peer);
}

void RouteController::withdraw(Peer& peer) {
  peer.sweep->cancel();
  peer.restarting = false;
  rib_.withdraw_all(peer.source);
  learned_.nothing(name_of(peer));
  release(peer);
}

void RouteController::sweep_later(Peer& peer, std::chrono::seconds after) {
  peer.sweeping = after == kSettle;
  peer.sweep->expires_after(after);
  peer.sweep->async_wait(
      [this, address = rib_.source(peer.source).peer_address](const boost::system::error_code& error) {
        const auto it = peers_.find(address);
        // One that was queued when the time was set anew is not cancelled any more.
        if (error || it == peers_.end() || it->second.sweep->expiry() > std::chrono::steady_clock::now()) return;
        it->second.sweeping = false;
        if (const std::size_t gone = rib_.sweep(it->second.source); gone > 0)
          log::info("routes", "{}: {} stale routes removed", name_of(it->second), gone);
        tell_what_is_left(it->second);
        release(it->second);
        publish();
      });
}

}  // namespace gw::gwd
