#include "gwd/sync/credentials.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <format>
#include <fstream>
#include <iterator>

#include "gwd/config/secret_file.hpp"

namespace gw::gwd::sync {
namespace {

template <auto Free>
struct Deleter {
  void operator()(auto* p) const { Free(p); }
};

constexpr std::size_t kMaxPem = 64 * 1024;

struct Paths {
  std::string authority;
  std::string certificate;
  std::string key;
};

Paths paths_in(const std::string& folder, const std::string& instance) {
  return {folder + "/ca.crt", std::format("{}/{}.crt", folder, instance), std::format("{}/{}.key", folder, instance)};
}

Result<std::string> read_pem(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    if (errno == ENOENT) return fail(Errc::kNotFound, std::format("{} does not exist: gwctl ha init makes it", path));
    return fail_errno(std::format("cannot read {}", path));
  }
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (text.size() > kMaxPem) return fail(Errc::kMalformed, std::format("{} is too long for a certificate", path));
  return text;
}

std::unexpected<Error> bad(const std::string& path, std::string_view what) {
  ERR_clear_error();
  return fail(Errc::kMalformed, std::format("{}: {}", path, what));
}

/// All certificates of the file are trusted: there are two while one authority replaces another.
Status trust(SSL_CTX* context, const std::string& path) {
  GW_TRY_ASSIGN(const std::string pem, read_pem(path));
  if (pki::split_certificates(pem).empty()) return bad(path, "there is no certificate (PEM) in it");
  if (SSL_CTX_load_verify_file(context, path.c_str()) != 1) return bad(path, "cannot be used as an authority");
  return {};
}

Status use_key(SSL_CTX* context, const Paths& paths) {
  const auto secret = config::read_secret_file(paths.key);
  if (!secret) return std::unexpected(secret.error());
  const std::unique_ptr<BIO, Deleter<BIO_free_all>> bio(
      BIO_new_mem_buf(secret->text().data(), static_cast<int>(secret->size())));
  const std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!key) return bad(paths.key, "there is no private key (PEM) in it");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1)
    return bad(paths.key, std::format("does not belong to {}", paths.certificate));
  return {};
}

/// Whether the other side, with the same authority, would believe it.
Status check_own(SSL_CTX* context, const std::string& path, const pki::InstanceName& self) {
  X509* own = SSL_CTX_get0_certificate(context);
  const pki::CertificateInfo info = pki::describe(*own);
  if (!std::ranges::contains(info.uris, self.uri()))
    return fail(Errc::kInvalidArgument, std::format("{} is the certificate of {}, not of {}", path,
                                                    info.uris.empty() ? info.subject : info.uris.front(), self.uri()));
  const std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>> check(X509_STORE_CTX_new());
  if (!check || X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(context), own, nullptr) != 1)
    return bad(path, "cannot be checked");
  if (X509_verify_cert(check.get()) == 1) return {};
  const int why = X509_STORE_CTX_get_error(check.get());
  ERR_clear_error();
  return fail(Errc::kInvalidArgument, std::format("{}: {}", path, X509_verify_cert_error_string(why)));
}

}  // namespace

std::string stamp_of(const std::string& folder, const std::string& instance) {
  const Paths paths = paths_in(folder, instance);
  std::string out;
  for (const std::string& path : {paths.authority, paths.certificate, paths.key}) {
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0) return {};
    out += std::format("{}:{}:{}.{:09};", st.st_ino, st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  }
  return out;
}

Result<Credentials> load_credentials(const std::string& folder, const pki::InstanceName& self, WallTime now) {
  const Paths paths = paths_in(folder, self.instance);
  auto context = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_3_VERSION);
  // Every connection shows its certificates again: a resumed session would outlive a replaced one.
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(native, 0);
  SSL_CTX_set_verify(native, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  GW_TRY(trust(native, paths.authority));
  GW_TRY_ASSIGN(const std::string pem, read_pem(paths.certificate));
  GW_TRY_ASSIGN(const pki::CertificateInfo info, pki::read_certificate(pem).transform_error([&](Error error) {
    return std::move(error).with_context(paths.certificate);
  }));
  if (SSL_CTX_use_certificate_chain_file(native, paths.certificate.c_str()) != 1)
    return bad(paths.certificate, "cannot be used");
  GW_TRY(use_key(native, paths));
  if (info.until <= now)
    return fail(Errc::kInvalidArgument, std::format("{} has expired on {:%F}: gwctl ha renew", paths.certificate,
                                                    std::chrono::floor<std::chrono::days>(info.until)));
  GW_TRY(check_own(native, paths.certificate, self));
  return Credentials{std::move(context), info.until};
}

Judged<void> judge_certificate(SSL& tls, const ExpectedPeer& expected) {
  const std::unique_ptr<X509, Deleter<X509_free>> shown(SSL_get1_peer_certificate(&tls));
  if (!shown) return refuse(wire::REASON_WRONG_INSTANCE, "it showed no certificate");
  const pki::CertificateInfo info = pki::describe(*shown);
  // Exactly one name: a certificate for two instances would make them one.
  if (info.uris.size() == 1 && info.uris.front() == expected.peer.uri()) return {};
  if (std::ranges::contains(info.uris, expected.self.uri()))
    return refuse(wire::REASON_OWN_INSTANCE, std::format("it has the certificate of {}, as this one: a cloned machine, "
                                                         "or the wrong --instance",
                                                         expected.self.uri()));
  return refuse(wire::REASON_WRONG_INSTANCE,
                std::format("it has the certificate of {}, expected that of {}",
                            info.uris.empty() ? info.subject : info.uris.front().substr(0, 160), expected.peer.uri()));
}

std::string handshake_problem(SSL& tls, const std::string& error) {
  switch (const long verified = SSL_get_verify_result(&tls)) {
    case X509_V_OK: break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE: return "its certificate is by another authority than ours (ca.crt)";
    case X509_V_ERR_CERT_HAS_EXPIRED: return "its certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID: return "its certificate is not valid yet: compare the clocks";
    default: return std::format("its certificate: {}", X509_verify_cert_error_string(verified));
  }
  if (error.contains("unknown ca")) return "it does not trust our certificate: its ca.crt is another one";
  if (error.contains("certificate expired")) return "it says that our certificate has expired";
  if (error.contains("bad certificate") || error.contains("certificate unknown"))
    return "it does not accept our certificate";
  if (error.contains("peer did not return a certificate") || error.contains("certificate required"))
    return "one side showed no certificate";
  if (error.contains("unsupported protocol") || error.contains("protocol version"))
    return "no TLS 1.3 on the other side";
  return std::format("TLS: {}", error);
}

}  // namespace gw::gwd::sync
