// The certificates that gwctl makes, and what gwd says about those that are not right.
#include <gmock/gmock.h>

#include "tests/unit/gwd/sync/pair.hpp"

namespace gw::gwd::sync {
namespace {

using std::chrono::days;
using std::chrono::system_clock;

const pki::InstanceName kSelf{"hub-east", "gw-a"};

std::string problem_in(const TlsDir& dir) {
  const auto loaded = load_credentials(dir.path(), kSelf, system_clock::now());
  if (loaded) return "none";
  std::string text = loaded.error().message;
  for (std::size_t at = text.find(dir.path() + "/"); at != std::string::npos; at = text.find(dir.path() + "/"))
    text.erase(at, dir.path().size() + 1);
  return text;
}

TEST(Certificates, SayWhoseTheyAre) {
  const TlsDir dir;
  std::ifstream in(dir.path() + "/gw-a.crt");
  const std::string pem{std::istreambuf_iterator<char>(in), {}};
  const auto info = pki::read_certificate(pem).value();
  EXPECT_THAT(info.uris, testing::ElementsAre("gw://hub-east/gw-a"));
  EXPECT_EQ(info.subject, "CN=gw-a,O=hub-east");
  EXPECT_LE(info.from, system_clock::now());
  EXPECT_NEAR(static_cast<double>(std::chrono::duration_cast<days>(info.until - system_clock::now()).count()), 730, 1);
  EXPECT_EQ(info.fingerprint.size(), 95U);
}

TEST(Certificates, AnAuthorityNeedsItsOwnKey) {
  const pki::Validity validity{system_clock::now(), days(1)};
  const auto one = pki::make_authority("hub-east", validity).value();
  auto mixed = pki::make_authority("hub-east", validity).value();
  mixed.certificate = one.certificate;
  const auto issued = pki::issue(mixed, kSelf, validity);
  ASSERT_FALSE(issued.has_value());
  EXPECT_EQ(issued.error().message, "the authority's key does not belong to its certificate");
}

TEST(Credentials, AreLoaded) {
  const TlsDir dir;
  const auto loaded = load_credentials(dir.path(), kSelf, system_clock::now());
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_GT(loaded->ends, system_clock::now() + days(729));
}

TEST(Credentials, MayTrustTwoAuthorities) {
  const TlsDir dir;
  const TlsDir next;
  dir.write("ca.crt", next.authority().certificate + dir.authority().certificate);
  EXPECT_EQ(problem_in(dir), "none");
}

TEST(Credentials, ProblemsAreNamed) {
  {
    const TlsDir dir;
    std::filesystem::remove(dir.path() + "/ca.crt");
    EXPECT_EQ(problem_in(dir), "ca.crt does not exist: gwctl ha init makes it");
  }
  {
    const TlsDir dir;
    dir.write("ca.crt", "hello\n");
    EXPECT_EQ(problem_in(dir), "ca.crt: there is no certificate (PEM) in it");
  }
  {
    const TlsDir dir;
    dir.write("gw-a.crt", "hello\n");
    EXPECT_EQ(problem_in(dir), "gw-a.crt: there is no certificate (PEM) in it");
  }
  {
    const TlsDir dir;
    dir.write("gw-a.key", "hello\n");
    EXPECT_EQ(problem_in(dir), "gw-a.key: there is no private key (PEM) in it");
  }
  {
    const TlsDir dir;
    ::chmod((dir.path() + "/gw-a.key").c_str(), 0640);
    EXPECT_THAT(problem_in(dir), testing::StartsWith("gw-a.key has mode 0640: others than its owner may use it"));
  }
  {
    const TlsDir dir;
    std::filesystem::copy_file(dir.path() + "/gw-b.key", dir.path() + "/gw-a.key",
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_EQ(problem_in(dir), "gw-a.key: does not belong to gw-a.crt");
  }
  {
    const TlsDir dir;
    dir.issue("gw-b", "gw-a");
    EXPECT_EQ(problem_in(dir), "gw-a.crt is the certificate of gw://hub-east/gw-b, not of gw://hub-east/gw-a");
  }
  {
    const TlsDir dir;
    dir.write("ca.crt", TlsDir().authority().certificate);
    EXPECT_THAT(problem_in(dir), testing::StartsWith("gw-a.crt: "));
  }
  {
    const TlsDir dir;
    dir.issue("gw-a", "gw-a", {system_clock::now() - days(10), days(3)});
    EXPECT_THAT(problem_in(dir), testing::ContainsRegex("gw-a.crt has expired on 20..-..-..: gwctl ha renew"));
  }
  {
    const TlsDir dir;
    dir.issue("gw-a", "gw-a", {system_clock::now() + days(10), days(3)});
    EXPECT_EQ(problem_in(dir), "gw-a.crt: certificate is not yet valid");
  }
}

}  // namespace
}  // namespace gw::gwd::sync
