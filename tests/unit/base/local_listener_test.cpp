#include "base/local_listener.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <format>
#include <fstream>

namespace gw {
namespace {

using Protocol = boost::asio::local::stream_protocol;

class LocalListener : public testing::Test {
 protected:
  ~LocalListener() override { std::filesystem::remove(path_); }
  mode_t mode() const {
    struct stat status{};
    return ::stat(path_.c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
  }
  boost::asio::io_context io_;
  Protocol::acceptor acceptor_{io_};
  const std::string path_ = std::filesystem::temp_directory_path() / std::format("listener-{}", ::getpid());
};

TEST_F(LocalListener, HasItsModeWhateverTheUmask) {
  for (const mode_t mask : {0000U, 0022U, 0077U}) {
    const mode_t before = ::umask(mask);
    for (const mode_t wanted : {0600U, 0660U}) {
      Protocol::acceptor acceptor(io_);
      const Status done = listen_at(acceptor, path_, {.mode = wanted});
      EXPECT_TRUE(done) << done.error().message;
      EXPECT_EQ(mode(), wanted);
    }
    EXPECT_EQ(::umask(before), mask) << "it is as before";
  }
}

TEST_F(LocalListener, TakesThePlaceOfWhatWasLeft) {
  std::ofstream(path_) << "no socket";
  ASSERT_TRUE(listen_at(acceptor_, path_, {}));
  Protocol::socket client(io_);
  client.connect(Protocol::endpoint(path_));
  Protocol::socket served = acceptor_.accept();
  const auto who = peer_of(served.native_handle());
  ASSERT_TRUE(who);
  EXPECT_EQ(who->pid, ::getpid());
  EXPECT_TRUE(is_privileged(*who));
}

TEST_F(LocalListener, OnlyRootAndWeArePrivileged) {
  EXPECT_TRUE(is_privileged({.pid = 1, .uid = 0, .gid = 7}));
  EXPECT_TRUE(is_privileged({.pid = 1, .uid = ::geteuid(), .gid = 7}));
  EXPECT_FALSE(is_privileged({.pid = 1, .uid = ::geteuid() + 1, .gid = 0}));
}

TEST_F(LocalListener, SaysWhatIsWrongWithThePath) {
  const Status longer = listen_at(acceptor_, std::string(108, 'x'), {});
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().field, "socket");
  const Status nowhere = listen_at(acceptor_, "/nowhere/x.sock", {});
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message.find("listening at /nowhere/x.sock: No such file"), std::string::npos)
      << nowhere.error().message;
}

TEST_F(LocalListener, WhatIsNoSocketHasNoPeer) { EXPECT_FALSE(peer_of(-1)); }

}  // namespace
}  // namespace gw
