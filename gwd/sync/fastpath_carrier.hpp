// Carries gw-fastpath's PeerSync to the other instance and back, unread (ROLE_SYNC of its socket). It lives in the
// sync thread: how far the other instance is behind never depends on gwd's main loop. Whenever one of the two
// gw-fastpaths is new or was cut off, both are told to begin anew (PeerSyncReset); what was meant for one before
// is dropped. A gw-fastpath that stands still holds nobody up: it is told to begin anew when it goes on.
// Owner: Channel's thread; all of it on that thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"
#include "gw/ha/v1/ha.pb.h"

namespace gw::gwd::sync {

/// Which pair of gw-fastpaths talks. Pure.
class CarrierPair {
 public:
  struct Change {
    bool tell_peer = false;    // send state()
    bool reset_local = false;  // PeerSyncReset{connected()} to our gw-fastpath
  };
  Change local_up(std::uint64_t id);
  Change local_down();
  /// A new session: nothing is known of the other side.
  Change session_reset();
  /// A message without PeerSync.
  Change heard_state(const ::gw::ha::v1::FastpathCarry& carry);

  bool connected() const { return mine_ != 0 && theirs_ != 0; }
  ::gw::ha::v1::FastpathCarry state() const;
  ::gw::ha::v1::FastpathCarry wrap(std::string sync) const;
  /// Meant for this pair.
  bool fits(const ::gw::ha::v1::FastpathCarry& carry) const;

 private:
  std::uint64_t mine_ = 0;
  std::uint64_t theirs_ = 0;
};

class FastpathCarrier {
 public:
  using Send = std::function<void(std::string payload)>;

  FastpathCarrier(boost::asio::io_context& io, std::string socket, Send send);

  void start();
  void stop();
  void on_session_reset();
  void on_message(std::string_view payload);

 private:
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<Error> converse();
  boost::asio::awaitable<void> write_pending();
  Status dispatch(std::string_view frame);
  void apply(CarrierPair::Change change);
  void request(::gw::fastpath::v1::ClientFrame frame);
  void reset_local();

  boost::asio::io_context& io_;
  std::string path_;
  Send send_;
  boost::asio::local::stream_protocol::socket socket_;
  boost::asio::steady_timer pause_;
  CarrierPair pair_;
  std::string reason_;  // why the last connection ended
  std::string outgoing_;
  std::uint64_t next_request_ = 1;
  std::uint64_t next_id_;  // of connections to gw-fastpath
  bool up_ = false;
  bool writing_ = false;
  bool stalled_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd::sync
