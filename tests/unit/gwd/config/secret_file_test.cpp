// Which files are taken as secrets, and that their content shows in no error.
#include "gwd/config/secret_file.hpp"

#include <gmock/gmock.h>

#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

std::string why(const std::string& path) {
  const auto secret = read_secret_file(path);
  return secret ? "read" : secret.error().message;
}

TEST(SecretFile, OneTrailingNewlineIsStripped) {
  const TempDir dir;
  EXPECT_EQ(read_secret_file(dir.write("a", "s3cret\n"))->text(), "s3cret");
  EXPECT_EQ(read_secret_file(dir.write("b", "s3cret"))->text(), "s3cret");
  EXPECT_EQ(read_secret_file(dir.write("c", "s3cret\n\n"))->text(), "s3cret\n");
  EXPECT_EQ(read_secret_file(dir.write("d", std::string(4096, 'x') + "\n"))->size(), 4096U);
}

TEST(SecretFile, FaultsNameTheFileOnly) {
  const TempDir dir;
  const std::string open = dir.write("open", "hunter2", 0644);
  EXPECT_EQ(why(open), std::format("{} has mode 0644: others than its owner may use it; chmod 600 {}", open, open));
  const std::string group = dir.write("group", "hunter2", 0640);
  EXPECT_EQ(why(group), std::format("{} has mode 0640: others than its owner may use it; chmod 600 {}", group, group));
  EXPECT_EQ(why(dir.file("none")), dir.file("none") + " does not exist");
  EXPECT_EQ(why(dir.write("empty", "")), dir.file("empty") + " is empty");
  EXPECT_EQ(why(dir.write("newline", "\n")), dir.file("newline") + " is empty");
  EXPECT_EQ(why(dir.write("long", std::string(4097, 'x'))), dir.file("long") + " is longer than 4096 bytes");
  EXPECT_EQ(why(dir.write("longer", std::string(9000, 'x'))), dir.file("longer") + " is longer than 4096 bytes");
  EXPECT_EQ(why(dir.path()), dir.path() + " is not a regular file");
  ASSERT_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
  EXPECT_EQ(why(dir.file("fifo")), dir.file("fifo") + " is not a regular file");
}

TEST(SecretFile, PathsAreRelativeToTheDocument) {
  EXPECT_EQ(resolve_path("secrets/a.psk", "/etc/gw"), "/etc/gw/secrets/a.psk");
  EXPECT_EQ(resolve_path("/run/a.psk", "/etc/gw"), "/run/a.psk");
}

}  // namespace
}  // namespace gw::config
