// Path MTU discovery for the tunnels: what routers say about our ESP is checked, kept (ebpf/ip/path_mtu.hpp), and
// becomes the MTU inside. A report counts if it quotes a live outbound SA, its endpoints, and a sequence number that
// was sent not long ago: nobody off the path knows these. Control thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/clock.hpp"
#include "ebpf/control/forwarding.hpp"
#include "ebpf/control/sa_manager.hpp"
#include "ebpf/control/tunnels.hpp"
#include "ebpf/ip/path_mtu.hpp"
#include "ebpf/ip/token_bucket.hpp"
#include "ebpf/net/icmp_listener.hpp"

namespace gw::control {

class PathMtus {
 public:
  struct Parts {
    SaManager& sas;
    Tunnels& tunnels;
    Forwarding& forwarding;
    const Clock& clock;
  };
  PathMtus(const Parts& parts, net::IcmpListener icmp) : parts_(parts), icmp_(std::move(icmp)) {}

  std::array<int, 2> icmp_fds() const { return icmp_.fds(); }
  void on_icmp();
  /// The wan port's own MTU, an upper bound for all.
  void set_link_mtu(std::uint32_t mtu);
  /// The tunnel sends with another SA, to another place, or was configured anew.
  void refresh(std::uint32_t tunnel_id);
  /// Every second.
  void age();

  /// What was reported, for a process after this one; and from one before. What is not among them is forgotten.
  struct Report {
    std::uint32_t tunnel_id = 0;
    IpAddress peer;
    std::uint32_t mtu = 0;
    MonoTime at;
  };
  std::vector<Report> reports() const;
  void inherit(std::span<const Report> reports);

 private:
  struct Estimate {
    IpAddress peer;
    ip::PathMtu path;
  };
  void on_message(const net::IcmpMessage& message);

  Parts parts_;
  net::IcmpListener icmp_;
  std::uint32_t link_mtu_ = 0;                   // 0: not known yet
  std::map<std::uint32_t, Estimate> estimates_;  // by tunnel: those with a report
  ip::TokenBucket reports_{{.per_second = 500, .burst = 100}};
};

}  // namespace gw::control
