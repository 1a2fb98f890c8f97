#include "ebpf/control/events.hpp"

#include <array>

#include "base/log.hpp"
#include "ebpf/rpc/messages.hpp"

namespace gw::control {
namespace fp = rpc::fp;

void Events::forward_notices(worker::Workers& workers) {
  workers.clear_notice_event();
  while (const auto notice = workers.next_notice()) std::visit([this](const auto& n) { on(n); }, *notice);
}

void Events::on(const worker::SaNotice& notice) {
  sas_.on_raised(notice.key, notice.events);
  struct Limit {
    esp::Event soft, hard;
    const char* reason;
  };
  constexpr std::array kLimits = {Limit{esp::kSoftBytes, esp::kHardBytes, "bytes"},
                                  Limit{esp::kSoftPackets, esp::kHardPackets, "packets"},
                                  Limit{esp::kSoftSequence, esp::kHardSequence, "sequence"}};
  for (const Limit& limit : kLimits) {
    if (!(notice.events & (limit.soft | limit.hard))) continue;
    fp::Event event;
    rpc::fill(notice.key, *event.mutable_expire()->mutable_id());
    event.mutable_expire()->set_hard((notice.events & limit.hard) != 0);
    event.mutable_expire()->set_reason(limit.reason);
    log::info("sa", "SPI {:08x} to {}: {} limit of {}", notice.key.spi, notice.key.dst,
              event.expire().hard() ? "hard" : "soft", limit.reason);
    server_.publish(event, {fp::ROLE_IKE});
  }
  if (!(notice.events & esp::kMapping)) return;
  fp::Event event;
  rpc::fill(notice.key, *event.mutable_mapping()->mutable_id());
  rpc::fill(notice.seen, *event.mutable_mapping()->mutable_src());
  log::info("sa", "SPI {:08x}: packets now come from {} port {}", notice.key.spi, notice.seen.address,
            notice.seen.port);
  server_.publish(event, {fp::ROLE_IKE});
}

void Events::on(const worker::Confirmed& notice) { sas_.on_confirmed(notice.key); }

void Events::on(const worker::NoOutboundSa& notice) {
  const auto id = tunnels_.id_of(notice.tunnel);
  if (!id) return;
  fp::Event event;
  event.mutable_acquire()->set_tunnel_id(*id);
  event.mutable_acquire()->set_src(notice.src.bytes_string());
  event.mutable_acquire()->set_dst(notice.dst.bytes_string());
  server_.publish(event, {fp::ROLE_IKE});
}

void Events::forward_unknown_spis(xdp::Maps& maps) {
  maps.consume([this](const xdp::UnknownSpi& unknown) {
    fp::Event event;
    rpc::fill(SaKey{unknown.spi, unknown.dst}, *event.mutable_unknown_spi()->mutable_id());
    rpc::fill(esp::Endpoint{unknown.src, unknown.src_port}, *event.mutable_unknown_spi()->mutable_src());
    log::debug("xdp", "unknown SPI {:08x} from {}", unknown.spi, unknown.src);
    server_.publish(event, {fp::ROLE_IKE, fp::ROLE_CONTROL});
  });
}

void Events::peer_state(const liveness::PartnerStatus& status) {
  fp::Event event;
  rpc::fill(status, *event.mutable_peer_state());
  server_.publish(event, {fp::ROLE_CONTROL});
}

void Events::bfd_sync(const fp::BfdSync& message) {
  fp::Event event;
  message.SerializeToString(event.mutable_peer_sync()->mutable_bfd());
  server_.publish(event, {fp::ROLE_SYNC});
}

void Events::endpoint_lost(const liveness::Loss& loss) {
  fp::Event event;
  event.mutable_endpoint_lost()->set_address(loss.endpoint.bytes_string());
  event.mutable_endpoint_lost()->set_lease_epoch(loss.lease_epoch);
  server_.publish(event, {fp::ROLE_CONTROL});
}

void Events::sync_frame(const fp::SaSync& frame) {
  fp::Event event;
  frame.SerializeToString(event.mutable_peer_sync()->mutable_sa());
  server_.publish(event, {fp::ROLE_SYNC});
}

void Events::tunnel_state(std::uint32_t tunnel_id, tun::Carrier state) {
  fp::Event event;
  event.mutable_tunnel_state()->set_tunnel_id(tunnel_id);
  event.mutable_tunnel_state()->set_carrier(state == tun::Carrier::kUp);
  server_.publish(event, {fp::ROLE_CONTROL});
}

}  // namespace gw::control
