// When each tunnel last carried a packet both ways: which echoes are due, what their answers prove, and how large a
// packet gets through where the largest does not. Also what BFD proves. Pure but for its memory: path_prober sends.
//
// A small echo tells that the way is there, a full one that large packets pass (RFC 8899 in spirit: routers need not
// say anything). Where full ones get lost and small ones do not, sizes in between are tried until the largest that is
// answered is known to 8 bytes. Thread: control.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.hpp"

namespace gw::gwd {

enum class ProofMethod : std::uint8_t { kNone, kEcho, kBfd };
std::string_view to_string(ProofMethod method);

/// Of the last echoes of one kind.
struct EchoCount {
  std::uint32_t sent = 0;
  std::uint32_t answered = 0;
};

struct PathProof {
  ProofMethod method = ProofMethod::kNone;
  std::optional<WallTime> proven;         // last
  std::optional<WallTime> watched_since;  // carrier since
  EchoCount small;
  std::chrono::microseconds round_trip{0};
  std::uint32_t full_bytes = 0;  // IP packet inside the tunnel
  EchoCount full;
  std::uint32_t largest_answered = 0;  // while no full one is; 0: not known
};

/// One to send. Bytes are of the IP packet.
struct Echo {
  std::uint32_t tunnel_id = 0;
  std::uint16_t sequence = 0;
  std::uint32_t bytes = 0;
};

/// Whether the tunnel has an address to send echoes to.
enum class Asked : std::uint8_t { kNo, kYes };
/// Whether a tunnel passes packets at all.
enum class LinkState : std::uint8_t { kDown, kUp };

class PathProofs {
 public:
  static constexpr std::chrono::seconds kSmallEvery{5};
  static constexpr std::chrono::seconds kFullEvery{10};
  /// Longer round trips exist, on paths that are of no use.
  static constexpr std::chrono::seconds kLost{2};
  /// 500 tunnels have 150 echoes a second; more than this are put off.
  static constexpr std::size_t kMostAtOnce = 25;
  static constexpr std::size_t kSmallKept = 20;
  static constexpr std::size_t kFullKept = 5;
  static constexpr std::uint32_t kSmallBytes = 84;  // what ping sends
  static constexpr std::uint32_t kSearchFrom = 576;
  static constexpr std::uint32_t kSearchStep = 8;

  /// All tunnels; what is known of one that was there stays.
  void set_tunnels(const std::map<std::uint32_t, Asked>& tunnels);
  /// As gw-fastpath has them now. `inner_mtu` changes start the full ones anew.
  struct Link {
    LinkState state = LinkState::kDown;
    std::uint32_t inner_mtu = 0;
  };
  struct Moment {
    MonoTime mono;
    WallTime wall;
  };
  void set_link(std::uint32_t tunnel_id, const Link& link, const Moment& now);
  /// BFD's session in the tunnel is up.
  void bfd_up(std::uint32_t tunnel_id, WallTime now);

  std::vector<Echo> due(MonoTime now);
  /// It could not be sent: it proves nothing, neither way.
  void not_sent(const Echo& echo);
  /// From the tunnel's peer. An answer to what was not asked, or too late, is none.
  void answered(std::uint32_t tunnel_id, std::uint16_t sequence, const Moment& now);

  /// nullptr: no such tunnel, or nothing is known of it.
  const PathProof* find(std::uint32_t tunnel_id) const;

 private:
  enum class Kind : std::uint8_t { kSmall, kFull, kSearch };
  struct Waiting {
    std::uint32_t tunnel_id = 0;
    Kind kind = Kind::kSmall;
    std::uint32_t bytes = 0;
    MonoTime sent;
  };
  struct Tunnel {
    Asked asked = Asked::kNo;
    PathProof proof;
    std::deque<bool> small;  // answered or lost
    std::deque<bool> full;
    MonoTime next_small{};
    MonoTime next_full{};
    // Sizes between what passes and what does not; equal to 8 bytes when found.
    std::uint32_t passes = 0;
    std::uint32_t lost = 0;
    int tries = 0;  // of the size that is tried
  };
  void start_full(Tunnel& tunnel);
  void outcome(Tunnel& tunnel, const Waiting& echo, bool answered);
  void search_outcome(Tunnel& tunnel, std::uint32_t bytes, bool answered);
  void ask(std::uint32_t id, Tunnel& tunnel, MonoTime now, std::vector<Echo>& out);
  static bool is_black_hole(const Tunnel& tunnel);
  std::uint32_t next_full_bytes(Tunnel& tunnel, Kind& kind) const;
  Echo send(std::uint32_t id, Kind kind, std::uint32_t bytes, MonoTime now);
  void expire(MonoTime now);

  std::map<std::uint32_t, Tunnel> tunnels_;
  std::uint32_t last_looked_at_ = 0;
  std::map<std::uint16_t, Waiting> waiting_;
  std::uint16_t next_sequence_ = 1;
};

}  // namespace gw::gwd
