// An operator's program: what it is given, how it ends, and that it always ends.
#include "gwd/control/hook.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/spawn.hpp"

namespace gw::gwd {
namespace {

class HookTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string script(const std::string& body) {
    const std::string path = folder_ / "hook.sh";
    std::ofstream(path) << "#!/bin/sh\n" << body;
    ::chmod(path.c_str(), 0755);
    return path;
  }
  Status run(Hook hook) {
    boost::asio::io_context io;
    std::optional<Status> result;
    boost::asio::co_spawn(
        io, [&]() -> boost::asio::awaitable<void> { result = co_await run_hook(std::move(hook)); }, kEndOnException);
    io.run();
    return *result;
  }
  std::string file(const std::string& name) {
    std::ifstream in(folder_ / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("gw-hook-" + std::to_string(getpid()));
};

TEST_F(HookTest, HasItsArgumentsAndNothingOfOurEnvironment) {
  ::setenv("GW_SECRET_OF_OURS", "x", 1);
  const std::string out = folder_ / "out";
  const auto status = run({.program = script("echo \"$1|$2|$GW_ACTION|$GW_SECRET_OF_OURS\" > " + out + "\n"),
                           .arguments = {"take", "$(reboot); `x`"},
                           .environment = {"GW_ACTION=take"},
                           .timeout = std::chrono::seconds(20)});
  ASSERT_TRUE(status) << status.error().describe();
  EXPECT_EQ(file("out"), "take|$(reboot); `x`|take|\n");
}

TEST_F(HookTest, ItsStatusAndLastWordsAreTheError) {
  const std::string path = script("echo no quota >&2; exit 3\n");
  const auto status = run({.program = path, .timeout = std::chrono::seconds(20)});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().describe(), path + " ended with status 3: no quota");
}

TEST_F(HookTest, AMissingProgramIsNamed) {
  const auto status = run({.program = "/nowhere/hook", .timeout = std::chrono::seconds(20)});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().describe(), "cannot run /nowhere/hook: No such file or directory");
}

TEST_F(HookTest, OneThatHangsIsKilledWithItsChildren) {
  const std::string pid = folder_ / "pid";
  const std::string path = script("sleep 1000 &\necho $! > " + pid + "\necho waiting\nwait\n");
  const auto status = run({.program = path, .timeout = std::chrono::milliseconds(700)});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kTimeout);
  EXPECT_EQ(status.error().message, path + " had not ended after 700 ms and was killed: waiting");
  // The child is nobody's any more; the kernel has reaped it or has it as a zombie of pid 1.
  const pid_t child = std::stoi(file("pid"));
  const auto state_now = [&] {
    std::ifstream state("/proc/" + std::to_string(child) + "/stat");
    std::string number;
    std::string name;
    std::string letter = "gone";
    state >> number >> name >> letter;
    return letter;
  };
  std::string letter = state_now();
  // The signal is sent; a busy machine delivers it when the child's turn comes.
  for (int i = 0; i < 200 && letter != "gone" && letter != "Z"; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    letter = state_now();
  }
  EXPECT_TRUE(letter == "gone" || letter == "Z") << letter;
}

TEST_F(HookTest, EndlessOutputFillsNothing) {
  const auto status = run({.program = script("while echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"
                                             "do i=$((i+1)); [ $i -lt 40000 ] || exit 0; done\nexit 4\n"),
                           .timeout = std::chrono::seconds(20)});
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("ended with status"), std::string::npos) << status.error().message;
}

}  // namespace
}  // namespace gw::gwd
