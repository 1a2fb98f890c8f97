#include "ebpf/xdp/dry_run.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>

#include <vnet_tc.skel.h>
#include <wan_tc.skel.h>
#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

namespace gw::xdp {
namespace {

/// What programs write.
constexpr auto kOwn = std::to_array<std::string_view>({"wan_counters", "vnet_counters", "circuit_counters",
                                                       "decrypted_counters", "neighbours_used", "events", "ike_peers",
                                                       "ike_sources", "ike_strangers", "spi_sources"});

/// To the loopback device, whose address is all zero: a packet for us.
std::vector<std::uint8_t> framed(std::span<const std::uint8_t> packet) {
  std::vector<std::uint8_t> frame(ETH_HLEN);
  const bool v4 = packet[0] >> 4 == 4;
  frame[12] = v4 ? 0x08 : 0x86;
  frame[13] = v4 ? 0x00 : 0xdd;
  frame.insert(frame.end(), packet.begin(), packet.end());
  return frame;
}

struct Program {
  int fd;
  const bpf_map* counters;
};

Result<gw_xdp_counter> run(const Program& program, std::span<const std::uint8_t> packet) {
  if (packet.empty() || packet.size() > DryRun::kMaxPacket)
    return fail_field("size", std::format("{} bytes cannot be traced; at most {}", packet.size(), DryRun::kMaxPacket));
  const std::vector<std::uint8_t> frame = framed(packet);
  std::vector<std::uint8_t> out(frame.size() + 256);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = out.data(),
              .data_size_in = static_cast<std::uint32_t>(frame.size()),
              .data_size_out = static_cast<std::uint32_t>(out.size()), .repeat = 1);
  const Counters counted = read_counters(program.counters);
  if (const int error = bpf_prog_test_run_opts(program.fd, &options); error != 0)
    return fail_errno("running a port's program on a packet", -error);
  const Counters now = read_counters(program.counters);
  for (std::size_t i = 0; i < now.size(); ++i)
    if (now[i] != counted[i]) return static_cast<gw_xdp_counter>(i);
  return fail(Errc::kIo, "a port's program counted nothing for a packet");
}

/// Else the limits would be some of traces: their packets never came.
void forget_strangers(const bpf_map* map) {
  const std::uint32_t all = 0;
  const std::uint64_t nothing = 0;
  (void)bpf_map__update_elem(map, &all, sizeof all, &nothing, sizeof nothing, BPF_ANY);
}
void forget_sources(const bpf_map* map) {
  gw_address_key source{};
  while (bpf_map__get_next_key(map, nullptr, &source, sizeof source) == 0)
    if (bpf_map__delete_elem(map, &source, sizeof source, 0) != 0) return;
}

}  // namespace

struct DryRun::Clear {
  ~Clear() { gw_vnet_tc__destroy(skeleton); }
  gw_vnet_tc* skeleton = nullptr;
};

struct DryRun::Wan {
  ~Wan() { gw_wan_tc__destroy(skeleton); }
  gw_wan_tc* skeleton = nullptr;
};

DryRun::DryRun(const Maps& maps, std::uint32_t max_packet) : maps_(maps), max_packet_(max_packet) {}
DryRun::DryRun(DryRun&&) noexcept = default;
DryRun::~DryRun() = default;

Result<gw_xdp_counter> DryRun::forward(gw_side side, std::span<const std::uint8_t> packet) {
  std::unique_ptr<Clear>& clear = clear_[side];
  if (!clear) {
    auto made = std::make_unique<Clear>();
    made->skeleton = gw_vnet_tc__open();
    if (!made->skeleton) return fail_errno("opening the tcx program 'vnet_tc'");
    made->skeleton->rodata->side = side;
    GW_TRY(maps_.share_with(made->skeleton->obj, kOwn));
    if (gw_vnet_tc__load(made->skeleton) != 0) return fail_errno("loading the tcx program 'vnet_tc'");
    constexpr std::uint32_t kLoopback = 1;
    made->skeleton->bss->data_ifindex = kLoopback;  // any: nothing is sent
    made->skeleton->data->max_packet = max_packet_;
    clear = std::move(made);
  }
  const auto& maps = clear->skeleton->maps;
  return run({bpf_program__fd(clear->skeleton->progs.gw_vnet_tc),
              side == GW_SIDE_CIRCUIT ? maps.circuit_counters : maps.vnet_counters},
             packet);
}

Result<gw_xdp_counter> DryRun::guard(std::span<const std::uint8_t> packet) {
  if (!wan_) {
    auto made = std::make_unique<Wan>();
    made->skeleton = gw_wan_tc__open();
    if (!made->skeleton) return fail_errno("opening the tcx program 'wan_tc'");
    GW_TRY(maps_.share_with(made->skeleton->obj, kOwn));
    if (gw_wan_tc__load(made->skeleton) != 0) return fail_errno("loading the tcx program 'wan_tc'");
    wan_ = std::move(made);
  }
  forget_sources(wan_->skeleton->maps.ike_sources);
  forget_strangers(wan_->skeleton->maps.ike_strangers);
  return run({bpf_program__fd(wan_->skeleton->progs.gw_wan_tc), wan_->skeleton->maps.wan_counters}, packet);
}

}  // namespace gw::xdp
