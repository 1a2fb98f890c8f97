// Where a capture goes belongs to whoever captures; and no reader keeps a signal from ending it.
#include "cli/capture/sink.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace gw::cli::capture {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

class SinkFile : public testing::Test {
 protected:
  SinkFile() { fs::create_directory(folder_); }
  ~SinkFile() override { fs::remove_all(folder_); }
  static std::string content(const fs::path& path) {
    std::stringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  Status write(std::string_view text) {
    auto sink = Sink::create(path_, interrupts_);
    return sink ? sink->write(text) : std::unexpected(sink.error());
  }
  const fs::path folder_ = fs::temp_directory_path() / std::format("gwctl-sink-{}", ::getpid());
  const fs::path path_ = folder_ / "c.pcapng";
  Interrupts interrupts_;
};

TEST_F(SinkFile, OneThatWasThereGivesWay) {
  std::ofstream(path_) << "old";
  fs::permissions(path_, fs::perms::all);
  fs::create_hard_link(path_, folder_ / "other name");
  std::ifstream somebody(path_);
  ASSERT_TRUE(write("new"));
  EXPECT_EQ(content(path_), "new");
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(content(folder_ / "other name"), "old");
  std::string read;
  EXPECT_TRUE(somebody >> read);
  EXPECT_EQ(read, "old") << "who has it open does not see what is captured";
}

TEST_F(SinkFile, AnotherUsersIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  constexpr uid_t kNobody = 65534;
  std::ofstream(path_) << "theirs";
  ASSERT_EQ(::chown(path_.c_str(), kNobody, kNobody), 0);
  const Status done = write("ours");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::kPermission);
  EXPECT_THAT(done.error().message, HasSubstr(path_.string() + " belongs to user 65534: name another file"));
  EXPECT_EQ(content(path_), "theirs");
}

TEST_F(SinkFile, NotOverASymbolicLink) {
  std::ofstream(folder_ / "aim") << "aim";
  fs::create_symlink(folder_ / "aim", path_);
  const Status done = write("x");
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("symbolic link"));
  EXPECT_EQ(content(folder_ / "aim"), "aim");
}

TEST_F(SinkFile, AFolderIsNone) {
  fs::create_directory(path_);
  const Status done = write("x");
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr(path_.string() + ": Is a directory"));
}

/// A signal to this process, in a moment.
std::jthread soon(int signal) {
  return std::jthread([signal] {
    std::this_thread::sleep_for(50ms);
    ::kill(::getpid(), signal);
  });
}

TEST_F(SinkFile, AFifoWaitsForItsReader) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  std::string read;
  std::jthread reader([&] {
    std::this_thread::sleep_for(50ms);
    read = content(path_);
  });
  ASSERT_TRUE(write("to a FIFO"));
  reader.join();
  EXPECT_EQ(read, "to a FIFO");
}

TEST_F(SinkFile, AFifoThatNobodyOpensIsLeftByASignal) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  const auto begin = std::chrono::steady_clock::now();
  const auto signal = soon(SIGTERM);
  const Status done = write("x");
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("nobody reads " + path_.string()));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
}

class SinkPipe : public testing::TestWithParam<int> {
 protected:
  SinkPipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    read_.reset(ends[0]);
    EXPECT_EQ(::fcntl(ends[1], F_SETFL, GetParam()), 0);
    sink_.emplace(Fd(ends[1]), interrupts_);
  }
  const std::string much_ = std::string(std::size_t{1} << 20, 'x');
  Interrupts interrupts_;
  Fd read_;
  std::optional<Sink> sink_;
};
INSTANTIATE_TEST_SUITE_P(Descriptors, SinkPipe, testing::Values(0, O_NONBLOCK),
                         [](const auto& test) { return test.param == 0 ? "blocking" : "nonblocking"; });

TEST_P(SinkPipe, AReaderThatStandsStillIsLeftByASignal) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    std::string_view rest = much_;
    const auto begin = std::chrono::steady_clock::now();
    const auto sent = soon(signal);
    const Status done = sink_->write(rest);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::kTimeout);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  }
  EXPECT_EQ(interrupts_.count(), 3U);
}

TEST_P(SinkPipe, AReaderThatIsSlowGetsAllOfItAfterASignal) {
  std::size_t read = 0;
  std::jthread reader([&] {
    std::array<char, 64 << 10> buffer{};
    for (ssize_t n = 1; n > 0; read += static_cast<std::size_t>(n)) {
      std::this_thread::sleep_for(5ms);
      n = ::read(read_.get(), buffer.data(), buffer.size());
    }
  });
  ASSERT_EQ(::raise(SIGINT), 0);
  std::string_view rest = much_;
  const Status done = sink_->write(rest);
  EXPECT_TRUE(done) << done.error().message;
  EXPECT_TRUE(rest.empty());
  sink_.reset();
  reader.join();
  EXPECT_EQ(read, much_.size());
}

TEST_P(SinkPipe, NobodyReadsIt) {
  read_.reset();
  std::string_view rest = much_;
  const Status done = sink_->write(rest);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("Broken pipe"));
}

TEST(Interrupts, EndGwctlAgainWhenTheyAreLetThrough) {
  EXPECT_EXIT(
      {
        Interrupts interrupts;
        ::raise(SIGTERM);
        interrupts.let_through();
        ::raise(SIGTERM);
        ::_exit(0);
      },
      testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace gw::cli::capture
