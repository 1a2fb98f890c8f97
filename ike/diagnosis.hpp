// Why a tunnel does not come up, from charon's own words: the fault in the clouds' vocabulary, and one
// sentence that says what to check. Pure; never contains a secret (charon logs none at these levels).
// Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "ike/connection.hpp"
#include "ike/sas.hpp"

namespace gw::ike {

enum class Fault : std::uint8_t {
  kNoFault,
  kAuthentication,
  kPeerReachability,
  kIkePolicyMismatch,
  kTrafficSelectorMismatch,
  kConnectionNotConfiguredOnGateway,  // the peer asks for a connection that nobody configured
  kServiceNotRunning,                 // IKE is fine, gw-fastpath did not take the SA
  kUnknown,                           // down, and charon's words are not among those we know
};
/// The cloud's name: "Authentication", "IkePolicyMismatch".
std::string_view to_string(Fault fault);

struct Diagnosis {
  Fault fault = Fault::kNoFault;
  std::string sentence;  // for an operator: what happened, what to check
  std::string evidence;  // the log line that decided; empty if none
};

/// What the operator configured, for the sentence.
struct TunnelFacts {
  std::string tunnel;
  std::string local_address;
  std::string remote_address;
  std::string remote_identity;
};

/// The newest line with a known cause decides. `lines` is oldest first.
Diagnosis diagnose(const TunnelFacts& facts, std::span<const std::string> lines);

/// The last words of charon per connection, bounded.
class RecentLog {
 public:
  explicit RecentLog(std::size_t lines_per_tunnel = 64, std::size_t tunnels = 4096);
  /// Lines without a tunnel (charon had not found the connection yet) are kept under the peer address that
  /// the same charon thread's last "received packet: from A[p] to B[q]" named.
  void add(const LogLine& line);
  /// An attempt starts or succeeded: what was said before is history.
  void clear(std::string_view tunnel);
  Diagnosis diagnose(const TunnelFacts& facts) const;

 private:
  using Lines = std::deque<std::string>;
  void append(Lines& lines, const std::string& text) const;

  std::size_t lines_per_tunnel_;
  std::size_t tunnels_;
  std::map<std::string, Lines, std::less<>> by_tunnel_;
  std::map<std::string, Lines, std::less<>> by_peer_;  // strangers may fill it: emptied when full
  std::map<unsigned, std::string> peer_of_thread_;
};

}  // namespace gw::ike
