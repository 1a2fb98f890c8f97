// How a tunnel's ESP travels: what charon is asked for, and why it came out as it did. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "gw/config/v1/config.pb.h"
#include "ike/connection.hpp"

namespace gw::gwd {

/// What `connections[].encapsulation` says, where it leaves it open what the kind of the wan port wants.
ike::Encapsulation resolve_encapsulation(config::v1::Encapsulation configured, ike::Encapsulation by_default);

enum class EspForm : std::uint8_t { kNative, kInUdp };

/// Of a tunnel that is up; a sentence for an operator.
struct EncapsulationFacts {
  config::v1::Encapsulation configured = config::v1::ENCAPSULATION_AUTO;
  ike::Encapsulation by_default = ike::Encapsulation::kAuto;  // kForceUdp: the wan port is of kind gso
  EspForm agreed = EspForm::kNative;
};
std::string_view encapsulation_reason(const EncapsulationFacts& facts);

}  // namespace gw::gwd
