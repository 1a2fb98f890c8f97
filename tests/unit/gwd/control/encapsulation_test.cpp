// What charon is asked for, and the reason that operators see, for every combination.
#include "gwd/control/encapsulation.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

namespace gw::gwd {
namespace {

namespace v1 = config::v1;
using ike::Encapsulation;

TEST(Encapsulation, OnlyAutoFollowsThePort) {
  struct Row {
    v1::Encapsulation configured;
    Encapsulation by_default;
    Encapsulation asked;
  };
  for (const Row& row : std::array<Row, 6>{{
           {v1::ENCAPSULATION_AUTO, Encapsulation::kAuto, Encapsulation::kAuto},
           {v1::ENCAPSULATION_AUTO, Encapsulation::kForceUdp, Encapsulation::kForceUdp},
           {v1::ENCAPSULATION_UDP, Encapsulation::kAuto, Encapsulation::kForceUdp},
           {v1::ENCAPSULATION_UDP, Encapsulation::kForceUdp, Encapsulation::kForceUdp},
           {v1::ENCAPSULATION_NATIVE, Encapsulation::kAuto, Encapsulation::kAuto},
           {v1::ENCAPSULATION_NATIVE, Encapsulation::kForceUdp, Encapsulation::kAuto},
       }})
    EXPECT_EQ(resolve_encapsulation(row.configured, row.by_default), row.asked)
        << v1::Encapsulation_Name(row.configured);
}

TEST(Encapsulation, TheReasonNamesWhatDecided) {
  struct Row {
    EncapsulationFacts facts;
    std::string_view reason;
  };
  constexpr auto kNat = "in UDP: a NAT is on the way, or the peer asked for it";
  constexpr auto kNatAllTheSame = "in UDP, though native is configured: a NAT is on the way, or the peer asked for it";
  constexpr auto kEarlier = "native ESP: agreed before UDP was configured";
  constexpr auto kXsk = Encapsulation::kAuto;
  constexpr auto kGso = Encapsulation::kForceUdp;
  for (const Row& row : std::array<Row, 12>{{
           {{v1::ENCAPSULATION_AUTO, kXsk, EspForm::kNative}, "native ESP: no NAT on the way"},
           {{v1::ENCAPSULATION_AUTO, kXsk, EspForm::kInUdp}, kNat},
           {{v1::ENCAPSULATION_AUTO, kGso, EspForm::kNative},
            "native ESP: agreed before the wan port was known to be gso"},
           {{v1::ENCAPSULATION_AUTO, kGso, EspForm::kInUdp},
            "in UDP: the wan port is gso, which offloads UDP and not ESP"},
           {{v1::ENCAPSULATION_UDP, kXsk, EspForm::kNative}, kEarlier},
           {{v1::ENCAPSULATION_UDP, kXsk, EspForm::kInUdp}, "in UDP: configured"},
           {{v1::ENCAPSULATION_UDP, kGso, EspForm::kNative}, kEarlier},
           {{v1::ENCAPSULATION_UDP, kGso, EspForm::kInUdp}, "in UDP: configured"},
           {{v1::ENCAPSULATION_NATIVE, kXsk, EspForm::kNative}, "native ESP: configured, and no NAT on the way"},
           {{v1::ENCAPSULATION_NATIVE, kXsk, EspForm::kInUdp}, kNatAllTheSame},
           {{v1::ENCAPSULATION_NATIVE, kGso, EspForm::kNative}, "native ESP: configured, and no NAT on the way"},
           {{v1::ENCAPSULATION_NATIVE, kGso, EspForm::kInUdp}, kNatAllTheSame},
       }})
    EXPECT_EQ(encapsulation_reason(row.facts), row.reason) << v1::Encapsulation_Name(row.facts.configured);
}

}  // namespace
}  // namespace gw::gwd
