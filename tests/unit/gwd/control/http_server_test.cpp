// The HTTP server over a real Unix socket, and its parser of request targets.
#include "gwd/api/http_server.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <thread>

#include "base/fd.hpp"

namespace gw::gwd {
namespace {

namespace asio = boost::asio;

TEST(ParseTarget, PathAndQueryAreDecoded) {
  const auto r = parse_target("/v1/routes?prefix=10.0.0.0%2F8&x=a+b&flag");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->path, "/v1/routes");
  EXPECT_EQ(r->query.at("prefix"), "10.0.0.0/8");
  EXPECT_EQ(r->query.at("x"), "a b");
  EXPECT_EQ(r->query.at("flag"), "");
}

TEST(ParseTarget, BadEscapesAreRefused) {
  for (const char* t : {"/%", "/%4", "/%zz", "/a?b=%f", "/a?%=1"}) EXPECT_FALSE(parse_target(t)) << t;
}

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / std::format("gw-http-{}", ::getpid());
    std::filesystem::create_directories(dir_);
    path_ = dir_ / "api.sock";
  }
  void TearDown() override {
    io_.stop();
    if (thread_.joinable()) thread_.join();
    std::filesystem::remove_all(dir_);
  }
  void serve() {
    ASSERT_TRUE(server_.listen({path_.string()}));
    thread_ = std::jthread([this] { io_.run(); });
  }
  // Sends `text` as it is and returns everything until the server closes.
  std::string exchange(const std::string& text) const {
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.string().copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return "no connection";
    if (::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return "no send";
    std::string answer;
    char buffer[4096];
    for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
      answer.append(buffer, static_cast<std::size_t>(n));
    return answer;
  }

  std::filesystem::path dir_;
  std::filesystem::path path_;
  asio::io_context io_;
  HttpRequest seen_;
  HttpServer<asio::local::stream_protocol> server_{io_,
                                                   [this](HttpRequest r) -> asio::awaitable<HttpResponse> {
                                                     seen_ = std::move(r);
                                                     co_return HttpResponse{.body = "{}\n"};
                                                   },
                                                   {.body_bytes = 100}};
  std::jthread thread_;
};

TEST_F(ServerTest, AnswersAndKeepsOthersOut) {
  serve();
  const std::string answer =
      exchange("POST /v1/x?a=1 HTTP/1.1\r\nHost: gwd\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_EQ(seen_.method, "POST");
  EXPECT_EQ(seen_.path, "/v1/x");
  EXPECT_EQ(seen_.body, "hello");
  struct stat info{};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07, 0U) << "others may talk to gwd";
}

TEST_F(ServerTest, OversizedBodyIs413AndGarbageIsClosed) {
  serve();
  EXPECT_TRUE(exchange("POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 101\r\n\r\n").starts_with("HTTP/1.1 413"));
  EXPECT_EQ(exchange("\x16\x03\x01 not http\r\n\r\n"), "");
  EXPECT_TRUE(exchange("GET /%zz HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 400"));
}

TEST_F(ServerTest, ALivingServerIsNotReplacedAndADeadOneIs) {
  serve();
  asio::io_context other_io;
  HttpServer<asio::local::stream_protocol> second(other_io, {});
  const auto taken = second.listen({path_.string()});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Errc::kAlreadyExists);
  io_.stop();
  thread_.join();
  server_.stop();  // the socket file stays behind, as after kill -9
  ASSERT_TRUE(std::filesystem::exists(path_));
  HttpServer<asio::local::stream_protocol> third(other_io, {});
  EXPECT_TRUE(third.listen({path_.string()}));
}

}  // namespace
}  // namespace gw::gwd
