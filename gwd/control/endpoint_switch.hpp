// Carries out what the HA machine decides about endpoints, in the order that loses nothing.
//
//   Own      the address is on the wan, silent -> the fast path sends, receives and answers for it -> it attracts
//   traffic
//            -> routes lead into the tunnels -> the old owner is told so -> charon has the IKE SAs -> the rest of gwd
//            follows (sessions) -> keys that may not be used here are replaced
//   Release  planned: charon lets go, without a DELETE -> the fast path stops, and packets for the tunnels wait in it
//   ->
//            it is handed over -> the next owner forwards: routes lead there, and what waited goes there -> the rest of
//            gwd follows (sessions) -> what was on its way here has arrived: the address goes.
//            Not planned: the fast path first.
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
  /// Its hand-over may have overtaken what the former owner's charon said last (an older release does not say when that
  /// is over). Packets do not wait for it.
  static constexpr std::chrono::milliseconds kLastWord{200};
  static constexpr std::chrono::milliseconds kRetry{50};
  static constexpr std::chrono::milliseconds kAskAgain{500};
  /// How long packets may wait in gw-fastpath (kForEndpoints): until then the new owner should have said that it
  /// forwards.
  static constexpr std::chrono::milliseconds kParting{200};
  /// The address stays on the interface for as long as gw-fastpath decapsulates for it (Endpoints::kStillReceives).
  static constexpr std::chrono::seconds kStillReceives{2};
  /// `move: bgp`, planned: the old owner announces on for so long, beside the new one, whose claim is the better route.
  /// `move: hook`: its program is told so much later, behind the new owner's. What comes here meanwhile is
  /// decapsulated.
  static constexpr std::chrono::seconds kStillAnnounces{1};
  /// The old owner's last positions come by another stream than its word that it has stopped.
  static constexpr std::chrono::milliseconds kPositions{20};

  struct Parts {
    boost::asio::io_context& io;
    const Clock& clock;
    FastpathClient& fastpath;
    KernelNet& kernel;
    ike::HaLink& ike;
  };
  struct Owner {
    /// OwnDone, ReleaseDone, ActionFailed.
    std::function<void(const ha::Event&)> tell;
    /// Returns when gw-fastpath's routes follow carries().
    std::function<boost::asio::awaitable<void>()> redirect;
    /// The endpoint's packets pass here: to be told to its old owner.
    std::function<void(const IpAddress&, ha::Epoch)> forwards;
    /// `move: bgp`: bgpd announces its host route by this claim, or does not any more.
    std::function<void(const IpAddress&, std::optional<ha::Epoch>)> announce_route;
    /// The rest of gwd follows carries().
    std::function<void()> carry;
    std::function<void(std::vector<fp::SaId>)> rekey;
  };

  EndpointSwitch(const Parts& parts, Owner owner);

  void start();
  /// What is being carried out is finished; idle() says when. Only then may it be destroyed.
  void stop();
  bool idle() const { return !running_ && asking_again_ == 0; }
  /// All endpoints of the gateway; before the orders that follow from it. One that is not in it any more stays known
  /// until its release, if it is carried here, is done with.
  void configure(AddressMover::Settings settings, const std::vector<config::HaEndpoint>& endpoints);

  void own(const ha::Own& order);
  void extend(const ha::Extend& order);
  void release(const ha::Release& order);
  /// The new owner of what was handed over forwards, by this claim.
  void taken(const IpAddress& address, ha::Epoch epoch);
  /// A new gw-fastpath, or a new session with it; behind own() for what it had when gwd came. Before either nothing is
  /// put: that would be into standby, and tunnels that forward would lose their carrier.
  void resync();

  /// Its packets are routed into its tunnels here: this instance sends for it, or has just handed it over.
  bool carries(const IpAddress& address) const;
  /// `move: bgp`: its host route is announced here, because it is carried here or was a moment ago.
  bool announces(const IpAddress& address) const;
  /// An order is being carried out.
  bool busy() const;

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
    /// Handed over, and the new owner has not said yet that it forwards: until then.
    std::optional<MonoTime> parting;
    std::optional<MonoTime> address_goes;
    std::optional<MonoTime> withdraws;  // not kGarp, handed over: until then its packets may come here, too
    bool letting_go = false;            // charon is asked again to let go of it
    bool removed = false;               // no endpoint of the document any more

    /// Nothing of it is here, and nothing is to be done about it.
    bool over() const {
      return removed && wanted == ha::Ownership::kStandby && !carried && !dirty && !parting && !address_goes &&
             !withdraws;
    }
  };
  struct Put {
    IpAddress address;
    ha::Epoch epoch;
  };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> step();
  boost::asio::awaitable<Result<fp::PutEndpointsReply>> put_endpoints();
  boost::asio::awaitable<Result<fp::PutEndpointsReply>> put_exactly();
  boost::asio::awaitable<void> release_ike(std::vector<IpAddress> addresses);
  boost::asio::awaitable<void> let_go(IpAddress address);
  bool is_planned_release(const IpAddress& address) const;
  void part(const std::vector<IpAddress>& addresses);
  boost::asio::awaitable<void> finish_partings();
  boost::asio::awaitable<void> finish_releases(std::vector<IpAddress> addresses);
  boost::asio::awaitable<void> finish_owns(std::vector<Put> owns);
  bool still_wanted(const Put& own) const;
  void forget_removed();
  void add_address(Endpoint& endpoint);
  void repel(Endpoint& endpoint);
  void remove_address(Endpoint& endpoint);
  void withdraw(Endpoint& endpoint);
  void end_what_is_over();
  std::chrono::nanoseconds until_next() const;
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
  bool met_ = false;      // what gw-fastpath has is known, or was waited for long enough
  bool working_ = false;
  bool running_ = false;
  bool stopping_ = false;
  unsigned asking_again_ = 0;
};

}  // namespace gw::gwd
