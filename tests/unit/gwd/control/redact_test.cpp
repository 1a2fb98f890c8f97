#include "gwd/api/redact.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

TEST(Redact, PasswordsOfFrrAreMasked) {
  EXPECT_EQ(mask_passwords("router bgp 65515\n neighbor 169.254.21.2 password s3cret with spaces\nexit\n"),
            "router bgp 65515\n neighbor 169.254.21.2 password <secret>\nexit\n");
  EXPECT_EQ(mask_passwords(""), "");
  EXPECT_EQ(mask_passwords("no newline"), "no newline");
}

TEST(Redact, SecretsOfTheModelAreReplacedWhereverTheyStand) {
  config::GatewayModel model;
  auto& tunnel = model.tunnels.emplace_back();
  tunnel.psk = Secret(std::string_view("psk-of-paris"));
  tunnel.bgp.emplace();
  tunnel.bgp->md5 = Secret(std::string_view("md5-of-paris"));
  EXPECT_EQ(without_secrets("# psk-of-paris, psk-of-parispsk-of-paris\nmd5-of-paris", model),
            "# <secret>, <secret><secret>\n<secret>");
  // A secret that is part of its own replacement ends, too.
  tunnel.psk = Secret(std::string_view("secret"));
  EXPECT_EQ(without_secrets("a secret", model), "a <secret>");
  // One letter would take everything apart.
  tunnel.psk = Secret(std::string_view("a"));
  EXPECT_EQ(without_secrets("a banana", model), "a banana");
}

}  // namespace
}  // namespace gw::gwd
