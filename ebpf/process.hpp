// The wiring of a gw-fastpath: netlink -> paths; RPC -> service; notices and XDP events -> events to clients; timers;
// and the loop around it all. Control thread.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ebpf/capture/server.hpp"
#include "ebpf/control/adjacencies.hpp"
#include "ebpf/control/endpoints.hpp"
#include "ebpf/control/events.hpp"
#include "ebpf/control/forwarding.hpp"
#include "ebpf/control/gateway_rates.hpp"
#include "ebpf/control/liveness.hpp"
#include "ebpf/control/path_mtus.hpp"
#include "ebpf/control/paths.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tracer.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/foundation.hpp"
#include "ebpf/handover/giver.hpp"
#include "ebpf/liveness/workers_advance.hpp"
#include "ebpf/relay/ike_relay.hpp"
#include "ebpf/rpc/server.hpp"
#include "ebpf/rpc/service.hpp"
#include "ebpf/succession.hpp"

namespace gw {
namespace asio = boost::asio;

/// Everything, in the order of construction; destroyed in reverse: RPC, SAs and tunnels, sockets, programs. The workers
/// use all of these, so they have ended before the first goes: however serve() ends, no packet meets a wiped key.
class Fastpath {
 public:
  ~Fastpath() { base_.workers->stop(); }
  Fastpath(const Fastpath&) = delete;
  Fastpath& operator=(const Fastpath&) = delete;
  /// `from`: a process that runs, in whose place this one comes; null: none does.
  static Result<std::unique_ptr<Fastpath>> make(const FastpathOptions& options, handover::Taker* from);
  Status serve(const FastpathOptions& options, handover::Taker* from);

 private:
  Fastpath(Foundation base, const FastpathOptions& options);

  // process.cpp: what is joined with what
  Status start_watching();
  Status listen(const FastpathOptions& options);
  void watch(asio::posix::stream_descriptor& fd, std::function<void()> handler);
  // upkeep.cpp: what has to be done from time to time, or when an interface changes
  void tick();
  void tell_alive();
  void tell_manager(std::string_view state);
  void sync_tick();
  void remove_leaving();
  void check_ports();
  void set_clear_vlans(gw_side side, std::span<const control::VlanStack> stacks);
  void set_clear_link(gw_side side, const net::Link& link);
  void update_frames();
  // replacement.cpp: in the place of another process, and another one in the place of this
  Status succeed(handover::Taker& from);
  std::vector<tun::NamedFd> descriptors();
  void leave_to(int pid);
  succession::Estate estate() { return {*base_.workers, *base_.buffers.memory, liveness_, base_.facts, clock_}; }

  SystemClock clock_;
  asio::io_context io_;
  Foundation base_;
  relay::IkeRelay ike_;
  control::Liveness liveness_;
  control::Tunnels tunnels_;
  control::GatewayRates rates_{*base_.workers, tunnels_};
  control::Forwarding forwarding_;
  control::Adjacencies adjacencies_;
  control::Paths paths_;
  control::Endpoints endpoints_;
  control::SaManager sas_;
  control::PathMtus path_mtus_;
  control::Tracer tracer_;
  liveness::WorkersAdvance workers_advance_{*base_.workers};
  rpc::Service service_;
  rpc::Server server_;
  control::Events events_;
  capture::Server capture_;
  handover::Giver giver_;
  asio::signal_set signals_{io_, SIGTERM, SIGINT};
  asio::steady_timer timer_{io_};
  asio::steady_timer sync_timer_{io_};
  asio::steady_timer route_timer_{io_};
  asio::posix::stream_descriptor notices_{io_};
  asio::posix::stream_descriptor liveness_events_{io_};
  asio::posix::stream_descriptor xdp_events_{io_};
  asio::posix::stream_descriptor netlink_{io_};
  asio::posix::stream_descriptor icmp_v4_{io_};
  asio::posix::stream_descriptor icmp_v6_{io_};
  std::array<int, GW_SIDES> ifindexes_{};  // of the clear ports
  unsigned ticks_ = 0;
  bool routes_due_ = false;
  std::optional<Error> failure_;
};

/// Who we are, for a gw-fastpath that runs; and what it compares with.
fastpath::v1::HandoverAsk question(const FastpathOptions& options);

}  // namespace gw
