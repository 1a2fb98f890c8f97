// Every pair of algorithms that charon can negotiate, against what the fast path has.
#include "ike/plugin/algorithms.h"

#include <gtest/gtest.h>

#include "gw/fastpath/v1/fastpath.pb-c.h"

namespace gw::kernel_gw_test {
namespace {

constexpr std::uint16_t kUndefined = 1024;  // charon's AUTH_UNDEFINED

struct Row {
  const char* what;
  gw_transform_ids ids;
  gw_key_lengths lengths;
  gw_algorithm_fault want;
  gw_algorithms algorithms;
};

constexpr gw_algorithms wire(int encryption, int integrity) {
  return {static_cast<std::uint32_t>(encryption), static_cast<std::uint32_t>(integrity)};
}

TEST(Algorithms, AreTranslatedOrRefusedByTheirFault) {
  const Row rows[] = {
      {"aes256gcm16", {20, kUndefined}, {36, 0}, GW_ALGORITHM_OK, wire(GW__FASTPATH__V1__ENCRYPTION__AES_GCM_16, 0)},
      {"aes192gcm16", {20, kUndefined}, {28, 0}, GW_ALGORITHM_OK, wire(GW__FASTPATH__V1__ENCRYPTION__AES_GCM_16, 0)},
      {"aes128gcm12", {19, kUndefined}, {20, 0}, GW_ALGORITHM_OK, wire(GW__FASTPATH__V1__ENCRYPTION__AES_GCM_12, 0)},
      {"aes128gcm8", {18, 0}, {20, 0}, GW_ALGORITHM_OK, wire(GW__FASTPATH__V1__ENCRYPTION__AES_GCM_8, 0)},
      {"chacha20poly1305",
       {28, kUndefined},
       {36, 0},
       GW_ALGORITHM_OK,
       wire(GW__FASTPATH__V1__ENCRYPTION__CHACHA20_POLY1305, 0)},
      {"aes128-sha1",
       {12, 2},
       {16, 20},
       GW_ALGORITHM_OK,
       wire(GW__FASTPATH__V1__ENCRYPTION__AES_CBC, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA1_96)},
      {"aes256-sha256",
       {12, 12},
       {32, 32},
       GW_ALGORITHM_OK,
       wire(GW__FASTPATH__V1__ENCRYPTION__AES_CBC, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_256_128)},
      {"aes192-sha384",
       {12, 13},
       {24, 48},
       GW_ALGORITHM_OK,
       wire(GW__FASTPATH__V1__ENCRYPTION__AES_CBC, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_384_192)},
      {"aes256-sha512",
       {12, 14},
       {32, 64},
       GW_ALGORITHM_OK,
       wire(GW__FASTPATH__V1__ENCRYPTION__AES_CBC, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_512_256)},
      {"3des-sha1",
       {3, 2},
       {24, 20},
       GW_ALGORITHM_OK,
       wire(GW__FASTPATH__V1__ENCRYPTION__TRIPLE_DES_CBC, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA1_96)},
      {"null-sha256",
       {11, 12},
       {0, 32},
       GW_ALGORITHM_OK,
       wire(GW__FASTPATH__V1__ENCRYPTION__NULL_CIPHER, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_256_128)},
      {"AES-CTR", {13, 12}, {20, 32}, GW_ALGORITHM_ENCRYPTION, {}},
      {"AES-CCM", {16, kUndefined}, {35, 0}, GW_ALGORITHM_ENCRYPTION, {}},
      {"AES-CBC alone", {12, kUndefined}, {16, 0}, GW_ALGORITHM_INTEGRITY, {}},
      {"aes128-md5", {12, 1}, {16, 16}, GW_ALGORITHM_INTEGRITY, {}},
      {"aes128-aesxcbc", {12, 5}, {16, 16}, GW_ALGORITHM_INTEGRITY, {}},
      {"GCM with HMAC", {20, 12}, {36, 32}, GW_ALGORITHM_INTEGRITY, {}},
      {"GCM key without salt", {20, kUndefined}, {32, 0}, GW_ALGORITHM_KEY, {}},
      {"no GCM key", {20, kUndefined}, {0, 0}, GW_ALGORITHM_KEY, {}},
      {"ChaCha with 16", {28, kUndefined}, {20, 0}, GW_ALGORITHM_KEY, {}},
      {"AES-CBC with salt", {12, 12}, {36, 32}, GW_ALGORITHM_KEY, {}},
      {"3DES with 16", {3, 2}, {16, 20}, GW_ALGORITHM_KEY, {}},
      {"NULL with key", {11, 12}, {16, 32}, GW_ALGORITHM_KEY, {}},
      {"SHA-256 with 20", {12, 12}, {32, 20}, GW_ALGORITHM_INTEGRITY_KEY, {}},
      {"GCM with an integrity key", {20, kUndefined}, {36, 20}, GW_ALGORITHM_INTEGRITY_KEY, {}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    gw_algorithms found{};
    EXPECT_EQ(gw_algorithms_find(&row.ids, &row.lengths, &found), row.want);
    if (row.want != GW_ALGORITHM_OK) continue;
    EXPECT_EQ(found.encryption, row.algorithms.encryption);
    EXPECT_EQ(found.integrity, row.algorithms.integrity);
  }
}

}  // namespace
}  // namespace gw::kernel_gw_test
