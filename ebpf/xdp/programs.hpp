// The two XDP programs, loaded: maps as typed operations, links that detach when the object goes (also
// when the process dies). Control thread; the FIB memory is read by the worker as well.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/abi/xdp.h"

struct gw_next_hop;

namespace gw::xdp {

/// Totals over all CPUs, by enum gw_xdp_counter.
using Counters = std::array<std::uint64_t, GW_XDP_COUNTERS>;
/// "unknown_spi"; empty for the counters that are not drops.
std::string_view drop_name(gw_xdp_counter counter);

/// libbpf's messages go to our log at debug level: our own errors say what failed. Once at start.
void quiet_libbpf();

struct Attachment {
  std::string mode;    // "native" or "generic"
  std::string reason;  // why not native; empty if it is
};

struct UnknownSpi {
  std::uint32_t spi = 0;
  IpAddress src;
  IpAddress dst;
  std::uint16_t src_port = 0;  // 0: protocol 50
};

class WanProgram {
 public:
  /// kPermission without CAP_BPF/CAP_NET_ADMIN; kIo with the verifier's or kernel's words.
  static Result<WanProgram> load(std::size_t max_sas);
  WanProgram(WanProgram&&) noexcept;
  WanProgram& operator=(WanProgram&&) noexcept;
  ~WanProgram();

  Result<Attachment> attach(int ifindex);
  int program_fd() const;

  Status add_spi(std::uint32_t spi, const IpAddress& dst, std::uint32_t tunnel_id);
  void remove_spi(std::uint32_t spi, const IpAddress& dst);
  /// The addresses that are ours, as a whole.
  Status set_local(std::span<const IpAddress> addresses);
  Status set_socket(std::uint32_t queue, int xsk_fd);

  Counters counters() const;
  /// Readable when events wait; consume() hands over each.
  int events_fd() const;
  void consume(const std::function<void(const UnknownSpi&)>& handler);

 private:
  struct Impl;
  explicit WanProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Capacity of the forwarding table. Defaults: a full Internet table of IPv4 (next to nothing is longer
/// than /24) and about 60,000 IPv6 prefixes; 64 + 8 + 32 + 9 MB.
struct FibSize {
  std::uint32_t v4_nodes = 8192;
  std::uint32_t v6_nodes = 32768;
  std::uint32_t next_hops = 16384;
};

/// The mapped arrays; see ebpf/fib/view.hpp for what they mean.
struct FibArrays {
  std::span<std::uint32_t> v4_root, v4_nodes, v6_root, v6_nodes;
  std::span<gw_next_hop> next_hops;
};

class VnetProgram {
 public:
  static Result<VnetProgram> load(const FibSize& size);
  VnetProgram(VnetProgram&&) noexcept;
  VnetProgram& operator=(VnetProgram&&) noexcept;
  ~VnetProgram();

  Result<Attachment> attach(int ifindex);
  int program_fd() const;

  void set_mac(const std::array<std::uint8_t, 6>& mac);
  Status set_socket(std::uint32_t queue, int xsk_fd);
  FibArrays fib();
  Counters counters() const;

 private:
  struct Impl;
  explicit VnetProgram(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::xdp
