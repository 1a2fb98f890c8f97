#include "gwd/control/encapsulation.hpp"

namespace gw::gwd {
namespace v1 = config::v1;

ike::Encapsulation resolve_encapsulation(v1::Encapsulation configured, ike::Encapsulation by_default) {
  switch (configured) {
    case v1::ENCAPSULATION_UDP: return ike::Encapsulation::kForceUdp;
    case v1::ENCAPSULATION_NATIVE: return ike::Encapsulation::kAuto;
    default: return by_default;
  }
}

std::string_view encapsulation_reason(const EncapsulationFacts& facts) {
  const bool gso = facts.by_default == ike::Encapsulation::kForceUdp;
  if (facts.agreed == EspForm::kNative) {
    switch (facts.configured) {
      case v1::ENCAPSULATION_NATIVE: return "native ESP: configured, and no NAT on the way";
      case v1::ENCAPSULATION_UDP: return "native ESP: agreed before UDP was configured";
      default:
        return gso ? "native ESP: agreed before the wan port was known to be gso" : "native ESP: no NAT on the way";
    }
  }
  switch (facts.configured) {
    case v1::ENCAPSULATION_UDP: return "in UDP: configured";
    case v1::ENCAPSULATION_NATIVE:
      return "in UDP, though native is configured: a NAT is on the way, or the peer asked for it";
    default:
      return gso ? "in UDP: the wan port is gso, which offloads UDP and not ESP"
                 : "in UDP: a NAT is on the way, or the peer asked for it";
  }
}

}  // namespace gw::gwd
