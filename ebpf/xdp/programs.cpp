#include "ebpf/xdp/programs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include <devmap_drops.skel.h>
#include <sys/stat.h>
#include <vnet.skel.h>
#include <wan.skel.h>
#include <algorithm>
#include <cstring>

#include "base/fd.hpp"
#include "ebpf/xdp/vlans.hpp"

namespace gw::xdp {
namespace {

/// Native first; generic when the driver cannot. The link detaches the program when its fd closes.
Result<Attachment> attach_xdp(int program_fd, int ifindex, Fd& link) {
  LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
  link.reset(bpf_link_create(program_fd, ifindex, BPF_XDP, &native));
  if (link) return Attachment{"native", {}};
  const int why = errno;
  if (why == EBUSY || why == EEXIST || why == EPERM)
    return fail_errno("attaching XDP (is another XDP program or gw-fastpath on the interface?)", why);
  LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = XDP_FLAGS_SKB_MODE);
  link.reset(bpf_link_create(program_fd, ifindex, BPF_XDP, &generic));
  if (!link) return fail_errno("attaching XDP, native and generic");
  return Attachment{"generic", std::string("the driver refused native XDP: ") + std::strerror(why)};
}

Status put_socket(const bpf_map* map, std::uint32_t queue, int xsk_fd) {
  if (bpf_map__update_elem(map, &queue, sizeof queue, &xsk_fd, sizeof xsk_fd, BPF_ANY) != 0)
    return fail_errno(std::format("registering the AF_XDP socket of queue {}", queue));
  return {};
}

}  // namespace

// --- wan -------------------------------------------------------------------------------------------------

struct WanProgram::Impl {
  ~Impl() { gw_wan__destroy(skeleton); }
  gw_wan* skeleton = nullptr;
  Fd link;
};

WanProgram::WanProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WanProgram::WanProgram(WanProgram&&) noexcept = default;
WanProgram& WanProgram::operator=(WanProgram&&) noexcept = default;
WanProgram::~WanProgram() = default;

Result<WanProgram> WanProgram::load(const Maps& maps) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_wan__open();
  if (!impl->skeleton) return fail_errno("opening the XDP program 'wan'");
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (gw_wan__load(impl->skeleton) != 0) return fail_errno("loading the XDP program 'wan'");
  return WanProgram(std::move(impl));
}

Result<Attachment> WanProgram::attach(int ifindex) { return attach_xdp(program_fd(), ifindex, impl_->link); }
int WanProgram::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_wan); }

Status WanProgram::set_socket(std::uint32_t queue, int xsk_fd) {
  return put_socket(impl_->skeleton->maps.sockets, queue, xsk_fd);
}

void WanProgram::inherit(Fd link) { impl_->link = std::move(link); }
int WanProgram::link_fd() const { return impl_->link.get(); }

// --- vnet ------------------------------------------------------------------------------------------------

struct VnetProgram::Impl {
  ~Impl() { gw_vnet__destroy(skeleton); }
  gw_vnet* skeleton = nullptr;
  Fd link;
};

VnetProgram::VnetProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VnetProgram::VnetProgram(VnetProgram&&) noexcept = default;
VnetProgram& VnetProgram::operator=(VnetProgram&&) noexcept = default;
VnetProgram::~VnetProgram() = default;

Result<VnetProgram> VnetProgram::load(const Maps& maps, gw_side side) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_vnet__open();
  if (!impl->skeleton) return fail_errno("opening the XDP program 'vnet'");
  impl->skeleton->rodata->side = side;
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (gw_vnet__load(impl->skeleton) != 0) return fail_errno("loading the XDP program 'vnet'");
  return VnetProgram(std::move(impl));
}

Result<Attachment> VnetProgram::attach(int ifindex) { return attach_xdp(program_fd(), ifindex, impl_->link); }
int VnetProgram::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_vnet); }

void VnetProgram::set_mac(const std::array<std::uint8_t, 6>& mac) {
  std::ranges::copy(mac, impl_->skeleton->bss->port_mac);
}

void VnetProgram::set_max_packet(std::uint32_t bytes) { impl_->skeleton->data->max_packet = bytes; }

void VnetProgram::set_vlans(std::span<const std::uint64_t> keys) { write_vlans(impl_->skeleton->bss->vlans, keys); }

void VnetProgram::set_tcx_behind() { impl_->skeleton->bss->tcx_behind = 1; }

Status VnetProgram::set_socket(std::uint32_t queue, int xsk_fd) {
  return put_socket(impl_->skeleton->maps.sockets, queue, xsk_fd);
}

void VnetProgram::inherit(Fd link) { impl_->link = std::move(link); }
int VnetProgram::link_fd() const { return impl_->link.get(); }

// --- devmap_drops ----------------------------------------------------------------------------------------

struct DevmapDrops::Impl {
  ~Impl() { gw_devmap_drops__destroy(skeleton); }  // and its links
  gw_devmap_drops* skeleton = nullptr;
};

DevmapDrops::DevmapDrops(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DevmapDrops::DevmapDrops(DevmapDrops&&) noexcept = default;
DevmapDrops& DevmapDrops::operator=(DevmapDrops&&) noexcept = default;
DevmapDrops::~DevmapDrops() = default;

Result<DevmapDrops> DevmapDrops::start(const Maps& maps, const Ports& ports) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_devmap_drops__open();
  if (!impl->skeleton) return fail_errno("opening the program 'devmap_drops'");
  struct stat network{};
  if (::stat("/proc/self/ns/net", &network) != 0) return fail_errno("looking at our network namespace");
  impl->skeleton->rodata->network = static_cast<std::uint32_t>(network.st_ino);
  for (std::size_t side = 0; side < ports.size(); ++side)
    impl->skeleton->rodata->ports[side] = static_cast<std::uint32_t>(ports[side]);
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (gw_devmap_drops__load(impl->skeleton) != 0) return fail_errno("loading the program 'devmap_drops'");
  if (gw_devmap_drops__attach(impl->skeleton) != 0) return fail_errno("attaching to the tracepoints of XDP");
  return DevmapDrops(std::move(impl));
}

}  // namespace gw::xdp
