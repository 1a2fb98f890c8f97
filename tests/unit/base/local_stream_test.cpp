#include "base/local_stream.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>
#include <format>
#include <future>
#include <optional>

#include "base/fd.hpp"

namespace gw {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
using namespace std::chrono_literals;

std::string text(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

/// A listening socket, and a stream that connects to it.
class LocalStreamTest : public testing::Test {
 protected:
  LocalStreamTest() : path_(std::filesystem::temp_directory_path() / std::format("stream-{}", ::getpid())) {
    std::filesystem::remove(path_);
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) std::abort();
  }
  ~LocalStreamTest() override { std::filesystem::remove(path_); }

  Status connect(std::string path, std::chrono::milliseconds timeout = 1s) {
    stream_ = std::make_shared<LocalStream>(io_.get_executor(), "the daemon");
    auto done =
        asio::co_spawn(io_,
                       stream_->connect(std::move(path), timeout,
                                        {[this](std::span<const std::uint8_t> bytes) { return received_(bytes); },
                                         [this](const Error& why) { ends_.push_back(why.message); }}),
                       asio::use_future);
    io_.restart();
    while (done.wait_for(0s) != std::future_status::ready && io_.run_one_for(2s) > 0) {
    }
    return done.get();
  }
  /// A connection with its other end in peer_.
  void connected() {
    ASSERT_EQ(::listen(listener_.get(), 1), 0);
    ASSERT_TRUE(connect(path_));
    peer_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(peer_);
  }
  void say(std::string_view words) {
    ASSERT_EQ(::write(peer_.get(), words.data(), words.size()), ssize_t(words.size()));
  }
  void run() {
    io_.restart();
    io_.run_for(50ms);
  }

  std::string path_;
  Fd listener_;
  Fd peer_;
  asio::io_context io_;
  std::shared_ptr<LocalStream> stream_;
  std::function<Status(std::span<const std::uint8_t>)> received_ = [this](auto bytes) {
    got_ += text(bytes);
    return Status{};
  };
  std::string got_;
  std::vector<std::string> ends_;
};

TEST_F(LocalStreamTest, CarriesBytesBothWaysInOrder) {
  connected();
  stream_->send("one ");
  stream_->send("two");
  say("hello");
  run();
  EXPECT_EQ(got_, "hello");
  std::array<char, 16> bytes;
  EXPECT_EQ(std::string(bytes.data(), static_cast<std::size_t>(::read(peer_.get(), bytes.data(), bytes.size()))),
            "one two");
  EXPECT_TRUE(ends_.empty());
  stream_->end({Errc::kClosed, "enough", {}, {}});
}

TEST_F(LocalStreamTest, NamesThePathWhereNobodyListens) {
  const Status refused = connect(path_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kIo);
  EXPECT_THAT(refused.error().message, HasSubstr("connecting to the daemon at " + path_ + ": Connection refused"));
  EXPECT_FALSE(stream_->is_open());
  EXPECT_TRUE(ends_.empty());
}

TEST_F(LocalStreamTest, RefusesAPathThatNoAddressHolds) {
  const Status refused = connect("/" + std::string(120, 'x'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
}

TEST_F(LocalStreamTest, SaysOnceThatThePeerWentAway) {
  connected();
  peer_.reset();
  run();
  EXPECT_THAT(ends_, testing::ElementsAre(HasSubstr("connection to the daemon ended: End of file")));
  EXPECT_FALSE(stream_->is_open());
  stream_->end({Errc::kClosed, "again", {}, {}});
  EXPECT_EQ(ends_.size(), 1U);
  stream_->send("into the void");
}

TEST_F(LocalStreamTest, EndsWhenThePeerSendsWhatCannotBe) {
  received_ = [](auto) { return Status(fail(Errc::kMalformed, "a reply to nothing")); };
  connected();
  say("?");
  run();
  EXPECT_THAT(ends_, testing::ElementsAre(HasSubstr("the daemon sent what cannot be: a reply to nothing")));
}

TEST_F(LocalStreamTest, MayBeEndedByWhatItCalls) {
  received_ = [this](auto) {
    stream_->end({Errc::kClosed, "enough", {}, {}});
    stream_.reset();
    return Status(fail(Errc::kMalformed, "too late to matter"));
  };
  connected();
  say("!");
  run();
  EXPECT_THAT(ends_, testing::ElementsAre("enough"));
}

}  // namespace
}  // namespace gw
