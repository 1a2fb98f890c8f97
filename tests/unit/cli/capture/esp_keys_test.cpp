#include "cli/capture/esp_keys.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/ip.hpp"

namespace gw::cli::capture {
namespace {

using testing::HasSubstr;

fp::AddSa sa(std::uint32_t spi, const std::string& src, const std::string& dst) {
  fp::AddSa m;
  m.mutable_id()->set_spi(spi);
  m.mutable_id()->set_dst(IpAddress::parse(dst)->bytes_string());
  m.mutable_src()->set_address(IpAddress::parse(src)->bytes_string());
  m.set_encryption(fp::AES_GCM_16);
  m.set_key("\x01\x02\xff");
  return m;
}

TEST(EspKeys, LinesOfWiresharksTable) {
  fp::CaptureKeys keys;
  *keys.add_sas() = sa(0xabc, "192.0.2.1", "192.0.2.2");
  fp::AddSa& cbc = *keys.add_sas() = sa(0x1000, "2001:db8::1", "2001:db8::2");
  cbc.set_encryption(fp::AES_CBC);
  cbc.set_integrity(fp::HMAC_SHA2_256_128);
  cbc.set_integrity_key("\x10\x20");
  KeyLines lines;
  EXPECT_EQ(
      lines.take(keys),
      R"("IPv4","192.0.2.1","192.0.2.2","0x00000abc","AES-GCM with 16 octet ICV [RFC4106]","0x0102ff","NULL","")"
      "\n"
      R"("IPv6","2001:db8::1","2001:db8::2","0x00001000","AES-CBC [RFC3602]","0x0102ff","HMAC-SHA-256-128 [RFC4868]","0x1020")"
      "\n");
  EXPECT_EQ(lines.take(keys), "") << "once each";
  *keys.add_sas() = sa(0xdef, "192.0.2.2", "192.0.2.1");
  EXPECT_THAT(lines.take(keys), HasSubstr("0x00000def"));
  EXPECT_EQ(lines.count(), 3U);
}

TEST(EspKeys, WhatWiresharkCouldNotReadIsLeftOut) {
  fp::CaptureKeys keys;
  *keys.add_sas() = sa(1, "192.0.2.1", "192.0.2.2");
  keys.mutable_sas(0)->set_encryption(static_cast<fp::Encryption>(99));
  *keys.add_sas() = sa(2, "192.0.2.1", "192.0.2.2");
  keys.mutable_sas(1)->mutable_id()->set_dst("three");
  *keys.add_sas() = sa(3, "192.0.2.1", "192.0.2.2");
  keys.mutable_sas(2)->mutable_src()->clear_address();
  *keys.add_sas() = sa(4, "192.0.2.1", "192.0.2.2");
  keys.mutable_sas(3)->set_integrity(static_cast<fp::Integrity>(-1));
  KeyLines lines;
  EXPECT_EQ(lines.take(keys), "");
  EXPECT_EQ(lines.count(), 0U);
}

TEST(EspKeys, AFileOfTheirOwn) {
  const auto path = std::filesystem::temp_directory_path() / std::format("gwctl-keys-{}", ::getpid());
  std::filesystem::remove(path);
  const auto fd = create_key_file(path);
  ASSERT_TRUE(fd);
  struct stat status{};
  ASSERT_EQ(::fstat(fd->get(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  const auto again = create_key_file(path);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().field, "--esp-keys");
  EXPECT_THAT(again.error().message, HasSubstr("exists"));
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/etc/hostname", path);
  EXPECT_FALSE(create_key_file(path));
  std::filesystem::remove(path);
}

TEST(EspKeys, AreWiped) {
  fp::CaptureKeys keys;
  *keys.add_sas() = sa(1, "192.0.2.1", "192.0.2.2");
  wipe_keys(keys);
  EXPECT_TRUE(keys.sas(0).key().empty());
  EXPECT_TRUE(keys.sas(0).integrity_key().empty());
}

}  // namespace
}  // namespace gw::cli::capture
