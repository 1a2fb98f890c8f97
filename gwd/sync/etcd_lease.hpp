// Leases of endpoints in etcd: what the HA machine asks for (AskLease, DropLease) and what it is told (Lease...). One
// etcd lease for each endpoint that is held, so that to stop renewing one concerns no other.
//
//   /gw/<gateway>/lease/<address>   {"instance": 1, "epoch": 33}; attached to the holder's lease: gone when that ends
//   /gw/<gateway>/epoch/<address>   the highest epoch ever granted; stays
// A grant is one transaction that compares both keys with what was read. A deadline counts from before the request was
// sent. Owner: HaController; thread: control.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gwd/config/ha_model.hpp"
#include "ha/action.hpp"
#include "ha/event.hpp"

namespace gw::gwd::sync {

class EtcdLease {
 public:
  /// How often the leases are read: adds to the TTL at a failover, and is nothing for etcd.
  static constexpr std::chrono::milliseconds kPoll{200};
  /// Another reason why etcd does not answer is told so much later.
  static constexpr std::chrono::seconds kSayAgain{5};
  /// A lease is believed in for a tenth less than its time: clocks of different speed.
  static constexpr std::chrono::milliseconds believed(std::chrono::seconds ttl) {
    return std::chrono::milliseconds(ttl) * 9 / 10;
  }

  struct Settings {
    std::string gateway;  // whose endpoints: several gateways may use one etcd
    ha::Instance self{};
    std::vector<IpAddress> endpoints;
    config::EtcdModel etcd;
  };

  EtcdLease(boost::asio::io_context& io, const Clock& clock, std::function<void(const ha::Event&)> tell);
  ~EtcdLease();

  /// Reads, tells and renews until stop(). kNotFound, kMalformed: a file of the settings.
  Status start(Settings settings);
  /// Leases that are held end by themselves: gwd's end is no reason to stop sending.
  void stop();

  void ask(const ha::AskLease& question);
  void drop(const ha::DropLease& order);

 private:
  class Worker;
  boost::asio::io_context& io_;
  const Clock& clock_;
  std::function<void(const ha::Event&)> tell_;
  std::shared_ptr<Worker> worker_;
};

}  // namespace gw::gwd::sync
