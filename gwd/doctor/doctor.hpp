// What is wrong with a gateway, from one snapshot of everything: rules that each know one failure, its evidence, what
// it leads to and what to do. A rule is silent where the snapshot does not prove it: a healthy gateway has no finding.
// Pure functions: the snapshot may be of this moment or out of a support bundle of another machine. Any thread.
// The generated message is the input on purpose: it is what a bundle holds. docs/doctor.md lists the findings.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gw/api/v1/snapshot.pb.h"

namespace gw::doctor {

namespace api = ::gw::api::v1;

enum class Severity : std::uint8_t {
  kCritical,  // traffic is lost
  kError,     // what protects it is not there
  kWarning,   // traffic goes otherwise than meant, or will
  kInfo,      // may be meant, and explains what is seen elsewhere
};
std::string_view to_string(Severity severity);

struct Finding {
  std::string_view name;  // "VpnErSessionDown": the clouds' name where there is one
  Severity severity = Severity::kError;
  std::string subject;                // "paris-ce1/gw-a"
  std::vector<std::string> evidence;  // with numbers
  std::string consequence;
  std::vector<std::string> remedy;  // a command, or a line of gateway.yaml
};
using Findings = std::vector<Finding>;

struct Rule {
  std::string_view name;  // of its findings
  void (*look)(const api::Snapshot& snapshot, Findings& findings);
};
std::span<const Rule> rules();

/// The worst findings first.
Findings examine(const api::Snapshot& snapshot);
/// The same with what it was that was examined.
api::DoctorReply report(const api::Snapshot& snapshot);

}  // namespace gw::doctor
