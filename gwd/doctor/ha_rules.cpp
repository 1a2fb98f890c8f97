// Rules about two instances that are one gateway. Pure, any thread.
#include "gwd/doctor/rules.hpp"

namespace gw::doctor {

// Both instances make new connections of the sync channel all the time; TLS wants certificates that are good.
void certificate_ends(const api::Snapshot& snapshot, Findings& findings) {
  for (const api::HaCertificate& certificate : snapshot.ha().certificates()) {
    if (certificate.severity().empty()) continue;
    const bool expired = certificate.seconds_left() <= 0;
    findings.push_back({.name = "CertificateEnds",
                        .severity = certificate.severity() == "warning" ? Severity::kWarning : Severity::kError,
                        .subject = certificate.file(),
                        .evidence = {certificate.text()},
                        .consequence = expired
                                           ? "the instances cannot connect to each other: nothing is synced, and IKE "
                                             "SAs made since then cannot be taken over"
                                           : "from then on the instances cannot connect to each other, and neither "
                                             "takes over what the other one has made since",
                        .remedy = {certificate.renewal(), "gwctl ha certificates"}});
  }
}

}  // namespace gw::doctor
