// Makes the network send an endpoint's packets to this instance, each endpoint by its own way: gratuitous ARP and
// unsolicited neighbour advertisements, the operator's program, or a host route told to the routers on the wan. The
// address itself is on the interface before (KernelNet). Owner: EndpointSwitch; thread: control.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "gwd/config/ha_model.hpp"
#include "gwd/control/loop_wake.hpp"
#include "ha/types.hpp"

namespace gw::gwd {

class AddressMover {
 public:
  /// When announcements are sent, counted from the move: the first decides the gap, the others are for a frame that was
  /// lost, and for a switch whose port was still learning.
  static constexpr std::array<std::chrono::milliseconds, 3> kAnnounceAfter{
      std::chrono::milliseconds(0), std::chrono::milliseconds(100), std::chrono::milliseconds(1000)};
  /// An announcement that is late by more than this is not sent before so much time has passed again.
  static constexpr std::chrono::milliseconds kLate{100};
  static constexpr std::chrono::milliseconds kBreath{300};
  /// Between two runs of a program that failed: a cloud's API that throttles is not helped by more.
  static constexpr std::chrono::milliseconds kFirstRetry{1000};
  static constexpr std::chrono::milliseconds kLastRetry{30'000};

  struct Settings {
    std::string instance;   // "gw-a": the program is told
    std::string interface;  // wan
    std::chrono::milliseconds hook_timeout{10'000};
  };
  struct Owner {
    /// It did not work, and is tried again; empty: now it did.
    std::function<void(const IpAddress&, const std::string& what)> failed;
    /// kBgp: its host route is announced from now on, by this claim, or not any more. Called at once.
    std::function<void(const IpAddress&, std::optional<ha::Epoch> claim)> announce_route;
  };

  AddressMover(boost::asio::io_context& io, Owner owner);
  ~AddressMover();

  void configure(Settings settings) { settings_ = std::move(settings); }
  /// Packets for it come here. Again for one that is here already: told again.
  void attract(const config::HaEndpoint& endpoint, ha::Epoch claim) { move(endpoint, claim); }
  /// They do not any more. Nothing is announced for that on the link: the new owner does.
  void repel(const config::HaEndpoint& endpoint) { move(endpoint, std::nullopt); }
  void stop();

 private:
  struct Job;
  void move(const config::HaEndpoint& endpoint, std::optional<ha::Epoch> claim);
  void move_by_job(const config::HaEndpoint& endpoint, ha::Switch here);
  // They outlive the mover by a moment: job->mover is empty then.
  static boost::asio::awaitable<void> work(std::shared_ptr<Job> job);
  static boost::asio::awaitable<void> announce_all(std::shared_ptr<Job> job);
  static boost::asio::awaitable<void> call_hook(std::shared_ptr<Job> job);

  boost::asio::io_context& io_;
  Owner owner_;
  Settings settings_;
  std::map<IpAddress, std::shared_ptr<Job>> jobs_;
  std::set<IpAddress> announced_;  // by host routes
};

}  // namespace gw::gwd
