// What clients are told without asking: worker notices and XDP events become the RPC's events, and the
// orphan rule learns which SAs have proved themselves. Control thread.
#pragma once

#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/liveness/partner.hpp"
#include "ebpf/rpc/server.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::control {

class Events {
 public:
  Events(rpc::Server& server, SaManager& sas, Tunnels& tunnels) : server_(server), sas_(sas), tunnels_(tunnels) {}

  void forward_notices(worker::Workers& workers);
  void forward_unknown_spis(xdp::Maps& maps);
  void peer_state(const liveness::PartnerStatus& status);
  void bfd_sync(const rpc::fp::BfdSync& message);
  void endpoint_lost(const liveness::Loss& loss);
  void sync_frame(const fp::SaSync& frame);
  void tunnel_state(std::uint32_t tunnel_id, tun::Carrier state);

 private:
  void on(const worker::SaNotice& notice);
  void on(const worker::Confirmed& notice);
  void on(const worker::NoOutboundSa& notice);

  rpc::Server& server_;
  SaManager& sas_;
  Tunnels& tunnels_;
};

}  // namespace gw::control
