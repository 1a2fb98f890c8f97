#include "gwd/pki/certificate.hpp"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>
#include <format>
#include <memory>

namespace gw::pki {
namespace {

template <auto Free>
struct Deleter {
  void operator()(auto* p) const { Free(p); }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;

std::unexpected<Error> openssl_failed(std::string_view what) {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return fail(Errc::kInternal, std::format("{}: {}", what, text.data()));
}

Bio reader_of(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string_view contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Result<Certificate> parse_certificate(const std::string& pem) {
  const Bio bio = reader_of(pem);
  Certificate out(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!out) return fail(Errc::kMalformed, "there is no certificate (PEM) in it");
  return out;
}

Result<Key> parse_key(std::string_view pem) {
  const Bio bio = reader_of(pem);
  Key out(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!out) return fail(Errc::kMalformed, "there is no private key (PEM) in it");
  return out;
}

Result<KeyPair> to_pem(const X509& certificate, const EVP_PKEY& key) {
  const Bio out(BIO_new(BIO_s_mem()));
  const Bio secret(BIO_new(BIO_s_secmem()));
  if (!out || !secret || PEM_write_bio_X509(out.get(), &certificate) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(secret.get(), &key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl_failed("cannot write a certificate");
  KeyPair pair{std::string(contents(out.get())), Secret(contents(secret.get()))};
  wipe(const_cast<char*>(contents(secret.get()).data()), contents(secret.get()).size());
  return pair;
}

struct Use {
  X509& certificate;
  X509& issuer;
};

Status add_extension(const Use& use, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, &use.issuer, &use.certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (!extension || X509_add_ext(&use.certificate, extension.get(), -1) != 1)
    return openssl_failed("cannot make a certificate");
  return {};
}

// X.509 times are whole seconds; a machine whose clock is somewhat behind must be able to use it at once.
constexpr std::chrono::hours kClockSkew{1};

Status fill(X509& certificate, const Validity& validity, std::string_view organization, std::string_view common_name) {
  constexpr int kSerialBits = 127;  // RFC 5280 4.1.2.2: positive, at most 20 octets
  const std::unique_ptr<BIGNUM, Deleter<BN_free>> serial(BN_new());
  const auto from = std::chrono::system_clock::to_time_t(validity.from - kClockSkew);
  const auto until = std::chrono::system_clock::to_time_t(validity.from + validity.length);
  const auto entry = [&](const char* field, std::string_view text) {
    return X509_NAME_add_entry_by_txt(X509_get_subject_name(&certificate), field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(text.data()),
                                      static_cast<int>(text.size()), -1, 0) == 1;
  };
  const bool ok = serial && BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                  BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(&certificate)) != nullptr &&
                  X509_set_version(&certificate, X509_VERSION_3) == 1 &&
                  ASN1_TIME_set(X509_getm_notBefore(&certificate), from) != nullptr &&
                  ASN1_TIME_set(X509_getm_notAfter(&certificate), until) != nullptr && entry("O", organization) &&
                  entry("CN", common_name);
  if (!ok) return openssl_failed("cannot make a certificate");
  return {};
}

Result<Key> make_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed("cannot make a key");
  return key;
}

WallTime to_wall(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string fingerprint_of(const X509& certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (X509_digest(&certificate, EVP_sha256(), digest.data(), &size) != 1) return {};
  std::string out;
  for (unsigned i = 0; i < size; ++i) out += std::format("{}{:02x}", i == 0 ? "" : ":", digest.at(i));
  return out;
}

}  // namespace

std::string InstanceName::uri() const { return std::format("gw://{}/{}", gateway, instance); }

Result<KeyPair> make_authority(const std::string& gateway, const Validity& validity) {
  GW_TRY_ASSIGN(const Key key, make_key());
  const Certificate certificate(X509_new());
  if (!certificate) return openssl_failed("cannot make a certificate");
  GW_TRY(fill(*certificate, validity, gateway, "sync channel authority"));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
  X509_set_pubkey(certificate.get(), key.get());
  const Use use{*certificate, *certificate};
  GW_TRY(add_extension(use, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  GW_TRY(add_extension(use, NID_key_usage, "critical,keyCertSign,cRLSign"));
  GW_TRY(add_extension(use, NID_subject_key_identifier, "hash"));
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0) return openssl_failed("cannot sign a certificate");
  return to_pem(*certificate, *key);
}

Result<KeyPair> issue(const KeyPair& authority, const InstanceName& name, const Validity& validity) {
  GW_TRY_ASSIGN(const Certificate issuer, parse_certificate(authority.certificate));
  GW_TRY_ASSIGN(const Key issuer_key, parse_key(authority.key.text()));
  if (X509_check_private_key(issuer.get(), issuer_key.get()) != 1) {
    ERR_clear_error();
    return fail(Errc::kInvalidArgument, "the authority's key does not belong to its certificate");
  }
  GW_TRY_ASSIGN(const Key key, make_key());
  const Certificate certificate(X509_new());
  if (!certificate) return openssl_failed("cannot make a certificate");
  GW_TRY(fill(*certificate, validity, name.gateway, name.instance));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.get()));
  X509_set_pubkey(certificate.get(), key.get());
  const Use use{*certificate, *issuer};
  GW_TRY(add_extension(use, NID_basic_constraints, "critical,CA:FALSE"));
  GW_TRY(add_extension(use, NID_key_usage, "critical,digitalSignature"));
  GW_TRY(add_extension(use, NID_ext_key_usage, "serverAuth,clientAuth"));
  GW_TRY(add_extension(use, NID_subject_key_identifier, "hash"));
  GW_TRY(add_extension(use, NID_authority_key_identifier, "keyid:always"));
  GW_TRY(add_extension(use, NID_subject_alt_name, "URI:" + name.uri()));
  if (X509_sign(certificate.get(), issuer_key.get(), EVP_sha256()) == 0)
    return openssl_failed("cannot sign a certificate");
  return to_pem(*certificate, *key);
}

CertificateInfo describe(const X509& certificate) {
  CertificateInfo out;
  const Bio subject(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(subject.get(), X509_get_subject_name(&certificate), 0, XN_FLAG_RFC2253);
  out.subject = contents(subject.get());
  out.from = to_wall(X509_get0_notBefore(&certificate));
  out.until = to_wall(X509_get0_notAfter(&certificate));
  out.fingerprint = fingerprint_of(certificate);
  const Names names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    out.uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                          static_cast<std::size_t>(ASN1_STRING_length(uri)));
  }
  return out;
}

Result<CertificateInfo> read_certificate(const std::string& pem) {
  GW_TRY_ASSIGN(const Certificate certificate, parse_certificate(pem));
  return describe(*certificate);
}

std::vector<std::string> split_certificates(const std::string& pem) {
  const Bio in = reader_of(pem);
  std::vector<std::string> out;
  for (;;) {
    const Certificate certificate(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
    const Bio text(BIO_new(BIO_s_mem()));
    if (!certificate || PEM_write_bio_X509(text.get(), certificate.get()) != 1) break;
    out.emplace_back(contents(text.get()));
  }
  ERR_clear_error();
  return out;
}

bool is_issued_by(const Chain& chain) {
  const auto certificate = parse_certificate(chain.certificate);
  const auto authority = parse_certificate(chain.authority);
  const bool signed_by =
      certificate && authority && X509_verify(certificate->get(), X509_get0_pubkey(authority->get())) == 1;
  ERR_clear_error();
  return signed_by;
}

}  // namespace gw::pki
