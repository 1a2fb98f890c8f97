// While an endpoint is about to move: looks at gw-fastpath's counters and says when its sites have turned to their
// other tunnels (site_moves.hpp has the rule). Owner: HaController; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "gwd/control/fastpath_client.hpp"
#include "gwd/control/loop_wake.hpp"
#include "gwd/control/site_moves.hpp"

namespace gw::gwd {

class SiteWatch {
 public:
  static constexpr std::chrono::milliseconds kLook{50};

  struct Parts {
    boost::asio::io_context& io;
    const Clock& clock;
    FastpathClient& fastpath;
  };
  struct Owner {
    /// Tunnels whose sites may move away from an endpoint; nothing: nobody sees whether all who were asked have.
    std::function<std::optional<std::vector<std::uint32_t>>(const IpAddress& endpoint)> waits_for;
    /// Said once for each begin(), unless end() came first; never out of begin().
    std::function<void(const IpAddress& endpoint)> moved;
  };

  SiteWatch(const Parts& parts, Owner owner);

  void start();
  void stop();
  bool idle() const { return !running_; }

  void begin(const IpAddress& endpoint);
  void end(const IpAddress& endpoint) { leaving_.erase(endpoint); }

 private:
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> look();

  Parts parts_;
  Owner owner_;
  LoopWake wake_;
  SiteMoves moves_;
  std::set<IpAddress> leaving_;
  bool running_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
