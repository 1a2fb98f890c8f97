#include "cli/capture/output.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/capture/pcapng.hpp"

namespace gw::cli::capture {
namespace {

using testing::HasSubstr;

Frame frame() {
  Frame f;
  fp::CaptureStarted started;
  started.set_interface("wan0");
  started.set_kind("gso");
  started.add_tunnels()->set_tunnel_id(7);
  started.mutable_tunnels(0)->set_name("paris-ce1/gw-a");
  f.take(started);
  f.points = {true, false, true};
  f.snap_bytes = 200;
  return f;
}

fp::CapturedPacket packet(fp::CapturePoint point) {
  fp::CapturedPacket p;
  p.set_point(point);
  p.set_direction(fp::CAPTURE_OUT);
  p.set_time_unix_ns(1'700'000'000'123'456'789);
  p.set_tunnel_id(7);
  p.set_spi(0xabc);
  p.set_length(1400);
  p.set_data(std::string(
      "\x45\x00\x05\x78\0\0\x40\0\x40\x11\0\0\x0a\x01\0\x0a\x0a\x09\0\x05\x03\xe8\x07\xd0\x05\x64\0\0", 28));
  if (point == fp::CAPTURE_DROPS) p.set_reason("too_big");
  return p;
}

class CaptureFile : public testing::Test {
 protected:
  CaptureFile() : path_(std::filesystem::temp_directory_path() / std::format("gwctl-capture-{}.pcapng", ::getpid())) {}
  ~CaptureFile() override { std::filesystem::remove(path_); }
  std::string content() const {
    std::ifstream file(path_, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  const std::filesystem::path path_;
  Interrupts interrupts_;
};

TEST_F(CaptureFile, IsWholeBlocksForNobodyElse) {
  const Frame f = frame();
  auto output = pcapng_output(Sink::create(path_, interrupts_).value(), f);
  ASSERT_TRUE(output->begin());
  ASSERT_TRUE(output->packet(packet(fp::CAPTURE_INNER)));
  ASSERT_TRUE(output->packet(packet(fp::CAPTURE_DROPS)));
  ASSERT_TRUE(output->packet(packet(fp::CAPTURE_OUTER))) << "nobody asked for it: it is left out";
  Counts counts{};
  counts[0] = {3, 2};
  ASSERT_TRUE(output->finish(counts));
  const std::string bytes = content();
  EXPECT_EQ(whole_blocks(bytes), bytes.size());
  EXPECT_THAT(bytes, HasSubstr("dropped: too_big, tunnel paris-ce1/gw-a, SPI 0x00000abc"));
  EXPECT_EQ(bytes.find("ESP on"), std::string::npos) << "only the points that were asked for are interfaces";
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

/// Writes fail behind so many bytes of a file.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : signal_before_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, signal_before_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  void (*signal_before_)(int);
};

TEST_F(CaptureFile, NothingButWholeBlocksStaysWhereTheDiskEnds) {
  const Frame f = frame();
  auto output = pcapng_output(Sink::create(path_, interrupts_).value(), f);
  ASSERT_TRUE(output->begin());
  const std::string head = content();
  ASSERT_TRUE(output->packet(packet(fp::CAPTURE_INNER)));
  const FileLimit limit(head.size() + 20);
  EXPECT_FALSE(output->flush());
  EXPECT_EQ(content(), head);
}

TEST_F(CaptureFile, WhatWasInAFileThatIsNotOursStays) {
  const std::string before(1000, 'x');
  std::ofstream(path_) << before;
  const Frame f = frame();
  // As the shell opens it for `gwctl capture -w - >> file`.
  auto output = pcapng_output(Sink(Fd(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC)), interrupts_), f);
  const FileLimit limit(before.size() + 20);
  EXPECT_FALSE(output->begin());
  EXPECT_EQ(content().substr(0, before.size()), before);
}

TEST_F(CaptureFile, ADiskThatIsFullIsNamed) {
  const Frame f = frame();
  auto output = pcapng_output(Sink::create("/dev/full", interrupts_).value(), f);
  const Status begun = output->begin();
  ASSERT_FALSE(begun);
  EXPECT_THAT(begun.error().message, HasSubstr("No space left on device"));
}

class CaptureText : public testing::Test {
 protected:
  Sink sink() { return Sink(Fd(::dup(memory_.get())), interrupts_); }
  std::string written() const {
    std::string text(std::size_t{64} << 10, '\0');
    const ssize_t n = ::pread(memory_.get(), text.data(), text.size(), 0);
    text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return text;
  }
  Interrupts interrupts_;

 private:
  Fd memory_{::memfd_create("lines", MFD_CLOEXEC)};
};

TEST_F(CaptureText, ALineAPacket) {
  const Frame f = frame();
  auto output = text_output(sink(), Style::kPlain, f);
  ASSERT_TRUE(output->packet(packet(fp::CAPTURE_INNER)));
  fp::CapturedPacket late = packet(fp::CAPTURE_DROPS);
  late.set_tunnel_id(9);
  late.set_spi(0);
  late.set_direction(fp::CAPTURE_IN);
  ASSERT_TRUE(output->packet(late));
  ASSERT_TRUE(output->flush());
  EXPECT_EQ(written(),
            "22:13:20.123456Z out inner paris-ce1/gw-a 00000abc 10.1.0.10.1000 > 10.9.0.5.2000: UDP, length 1372\n"
            "22:13:20.123456Z in  drop too_big #9 -        10.1.0.10.1000 > 10.9.0.5.2000: UDP, length 1372\n");
}

TEST_F(CaptureText, JsonIsAnObjectALine) {
  const Frame f = frame();
  auto output = json_output(sink(), f);
  ASSERT_TRUE(output->packet(packet(fp::CAPTURE_DROPS)));
  ASSERT_TRUE(output->flush());
  const std::string text = written();
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_THAT(
      text,
      HasSubstr(
          R"("time":"2023-11-14T22:13:20.123456789Z","point":"drops","direction":"out","tunnel":"paris-ce1/gw-a")"));
  EXPECT_THAT(text, HasSubstr(R"("spi":"00000abc","reason":"too_big")"));
  EXPECT_THAT(text, HasSubstr(R"("length":1400,"captured":28)"));
  EXPECT_THAT(text, HasSubstr(R"("data":"45000578)"));
}

}  // namespace
}  // namespace gw::cli::capture
