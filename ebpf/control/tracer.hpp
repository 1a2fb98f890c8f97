// What would become of a packet that does not exist (`gwctl trace`): the ports' programs are run on it dry
// (xdp::DryRun), the worker that owns its tunnel is asked for its own decisions (worker/trace.cpp), and the answers are
// put into words. Nothing is sent, counted or changed. Control thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/trace_packet.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/fib/reading.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/dry_run.hpp"

namespace gw::control {

struct TraceStep {
  enum class Result : std::uint8_t { kPass, kFail, kNote };
  std::string_view check;
  Result result = Result::kPass;
  std::string detail;
};

struct Trace {
  enum class Verdict : std::uint8_t { kLeaves, kDropped, kKernel, kDecrypted };
  std::vector<TraceStep> steps;
  Verdict verdict = Verdict::kKernel;
  gw_drop reason = GW_DROP_NONE;  // kDropped
  std::string side;               // kLeaves: "wan", "vnet", "circuit"
  std::string next_hop;           // an address
  std::uint32_t tunnel_id = 0;    // kLeaves by wan: that it goes into; kDecrypted: that it comes out of
  std::uint32_t spi = 0;
  std::string summary;
};

class Tracer {
 public:
  struct Parts {
    worker::Workers& workers;
    const xdp::Maps& maps;
    const Tunnels& tunnels;
    const SaManager& sas;
    fib::Memory fib;
    /// The interface of "wan", "vnet", "circuit", and what kind of port it is; empty: there is no such port.
    std::function<std::string(std::string_view side)> port;
    std::uint32_t max_packet = 0;  // that the clear ports' programs give to workers
  };
  explicit Tracer(Parts parts) : parts_(std::move(parts)), dry_(parts_.maps, parts_.max_packet) {}

  /// Of a query that was checked. kNotFound, kInvalidArgument with the field: no such tunnel or port.
  Result<Trace> trace(const TraceQuery& query);

 private:
  using Packet = std::vector<std::uint8_t>;
  Result<Trace> from_clear(const TraceQuery& query, gw_side side);
  Result<Trace> from_tunnel(const TraceQuery& query);
  Result<Trace> from_wan(const TraceQuery& query);
  Status guard(Trace& out, const SaEntry& sa);
  void received(Trace& out, const worker::ReceivingTrace& r, const SaEntry& sa);
  Status forwarded(Trace& out, const TraceQuery& query, gw_side side, gw_xdp_counter outcome);
  void sent(Trace& out, Packet packet, worker::TunnelSlot slot);
  void add_route(Trace& out, const TraceQuery& query) const;
  Status leave_decrypted(Trace& out, const TraceQuery& query, const worker::ReceivingTrace& r,
                         const Tunnels::Tunnel& tunnel);
  const SaEntry* inbound_of(std::uint32_t tunnel_id) const;
  std::string name_of(worker::TunnelSlot slot) const;

  Parts parts_;
  xdp::DryRun dry_;
};

}  // namespace gw::control
