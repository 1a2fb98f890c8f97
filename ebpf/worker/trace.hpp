// What would become of a packet, as the worker's own decisions say it (DataPath::trace_...). Filled on the packet
// thread: numbers only, made into words by the control thread (control/tracer.cpp).
#pragma once

#include <array>
#include <cstdint>

#include "ebpf/abi/drop.h"
#include "ebpf/worker/port.hpp"
#include "ebpf/worker/shared.hpp"

namespace gw::worker {

/// On its way into a tunnel. What comes after the step that refused it is not filled.
struct SendingTrace {
  enum class Step : std::uint8_t { kSa, kGate, kTtl, kRate, kSize, kSelectors, kNumbers, kWay, kDone };
  Step step = Step::kDone;         // that it got to
  gw_drop refused = GW_DROP_NONE;  // by that step
  std::uint32_t spi = 0;           // of the SA it is sent with
  std::uint32_t inner_limit = 0;   // bytes of the inner packet
  std::uint32_t pieces = 1;        // that it is cut into before encryption
  bool limited = false;            // a rate holds
  std::uint64_t sequence = 0;      // the next one of the SA
  std::uint32_t outer_bytes = 0;   // of the encrypted packet, or of its largest piece
  std::uint32_t outer_mtu = 0;     // more goes in fragments
  bool by_kernel = false;          // the next hop's MAC is not known: the kernel sends, and asks
  LinkHeader link;                 // xsk ports, unless by_kernel
  int ifindex = 0;                 // gso ports: 0: the wan port
};

/// Out of a tunnel: decrypted with one of its SAs.
struct ReceivingTrace {
  enum class Step : std::uint8_t { kGate, kSa, kSelectors, kEnds, kRate, kForward };
  enum class End : std::uint8_t { kRefused, kVnet, kCircuit, kTunnel, kKernel };
  Step step = Step::kForward;
  gw_drop refused = GW_DROP_NONE;
  End end = End::kRefused;
  bool limited = false;
  bool framed = false;          // kVnet: with the host's link header, else by the data TUN
  LinkHeader link;              // kVnet, framed
  TunnelSlot into = kNoTunnel;  // kTunnel
};

}  // namespace gw::worker
