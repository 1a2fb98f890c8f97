// gw-bgp-delta: one tunnel's neighbour taken from and given to a bgpd that has many, timed as gwd does it: the
// difference of two intents, sent and acknowledged. For bgp_bench.py and test_many_neighbours.py, which lay the
// network.
//
//   gw-bgp-delta VTY_SOCKET setup COUNT          configures bgpd with all
//   gw-bgp-delta VTY_SOCKET measure COUNT RUNS   prints {"remove_ms": [...], "add_ms": [...]}
//
// Peer n (from 1) is 10.99.X.Y with X.Y = 256 + n, this side 10.99.0.1.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdlib>
#include <format>
#include <memory>
#include <print>
#include <string>
#include <vector>

#include "bgp/config_model.hpp"
#include "bgp/vty_client.hpp"

namespace {

namespace asio = boost::asio;
using gw::bgp::BgpIntent;
using gw::bgp::PeerIntent;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kTimeout{60};

gw::IpAddress address(std::string_view text) { return gw::IpAddress::parse(text).value(); }

PeerIntent peer(std::uint32_t n) {
  PeerIntent p;
  p.name = std::format("site{}-ce1/gw-a", n);
  p.site = std::format("site{}", n);
  p.local = address("10.99.0.1");
  p.peer = gw::IpAddress::from_v4(0x0A630000U + 256 + n);
  p.remote_asn = 65021;
  p.keepalive = std::chrono::seconds(60);
  p.hold = std::chrono::seconds(180);
  return p;
}

/// Everybody but `without` (0: everybody).
BgpIntent intent(std::uint32_t count, std::uint32_t without) {
  BgpIntent g;
  g.instance = "gw-a";
  g.router_id = address("203.0.113.10");
  auto policy = std::make_shared<gw::routes::Policy>();
  for (std::uint32_t n = 1; n <= count; ++n) {
    if (n == without) continue;
    g.peers.push_back(peer(n));
    policy->peers[g.peers.back().name].max_routes = gw::routes::kDefaultMaxRoutes;
  }
  g.policy = std::move(policy);
  return g;
}

asio::awaitable<gw::Result<double>> change(gw::bgp::VtyClient& vty, const BgpIntent& before, const BgpIntent& after) {
  const auto start = Clock::now();
  const auto done = co_await vty.configure(gw::bgp::diff(before, after), kTimeout);
  if (!done) co_return std::unexpected(done.error());
  co_return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::string joined(const std::vector<double>& values) {
  std::string out;
  for (const double v : values) out += std::format("{}{:.3f}", out.empty() ? "" : ", ", v);
  return out;
}

asio::awaitable<gw::Status> run(std::string socket, std::string mode, std::uint32_t count, std::uint32_t runs) {
  gw::bgp::VtyClient vty(co_await asio::this_coro::executor);
  const auto open = co_await vty.connect(socket, kTimeout);
  if (!open) co_return open;
  const BgpIntent all = intent(count, 0);
  if (mode == "setup") co_return co_await vty.configure(gw::bgp::render(all), kTimeout);
  std::vector<double> removals;
  std::vector<double> additions;
  for (std::uint32_t i = 0; i < runs; ++i) {
    const BgpIntent less = intent(count, 1 + i % count);
    const auto removed = co_await change(vty, all, less);
    if (!removed) co_return std::unexpected(removed.error());
    const auto added = co_await change(vty, less, all);
    if (!added) co_return std::unexpected(added.error());
    removals.push_back(*removed);
    additions.push_back(*added);
  }
  std::println(R"({{"remove_ms": [{}], "add_ms": [{}]}})", joined(removals), joined(additions));
  co_return gw::Status{};
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 3 || (words[1] != "setup" && words[1] != "measure")) {
    std::println(stderr, "gw-bgp-delta VTY_SOCKET setup|measure COUNT [RUNS]");
    return 2;
  }
  asio::io_context io;
  gw::Status result;
  asio::co_spawn(io,
                 run(words[0], words[1], static_cast<std::uint32_t>(std::atoi(words[2].c_str())),
                     words.size() > 3 ? static_cast<std::uint32_t>(std::atoi(words[3].c_str())) : 1),
                 [&](const std::exception_ptr&, gw::Status status) { result = std::move(status); });
  io.run();
  if (result) return 0;
  std::println(stderr, "gw-bgp-delta: {}", result.error().describe());
  return 1;
}
