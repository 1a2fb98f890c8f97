// The programs of gso ports, loaded over the shared maps: tcx on the interfaces, steering of the workers' sockets
// and TUN queues. They detach when the object goes (also when the process dies). Control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/xdp/maps.hpp"
#include "ebpf/xdp/programs.hpp"

namespace gw::xdp {

/// Guards the wan interface.
class WanTcProgram {
 public:
  static Result<WanTcProgram> load(const Maps& maps);
  WanTcProgram(WanTcProgram&&) noexcept;
  WanTcProgram& operator=(WanTcProgram&&) noexcept;
  ~WanTcProgram();

  /// kUnsupported on kernels before 6.6.
  Result<Attachment> attach(int ifindex);
  /// Attached already, by a process before this one: replace_program() puts this program in the place of its.
  void inherit(Fd link);
  int link_fd() const;
  int program_fd() const;

 private:
  struct Impl;
  explicit WanTcProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Takes what is for tunnels from a clear interface (the VNet's or the circuit's) to a data TUN, and sends what is for
/// neighbours.
class VnetTcProgram {
 public:
  static Result<VnetTcProgram> load(const Maps& maps, gw_side side = GW_SIDE_VNET);
  VnetTcProgram(VnetTcProgram&&) noexcept;
  VnetTcProgram& operator=(VnetTcProgram&&) noexcept;
  ~VnetTcProgram();

  /// Interface index of the data TUN; before attach(). Until then packets for tunnels are the kernel's.
  void set_data_device(int ifindex);
  /// Larger ones are the kernel's.
  void set_max_packet(std::uint32_t bytes);
  /// As VnetProgram's.
  void set_vlans(std::span<const std::uint64_t> keys);
  Result<Attachment> attach(int ifindex);
  /// Attached already, by a process before this one: replace_program() puts this program in the place of its.
  void inherit(Fd link);
  int link_fd() const;
  int program_fd() const;

 private:
  struct Impl;
  explicit VnetTcProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// On a data TUN: decrypted packets leave for gateways of the VNet and the circuit.
class DecryptedTcProgram {
 public:
  static Result<DecryptedTcProgram> load(const Maps& maps);
  DecryptedTcProgram(DecryptedTcProgram&&) noexcept;
  DecryptedTcProgram& operator=(DecryptedTcProgram&&) noexcept;
  ~DecryptedTcProgram();

  Result<Attachment> attach(int ifindex);
  /// Attached already, by a process before this one: replace_program() puts this program in the place of its.
  void inherit(Fd link);
  int link_fd() const;
  int program_fd() const;

 private:
  struct Impl;
  explicit DecryptedTcProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// ESP in UDP to the socket of the worker that owns the SA, IKE to worker 0.
class NatTSteering {
 public:
  static Result<NatTSteering> load(const Maps& maps);
  /// Over the sockets of a process before this one, by its sockets_fd(): they are in no other map.
  static Result<NatTSteering> load(const Maps& maps, Fd sockets);
  NatTSteering(NatTSteering&&) noexcept;
  NatTSteering& operator=(NatTSteering&&) noexcept;
  ~NatTSteering();

  /// A worker's bound socket with SO_REUSEPORT; the first of a family brings the program to its group.
  Status add(std::uint32_t worker, int udp_fd);
  /// Brings the program to the group of a socket that is in the map, in the place of the one before.
  struct SteeredSocket {
    int fd;
  };
  static Status steer(const SteeredSocket& socket, int program_fd);
  int program_fd() const;
  int sockets_fd() const;

 private:
  struct Impl;
  explicit NatTSteering(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// For gso::DataTun::set_steering, which keeps it in use.
class TunSteering {
 public:
  static Result<TunSteering> load(const Maps& maps);
  TunSteering(TunSteering&&) noexcept;
  TunSteering& operator=(TunSteering&&) noexcept;
  ~TunSteering();

  int program_fd() const;

 private:
  struct Impl;
  explicit TunSteering(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::xdp
