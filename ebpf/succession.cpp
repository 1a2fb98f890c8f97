#include "ebpf/succession.hpp"

#include "ebpf/xsk/port.hpp"

namespace gw::succession {
namespace {

constexpr std::array<std::string_view, 3> kSides = {"wan", "vnet", "circuit"};

worker::Port* port_of(const worker::Worker& worker, std::string_view side) {
  return side == "wan" ? &worker.wan() : side == "vnet" ? &worker.vnet() : worker.circuit();
}

/// Null: of another kind, or there is none.
xsk::XskPort* xsk_port_of(const worker::Worker& worker, std::string_view side) {
  return dynamic_cast<xsk::XskPort*>(port_of(worker, side));
}

std::string bfd_name(std::size_t i) { return std::format("bfd-{}", i); }

bool any_xsk(const Estate& e) {
  return std::ranges::any_of(e.ports, [](const rpc::PortFacts& f) { return f.kind == "xsk" && f.side != "circuit"; });
}

}  // namespace

Inheritance inheritance(tun::FdStore& fds, const fp::HandoverOffer& offer) {
  Inheritance from{.fds = fds, .ports = {}, .workers = offer.workers()};
  for (const fp::HandoverPort& p : offer.ports())
    from.ports[p.side()] = {p.kind(), {p.attach_mode(), p.attach_reason()}, p.zero_copy(), p.queues()};
  return from;
}

fp::HandoverOffer offer(const Estate& e) {
  fp::HandoverOffer out;
  out.set_release(GW_VERSION);
  out.set_workers(static_cast<std::uint32_t>(e.workers.count()));
  for (const rpc::PortFacts& f : e.ports) {
    fp::HandoverPort& p = *out.add_ports();
    p.set_side(f.side);
    p.set_kind(f.kind);
    p.set_attach_mode(f.attachment.mode);
    p.set_attach_reason(f.attachment.reason);
    p.set_zero_copy(f.zero_copy);
    p.set_queues(f.queues);
  }
  return out;
}

std::vector<tun::NamedFd> port_fds(const Estate& e) {
  std::vector<tun::NamedFd> fds;
  if (any_xsk(e)) fds.push_back({kFramesName, e.memory.fd()});
  for (std::size_t w = 0; w < e.workers.count(); ++w) {
    for (const std::string_view side : kSides) {
      const worker::Port* port = port_of(e.workers[static_cast<worker::WorkerIndex>(w)], side);
      if (!port) continue;
      const auto all = port->fds();
      for (std::size_t i = 0; i < all.size(); ++i) fds.push_back({port_fd_name(side, w, i), all[i]});
    }
  }
  return fds;
}

std::vector<tun::NamedFd> bfd_fds(const Estate& e) {
  const auto receivers = e.liveness.thread().receivers();
  std::vector<tun::NamedFd> fds{{"bfdd", e.liveness.thread().bfdd_listener()}};
  for (std::size_t i = 0; i < receivers.size(); ++i) fds.push_back({bfd_name(i), receivers[i]});
  return fds;
}

std::vector<std::string> names_for_later() {
  std::vector<std::string> names{"rpc", "ike", "handover"};
  for (std::size_t i = 0; i < kBfdReceivers; ++i) names.push_back(bfd_name(i));
  return names;
}

std::array<Fd, kBfdReceivers> take_bfd_fds(std::initializer_list<tun::FdStore*> latest_first) {
  std::array<Fd, kBfdReceivers> taken;
  for (std::size_t i = 0; i < taken.size(); ++i)
    for (tun::FdStore* const store : latest_first)
      if (!taken[i]) taken[i] = store->take(bfd_name(i));
  return taken;
}

void stop(const Estate& e, fp::HandoverFinal& out) {
  out.set_stopped_ns(e.clock.now().time_since_epoch().count());
  e.workers.pause();
  e.liveness.thread().pause();
  if (!any_xsk(e)) return;
  // Frames on their way to another pool are at home after two rounds: put into rings, taken out of them.
  for (int round = 0; round < 2; ++round)
    for (const auto& worker : e.workers.all()) worker->frames().exchange([](worker::WorkerIndex) {});
  std::vector<bool> free(e.memory.frames());
  for (const auto& worker : e.workers.all()) worker->frames().mark_free(free);
  std::string bits((free.size() + 7) / 8, '\0');
  for (std::size_t i = 0; i < free.size(); ++i)
    if (free[i]) bits[i / 8] = static_cast<char>(static_cast<unsigned char>(bits[i / 8]) | 1U << i % 8);
  out.set_free_frames(std::move(bits));
  for (std::uint32_t w = 0; w < e.workers.count(); ++w) {
    for (const std::string_view side : kSides) {
      const xsk::XskPort* port = xsk_port_of(e.workers[static_cast<worker::WorkerIndex>(w)], side);
      for (std::uint32_t i = 0; port && i < port->sockets(); ++i) {
        const xsk::Socket::Held held = port->socket(i).held();
        fp::HandoverSocket& m = *out.add_sockets();
        m.set_side(std::string(side));
        m.set_worker(w);
        m.set_index(i);
        m.set_in_fill(held.in_fill);
        m.set_outstanding(held.outstanding);
      }
    }
  }
}

void go_on(const Estate& e) {
  e.liveness.thread().resume();
  e.workers.resume();
}

Status adopt_buffers(const Estate& e, const fp::HandoverFinal& final) {
  if (!any_xsk(e)) return {};
  std::vector<bool> free(e.memory.frames());
  if (final.free_frames().size() != (free.size() + 7) / 8)
    return fail(Errc::kMalformed, "the packet buffers are not those that were handed over");
  for (std::size_t i = 0; i < free.size(); ++i)
    free[i] = (static_cast<unsigned>(static_cast<unsigned char>(final.free_frames()[i / 8])) >> i % 8 & 1U) != 0;
  for (const auto& worker : e.workers.all()) worker->frames().set_free(free);
  for (const fp::HandoverSocket& m : final.sockets()) {
    xsk::XskPort* const port = m.worker() < e.workers.count()
                                   ? xsk_port_of(e.workers[static_cast<worker::WorkerIndex>(m.worker())], m.side())
                                   : nullptr;
    if (!port || m.index() >= port->sockets()) return fail(Errc::kMalformed, "a socket that nobody has handed over");
    port->socket(m.index()).go_on({m.in_fill(), m.outstanding()});
  }
  return {};
}

}  // namespace gw::succession
