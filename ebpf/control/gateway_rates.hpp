// The rate of the whole gateway (its SKU) and what each tunnel has of it for itself: an equal share for every tunnel
// that sends. What a tunnel leaves of its share the others may use, whoever comes first (ADR 22). Control thread.
#pragma once

#include "ebpf/control/tunnels.hpp"
#include "ebpf/worker/workers.hpp"

namespace gw::control {

class GatewayRates {
 public:
  GatewayRates(worker::Workers& workers, const Tunnels& tunnels) : workers_(workers), tunnels_(tunnels) {}

  /// From the next packet on.
  void set(const worker::Rates& rates);
  const worker::Rates& rates() const { return rates_; }
  /// Once in a while: tunnels have come or gone.
  void share_out();

 private:
  worker::Workers& workers_;
  const Tunnels& tunnels_;
  worker::Rates rates_;
  worker::Rates share_;
};

}  // namespace gw::control
