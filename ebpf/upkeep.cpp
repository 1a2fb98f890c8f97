// Fastpath: what has to be done from time to time, or when an interface changes.
#include <boost/asio/post.hpp>

#include "base/log.hpp"
#include "ebpf/process.hpp"
#include "ebpf/xsk/device.hpp"

namespace gw {
namespace {

using namespace std::chrono_literals;

constexpr auto kTick = 1s;
constexpr auto kSyncLook = 20ms;  // for another instance, while there is none
// Half of the shortest time after which the kernel calls a neighbour stale (base_reachable_time / 2 = 15 s).
constexpr unsigned kFreshenTicks = 10;

}  // namespace

void Fastpath::set_clear_vlans(gw_side side, std::span<const control::VlanStack> stacks) {
  std::vector<std::uint64_t> keys;
  for (const control::VlanStack& stack : stacks) {
    std::uint64_t key = 0;
    for (const net::VlanTag& tag : stack) key = key << 32 | gw_vlan_key(tag.type, tag.id);
    keys.push_back(key);
  }
  xdp::VnetProgram& program = side == GW_SIDE_CIRCUIT ? *base_.circuit : base_.vnet;
  program.set_vlans(keys);
  auto& behind = side == GW_SIDE_CIRCUIT ? base_.circuit_tc : base_.vnet_tc;
  if (behind) behind->set_vlans(keys);
}

void Fastpath::set_clear_link(gw_side side, const net::Link& link) {
  (side == GW_SIDE_CIRCUIT ? *base_.circuit : base_.vnet).set_mac(link.mac);
  ifindexes_[side] = link.ifindex;
  if (auto done = base_.maps.set_out_port(side, link.ifindex); !done) {
    log::warning("xdp", "{}", done.error().describe());
    ifindexes_[side] = 0;
  }
  update_frames();
}

/// Whether a driver sends XDP frames depends on what else is attached, and on a veth's other end.
void Fastpath::update_frames() {
  for (const gw_side side : {GW_SIDE_VNET, GW_SIDE_CIRCUIT}) {
    const auto sent = ifindexes_[side] == 0 ? xsk::FramesSent::kNone : xsk::frames_sent(ifindexes_[side]);
    base_.maps.set_frames(side, sent == xsk::FramesSent::kPieces  ? GW_XDP_FRAMES_PIECES
                                : sent == xsk::FramesSent::kWhole ? GW_XDP_FRAMES_WHOLE
                                                                  : GW_XDP_FRAMES_NONE);
  }
}

void Fastpath::tick() {
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    sas_.remove_ended_orphans();
    sas_.end_old_reservations();
    tunnels_.settle_due();
    rates_.share_out();
    path_mtus_.age();
    base_.workers->reclaim();
    check_ports();
    update_frames();
    adjacencies_.ask_again();
    if (tunnels_.store().manager().watchdog()) tell_alive();
    if (++ticks_ % kFreshenTicks == 0) {
      paths_.keep_fresh();
      adjacencies_.keep_fresh();
    }
    tick();
  });
}

/// Only this thread runs this, the packet threads have gone round, and the liveness thread answers (or call() ends the
/// program after 10 s): whichever hangs, systemd kills us (WatchdogSec=) and the next one takes the descriptors over.
void Fastpath::tell_alive() {
  if (workers_advance_.look() == liveness::Forwarding::kNo) return;
  liveness_.thread().call([](liveness::Thread::Core&, MonoTime) {});
  tell_manager("WATCHDOG=1");
}

void Fastpath::tell_manager(std::string_view state) {
  if (auto told = tunnels_.store().manager().notify(state); !told) log::warning("main", "{}", told.error().describe());
}

/// Rarely while there is nobody to tell.
void Fastpath::sync_tick() {
  using control::SaSync;
  const bool in_sync = sas_.sync().state() == SaSync::State::kInSync;
  sync_timer_.expires_after(in_sync ? SaSync::kInterval : kSyncLook);
  sync_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    sas_.sync().tick();
    sync_tick();
  });
}

/// Between two turns others get theirs.
void Fastpath::remove_leaving() {
  if (sas_.remove_some()) asio::post(io_, [this] { remove_leaving(); });
}

/// Sockets that no longer fit their interface are made anew by a restart.
void Fastpath::check_ports() {
  for (auto& watch : base_.watches) {
    if (!watch) continue;
    auto checked = watch->check();
    if (checked) continue;
    failure_ = std::move(checked).error();
    io_.stop();
  }
}

}  // namespace gw
