#include "ebpf/esp/crypto.hpp"

#include <format>

#include "ebpf/esp/crypto_backends.hpp"

namespace gw::esp {

Status check_key_lengths(const KeyMaterial& m) {
  const Transform& t = *m.transform;
  if (const std::size_t want = std::size_t{t.key_bytes} + t.salt_bytes; m.cipher.size() != want)
    return fail_field("key",
                      std::format("{} wants {} bytes of key{}, not {}", t.name, want,
                                  t.salt_bytes == 0 ? "" : " and salt", m.cipher.size()),
                      Errc::kUnsupported);
  if (m.integrity.size() != t.integrity_key_bytes)
    return fail_field(
        "integrity_key",
        std::format("{} wants {} bytes of integrity key, not {}", t.name, t.integrity_key_bytes, m.integrity.size()),
        Errc::kUnsupported);
  return {};
}

Result<BackendChoice> parse_backend(std::string_view name) {
  if (name == "auto") return BackendChoice::kAuto;
  if (name == "ipsec-mb") return BackendChoice::kIpsecMb;
  if (name == "openssl") return BackendChoice::kOpenssl;
  return fail_field("crypto", std::format("unknown crypto backend '{}'; known: auto, ipsec-mb, openssl", name));
}

Result<std::unique_ptr<CryptoBackend>> make_backend(BackendChoice choice) {
#ifdef GW_HAVE_IPSEC_MB
  if (choice != BackendChoice::kOpenssl) {
    GW_TRY_ASSIGN(IvSource ivs, IvSource::create());
    auto backend = make_ipsec_mb(std::move(ivs));
    if (backend || choice == BackendChoice::kIpsecMb) return backend;
  }
#else
  if (choice == BackendChoice::kIpsecMb) return fail(Errc::kUnsupported, "intel-ipsec-mb exists on x86-64 only");
#endif
  GW_TRY_ASSIGN(IvSource ivs, IvSource::create());
  return make_openssl(std::move(ivs));
}

}  // namespace gw::esp
