// The two HaLinks of a gateway's instances in one process, joined by a pipe that can be cut: what gwd and the sync
// channel are in the product. Orders come as lines on standard input, one answer line of JSON each; "NAME" is a or b.
//
//   listen NAME PATH    (again after kill)      kill NAME          as if that gwd had died
//   up | down           the channel             lose N             the next N frames are lost (a broken channel)
//   loaded NAME         charon has its connections
//   take NAME ADDRESS | release NAME ADDRESS    state NAME         counters
//   hold | flow [N]     frames wait in the channel; all, or the first N, go on; those of a killed sender are lost
//   frame NAME HEX      as if the other instance had said it
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <format>
#include <iostream>
#include <map>
#include <memory>
#include <print>
#include <sstream>
#include <string>

#include <unistd.h>

#include "base/log.hpp"
#include "ike/ha_link.hpp"

namespace asio = boost::asio;
using gw::ike::HaLink;
using namespace std::chrono_literals;

namespace {

class Pair {
 public:
  explicit Pair(asio::io_context& io) : io_(io) {}

  asio::awaitable<std::string> obey(std::string line) {
    std::istringstream words(line);
    std::string order, name, rest;
    words >> order >> name >> rest;
    if (order == "listen") co_return listen(name, rest);
    if (order == "kill") co_return kill(name);
    if (order == "up" || order == "down") co_return channel(order == "up");
    if (order == "hold") co_return hold();
    if (order == "flow") co_return flow(name);
    if (order == "lose") {
      lose_ = std::stoul(name);
      co_return "{}";
    }
    const auto link = links_.find(name);
    if (link == links_.end()) co_return R"({"error": "no such link"})";
    if (order == "state") co_return state(*link->second);
    if (order == "loaded") {
      link->second->connections_loaded();
      co_return "{}";
    }
    if (order == "frame") co_return frame(*link->second, rest);
    const auto address = gw::IpAddress::parse(rest);
    if (!address) co_return R"({"error": "no address"})";
    const auto moved =
        order == "take" ? co_await link->second->take(*address, 5s) : co_await link->second->release(*address, 5s);
    if (!moved) co_return std::format(R"({{"error": "{}"}})", moved.error().message);
    co_return std::format(R"({{"ike_sas": {}, "us": {}}})", moved->ike_sas, moved->took.count());
  }

 private:
  static std::string other(const std::string& name) { return name == "a" ? "b" : "a"; }

  std::string listen(const std::string& name, const std::string& path) {
    auto link = std::make_unique<HaLink>(
        io_.get_executor(), HaLink::Handlers{.send = [this, name](std::string f) { carry(name, std::move(f)); }});
    if (auto ok = link->listen(path); !ok) return std::format(R"({{"error": "{}"}})", ok.error().message);
    links_[name] = std::move(link);
    if (up_) {  // a new gwd: a new connection
      channel(false);
      channel(true);
    }
    return "{}";
  }

  std::string kill(const std::string& name) {
    links_.erase(name);
    std::erase_if(pipe_, [&](const auto& f) { return f.first == name; });
    if (const auto survivor = links_.find(other(name)); up_ && survivor != links_.end())
      survivor->second->channel_down();
    return "{}";
  }

  std::string channel(bool up) {
    up_ = up;
    pipe_.clear();
    for (const auto& [name, link] : links_) {
      if (!up)
        link->channel_down();
      else if (links_.size() == 2)
        link->channel_up();
    }
    return "{}";
  }

  std::string hold() {
    holding_ = true;
    return "{}";
  }

  std::string flow(const std::string& number) {
    for (unsigned long n = number.empty() ? pipe_.size() : std::stoul(number); n > 0 && !pipe_.empty(); --n)
      deliver_one();
    holding_ = !number.empty();
    return "{}";
  }

  static std::string frame(HaLink& link, const std::string& hex) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
      bytes.push_back(static_cast<char>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    if (auto ok = link.receive(bytes); !ok) return std::format(R"({{"error": "{}"}})", ok.error().message);
    return "{}";
  }

  void carry(const std::string& from, std::string frame) {
    if (lose_ > 0) {
      --lose_;
      return;
    }
    pipe_.emplace_back(from, std::move(frame));
    asio::post(io_, [this] { deliver(); });
  }

  void deliver() {
    while (!holding_ && !pipe_.empty()) deliver_one();
  }

  void deliver_one() {
    const auto [from, bytes] = std::move(pipe_.front());
    pipe_.pop_front();
    const auto to = links_.find(other(from));
    if (to == links_.end()) return;
    if (auto ok = to->second->receive(bytes); !ok) std::println(std::cerr, "refused: {}", ok.error().message);
  }

  static std::string state(const HaLink& link) {
    const auto& s = link.state();
    return std::format(
        R"({{"charon": {}, "channel": {}, "synced": {}, "held": {}, "sent": {}, "received": {}, "not_carried": {}, )"
        R"("refused": {}, "full_syncs": {}}})",
        s.charon, s.channel, s.synced, s.held, s.sent, s.received, s.not_carried, s.refused, s.full_syncs);
  }

  asio::io_context& io_;
  std::map<std::string, std::unique_ptr<HaLink>> links_;
  std::deque<std::pair<std::string, std::string>> pipe_;
  bool up_ = false;
  bool holding_ = false;
  unsigned long lose_ = 0;
};

asio::awaitable<void> serve(asio::io_context& io) {
  asio::posix::stream_descriptor in(io, ::dup(STDIN_FILENO));
  asio::streambuf buffer;
  Pair pair(io);
  for (;;) {
    const auto [error, n] = co_await asio::async_read_until(in, buffer, '\n', asio::as_tuple(asio::use_awaitable));
    if (error) break;
    std::istream stream(&buffer);
    std::string line;
    std::getline(stream, line);
    std::println("{}", co_await pair.obey(line));
    std::fflush(stdout);
  }
  io.stop();
}

}  // namespace

int main() {
  gw::log::init("gw-ha-links", gw::log::Level::kInfo);  // to standard error; standard output is for answers
  asio::io_context io;
  asio::co_spawn(io, serve(io), asio::detached);
  io.run();
}
