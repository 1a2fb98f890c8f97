// What a gw-fastpath hands to the one that takes its place beside what clients have put (rpc::Service): descriptors,
// and the packet buffers and rings of AF_XDP. docs/adr/0020. Control thread.
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <vector>

#include "ebpf/control/liveness.hpp"
#include "ebpf/handover/giver.hpp"
#include "ebpf/handover/taker.hpp"
#include "ebpf/ports.hpp"
#include "ebpf/worker/workers.hpp"

namespace gw::succession {

namespace fp = ::gw::fastpath::v1;

/// The parts of a running gw-fastpath that matter here.
struct Estate {
  worker::Workers& workers;
  worker::FrameMemory& memory;
  control::Liveness& liveness;
  const std::vector<rpc::PortFacts>& ports;
  const Clock& clock;
};

Inheritance inheritance(tun::FdStore& fds, const fp::HandoverOffer& offer);
fp::HandoverOffer offer(const Estate& estate);

/// Of all ports, by worker.
std::vector<tun::NamedFd> port_fds(const Estate& estate);
std::vector<tun::NamedFd> bfd_fds(const Estate& estate);
/// BFD opens its sockets when there is a session: they may come with the offer or after it.
inline constexpr std::size_t kBfdReceivers = 4;
std::array<Fd, kBfdReceivers> take_bfd_fds(std::initializer_list<tun::FdStore*> latest_first);
/// Of what comes with the offer: those that are needed when everything is open.
std::vector<std::string> names_for_later();

/// Nothing is sent or received any more when this returns.
void stop(const Estate& estate, fp::HandoverFinal& out);
void go_on(const Estate& estate);
/// Frames and rings are as the other process left them. kMalformed: that cannot be.
Status adopt_buffers(const Estate& estate, const fp::HandoverFinal& final);

}  // namespace gw::succession
