// Stock bgpd, zebra and BIRD in namespaces, for what is tested against them:
//
//   this namespace: zebra, bgpd (AS 65515) 169.254.21.1 tun1 --veth-- 169.254.21.2 BIRD (AS 65021): namespace `paris`
//                                          169.254.21.5 tun2 --veth-- 169.254.21.6 BIRD (AS 65022): namespace `berlin`
//
// The veths carry addresses as tunnel devices do: a /32 each with the other end as its peer. Root; about 30 s.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <format>
#include <map>
#include <memory>
#include <set>

#include "bgp/bmp_server.hpp"
#include "bgp/config_model.hpp"
#include "bgp/summary.hpp"
#include "bgp/vty_client.hpp"
#include "tests/support/await.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {

using namespace std::chrono_literals;

inline BgpIntent intent_for(std::uint16_t bmp_port) {
  BgpIntent g = test::gateway();
  g.bmp_port = bmp_port;
  g.peers.push_back(test::berlin());
  for (PeerIntent& p : g.peers) {
    p.keepalive = 3s;
    p.hold = 9s;
  }
  g.peers[0].md5 = Secret("correct-horse");
  return g;
}

struct Site {
  const char* name;
  const char* local;
  const char* gateway;
  std::uint32_t asn;
  const char* md5;  // line of bird.conf or ""
  const char* routes4;
  const char* routes6;
};

inline std::string bird_config(const Site& s) {
  return std::format(R"(router id 198.51.100.{};
protocol device {{ }}
protocol static s4 {{ ipv4; {} }}
protocol static s6 {{ ipv6; {} }}
protocol bgp gw {{
  local {} as {}; neighbor {} as 65515; {}
  hold time 9; keepalive time 3; graceful restart on;
  connect retry time 1; connect delay time 1; error wait time 1, 2;
  ipv4 {{ import all; export all; }};
  {}
}}
)",
                     s.asn % 100, s.routes4, s.routes6, s.local, s.asn, s.gateway, s.md5,
                     *s.routes6 == 0 ? "" : "ipv6 { import all; export all; extended next hop on; };");
}

inline constexpr Site kParis{"paris",
                             "169.254.21.2",
                             "169.254.21.1",
                             65021,
                             "password \"correct-horse\";",
                             "route 10.20.0.0/16 blackhole; route 0.0.0.0/0 blackhole; route 10.0.5.0/24 blackhole;"
                             "route 169.254.99.0/24 blackhole;",
                             "route 2001:db8:20::/48 blackhole; route ::/0 blackhole;"};
inline constexpr Site kBerlin{"berlin",
                              "169.254.21.6",
                              "169.254.21.5",
                              65022,
                              "",
                              "route 10.30.0.0/16 blackhole;",
                              "route 2001:db8:30::/48 blackhole;"};

class FrrTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    gw::test::enter_namespaces({"/run/netns", "/run/frr", "/var/tmp/frr"});
    scratch_ = std::make_unique<gw::test::Scratch>();
    gw::test::run("chown frr:frr /run/frr");
    connect_site(kParis, "tun1");
    connect_site(kBerlin, "tun2");
  }
  static void connect_site(const Site& s, const char* device) {
    // A tunnel device has no duplicate address detection either. While it runs, bgpd has no link-local next hop and
    // says "::", which BIRD takes for a withdrawal.
    constexpr std::string_view kNoDad = "sysctl -qw net.ipv6.conf.default.accept_dad=0";
    gw::test::run(std::format("ip netns add {0} && {1} && ip netns exec {0} {1}", s.name, kNoDad));
    gw::test::run(std::format("ip link add {1} type veth peer name gw0 netns {0}", s.name, device));
    gw::test::run(
        std::format("ip addr add {} peer {} dev {} && ip link set {} up", s.gateway, s.local, device, device));
    gw::test::run(
        std::format("ip -n {0} link set lo up && ip -n {0} addr add {1} peer {2} dev gw0 && "
                    "ip -n {0} link set gw0 up",
                    s.name, s.local, s.gateway));
  }
  static void start_bird(const Site& s) {
    const auto config = scratch_->path() / std::format("{}.conf", s.name);
    gw::test::write_file(config, bird_config(s));
    birds_.emplace_back(std::vector<std::string>{"ip", "netns", "exec", s.name, "bird", "-f", "-c", config.string(),
                                                 "-s", control(s.name)},
                        scratch_->path() / std::format("{}.log", s.name));
  }
  static void TearDownTestSuite() { scratch_.reset(); }
  static std::string control(std::string_view site) {
    return (scratch_->path() / std::format("{}.ctl", site)).string();
  }

  void SetUp() override {
    std::filesystem::remove("/run/frr/zserv.api");
    zebra_ = gw::test::Process({"/usr/lib/frr/zebra", "-P", "0", "-K", "60"}, scratch_->path() / "zebra.log");
    ASSERT_TRUE(gw::test::eventually([] { return std::filesystem::exists("/run/frr/zserv.api"); }, 10s));
    for (const Site& site : {kParis, kBerlin}) start_bird(site);
    ASSERT_TRUE(bmp_.listen(0));
    intent_ = intent_for(bmp_.port());
    ASSERT_TRUE(validate(intent_));
  }
  void TearDown() override {
    if (HasFailure()) {
      std::printf("%s\n%s\n", gw::test::read_file(scratch_->path() / "bgpd.log").c_str(),
                  gw::test::run("ip route; ip -6 route").c_str());
      for (const char* site : {"paris", "berlin"}) {
        std::printf("%s\n", gw::test::run(std::format("birdc -r -s {} 'show route all protocol gw'; birdc -r -s {} "
                                                      "show protocols all gw; cat {}/{}.log",
                                                      control(site), control(site), scratch_->path().string(), site))
                                .c_str());
      }
    }
    vty_.close();
    bgpd_.end(SIGKILL);
    zebra_.end(SIGKILL);
    birds_.clear();
    // Graceful restart keeps routes: they are no business of the next test.
    gw::test::run("ip nexthop flush");
  }

  /// With an empty file: an unconfigured bgpd, as after a first installation.
  void start_bgpd(const Secret& file) {
    const auto config = scratch_->path() / "bgpd.conf";
    gw::test::write_file(config, file.text());
    std::filesystem::remove("/run/frr/bgpd.vty");
    bgpd_ = gw::test::Process({"/usr/lib/frr/bgpd", "-P", "0", "-M", "bmp", "-f", config.string(), "--log",
                               "file:" + (scratch_->path() / "bgpd.log").string()},
                              scratch_->path() / "bgpd.out");
    ASSERT_TRUE(gw::test::run_until(
        io_, [&] { return gw::test::await(io_, vty_.connect("/run/frr/bgpd.vty", 1s)).has_value(); }, 10s));
  }
  void configure(Commands commands) {
    const Status done = gw::test::await(io_, vty_.configure(std::move(commands), 10s));
    ASSERT_TRUE(done) << done.error().describe();
  }
  std::map<IpAddress, PeerStatus> sessions() {
    const auto text = gw::test::await(io_, vty_.show(kShowSummary, 5s));
    auto peers = text ? parse_summary(*text) : std::map<IpAddress, PeerStatus>{};
    return peers ? std::move(*peers) : std::map<IpAddress, PeerStatus>{};
  }
  bool established(std::size_t count) {
    const auto all = sessions();
    return static_cast<std::size_t>(std::ranges::count_if(all, [](const auto& p) { return p.second.established(); })) ==
           count;
  }
  /// Every peer's End-of-RIB, as bgpd counts them.
  bool all_told() {
    auto peers = sessions();
    const auto text = gw::test::await(io_, vty_.show(kShowNeighbors, 5s));
    if (!text || !add_neighbors(*text, peers)) return false;
    return !peers.empty() &&
           std::ranges::all_of(peers, [](const auto& p) { return p.second.end_of_rib_v4 && p.second.end_of_rib_v6; });
  }
  bool site_has(std::string_view site, std::string_view prefix) {
    const std::string table =
        gw::test::run(std::format("birdc -r -s {} 'show route protocol gw' || true", control(site)));
    return table.contains(std::format("{} ", prefix));
  }
  static bool kernel_has(std::string_view prefix) {
    return gw::test::run("ip route show proto bgp; ip -6 route show proto bgp").contains(prefix);
  }
  void on_event(const BmpEvent& event) {
    if (const auto* routes = std::get_if<BmpRoutes>(&event)) {
      for (const Prefix& p : routes->withdrawn) learned_.erase({routes->peer.address, p});
      for (const Prefix& p : routes->announced) learned_[{routes->peer.address, p}] = routes->attributes;
      if (!routes->malformed.empty()) ADD_FAILURE() << routes->malformed;
    }
    if (const auto* up = std::get_if<BmpPeerUp>(&event)) ++peers_up_, families_[up->peer.address] = up->families;
    if (const auto* down = std::get_if<BmpPeerDown>(&event)) downs_.push_back(down->text);
    if (const auto* end = std::get_if<BmpEndOfRib>(&event)) ends_.insert({end->peer.address, end->family});
  }
  bool knows(const char* peer, const char* prefix) const {
    return learned_.contains({test::ip(peer), test::net(prefix)});
  }
  bool wait(const std::function<bool()>& condition, std::chrono::milliseconds limit = 15s) {
    return gw::test::run_until(io_, condition, limit);
  }
  /// Both sites up, everything exchanged.
  void bring_up() {
    start_bgpd(render_file(intent_));
    ASSERT_TRUE(wait([&] { return established(2); }));
    ASSERT_TRUE(
        wait([&] { return knows("169.254.21.2", "10.20.0.0/16") && knows("169.254.21.6", "2001:db8:30::/48"); }));
    ASSERT_TRUE(wait([&] { return site_has("paris", "10.30.0.0/16") && site_has("berlin", "2001:db8:20::/48"); }));
  }

  inline static std::unique_ptr<gw::test::Scratch> scratch_;
  inline static gw::test::Process zebra_;
  inline static gw::test::Process bgpd_;
  inline static std::vector<gw::test::Process> birds_;
  boost::asio::io_context io_{1};
  VtyClient vty_{io_.get_executor()};
  BmpServer bmp_{io_.get_executor(),
                 {.connected = [this](const BmpConnected&) { ++connects_; },
                  .disconnected = [this](const BmpDisconnected&) { ++disconnects_; },
                  .event = [this](const BmpEvent& e) { on_event(e); }}};
  BgpIntent intent_;
  int connects_ = 0;
  int disconnects_ = 0;
  int peers_up_ = 0;
  std::vector<std::string> downs_;
  std::map<std::pair<IpAddress, Prefix>, routes::AttributesPtr> learned_;
  std::set<std::pair<IpAddress, Family>> ends_;
  std::map<IpAddress, std::set<Family>> families_;
};

}  // namespace gw::bgp
