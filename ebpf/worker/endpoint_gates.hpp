// For which endpoints (public addresses) this instance may send at this moment. Memory is the BPF array `gates`
// (abi/gates.h), so that the wan port's programs judge ARP and neighbour solicitations by the same values.
//
// Writers: the control thread takes places and sets claims; the liveness thread alone extends the embedded lease and
// notes higher claims of the other instance. Readers: workers, once a burst and once before it is sent; BPF. With no
// place in use (a single instance) everything is open and nothing is compared.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/clock.hpp"
#include "ebpf/abi/gates.h"

namespace gw::worker {

/// Place of an endpoint; kNoGate: the address is no endpoint, nobody keeps it from sending.
using GateIndex = std::uint8_t;
inline constexpr GateIndex kNoGate = 0;

constexpr std::uint64_t boot_ns(MonoTime t) { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }

/// What was open at one moment, a bit for each place.
struct OpenGates {
  std::uint64_t send = ~std::uint64_t{0};
  std::uint64_t finish = ~std::uint64_t{0};  // send what is encrypted already
  std::uint64_t receive = ~std::uint64_t{0};
  bool may_send(GateIndex gate) const { return (send >> gate & 1) != 0; }
  bool may_finish(GateIndex gate) const { return (finish >> gate & 1) != 0; }
  bool may_receive(GateIndex gate) const { return (receive >> gate & 1) != 0; }
};

class EndpointGates {
 public:
  struct Claim {
    std::uint64_t until_ns = 0;  // 0: standby; GW_GATE_FOREVER: no deadline
    std::uint64_t lease_epoch = 0;
  };

  /// `memory` outlives this. All places are free, there is no embedded lease.
  explicit EndpointGates(gw_gates& memory) : memory_(memory) {
    memory_ = {};
    store(memory_.lease_until_ns, GW_GATE_FOREVER);
  }
  EndpointGates(const EndpointGates&) = delete;
  EndpointGates& operator=(const EndpointGates&) = delete;

  // --- control thread ---
  /// A closed place; kNoGate: all are taken.
  GateIndex take() {
    const std::uint64_t used = load(memory_.used) | 1;
    if (~used == 0) return kNoGate;
    const auto gate = static_cast<GateIndex>(std::countr_one(used));
    gw_gate& g = memory_.gates[gate];
    for (__u64* field : {&g.until_ns, &g.receive_until_ns, &g.lease_epoch, &g.lost_to_epoch}) store(*field, 0);
    store(memory_.used, used | std::uint64_t{1} << gate);
    return gate;
  }
  /// Nothing refers to it any more.
  void give(GateIndex gate) {
    std::uint64_t used = load(memory_.used) & ~(std::uint64_t{1} << gate);
    if (used == 1) used = 0;
    store(memory_.used, used);
    end_parting(gate);
  }
  /// It is about to close: bursts that begin from now on are not sent, those under way are. set() ends that.
  void begin_parting(GateIndex gate) { store(memory_.parting, load(memory_.parting) | std::uint64_t{1} << gate); }
  /// Never open under a mixture of two claims: it closes in between if the epoch changes.
  void set(GateIndex gate, const Claim& claim) {
    gw_gate& g = memory_.gates[gate];
    if (load(g.lease_epoch) != claim.lease_epoch) {
      store(g.until_ns, 0);
      store(g.lease_epoch, claim.lease_epoch);
    }
    store(g.until_ns, claim.until_ns);
    end_parting(gate);
  }
  /// Standby, but decapsulates until then.
  void set_receive_until(GateIndex gate, std::uint64_t until_ns) {
    store(memory_.gates[gate].receive_until_ns, until_ns);
  }

  /// One of several instances, just started: whoever has an SA does not send before it is known what is ours.
  void hold() { store(memory_.hold, 1); }
  void end_hold() { store(memory_.hold, 0); }

  // --- liveness thread ---
  void set_lease_until(std::uint64_t until_ns) { store(memory_.lease_until_ns, until_ns); }
  /// The other instance claims it with this epoch. Higher than ours: closed from now on.
  void note_other_claim(GateIndex gate, std::uint64_t lease_epoch) {
    __u64& lost = memory_.gates[gate].lost_to_epoch;
    if (lease_epoch > load(lost)) store(lost, lease_epoch);
  }

  // --- any thread ---
  bool any() const { return (load(memory_.used) | load(memory_.hold)) != 0; }
  std::uint64_t lease_until_ns() const { return load(memory_.lease_until_ns); }
  std::uint64_t lost_to_epoch(GateIndex gate) const { return load(memory_.gates[gate].lost_to_epoch); }
  bool may_send(GateIndex gate, MonoTime now) const {
    return load(memory_.hold) == 0 && (gate == kNoGate || is_open(gate, boot_ns(now)));
  }
  /// All places.
  OpenGates open_at(MonoTime now) const {
    if (!any()) [[likely]]
      return {};
    if (load(memory_.hold) != 0) return {.send = 0, .finish = 0, .receive = 0};
    std::uint64_t left = load(memory_.used) & ~std::uint64_t{1};
    const std::uint64_t now_ns = boot_ns(now);
    const std::uint64_t parting = load(memory_.parting);
    OpenGates open{~left, ~left, ~left};
    for (; left != 0; left &= left - 1) {
      const auto gate = static_cast<GateIndex>(std::countr_zero(left));
      const std::uint64_t bit = std::uint64_t{1} << gate;
      if (is_open(gate, now_ns))
        open.send |= bit & ~parting, open.finish |= bit, open.receive |= bit;
      else if (now_ns < load(memory_.gates[gate].receive_until_ns))
        open.receive |= bit;
    }
    return open;
  }

 private:
  void end_parting(GateIndex gate) { store(memory_.parting, load(memory_.parting) & ~(std::uint64_t{1} << gate)); }
  static std::uint64_t load(const __u64& field) {
    return std::atomic_ref(const_cast<__u64&>(field)).load(std::memory_order_acquire);
  }
  static void store(__u64& field, std::uint64_t value) {
    std::atomic_ref(field).store(value, std::memory_order_release);
  }
  bool is_open(GateIndex gate, std::uint64_t now_ns) const {
    const gw_gate& g = memory_.gates[gate];
    // The deadline first: who sees a new one sees the epoch it belongs to.
    gw_gate seen{};
    seen.until_ns = load(g.until_ns);
    seen.lease_epoch = load(g.lease_epoch);
    seen.lost_to_epoch = load(g.lost_to_epoch);
    return gw_gate_is_open(load(memory_.lease_until_ns), &seen, now_ns) != 0;
  }

  gw_gates& memory_;
};

}  // namespace gw::worker
