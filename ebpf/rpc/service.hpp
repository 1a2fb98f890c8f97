// Every request of fastpath.proto, carried out: the one place where the RPC meets SAs, tunnels and the
// forwarding table. Control thread.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/memory_use.hpp"
#include "ebpf/control/forwarding.hpp"
#include "ebpf/control/gateway_rates.hpp"
#include "ebpf/control/liveness.hpp"
#include "ebpf/control/path_mtus.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/relay/ike_relay.hpp"
#include "ebpf/rpc/messages.hpp"
#include "ebpf/rpc/server.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/programs.hpp"
#include "gw/fastpath/v1/handover.pb.h"

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
    control::GatewayRates& rates;
    control::Forwarding& forwarding;
    control::SaManager& sas;
    control::PathMtus& path_mtus;
    control::Liveness& liveness;
    control::Tracer& tracer;
    const Clock& clock;
    std::vector<PortFacts> ports;
    std::size_t max_sas = 0;
    CircuitPort circuit = CircuitPort::kNone;
    esp::TransformPermissions transforms;
  };
  explicit Service(Parts parts);

  fp::Response handle(Client& client, const fp::ClientFrame& request) override;

  // --- a process of ours takes the place of another one (ADR 20), service_handover.cpp ---
  using PartSink = std::function<Status(fp::HandoverPart&)>;
  /// All that clients have put, but routes. Keys: the sink's caller wipes what it has.
  Status export_parts(const PartSink& sink) const;
  Status export_routes(std::span<const fib::Route> routes, const PartSink& sink) const;
  Status export_changes(const PartSink& sink);
  /// What it needs to know once it has stopped: heartbeat, BFD, counters. Paused.
  void export_final(fp::HandoverFinal& out);
  /// An endpoint has come or gone so lately that packets may wait for its new owner.
  bool endpoints_move() const;
  /// Of an export_; any number of times. Faults are named.
  Status import_part(const fp::HandoverPart& part);
  /// SAs that did not come since the last call are gone.
  void end_pass();
  /// Before packets flow: the heartbeat.
  Status import_peer(const fp::HandoverFinal& final);
  /// When they flow.
  void import_counters(const fp::HandoverFinal& final);

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
  Status trace(const fp::Trace& m, fp::TraceReply& out);
  Status read_forwarding(const fp::ReadForwarding& m, fp::RouteList& out) const;
  struct Traffic {
    std::uint64_t rx = 0;
    std::uint64_t tx = 0;
  };
  Traffic traffic_of(std::string_view side) const;
  const worker::Port* port_of(const worker::Worker& worker, std::string_view side) const;
  void fill_worker(worker::WorkerIndex index, fp::WorkerCounters& out) const;
  void counters(fp::Counters& out) const;
  void memory(fp::Memory& out);
  void fill_sa(const control::SaEntry& entry, fp::SaInfo& out) const;
  void fill_tunnel(std::uint32_t id, const control::Tunnels::Tunnel& tunnel, fp::TunnelInfo& out) const;
  Status dispatch(Client& client, const fp::ClientFrame& request, fp::Response& out);
  Status write_request(Client& client, const fp::ClientFrame& request, fp::Response& out);

  Status export_endpoints(const PartSink& sink) const;
  Status import_sa(const fp::HandoverSa& m);
  Status import_endpoints(const fp::HandoverEndpoints& m);
  Status import_path_mtus(const fp::HandoverPathMtus& m);
  void export_counters(fp::HandoverFinal& out) const;
  void import_worker(std::uint32_t index, const fp::HandoverCounters& block);

  Parts parts_;
  std::map<std::uint32_t, fp::PutTunnel> tunnel_requests_;
  Secret peer_request_;                // PutPeer, with the key
  std::set<control::SaKey> imported_;  // of this pass
  std::uint64_t epoch_;
  std::uint64_t generation_ = 0;  // of Hellos
  std::optional<MonoTime> endpoints_moved_;
  std::uint64_t settings_generation_ = 0;  // of the session that sent them
  MonoTime started_;
};

}  // namespace gw::rpc
