// gwctl ha init, renew and certificates: the files that they make, their modes, and the order of replacing an
// authority.
#include "cli/ha_certificates.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "gwd/pki/certificate.hpp"

namespace gw::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class HaCertificates : public testing::Test {
 protected:
  HaCertificates() {
    std::string name = (std::filesystem::temp_directory_path() / "gw-ha-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    top_ = name;
    folder_.path = top_ + "/ha";
    folder_.now = std::chrono::system_clock::now();
  }
  ~HaCertificates() override { std::filesystem::remove_all(top_); }

  std::string text(const std::string& name) const {
    std::ifstream in(folder_.path + "/" + name);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void init() { ASSERT_TRUE(init_certificates(folder_, {"hub-east", {"gw-a", "gw-b"}}).has_value()); }
  mode_t mode(const std::string& name) const {
    struct stat st{};
    return ::stat((folder_.path + "/" + name).c_str(), &st) == 0 ? st.st_mode & 07777U : 0U;
  }
  bool by(const std::string& name, std::size_t authority) const {
    const auto authorities = pki::split_certificates(text("ca.crt"));
    return pki::is_issued_by({text(name), authorities.at(authority)});
  }

  std::string top_;
  CertificateFolder folder_;
};

TEST_F(HaCertificates, InitMakesAllFiles) {
  const mode_t before = ::umask(0);
  const auto done = init_certificates(folder_, {"hub-east", {"gw-a", "gw-b"}});
  ::umask(before);
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_THAT(*done, HasSubstr("gw-b needs ca.crt, gw-b.crt, gw-b.key"));
  std::map<std::string, mode_t> modes;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path))
    modes[entry.path().filename().string()] = mode(entry.path().filename().string());
  EXPECT_THAT(modes, testing::ElementsAre(std::pair("ca.crt", 0644), std::pair("ca.key", 0600),
                                          std::pair("gw-a.crt", 0644), std::pair("gw-a.key", 0600),
                                          std::pair("gw-b.crt", 0644), std::pair("gw-b.key", 0600)));
  EXPECT_THAT(pki::read_certificate(text("gw-b.crt"))->uris, testing::ElementsAre("gw://hub-east/gw-b"));
  EXPECT_TRUE(by("gw-b.crt", 0));
}

TEST_F(HaCertificates, InitNeverReplacesAnAuthority) {
  init();
  const std::string before = text("gw-a.crt");
  const auto done = init_certificates(folder_, {"hub-east", {"gw-a", "gw-b"}});
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().message,
            folder_.path + "/ca.crt is there already: gwctl ha renew makes new certificates with it");
  EXPECT_EQ(text("gw-a.crt"), before);
}

TEST_F(HaCertificates, InitRefusesNames) {
  for (const auto& [gateway, names] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"hub/east", {"gw-a", "gw-b"}},
           {"", {"gw-a", "gw-b"}},
           {"hub-east", {"../gw-a", "gw-b"}},
           {"hub-east", {"gw-a", "gw-a"}},
           {"hub-east", {"ca", "gw-b"}},
           {"hub-east", {"gw-a", "gw-b,URI:gw://hub-east/gw-c"}}}) {
    EXPECT_FALSE(init_certificates(folder_, {gateway, names}).has_value()) << gateway << " " << names[0];
    EXPECT_FALSE(std::filesystem::exists(folder_.path));
  }
  EXPECT_EQ(init_certificates(folder_, {"hub/east", {"gw-a", "gw-b"}}).error().describe(),
            "--gateway: 'hub/east' is not a name (expected the one in gateway.yaml: a-z, 0-9, '.' and '-', at most 63 "
            "characters, beginning with a letter or digit)");
  EXPECT_EQ(init_certificates(folder_, {"hub-east", {"ca", "gw-b"}}).error().describe(),
            "INSTANCE: 'ca' is the authority's, whose files are ca.crt and ca.key (expected another name of the "
            "instance, here and in gateway.yaml)");
  EXPECT_EQ(init_certificates(folder_, {"hub-east", {"gw-a", "gw-a"}}).error().describe(),
            "INSTANCE: gw-a is named twice (expected each instance of gateway.yaml once)");
}

TEST_F(HaCertificates, RenewMakesNewKeysByTheSameAuthority) {
  init();
  const std::string authority = text("ca.crt");
  const std::string key = text("gw-a.key");
  const std::string certificate = text("gw-a.crt");
  const auto done = renew_certificates(folder_);
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_EQ(text("ca.crt"), authority);
  EXPECT_NE(text("gw-a.key"), key);
  EXPECT_NE(text("gw-a.crt"), certificate);
  EXPECT_TRUE(by("gw-a.crt", 0));
  EXPECT_TRUE(by("gw-b.crt", 0));
  EXPECT_EQ(mode("gw-b.key"), 0600U);
}

TEST_F(HaCertificates, RenewNeedsTheAuthoritysKey) {
  init();
  std::filesystem::remove(folder_.path + "/ca.key");
  const auto done = renew_certificates(folder_);
  ASSERT_FALSE(done.has_value());
  EXPECT_THAT(done.error().message, HasSubstr("certificates are made where the authority's key is kept"));
}

// At every step, each instance's certificate is by an authority that both trust.
TEST_F(HaCertificates, AnAuthorityIsReplacedStepByStep) {
  init();
  ASSERT_TRUE(renew_authority(folder_).has_value());
  EXPECT_EQ(pki::split_certificates(text("ca.crt")).size(), 2U);
  EXPECT_TRUE(by("gw-a.crt", 1));
  const auto again = renew_authority(folder_);
  ASSERT_FALSE(again.has_value());
  EXPECT_THAT(again.error().message, HasSubstr("has an old authority beside the new one already"));
  const auto early = drop_old_authority(folder_);
  ASSERT_FALSE(early.has_value());
  EXPECT_THAT(early.error().message, StartsWith("the certificate of gw-a is by the old authority still"));
  ASSERT_TRUE(renew_certificates(folder_).has_value());
  EXPECT_TRUE(by("gw-a.crt", 0));
  EXPECT_FALSE(by("gw-a.crt", 1));
  ASSERT_TRUE(drop_old_authority(folder_).has_value());
  EXPECT_EQ(pki::split_certificates(text("ca.crt")).size(), 1U);
  EXPECT_TRUE(by("gw-b.crt", 0));
  ASSERT_TRUE(renew_certificates(folder_).has_value());
  EXPECT_THAT(drop_old_authority(folder_).error().message,
              testing::EndsWith("has one authority only; gwctl ha renew --authority makes a new one beside it"));
}

// Between the two files of a new authority.
TEST_F(HaCertificates, AnInterruptedReplacementCanGoOn) {
  init();
  const std::string key = text("ca.key");
  ASSERT_TRUE(renew_authority(folder_).has_value());
  std::ofstream(folder_.path + "/ca.key") << key;
  ASSERT_TRUE(renew_certificates(folder_).has_value());
  EXPECT_TRUE(by("gw-a.crt", 1));
}

TEST_F(HaCertificates, AreDescribed) {
  init();
  folder_.now += std::chrono::days(700);
  const auto shown = describe_certificates(folder_);
  ASSERT_TRUE(shown.has_value());
  EXPECT_THAT(*shown, testing::ContainsRegex("gw-a +20..-..-.. +(29|30) +ca "));
}

TEST_F(HaCertificates, AFolderWithoutAnySaysSo) {
  const auto shown = describe_certificates(folder_);
  ASSERT_FALSE(shown.has_value());
  EXPECT_EQ(shown.error().message,
            "cannot read " + folder_.path +
                "/ca.crt: No such file or directory; gwctl ha init makes it, --dir names another "
                "folder");
}

}  // namespace
}  // namespace gw::cli
