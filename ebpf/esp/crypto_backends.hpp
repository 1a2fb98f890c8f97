// The two implementations of CryptoBackend; private to this package (crypto.cpp chooses).
#pragma once

#include <memory>

#include "ebpf/esp/crypto.hpp"

namespace gw::esp {

/// kUnsupported when the CPU lacks AES-NI or the library's self-test fails.
Result<std::unique_ptr<CryptoBackend>> make_ipsec_mb();
Result<std::unique_ptr<CryptoBackend>> make_openssl();

}  // namespace gw::esp
