// Keeps gw_guard in the kernel. Whoever loads a firewall of his own usually flushes everything first (`flush ruleset`
// is the first line of Debian's /etc/nftables.conf), and the VNet's packets could leave in the clear from then on. The
// kernel tells of every rule that goes (NETLINK_NETFILTER, NFNLGRP_NFTABLES), and the guard is put back within
// milliseconds. Owner: Gateway; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "gwd/control/forward_guard.hpp"

namespace gw::gwd {

/// Whether a notification of nf_tables (one datagram of netlink messages, in host byte order) says that the table
/// gw_guard, or a chain, rule or set of it, has gone. Pure; a message whose lengths do not fit ends the search.
bool takes_from_guard(std::span<const std::uint8_t> notification);

class GuardKeeper {
 public:
  /// Another program that takes it away all the time gets this much between two times.
  static constexpr std::chrono::seconds kPause{1};

  explicit GuardKeeper(boost::asio::io_context& io);

  /// From now on gw_guard is as these ports need it. Blocks for nft (milliseconds). One that nft refuses is tried
  /// again.
  void keep(const GuardPorts& ports);
  void stop();

 private:
  void watch();
  void install();
  void install_again();
  boost::asio::awaitable<void> listen();
  bool read_losses();

  boost::asio::io_context& io_;
  std::optional<boost::asio::posix::stream_descriptor> events_;
  boost::asio::steady_timer pause_;
  std::optional<GuardPorts> wanted_;
  bool installed_ = false;
  bool pausing_ = false;
};

}  // namespace gw::gwd
