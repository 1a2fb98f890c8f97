// What charon is told of a tunnel of the document, and which changes end its SAs.
#include "gwd/control/tunnel_intent.hpp"

#include <gtest/gtest.h>

#include "gwd/config/compile.hpp"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::gwd {
namespace {

using config::kDocument;
using config::with;

class Intent : public testing::Test {
 protected:
  void SetUp() override { dir_.write("a.psk", "secret\n"); }

  config::TunnelModel tunnel(const std::string& text) {
    auto compiled = config::compile({.text = text, .file = dir_.file("g.yaml"), .instance = "gw-a"});
    EXPECT_TRUE(compiled.model) << (compiled.findings.empty() ? "" : compiled.findings.front().describe());
    return compiled.model->tunnels.at(0);
  }
  /// As charon hears it.
  std::string connection(const std::string& text) {
    const auto message = ike::render_connection(to_intent(tunnel(text), ike::Encapsulation::kAuto));
    EXPECT_TRUE(message) << message.error().describe();
    return message ? message->to_string() : std::string();
  }
  config::TempDir dir_;
};

TEST_F(Intent, LifetimesAndMarginsAreTheDocuments) {
  const std::string plain = connection(kDocument);
  EXPECT_TRUE(plain.contains("  rekey_time = 28530s\n  over_time = 270s\n  rand_time = 270s\n")) << plain;
  EXPECT_TRUE(plain.contains("      life_time = 27000s\n      rekey_time = 26730s\n      rand_time = 270s\n")) << plain;

  const std::string own = connection(with(kDocument, "ipsec: { encryption: GCMAES256 }",
                                          "ike: { lifetime: 1h, rekey_margin: 10m }\n"
                                          "    ipsec: { encryption: GCMAES256, lifetime: 2h, rekey_margin: 20m }"));
  EXPECT_TRUE(own.contains("  rekey_time = 3000s\n  over_time = 600s\n  rand_time = 600s\n")) << own;
  EXPECT_TRUE(own.contains("      life_time = 7200s\n      rekey_time = 6000s\n      rand_time = 1200s\n")) << own;
}

TEST_F(Intent, ShortLifetimeIsRekeyedInTimeAndHasAGrace) {
  const std::string text =
      connection(with(kDocument, "encryption: GCMAES256 }", "encryption: GCMAES256, lifetime: 10s }"));
  EXPECT_TRUE(text.contains("      life_time = 40s\n      rekey_time = 9s\n      rand_time = 1s\n")) << text;
}

TEST_F(Intent, TimersOfAConnectionChangeAndItsSasStay) {
  const auto before = tunnel(kDocument);
  const auto after = tunnel(with(kDocument, "ipsec: {", "ike: { rekey_margin: 1m }\n    ipsec: {"));
  EXPECT_TRUE(same_sas(before, after));
  EXPECT_FALSE(same_connection(before, after));
}

TEST_F(Intent, AnotherKeyIsAnotherSa) {
  const auto before = tunnel(kDocument);
  dir_.write("a.psk", "another\n");
  EXPECT_FALSE(same_sas(before, tunnel(kDocument)));
  auto unread = before;
  unread.psk = {};
  unread.fault = "a.psk does not exist";
  EXPECT_TRUE(same_sas(unread, before)) << "a key that could not be read is no other key";
}

}  // namespace
}  // namespace gw::gwd
