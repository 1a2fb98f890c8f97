// The transport against a server in the same process: answers, silence, rubbish and absence.
#include "cli/client.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/fd.hpp"

namespace gw::cli {
namespace {

using namespace std::chrono_literals;

// Accepts one connection and hands it over.
class OneShotServer {
 public:
  OneShotServer() {
    std::string name = (std::filesystem::temp_directory_path() / "gwctl-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    dir_ = name;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof address.sun_path - 1);
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) std::abort();
  }
  ~OneShotServer() {
    if (thread_.joinable()) thread_.join();
    std::filesystem::remove_all(dir_);
  }
  OneShotServer(const OneShotServer&) = delete;
  OneShotServer& operator=(const OneShotServer&) = delete;

  std::string path() const { return dir_ + "/gwd.sock"; }
  void serve(std::function<void(int)> conversation) {
    if (::listen(listener_.get(), 1) != 0) std::abort();
    thread_ = std::thread([this, conversation = std::move(conversation)] {
      const Fd peer(::accept(listener_.get(), nullptr, nullptr));
      conversation(peer.get());
    });
  }
  void answer(const std::string& text) {
    serve([this, text](int fd) {
      received_.resize(65536);
      const ssize_t n = ::read(fd, received_.data(), received_.size());
      received_.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
      EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    });
  }
  std::string received() {
    thread_.join();
    return received_;
  }

 private:
  std::string dir_;
  Fd listener_;
  std::thread thread_;
  std::string received_;
};

Result<Reply> send(const std::string& path, const Request& request = {Method::kGet, "/v1/status", ""}) {
  return UnixTransport(path, 5s).send(request);
}

TEST(Client, ReadsAReply) {
  OneShotServer server;
  server.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
  const auto reply = send(server.path());
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->status, 200U);
  EXPECT_EQ(reply->body, "{}");
  EXPECT_TRUE(server.received().starts_with("GET /v1/status HTTP/1.1\r\n"));
}

TEST(Client, PostsABody) {
  OneShotServer server;
  server.answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad");
  const auto reply = send(server.path(), {Method::kPost, "/v1/config/confirm", "{\"a\":1}"});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->status, 400U);
  const std::string received = server.received();
  EXPECT_NE(received.find("Content-Length: 7\r\n"), std::string::npos);
  EXPECT_TRUE(received.ends_with("{\"a\":1}"));
}

TEST(Client, SilenceEndsInATimeout) {
  OneShotServer server;
  server.serve([](int fd) {
    char byte = 0;
    while (::read(fd, &byte, 1) > 0) {
    }
  });
  const auto reply = UnixTransport(server.path(), 200ms).send({});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kTimeout);
}

TEST(Client, AConnectionThatEndsIsSaidSo) {
  OneShotServer server;
  server.serve([](int) {});
  EXPECT_EQ(send(server.path()).error().code, Errc::kClosed);
}

TEST(Client, RubbishIsMalformed) {
  OneShotServer server;
  server.answer("SSH-2.0-OpenSSH\r\n\r\n");
  EXPECT_EQ(send(server.path()).error().code, Errc::kMalformed);
}

TEST(Client, APathThatNoSocketCanHaveIsSaidWithItsLimit) {
  const auto reply = send("/run/" + std::string(120, 'x'));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().describe(), "--socket: the path has 125 characters (expected at most 107)");
}

TEST(Client, AbsenceIsSaidByKind) {
  EXPECT_EQ(send("/nonexistent/gwd.sock").error().code, Errc::kNotFound);
  EXPECT_EQ(send("/" + std::string(200, 'x')).error().code, Errc::kInvalidArgument);
  const OneShotServer bound_only;
  EXPECT_EQ(send(bound_only.path()).error().code, Errc::kRefused);
}

TEST(PercentEncode, LeavesOnlyTheUnreserved) { EXPECT_EQ(percent_encode("fd00::1/64 &x"), "fd00%3A%3A1%2F64%20%26x"); }

}  // namespace
}  // namespace gw::cli
