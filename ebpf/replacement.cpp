// Fastpath: in the place of a process that runs, and another one in the place of this (ADR 20).
#include <algorithm>
#include <chrono>
#include <iterator>
#include <thread>

#include "base/log.hpp"
#include "base/secret.hpp"
#include "ebpf/process.hpp"

namespace gw {
namespace fp = ::gw::fastpath::v1;

fp::HandoverAsk question(const FastpathOptions& o) {
  fp::HandoverAsk ask;
  ask.set_version(handover::kVersion);
  ask.set_release(GW_VERSION);
  ask.set_wan(o.wan);
  ask.set_vnet(o.vnet);
  ask.set_circuit(o.circuit);
  ask.set_instance(o.instance);
  ask.set_max_sas(o.max_sas);
  ask.set_max_tunnels(o.max_tunnels);
  ask.set_bfd_port(o.bfd_port);
  ask.set_record_version(esp::kRecordVersion);
  return ask;
}
/// All that another process needs to go on; as they are called there (ports.cpp, foundation.cpp).
std::vector<tun::NamedFd> Fastpath::descriptors() {
  std::vector<tun::NamedFd> fds{{"store", base_.store->fd()},
                                {"rpc", server_.fd()},
                                {"handover", giver_.fd()},
                                {"xdp-wan", base_.wan.link_fd()},
                                {"xdp-vnet", base_.vnet.link_fd()},
                                {"xdp-circuit", base_.circuit ? base_.circuit->link_fd() : -1},
                                {"tcx-wan", base_.wan_tc ? base_.wan_tc->link_fd() : -1},
                                {"tcx-vnet", base_.vnet_tc ? base_.vnet_tc->link_fd() : -1},
                                {"tcx-circuit", base_.circuit_tc ? base_.circuit_tc->link_fd() : -1},
                                {kNatTSocketsName, base_.nat_t ? base_.nat_t->sockets_fd() : -1}};
  std::size_t decrypted = 0;
  for (const auto* tun : {&base_.data_tun, &base_.circuit_tun})
    if (*tun) fds.push_back({std::format("tcx-{}", (*tun)->name()), base_.decrypted_tc[decrypted++].link_fd()});
  for (std::size_t i = 0; i < base_.esp_takers.size(); ++i)
    fds.push_back({std::format("esp-{}", i == 0 ? 4 : 6), base_.esp_takers[i].get()});
  for (auto more : {succession::port_fds(estate()), succession::bfd_fds(estate()), ike_.fds(), tunnels_.device_fds()})
    std::ranges::move(more, std::back_inserter(fds));
  return fds;
}

/// The other one forwards now, and has all sockets: this process only has to end.
void Fastpath::leave_to(int pid) {
  log::info("handover", "process {} has taken over; ending", pid);
  // Were it lost, our end would be a crash to the manager.
  constexpr int kTries = 100;
  for (int i = 0; i < kTries && !tunnels_.store().manager().notify(std::format("MAINPID={}", pid)); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  server_.abandon();
  ike_.abandon();
  giver_.abandon();
  capture_.abandon();
  io_.stop();
}

/// In the place of `from`: everything installed while it forwards, then it stops and we go on. Until take() an error
/// only ends this process.
Status Fastpath::succeed(handover::Taker& from) {
  GW_TRY(from.install({.part = [this](const fp::HandoverPart& part) { return service_.import_part(part); },
                       .descriptors = [this, &from] { tunnels_.add_kept(from.fds()); },
                       .pass = [this] { service_.end_pass(); }}));
  tunnels_.settle_all();
  GW_TRY_ASSIGN(fp::HandoverFinal final, from.stop_other());
  GW_TRY(succession::adopt_buffers(estate(), final));
  if (!from.take()) return fail(Errc::kTimeout, "the running gw-fastpath did not wait longer, and goes on");
  GW_TRY(sas_.own_records());
  const auto warn = [](const Status& done) {
    if (!done) log::error("handover", "{}", done.error().describe());
  };
  warn(service_.import_peer(final));
  wipe(*final.mutable_heartbeat()->mutable_peer()->mutable_key());
  base_.workers->resume();
  const auto waited = clock_.now() - MonoTime(std::chrono::nanoseconds(final.stopped_ns()));
  from.tell_taken();
  warn(liveness_.go_on_with_bfd(final.bfd(), succession::take_bfd_fds({&from.fds(), &base_.inherited})));
  liveness_.thread().resume();
  // Programs of the process before do the same over its maps, which nobody changes any more.
  for (const Switch& change : base_.switches) GW_TRY(change());
  service_.import_counters(final);
  log::info("handover", "took over from gw-fastpath {}: packets waited for {} us", from.offer().release(),
            std::chrono::duration_cast<std::chrono::microseconds>(waited).count());
  return {};
}

}  // namespace gw
