// The XDP programs, loaded over the shared maps: links that detach when the object goes (also when the
// process dies), AF_XDP sockets by rx queue. Control thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::xdp {

struct Attachment {
  std::string mode;    // "native", "generic" or "tcx"
  std::string reason;  // why not native; empty if it is
};

class WanProgram {
 public:
  /// kPermission without CAP_BPF/CAP_NET_ADMIN; kIo with the verifier's or kernel's words.
  static Result<WanProgram> load(const Maps& maps);
  WanProgram(WanProgram&&) noexcept;
  WanProgram& operator=(WanProgram&&) noexcept;
  ~WanProgram();

  Result<Attachment> attach(int ifindex);
  /// Attached already, by a process before this one: replace_program() puts this program in the place of its.
  void inherit(Fd link);
  int link_fd() const;
  int program_fd() const;
  Status set_socket(std::uint32_t queue, int xsk_fd);

 private:
  struct Impl;
  explicit WanProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Of a clear port: the VNet's or the circuit's.
class VnetProgram {
 public:
  static Result<VnetProgram> load(const Maps& maps, gw_side side = GW_SIDE_VNET);
  VnetProgram(VnetProgram&&) noexcept;
  VnetProgram& operator=(VnetProgram&&) noexcept;
  ~VnetProgram();

  Result<Attachment> attach(int ifindex);
  /// Attached already, by a process before this one: replace_program() puts this program in the place of its.
  void inherit(Fd link);
  int link_fd() const;
  int program_fd() const;
  void set_mac(const std::array<std::uint8_t, 6>& mac);
  /// Larger IP packets are the kernel's; GW_XDP_MAX_PACKET at first.
  void set_max_packet(std::uint32_t bytes);
  /// Keys of gw_vlan_key(), of two tags the outer one shifted by 32. What does not fit takes the slow way.
  void set_vlans(std::span<const std::uint64_t> keys);
  /// A tcx program on the same interface gets what this one passes.
  void set_tcx_behind();
  Status set_socket(std::uint32_t queue, int xsk_fd);

 private:
  struct Impl;
  explicit VnetProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Counts frames that the drivers of the clear ports did not take from XDP.
class DevmapDrops {
 public:
  /// By interface index; 0: there is no such port.
  using Ports = std::array<int, GW_SIDES>;
  /// Begins to count. Needs the kernel's BTF.
  static Result<DevmapDrops> start(const Maps& maps, const Ports& ports);
  DevmapDrops(DevmapDrops&&) noexcept;
  DevmapDrops& operator=(DevmapDrops&&) noexcept;
  ~DevmapDrops();

 private:
  struct Impl;
  explicit DevmapDrops(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::xdp
