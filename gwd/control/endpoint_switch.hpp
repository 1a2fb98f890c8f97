// Carries out what the HA machine decides about endpoints, in the order that loses nothing.
//
//   Own      the fast path sends and receives -> the address attracts traffic -> charon has the IKE SAs -> the rest of
//            gwd follows (sessions, routes) -> keys that may not be used here are replaced
//   Release  planned: routes lead to the next owner -> the fast path stops -> charon lets go, without a DELETE -> the
//            rest of gwd follows -> the address goes. Not planned: the fast path first.
// Whatever died and came back (gw-fastpath, gwd) is brought to the same state again. Owner: HaController; thread:
// control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gwd/config/ha_model.hpp"
#include "gwd/control/address_mover.hpp"
#include "gwd/control/fastpath_client.hpp"
#include "gwd/control/kernel_net.hpp"
#include "gwd/control/loop_wake.hpp"
#include "ha/action.hpp"
#include "ha/event.hpp"
#include "ike/ha_link.hpp"

namespace gw::gwd {

class EndpointSwitch {
 public:
  /// charon's part took 17 to 34 ms when tried; it goes on behind our back after this.
  static constexpr std::chrono::milliseconds kIkeTimeout{500};
  static constexpr std::chrono::milliseconds kRetry{50};

  struct Parts {
    boost::asio::io_context& io;
    FastpathClient& fastpath;
    KernelNet& kernel;
    ike::HaLink& ike;
  };
  struct Owner {
    /// OwnDone, ReleaseDone, ActionFailed.
    std::function<void(const ha::Event&)> tell;
    /// Returns when packets for endpoints that are about to be released go to their next owner.
    std::function<boost::asio::awaitable<void>()> redirect;
    /// The rest of gwd follows carries().
    std::function<void()> carry;
    std::function<void(std::vector<fp::SaId>)> rekey;
    /// The endpoint's host route by BGP (`move: bgp`).
    std::function<void(const IpAddress&, ha::Switch)> advertise;
  };

  EndpointSwitch(const Parts& parts, Owner owner);

  void start();
  /// What is being carried out is finished; idle() says when. Only then may it be destroyed.
  void stop();
  bool idle() const { return !running_; }
  /// All endpoints of the gateway; those that are not in it any more were released before.
  void configure(AddressMover::Settings settings, const std::vector<config::HaEndpoint>& endpoints);

  void own(const ha::Own& order);
  void extend(const ha::Extend& order);
  void release(const ha::Release& order);
  /// A new gw-fastpath, or a new session with it.
  void resync();

  /// This instance sends for it, as far as gwd knows.
  bool carries(const IpAddress& address) const;
  /// An order is being carried out.
  bool busy() const { return working_ || has_work(); }
  /// A planned release has begun: what is routed to it goes elsewhere.
  bool is_leaving(const IpAddress& address) const;

 private:
  struct Endpoint {
    config::HaEndpoint model;
    ha::Ownership wanted = ha::Ownership::kStandby;
    ha::Epoch epoch = 0;
    ha::Handover how = ha::Handover::kTakeover;
    std::optional<MonoTime> until;
    ha::ReleaseCause cause = ha::ReleaseCause::kNotOurs;
    bool carried = false;  // the fast path has it as ours
    bool dirty = false;    // `wanted` is to be brought about
    bool leaving = false;
  };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> step();
  boost::asio::awaitable<Result<std::vector<fp::SaId>>> put_endpoints();
  boost::asio::awaitable<void> finish_releases(std::vector<IpAddress> addresses);
  boost::asio::awaitable<void> finish_owns(std::vector<IpAddress> addresses);
  void attract(const Endpoint& endpoint);
  void repel(const Endpoint& endpoint);
  DeviceAddress device_address(const Endpoint& endpoint) const;
  bool has_work() const;
  void set_dirty(const std::vector<IpAddress>& addresses);

  Parts parts_;
  Owner owner_;
  AddressMover mover_;
  LoopWake wake_;
  std::string wan_interface_;
  std::map<IpAddress, Endpoint> endpoints_;
  bool put_due_ = false;  // deadlines changed, or gw-fastpath is new
  bool working_ = false;
  bool running_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
