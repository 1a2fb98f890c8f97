// The bundle's form: what was packed comes out, tar(1) reads it, and no damage goes unnoticed.
#include "cli/archive.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <sstream>

namespace gw::cli {
namespace {

const WallTime kTime{std::chrono::seconds(1'700'000'000)};

std::vector<ArchiveFile> sample() {
  return {{"b/empty", ""},
          {"b/short.txt", "hello\n"},
          {"b/block", std::string(512, 'x')},
          {"b/long.json", std::string(100'000, '{')}};
}

TEST(Archive, WhatWasPackedComesOut) {
  const auto files = unpack(pack(sample(), kTime));
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->size(), sample().size());
  for (std::size_t i = 0; i < files->size(); ++i) {
    EXPECT_EQ((*files)[i].name, sample()[i].name);
    EXPECT_EQ((*files)[i].content, sample()[i].content);
  }
}

TEST(Archive, TarReadsIt) {
  const auto path = std::filesystem::temp_directory_path() / std::format("archive-test-{}.tar.gz", ::getpid());
  const auto listing = path.string() + ".txt";
  std::ofstream(path, std::ios::binary) << pack(sample(), kTime);
  ASSERT_EQ(std::system(std::format("tar -tvzf {} > {}", path.string(), listing).c_str()), 0);
  std::stringstream text;
  text << std::ifstream(listing).rdbuf();
  EXPECT_NE(text.str().find("100000 2023-11-14"), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("-rw-------"), std::string::npos) << text.str();
  std::filesystem::remove(path);
  std::filesystem::remove(listing);
}

TEST(Archive, ACutOneIsRefused) {
  const std::string bytes = pack(sample(), kTime);
  // Without its last few, which are gzip's own sums and end marks (RFC 1952 2.3.1), everything is there.
  for (std::size_t length = 0; length < bytes.size() - 12; length += 7)
    EXPECT_FALSE(unpack(std::string_view(bytes).substr(0, length))) << length;
}

TEST(Archive, DamageIsNoticed) {
  const std::string bytes = pack(sample(), kTime);
  for (std::size_t at = 10; at < bytes.size(); at += 3) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    const auto files = unpack(damaged);
    if (!files) continue;
    // The last four bytes are the length alone, which gzip compares; nothing may differ unnoticed.
    ASSERT_EQ(files->size(), sample().size()) << at;
    EXPECT_EQ((*files)[3].content, sample()[3].content) << at;
  }
}

TEST(Archive, WhatIsNoGzipIsRefused) {
  EXPECT_FALSE(is_gzip("{}"));
  EXPECT_FALSE(unpack("{}"));
  EXPECT_FALSE(unpack("\x1f\x8b"));
}

TEST(Archive, AHugeOneIsRefused) {
  const std::vector<ArchiveFile> huge{{"zeros", std::string(kMaxUnpackedBytes, '\0')}};
  const auto files = unpack(pack(huge, kTime));
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code, Errc::kLimit);
}

}  // namespace
}  // namespace gw::cli
