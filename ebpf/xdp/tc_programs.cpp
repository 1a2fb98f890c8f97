#include "ebpf/xdp/tc_programs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>

#include <decrypted_tc.skel.h>
#include <nat_t_steering.skel.h>
#include <tun_steering.skel.h>
#include <vnet_tc.skel.h>
#include <wan_tc.skel.h>

#include "ebpf/abi/xdp.h"
#include "ebpf/xdp/vlans.hpp"

namespace gw::xdp {
namespace {

Result<Attachment> attach_tcx(int program_fd, int ifindex, Fd& link) {
  LIBBPF_OPTS(bpf_link_create_opts, options);
  link.reset(bpf_link_create(program_fd, ifindex, BPF_TCX_INGRESS, &options));
  if (link) return Attachment{"tcx", {}};
  if (errno == EINVAL)
    return fail(Errc::kUnsupported,
                "this kernel has no tcx (Linux 6.6 or later has): use --wan-port xsk --vnet-port xsk");
  return fail_errno("attaching the tcx program");
}

}  // namespace

// --- wan_tc ----------------------------------------------------------------------------------------------

struct WanTcProgram::Impl {
  ~Impl() { gw_wan_tc__destroy(skeleton); }
  gw_wan_tc* skeleton = nullptr;
  Fd link;
};

WanTcProgram::WanTcProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WanTcProgram::WanTcProgram(WanTcProgram&&) noexcept = default;
WanTcProgram& WanTcProgram::operator=(WanTcProgram&&) noexcept = default;
WanTcProgram::~WanTcProgram() = default;

Result<WanTcProgram> WanTcProgram::load(const Maps& maps) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_wan_tc__open();
  if (!impl->skeleton) return fail_errno("opening the tcx program 'wan_tc'");
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (gw_wan_tc__load(impl->skeleton) != 0) return fail_errno("loading the tcx program 'wan_tc'");
  return WanTcProgram(std::move(impl));
}

Result<Attachment> WanTcProgram::attach(int ifindex) { return attach_tcx(program_fd(), ifindex, impl_->link); }
int WanTcProgram::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_wan_tc); }

void WanTcProgram::inherit(Fd link) { impl_->link = std::move(link); }
int WanTcProgram::link_fd() const { return impl_->link.get(); }

// --- vnet_tc ---------------------------------------------------------------------------------------------

struct VnetTcProgram::Impl {
  ~Impl() { gw_vnet_tc__destroy(skeleton); }
  gw_vnet_tc* skeleton = nullptr;
  Fd link;
};

VnetTcProgram::VnetTcProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VnetTcProgram::VnetTcProgram(VnetTcProgram&&) noexcept = default;
VnetTcProgram& VnetTcProgram::operator=(VnetTcProgram&&) noexcept = default;
VnetTcProgram::~VnetTcProgram() = default;

Result<VnetTcProgram> VnetTcProgram::load(const Maps& maps, gw_side side) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_vnet_tc__open();
  if (!impl->skeleton) return fail_errno("opening the tcx program 'vnet_tc'");
  impl->skeleton->rodata->side = side;
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (gw_vnet_tc__load(impl->skeleton) != 0) return fail_errno("loading the tcx program 'vnet_tc'");
  return VnetTcProgram(std::move(impl));
}

Result<Attachment> VnetTcProgram::attach(int ifindex) { return attach_tcx(program_fd(), ifindex, impl_->link); }
int VnetTcProgram::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_vnet_tc); }

void VnetTcProgram::set_data_device(int ifindex) {
  impl_->skeleton->bss->data_ifindex = static_cast<std::uint32_t>(ifindex);
}
void VnetTcProgram::set_max_packet(std::uint32_t bytes) { impl_->skeleton->data->max_packet = bytes; }

void VnetTcProgram::set_vlans(std::span<const std::uint64_t> keys) { write_vlans(impl_->skeleton->bss->vlans, keys); }

void VnetTcProgram::inherit(Fd link) { impl_->link = std::move(link); }
int VnetTcProgram::link_fd() const { return impl_->link.get(); }

// --- decrypted_tc ----------------------------------------------------------------------------------------

struct DecryptedTcProgram::Impl {
  ~Impl() { gw_decrypted_tc__destroy(skeleton); }
  gw_decrypted_tc* skeleton = nullptr;
  Fd link;
};

DecryptedTcProgram::DecryptedTcProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DecryptedTcProgram::DecryptedTcProgram(DecryptedTcProgram&&) noexcept = default;
DecryptedTcProgram& DecryptedTcProgram::operator=(DecryptedTcProgram&&) noexcept = default;
DecryptedTcProgram::~DecryptedTcProgram() = default;

Result<DecryptedTcProgram> DecryptedTcProgram::load(const Maps& maps) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_decrypted_tc__open();
  if (!impl->skeleton) return fail_errno("opening the tcx program 'decrypted_tc'");
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (gw_decrypted_tc__load(impl->skeleton) != 0) return fail_errno("loading the tcx program 'decrypted_tc'");
  return DecryptedTcProgram(std::move(impl));
}

Result<Attachment> DecryptedTcProgram::attach(int ifindex) { return attach_tcx(program_fd(), ifindex, impl_->link); }
int DecryptedTcProgram::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_decrypted_tc); }

void DecryptedTcProgram::inherit(Fd link) { impl_->link = std::move(link); }
int DecryptedTcProgram::link_fd() const { return impl_->link.get(); }

// --- nat_t_steering --------------------------------------------------------------------------------------

struct NatTSteering::Impl {
  ~Impl() { gw_nat_t_steering__destroy(skeleton); }
  gw_nat_t_steering* skeleton = nullptr;
};

NatTSteering::NatTSteering(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NatTSteering::NatTSteering(NatTSteering&&) noexcept = default;
NatTSteering& NatTSteering::operator=(NatTSteering&&) noexcept = default;
NatTSteering::~NatTSteering() = default;

Result<NatTSteering> NatTSteering::load(const Maps& maps) { return load(maps, Fd()); }

Result<NatTSteering> NatTSteering::load(const Maps& maps, Fd sockets) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_nat_t_steering__open();
  if (!impl->skeleton) return fail_errno("opening the steering program 'nat_t_steering'");
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (sockets && bpf_map__reuse_fd(impl->skeleton->maps.nat_t_sockets, sockets.get()) != 0)
    return fail_errno("sharing the map of NAT-T sockets");
  if (gw_nat_t_steering__load(impl->skeleton) != 0) return fail_errno("loading the steering program 'nat_t_steering'");
  return NatTSteering(std::move(impl));
}

Status NatTSteering::add(std::uint32_t worker, int udp_fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (::getsockopt(udp_fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0)
    return fail_errno("asking a NAT-T socket for its family");
  const std::uint32_t index = 2 * worker + (domain == AF_INET6 ? 1 : 0);
  const auto value = static_cast<std::uint64_t>(udp_fd);
  const bpf_map* map = impl_->skeleton->maps.nat_t_sockets;
  if (bpf_map__update_elem(map, &index, sizeof index, &value, sizeof value, BPF_ANY) != 0)
    return fail_errno(std::format("registering the NAT-T socket of worker {}", worker));
  return steer({udp_fd}, program_fd());
}

int NatTSteering::sockets_fd() const { return bpf_map__fd(impl_->skeleton->maps.nat_t_sockets); }

int NatTSteering::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_nat_t_steering); }

Status NatTSteering::steer(const SteeredSocket& socket, int program_fd) {
  if (::setsockopt(socket.fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program_fd, sizeof program_fd) != 0)
    return fail_errno("steering the NAT-T sockets");
  return {};
}

// --- tun_steering ----------------------------------------------------------------------------------------

struct TunSteering::Impl {
  ~Impl() { gw_tun_steering__destroy(skeleton); }
  gw_tun_steering* skeleton = nullptr;
};

TunSteering::TunSteering(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TunSteering::TunSteering(TunSteering&&) noexcept = default;
TunSteering& TunSteering::operator=(TunSteering&&) noexcept = default;
TunSteering::~TunSteering() = default;

Result<TunSteering> TunSteering::load(const Maps& maps) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_tun_steering__open();
  if (!impl->skeleton) return fail_errno("opening the steering program 'tun_steering'");
  GW_TRY(maps.share_with(impl->skeleton->obj));
  if (gw_tun_steering__load(impl->skeleton) != 0) return fail_errno("loading the steering program 'tun_steering'");
  return TunSteering(std::move(impl));
}

int TunSteering::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_tun_steering); }

}  // namespace gw::xdp
