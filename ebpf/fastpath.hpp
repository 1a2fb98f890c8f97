// gw-fastpath as a whole: what main() makes, and the control thread's loop around it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "ebpf/esp/crypto.hpp"
#include "ebpf/ports.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw {

enum class StatePlace : std::uint8_t {
  kVolatile,  // tmpfs or ramfs, else refused
  kAnywhere,  // for tests on a machine without: whatever survives a reboot can repeat nonces
};

enum class Start : std::uint8_t {
  kAlone,    // nobody else has the ports
  kReplace,  // in the place of a gw-fastpath that runs, if one does (ADR 20)
};

struct FastpathOptions {
  std::string wan;
  std::string vnet;
  std::string circuit;               // empty: none
  std::optional<PortKind> wan_port;  // none: automatic, by what the driver offers
  std::optional<PortKind> vnet_port;
  std::optional<PortKind> circuit_port;
  std::string socket = "/run/gw/fastpath.sock";
  std::string ike_socket;      // for charon's socket plugin; empty: ike.sock beside `socket`
  std::uint16_t bfd_port = 0;  // for bfdd, which connects to it; 0: none
  std::string state_dir = "/run/gw/fastpath";
  StatePlace state_place = StatePlace::kVolatile;
  std::uint32_t instance = 0;
  Start start = Start::kAlone;
  esp::BackendChoice crypto = esp::BackendChoice::kAuto;
  esp::TransformPermissions transforms;
  std::uint32_t max_tunnels = 500;
  std::uint32_t max_sas = 4096;
  std::optional<std::size_t> workers;  // none: as CPUs and receive queues allow
  xdp::FibSize fib;
};

/// Sets everything up, serves until SIGTERM or SIGINT, tears down. The error is one line for an operator.
Status run_fastpath(const FastpathOptions& options);

}  // namespace gw
