// The sockets of a gso wan port: UDP 4500 (ESP in UDP and IKE, RFC 3948) with the kernel's receive offload, and raw
// ESP (protocol 50), which has none. All our addresses of one family, non-blocking, DF set until the sender says
// otherwise: path MTU discovery is the gateway's job (RFC 4301 8.1). Opened by the control thread, used by one worker.
#pragma once

#include <cstdint>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::gso {

inline constexpr std::uint16_t kNatTPort = 4500;

/// One of a group of sockets on the port (SO_REUSEPORT), one a worker. kAlreadyExists: another program has it.
Result<Fd> open_nat_t(Family family);

enum class EspReceiving : std::uint8_t {
  kAll,   // every raw socket gets every packet: one worker asks for them
  kNone,  // for sending only
};
Result<Fd> open_raw_esp(Family family, EspReceiving receiving);

}  // namespace gw::gso
