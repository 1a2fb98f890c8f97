// Has bgpd announce host routes of endpoints on the wan, and withdraw them, at once: by a connection to bgpd of its
// own, so that an endpoint that moves waits for no other command and no long answer (BgpController's). What was ordered
// is brought about again after bgpd died. Owner: Gateway; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/clock.hpp"
#include "bgp/endpoint_routes.hpp"
#include "bgp/vty_client.hpp"
#include "gwd/control/loop_wake.hpp"

namespace gw::gwd {

/// Endpoints that this instance announces, and as what (bgp::med_of_claim), or does not announce.
using Announcements = std::map<IpAddress, std::optional<std::uint32_t>>;

class EndpointAnnouncer {
 public:
  static constexpr std::chrono::milliseconds kTimeout{5000};
  static constexpr std::chrono::milliseconds kReconnectPause{100};
  static constexpr std::chrono::seconds kIdle{60};
  /// What comes next is prepared when nothing has moved for so long: bgpd does nothing else meanwhile.
  static constexpr std::chrono::seconds kQuiet{3};
  static constexpr std::chrono::seconds kPrepareAgain{30};

  EndpointAnnouncer(boost::asio::io_context& io, const Clock& clock, const std::string& vty_dir);

  void start();
  void stop();

  /// Of a gateway without endpoints that move by BGP nothing is asked of bgpd.
  void set(std::uint32_t asn, Announcements wanted);
  /// By which MEDs it will announce something next.
  void expect(std::set<std::uint32_t> meds);

  /// Why bgpd has not been told; empty: it has.
  const std::string& trouble() const { return trouble_; }
  MonoTime trouble_since() const { return trouble_since_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<Status> step();
  boost::asio::awaitable<Status> tell();
  boost::asio::awaitable<Status> prepare();
  boost::asio::awaitable<Status> configure(bgp::Commands commands);
  bgp::Commands commands_to(const Announcements& target) const;
  std::set<std::uint32_t> used_by(const Announcements& announcements) const;
  bool in_sync() const { return told_ && applied_ == wanted_; }
  bool needed() const { return !wanted_.empty() || !applied_.empty(); }
  void forget();

  boost::asio::io_context& io_;
  const Clock& clock_;
  std::string path_;
  bgp::VtyClient vty_;
  LoopWake wake_;
  std::uint32_t asn_ = 0;
  Announcements wanted_;
  Announcements applied_;
  std::set<std::uint32_t> expected_;
  std::set<std::uint32_t> maps_;  // that bgpd has, as far as is known
  bool told_ = false;             // applied_ is what bgpd has
  bool read_ = false;             // maps_ is all that it has
  std::optional<Time> prepare_at_;
  std::string trouble_;
  MonoTime trouble_since_{};
  bool stopping_ = false;
};

}  // namespace gw::gwd
