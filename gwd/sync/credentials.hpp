// Our certificate and whom we trust, from the folder that `gwctl ha init` made: ca.crt, <instance>.crt,
// <instance>.key. TLS 1.3 only, both sides show a certificate, and it has to be by our authority; that it is the
// expected instance's is judged afterwards (peer_name), so that both sides can name the reason. Thread: sync.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "gwd/pki/certificate.hpp"
#include "gwd/sync/refusal.hpp"

namespace gw::gwd::sync {

struct Credentials {
  std::shared_ptr<boost::asio::ssl::context> context;  // for either side of a handshake
  WallTime ends;
};

/// Tells when the files have changed: sizes and times of all three. "" when one is missing.
std::string stamp_of(const std::string& folder, const std::string& instance);

/// kNotFound, kPermission (the key's mode), kMalformed, kInvalidArgument (key and certificate do not belong together,
/// not by the authority beside it, another instance's, not valid at `now`): what is wrong, with the file's name.
Result<Credentials> load_credentials(const std::string& folder, const pki::InstanceName& self, WallTime now);

struct ExpectedPeer {
  const pki::InstanceName& self;
  const pki::InstanceName& peer;
};
/// Whether the certificate that was shown is that of the expected instance.
Judged<void> judge_certificate(SSL& tls, const ExpectedPeer& expected);
/// Why OpenSSL gave a handshake up, in words: "its certificate is by another authority".
std::string handshake_problem(SSL& tls, const std::string& error);

}  // namespace gw::gwd::sync
