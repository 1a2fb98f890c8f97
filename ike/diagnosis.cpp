#include "ike/diagnosis.hpp"

#include <array>
#include <format>
#include <ranges>
#include <utility>

namespace gw::ike {
namespace {

/// A part of a line of charon 6.0's log, what it means, and what to tell the operator.
/// {local}, {remote} and {identity} in the sentence are filled in.
struct Cause {
  std::string_view words;
  Fault fault;
  std::string_view sentence;
};

constexpr std::string_view kNotInstalled = "unable to install";
constexpr std::string_view kPlugin = "kernel-gw: ";  // says why before charon says that

// The first match of a line decides, so the more specific words stand first.
constexpr std::array kCauses{
    // --- authentication (RFC 7296 2.15, 2.21.2)
    Cause{"but MAC mismatched", Fault::kAuthentication,
          "{remote} authenticates with another pre-shared key: compare the key on both ends, also for blanks and line "
          "ends"},
    Cause{"received AUTHENTICATION_FAILED notify", Fault::kAuthentication,
          "{remote} refuses our authentication: check that the pre-shared key is the same on both ends, and that the "
          "device expects identity {local} of this gateway"},
    Cause{"no shared key found for", Fault::kAuthentication,
          "there is no pre-shared key for the identities in use: check the identity that {remote} sends against the "
          "configured {identity}"},
    Cause{"constraint check failed", Fault::kAuthentication,
          "{remote} identifies itself differently than configured: expected {identity}; set the device's identity here "
          "or "
          "on the device"},
    Cause{"' does not match to '", Fault::kAuthentication,
          "{remote} identifies itself differently than configured: expected {identity}; set the device's identity here "
          "or "
          "on the device"},
    Cause{"no matching peer config found", Fault::kAuthentication,
          "{remote} asks for identities that no connection has: expected {identity} from it and {local} for this "
          "gateway"},
    Cause{"no alternative config found", Fault::kAuthentication,
          "{remote} identifies or authenticates itself differently than configured: expected {identity} with a "
          "pre-shared "
          "key"},
    // --- proposals (RFC 7296 2.7)
    Cause{"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", Fault::kIkePolicyMismatch,
          "{remote} accepts none of our IPsec proposals: compare ESP encryption, integrity and PFS group on both ends"},
    Cause{"no acceptable proposal found", Fault::kIkePolicyMismatch,
          "none of the IPsec proposals of {remote} is acceptable: compare ESP encryption, integrity and PFS group on "
          "both "
          "ends"},
    Cause{"received proposals unacceptable", Fault::kIkePolicyMismatch,
          "none of the IKE proposals of {remote} is acceptable: compare IKE encryption, integrity/PRF and DH group on "
          "both "
          "ends"},
    Cause{"no IKE config found for", Fault::kConnectionNotConfiguredOnGateway,
          "{remote} negotiates with an address or IKE version that no connection is configured for: check the device's "
          "address and that it speaks IKEv2"},
    Cause{"received NO_PROPOSAL_CHOSEN notify", Fault::kIkePolicyMismatch,
          "{remote} accepts none of our IKE proposals, or has no connection for {local}: compare IKE encryption, "
          "integrity/PRF and DH group, and the peer address on the device"},
    Cause{
        "received INVALID_KE_PAYLOAD notify", Fault::kIkePolicyMismatch,
        "{remote} wants a Diffie-Hellman group that is not configured here: compare the DH or PFS group on both ends"},
    Cause{
        "IDr payload missing", Fault::kIkePolicyMismatch,
        "{remote} authenticated us and then failed without setting up the IPsec SA: its own log says why; often an ESP "
        "algorithm or extended sequence numbers that it offers but cannot do"},
    // --- traffic selectors (RFC 7296 2.9)
    Cause{"received TS_UNACCEPTABLE notify", Fault::kTrafficSelectorMismatch,
          "{remote} refuses our traffic selectors: compare them on both ends; a route-based peer wants 0.0.0.0/0, a "
          "policy-based one the exact networks"},
    Cause{"=== ", Fault::kTrafficSelectorMismatch,
          "the traffic selectors of {remote} do not fit ours: compare them on both ends"},
    Cause{"no acceptable traffic selectors found", Fault::kTrafficSelectorMismatch,
          "the traffic selectors of {remote} do not fit ours: compare them on both ends"},
    // --- this gateway
    Cause{kNotInstalled, Fault::kServiceNotRunning,
          "IKE with {remote} succeeds, but gw-fastpath did not take the keys: check that gw-fastpath runs"},
    // --- reachability
    Cause{
        "giving up after", Fault::kPeerReachability,
        "{remote} does not answer: check its address, the route to it, and that UDP 500 and 4500 from {local} are let "
        "through on the way"},
    Cause{
        "peer not responding", Fault::kPeerReachability,
        "{remote} does not answer: check its address, the route to it, and that UDP 500 and 4500 from {local} are let "
        "through on the way"},
    // charon gives up after minutes only; the operator is told at the first retransmission.
    Cause{
        "retransmit ", Fault::kPeerReachability,
        "{remote} does not answer: check its address, the route to it, and that UDP 500 and 4500 from {local} are let "
        "through on the way"},
    Cause{"error writing to socket: Network is unreachable", Fault::kPeerReachability,
          "this gateway has no route to {remote}: check the routes of the wan interface"},
    Cause{"error writing to socket", Fault::kPeerReachability,
          "this gateway cannot send to {remote}: check the wan interface and its firewall"},
};

bool matches(const Cause& cause, std::string_view line) {
  if (!line.contains(cause.words)) return false;
  // "traffic selectors A === B unacceptable": the arrow alone also stands in the line of success.
  return cause.words != "=== " || line.contains("unacceptable");
}

const Cause* cause_of(std::string_view line) {
  for (const Cause& cause : kCauses) {
    if (matches(cause, line)) return &cause;
  }
  return nullptr;
}

void replace(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
}

std::string fill(std::string_view sentence, const TunnelFacts& facts) {
  std::string out(sentence);
  replace(out, "{remote}", facts.remote_address);
  replace(out, "{local}", facts.local_address);
  replace(out, "{identity}", facts.remote_identity.empty() ? facts.remote_address : facts.remote_identity);
  return out;
}

/// "kernel-gw: inbound SA 1234abcd of tunnel 7 refused: LIMIT: SA table is full (4096)": the newest of such lines.
const std::string* refusal(std::span<const std::string> lines) {
  for (const std::string& line : std::views::reverse(lines))
    if (line.starts_with(kPlugin)) return &line;
  return nullptr;
}

/// "received packet: from 198.51.100.1[500] to ..." -> the address.
std::string_view packet_source(std::string_view line) {
  constexpr std::string_view kHead = "received packet: from ";
  if (!line.starts_with(kHead)) return {};
  line.remove_prefix(kHead.size());
  return line.substr(0, line.find('['));
}

}  // namespace

std::string_view to_string(Fault fault) {
  switch (fault) {
    case Fault::kNoFault: return "NoFault";
    case Fault::kAuthentication: return "Authentication";
    case Fault::kPeerReachability: return "PeerReachability";
    case Fault::kIkePolicyMismatch: return "IkePolicyMismatch";
    case Fault::kTrafficSelectorMismatch: return "TrafficSelectorMismatch";
    case Fault::kConnectionNotConfiguredOnGateway: return "ConnectionNotConfiguredOnGateway";
    case Fault::kServiceNotRunning: return "ServiceNotRunning";
    case Fault::kUnknown: return "ConnectionsNotConnected";
  }
  return "ConnectionsNotConnected";
}

Diagnosis diagnose(const TunnelFacts& facts, std::span<const std::string> lines) {
  for (std::size_t i = lines.size(); i-- > 0;) {
    const Cause* cause = cause_of(lines[i]);
    if (cause == nullptr) continue;
    if (const std::string* why = cause->words == kNotInstalled ? refusal(lines.first(i)) : nullptr)
      return {cause->fault,
              std::format("IKE with {} succeeds, but gw-fastpath does not take the keys: {}", facts.remote_address,
                          why->substr(kPlugin.size())),
              *why};
    return {cause->fault, fill(cause->sentence, facts), lines[i]};
  }
  if (lines.empty()) return {};
  return {Fault::kUnknown,
          std::format("the tunnel to {} is down and charon does not say why; its last words are the evidence",
                      facts.remote_address),
          lines.back()};
}

RecentLog::RecentLog(std::size_t lines_per_tunnel, std::size_t tunnels)
    : lines_per_tunnel_(lines_per_tunnel), tunnels_(tunnels) {}

void RecentLog::append(Lines& lines, const std::string& text) const {
  lines.push_back(text);
  if (lines.size() > lines_per_tunnel_) lines.pop_front();
}

void RecentLog::add(const LogLine& line) {
  if (const std::string_view from = packet_source(line.text); !from.empty()) {
    if (peer_of_thread_.size() > 1024) peer_of_thread_.clear();  // charon has 16 threads
    peer_of_thread_[line.thread] = from;
  }
  if (!line.tunnel.empty()) {
    if (by_tunnel_.size() < tunnels_ || by_tunnel_.contains(line.tunnel)) append(by_tunnel_[line.tunnel], line.text);
    return;
  }
  const auto peer = peer_of_thread_.find(line.thread);
  if (peer == peer_of_thread_.end() || cause_of(line.text) == nullptr) return;
  if (by_peer_.size() >= tunnels_) by_peer_.clear();
  append(by_peer_[peer->second], line.text);
}

void RecentLog::clear(std::string_view tunnel) {
  if (const auto it = by_tunnel_.find(tunnel); it != by_tunnel_.end()) by_tunnel_.erase(it);
}

Diagnosis RecentLog::diagnose(const TunnelFacts& facts) const {
  std::vector<std::string> lines;
  const auto take = [&lines](const auto& from, const std::string& key) {
    if (const auto it = from.find(key); it != from.end())
      lines.insert(lines.end(), it->second.begin(), it->second.end());
  };
  take(by_peer_, facts.remote_address);
  take(by_tunnel_, facts.tunnel);  // said with the connection known: says more
  return ike::diagnose(facts, lines);
}

}  // namespace gw::ike
