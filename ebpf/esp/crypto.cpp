#include "ebpf/esp/crypto.hpp"

#include <format>

#include "ebpf/esp/crypto_backends.hpp"

namespace gw::esp {

Result<BackendChoice> parse_backend(std::string_view name) {
  if (name == "auto") return BackendChoice::kAuto;
  if (name == "ipsec-mb") return BackendChoice::kIpsecMb;
  if (name == "openssl") return BackendChoice::kOpenssl;
  return fail_field("crypto", std::format("unknown crypto backend '{}'; known: auto, ipsec-mb, openssl", name));
}

Result<std::unique_ptr<CryptoBackend>> make_backend(BackendChoice choice) {
#ifdef GW_HAVE_IPSEC_MB
  if (choice != BackendChoice::kOpenssl) {
    auto backend = make_ipsec_mb();
    if (backend || choice == BackendChoice::kIpsecMb) return backend;
  }
#else
  if (choice == BackendChoice::kIpsecMb) return fail(Errc::kUnsupported, "intel-ipsec-mb exists on x86-64 only");
#endif
  return make_openssl();
}

}  // namespace gw::esp
