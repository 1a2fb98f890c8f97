#include "gwd/control/path_proofs.hpp"

#include <algorithm>
#include <utility>

namespace gw::gwd {
namespace {

// Three of a kind in a row: the internet loses one now and then.
constexpr std::size_t kBlackHole = 3;
constexpr int kTries = 2;

EchoCount count(const std::deque<bool>& outcomes) {
  return {static_cast<std::uint32_t>(outcomes.size()), static_cast<std::uint32_t>(std::ranges::count(outcomes, true))};
}

void keep(std::deque<bool>& outcomes, bool answered, std::size_t most) {
  outcomes.push_back(answered);
  if (outcomes.size() > most) outcomes.pop_front();
}

}  // namespace

std::string_view to_string(ProofMethod method) {
  switch (method) {
    case ProofMethod::kNone: return "";
    case ProofMethod::kEcho: return "echo";
    case ProofMethod::kBfd: return "bfd";
  }
  return "";
}

void PathProofs::set_tunnels(const std::map<std::uint32_t, Asked>& tunnels) {
  std::erase_if(tunnels_, [&](const auto& entry) { return !tunnels.contains(entry.first); });
  for (const auto& [id, asked] : tunnels) {
    Tunnel& tunnel = tunnels_[id];
    tunnel.asked = asked;
    if (tunnel.proof.method == ProofMethod::kNone && asked == Asked::kYes) tunnel.proof.method = ProofMethod::kEcho;
  }
}

void PathProofs::set_link(std::uint32_t tunnel_id, const Link& link, const Moment& now) {
  const auto it = tunnels_.find(tunnel_id);
  if (it == tunnels_.end()) return;
  Tunnel& tunnel = it->second;
  PathProof& proof = tunnel.proof;
  const bool up = link.state == LinkState::kUp;
  if (up != proof.watched_since.has_value()) {
    // What was measured before is of another path.
    tunnel.small.clear();
    proof.small = {};
    start_full(tunnel);
    proof.watched_since = up ? std::optional(now.wall) : std::nullopt;
    // Not all tunnels at once, when the gateway starts.
    const std::chrono::milliseconds phase(tunnel_id % 50 * 20);
    tunnel.next_small = now.mono + phase;
    tunnel.next_full = now.mono + phase + std::chrono::seconds(1);
  }
  if (proof.full_bytes != link.inner_mtu) {
    proof.full_bytes = link.inner_mtu;
    start_full(tunnel);
  }
}

void PathProofs::start_full(Tunnel& tunnel) {
  tunnel.full.clear();
  tunnel.proof.full = {};
  tunnel.proof.largest_answered = 0;
  tunnel.passes = 0;
  tunnel.lost = 0;
  tunnel.tries = 0;
}

void PathProofs::bfd_up(std::uint32_t tunnel_id, WallTime now) {
  const auto it = tunnels_.find(tunnel_id);
  if (it == tunnels_.end()) return;
  it->second.proof.method = ProofMethod::kBfd;
  it->second.proof.proven = now;
}

bool PathProofs::is_black_hole(const Tunnel& tunnel) {
  return tunnel.full.size() >= kBlackHole && !std::ranges::contains(tunnel.full, true) &&
         tunnel.proof.small.answered >= kBlackHole;
}

// While large ones are lost: every second one looks for the size that passes, the others whether it is over.
std::uint32_t PathProofs::next_full_bytes(Tunnel& tunnel, Kind& kind) const {
  const std::uint32_t full = tunnel.proof.full_bytes;
  kind = Kind::kFull;
  if (!is_black_hole(tunnel) || full <= kSearchFrom + kSearchStep) return full;
  if (tunnel.lost == 0) {
    tunnel.passes = kSearchFrom;
    tunnel.lost = full;
  }
  if (tunnel.lost - tunnel.passes <= kSearchStep) return full;
  kind = Kind::kSearch;
  return (tunnel.passes + tunnel.lost) / 2;
}

// Each time from where the last one ended: where more is due than may be sent, all of them wait a little, and none for
// ever.
std::vector<Echo> PathProofs::due(MonoTime now) {
  expire(now);
  std::vector<Echo> out;
  auto at = tunnels_.upper_bound(last_looked_at_);
  for (std::size_t left = tunnels_.size(); left > 0 && out.size() < kMostAtOnce; --left, ++at) {
    if (at == tunnels_.end()) at = tunnels_.begin();
    last_looked_at_ = at->first;
    if (at->second.asked == Asked::kYes && at->second.proof.watched_since) ask(at->first, at->second, now, out);
  }
  return out;
}

void PathProofs::ask(std::uint32_t id, Tunnel& tunnel, MonoTime now, std::vector<Echo>& out) {
  if (now >= tunnel.next_small) {
    tunnel.next_small = now + kSmallEvery;
    out.push_back(send(id, Kind::kSmall, kSmallBytes, now));
  }
  if (now < tunnel.next_full || tunnel.proof.full_bytes <= kSmallBytes) return;
  tunnel.next_full = now + kFullEvery;
  Kind kind = Kind::kFull;
  const std::uint32_t bytes = next_full_bytes(tunnel, kind);
  if (kind == Kind::kSearch) {
    tunnel.next_full = now + kLost + std::chrono::seconds(1);
    out.push_back(send(id, Kind::kFull, tunnel.proof.full_bytes, now));
  }
  out.push_back(send(id, kind, bytes, now));
}

Echo PathProofs::send(std::uint32_t id, Kind kind, std::uint32_t bytes, MonoTime now) {
  while (waiting_.contains(next_sequence_)) ++next_sequence_;
  waiting_[next_sequence_] = {id, kind, bytes, now};
  return {id, next_sequence_++, bytes};
}

void PathProofs::not_sent(const Echo& echo) { waiting_.erase(echo.sequence); }

void PathProofs::expire(MonoTime now) {
  std::erase_if(waiting_, [&](const auto& entry) {
    const Waiting& echo = entry.second;
    if (now - echo.sent < kLost) return false;
    if (const auto it = tunnels_.find(echo.tunnel_id); it != tunnels_.end()) outcome(it->second, echo, false);
    return true;
  });
}

void PathProofs::answered(std::uint32_t tunnel_id, std::uint16_t sequence, const Moment& now) {
  const auto echo = waiting_.find(sequence);
  if (echo == waiting_.end() || echo->second.tunnel_id != tunnel_id) return;
  const Waiting asked = echo->second;
  waiting_.erase(echo);
  const auto it = tunnels_.find(tunnel_id);
  if (it == tunnels_.end()) return;
  PathProof& proof = it->second.proof;
  if (proof.method != ProofMethod::kBfd || !proof.proven || now.wall - *proof.proven > kSmallEvery)
    proof.method = ProofMethod::kEcho;
  proof.proven = now.wall;
  if (asked.kind == Kind::kSmall)
    proof.round_trip = std::chrono::duration_cast<std::chrono::microseconds>(now.mono - asked.sent);
  outcome(it->second, asked, true);
}

void PathProofs::outcome(Tunnel& tunnel, const Waiting& echo, bool answered) {
  PathProof& proof = tunnel.proof;
  if (!proof.watched_since) return;
  if (echo.kind == Kind::kSmall) {
    keep(tunnel.small, answered, kSmallKept);
    proof.small = count(tunnel.small);
  } else if (echo.kind == Kind::kSearch) {
    search_outcome(tunnel, echo.bytes, answered);
  } else if (echo.bytes == proof.full_bytes) {
    keep(tunnel.full, answered, kFullKept);
    proof.full = count(tunnel.full);
    if (!answered) return;
    proof.largest_answered = 0;
    tunnel.passes = 0;
    tunnel.lost = 0;
  }
}

void PathProofs::search_outcome(Tunnel& tunnel, std::uint32_t bytes, bool answered) {
  if (bytes <= tunnel.passes || bytes >= tunnel.lost) return;  // of an earlier search
  if (!answered && ++tunnel.tries < kTries) return;
  tunnel.tries = 0;
  (answered ? tunnel.passes : tunnel.lost) = bytes;
  if (answered) tunnel.proof.largest_answered = bytes;
}

const PathProof* PathProofs::find(std::uint32_t tunnel_id) const {
  const auto it = tunnels_.find(tunnel_id);
  return it == tunnels_.end() ? nullptr : &it->second.proof;
}

}  // namespace gw::gwd
