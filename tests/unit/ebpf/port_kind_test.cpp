#include "ebpf/port_kind.hpp"

#include <gtest/gtest.h>

#include <array>

namespace gw {
namespace {

TEST(ChoosePortKind, WhatWasAskedForElseWhatTheDriverOffers) {
  struct Row {
    std::optional<PortKind> asked;
    PortOffer offer;
    PortKind kind;
    std::string_view reason;
  };
  constexpr auto kTold = "as gw-fastpath was told";
  for (const Row& row : std::array<Row, 7>{{
           {std::nullopt, {"mlx5_core", true}, PortKind::kXsk, "the driver mlx5_core offers zero-copy AF_XDP"},
           {std::nullopt, {"", true}, PortKind::kXsk, "the driver offers zero-copy AF_XDP"},
           {std::nullopt,
            {"virtio_net", false},
            PortKind::kGso,
            "the driver virtio_net offers no zero-copy AF_XDP, and segmentation offload is faster than copying"},
           {PortKind::kXsk, {"veth", false}, PortKind::kXsk, kTold},
           {PortKind::kXsk, {"ice", true}, PortKind::kXsk, kTold},
           {PortKind::kGso, {"ice", true}, PortKind::kGso, kTold},
           {PortKind::kGso, {"", false}, PortKind::kGso, kTold},
       }}) {
    const PortChoice choice = choose_port_kind(row.asked, row.offer);
    EXPECT_EQ(choice.kind, row.kind) << row.offer.driver;
    EXPECT_EQ(choice.reason, row.reason);
  }
}

}  // namespace
}  // namespace gw
