// Heartbeats of an instance: raw bytes, and the same bytes with a right tag behind them, so that what follows the
// check of the key is reached, too. What is believed reads back.
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "ebpf/liveness/heartbeat.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gw::liveness;
  static const gw::Secret key(std::string(kHeartbeatKeyBytes, 'k'));
  (void)parse(std::span(data, size), key);
  std::vector<std::uint8_t> sealed(data, data + size);
  unsigned char tag[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  HMAC(EVP_sha256(), key.bytes().data(), static_cast<int>(key.size()), data, size, tag, &length);
  sealed.insert(sealed.end(), tag, tag + length);
  const auto heartbeat = parse(sealed, key);
  if (!heartbeat) return 0;
  const auto back = parse(serialize(*heartbeat, key).value(), key);
  if (!back || *back != *heartbeat) std::abort();
  ReplayGuard guard(BootNonce{9});
  (void)guard.accept(*heartbeat);
  if (guard.accept(*heartbeat)) std::abort();
  return 0;
}
