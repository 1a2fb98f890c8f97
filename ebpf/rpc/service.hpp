// Every request of fastpath.proto, carried out: the one place where the RPC meets SAs, tunnels and the
// forwarding table. Control thread.
#pragma once

#include <string>
#include <vector>

#include "base/clock.hpp"
#include "ebpf/control/forwarding.hpp"
#include "ebpf/control/liveness.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/relay/ike_relay.hpp"
#include "ebpf/rpc/messages.hpp"
#include "ebpf/rpc/server.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/programs.hpp"

namespace gw::rpc {

/// For ListPorts.
struct PortFacts {
  std::string interface;
  std::string side;    // "wan", "vnet" or "circuit"
  std::string kind;    // "xsk" or "gso"
  std::string reason;  // why this kind, a sentence
  std::string driver;
  xdp::Attachment attachment;
  bool zero_copy = false;
  std::string copy_reason;  // xsk: why zero copy, or why not
  std::uint32_t queues = 0;
};

class Service final : public Handler {
 public:
  struct Parts {
    worker::Workers& workers;
    xdp::Maps& maps;
    relay::IkeRelay& ike;
    control::Tunnels& tunnels;
    control::Forwarding& forwarding;
    control::SaManager& sas;
    control::Liveness& liveness;
    const Clock& clock;
    std::vector<PortFacts> ports;
    std::size_t max_sas = 0;
    CircuitPort circuit = CircuitPort::kNone;
    esp::TransformPermissions transforms;
  };
  explicit Service(Parts parts);

  fp::Response handle(Client& client, const fp::ClientFrame& request) override;

 private:
  Status hello(Client& client, const fp::Hello& m, fp::Response& out);
  Status add_sa(const Client& client, const fp::AddSa& m, fp::Response& out);
  Status query_sa(const fp::QuerySa& m, fp::Response& out);
  Status put_tunnel(const Client& client, const fp::PutTunnel& m);
  Status del_tunnel(std::uint32_t id);
  Status update_routes(const Client& client, const fp::UpdateRoutes& m);
  Status put_settings(const Client& client, const fp::PutSettings& m);
  Status peer_sync(const fp::PeerSync& m);
  Status peer_sync_reset(const fp::PeerSyncReset& m);
  Status put_endpoints(const fp::PutEndpoints& m, fp::Response& out);
  Status put_peer(const fp::PutPeer& m);
  void set_transit(xdp::Transit transit);
  Status sync_done(const Client& client);
  void list_sas(fp::SaList& out) const;
  void list_tunnels(fp::TunnelList& out) const;
  void list_ports(fp::PortList& out) const;
  Status read_forwarding(const fp::ReadForwarding& m, fp::RouteList& out) const;
  struct Traffic {
    std::uint64_t rx = 0;
    std::uint64_t tx = 0;
  };
  Traffic traffic_of(std::string_view side) const;
  const worker::Port* port_of(const worker::Worker& worker, std::string_view side) const;
  void counters(fp::Counters& out) const;
  void fill_sa(const control::SaEntry& entry, fp::SaInfo& out) const;
  void fill_tunnel(std::uint32_t id, const control::Tunnels::Tunnel& tunnel, fp::TunnelInfo& out) const;
  Status dispatch(Client& client, const fp::ClientFrame& request, fp::Response& out);
  Status write_request(Client& client, const fp::ClientFrame& request, fp::Response& out);

  Parts parts_;
  std::uint64_t epoch_;
  std::uint64_t generation_ = 0;           // of Hellos
  std::uint64_t settings_generation_ = 0;  // of the session that sent them
  MonoTime started_;
};

}  // namespace gw::rpc
