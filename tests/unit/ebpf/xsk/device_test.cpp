// One copy mode for all ports, and the reason an operator reads.
#include "ebpf/xsk/device.hpp"

#include <gtest/gtest.h>

#include <array>

namespace gw::xsk {
namespace {

constexpr auto kZero = CopyMode::kZeroCopy;
constexpr auto kCopy = CopyMode::kCopy;

TEST(ChooseCopyMode, ZeroCopyOnlyIfEveryPortOffersIt) {
  struct Row {
    CopyMode wan, vnet, chosen;
    const char* reason;
  };
  for (const Row& row :
       {Row{kZero, kZero, kZero, "all ports offer zero-copy AF_XDP"},
        Row{kZero, kCopy, kCopy, "no zero-copy AF_XDP on eth1; the ports share their packet buffers"},
        Row{kCopy, kZero, kCopy, "no zero-copy AF_XDP on eth0; the ports share their packet buffers"},
        Row{kCopy, kCopy, kCopy, "no zero-copy AF_XDP on eth0 and eth1; the ports share their packet buffers"}}) {
    const CopyChoice choice = choose_copy_mode(std::array{PortOffer{"eth0", row.wan}, PortOffer{"eth1", row.vnet}});
    EXPECT_EQ(choice.mode, row.chosen) << row.reason;
    EXPECT_EQ(choice.reason, row.reason);
  }
}

}  // namespace
}  // namespace gw::xsk
