// The sync channel's connections: calls or answers on every path, keeps one session over them, moves it from a path
// that falls silent to one that does not, sends heartbeats, and lets nobody in who is not the other instance.
// Owner: Channel's thread; every call and upcall is on it. Frames and rules: session.hpp, proto/gw/ha/v1.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gwd/sync/connection.hpp"
#include "gwd/sync/session.hpp"

namespace gw::gwd::sync {

struct LinkSettings {
  using Address = boost::asio::ip::address;
  Party party;
  struct Path {
    Address local;
    Address remote;
  };
  std::vector<Path> paths;
  std::uint16_t port = 0;
  std::string tls_dir;
  std::chrono::milliseconds heartbeat{50};
  std::uint32_t multiplier = 3;
};

/// From the document's.
LinkSettings link_settings(const ChannelSettings& settings);

class LinkListener {
 public:
  virtual ~LinkListener() = default;
  virtual void on_reset(const PeerInfo& peer) = 0;
  /// False: there is no room now. `payload` is then untouched, and comes again.
  virtual bool on_message(Kind kind, std::string& payload) = 0;
  virtual void on_heartbeat(PeerHeartbeat heartbeat) = 0;
  virtual void on_paths(const std::vector<PathState>& paths) = 0;
};

class Link {
 public:
  /// Without any path for longer than this, the session is not resumed: what was said is too old to be news.
  static constexpr std::chrono::seconds kResumeWithin{5};

  Link(boost::asio::io_context& io, const Clock& clock, LinkSettings settings, LinkListener& listener);

  void start();
  /// Says Bye. The io_context may be stopped as soon as that is written.
  void stop();
  void send(Kind kind, std::string payload);
  void say(std::string status);
  /// The next connection begins another session.
  void end_session(std::string why);
  /// There may be room again for what on_message() would not take.
  void hand_on();
  ChannelStats stats() const;

 private:
  using Tcp = boost::asio::ip::tcp;
  using ConnectionPtr = std::shared_ptr<Connection>;
  struct Path {
    explicit Path(boost::asio::io_context& io) : acceptor(io), wake(io) {}
    LinkSettings::Path addresses;
    Tcp::acceptor acceptor;
    LoopWake wake;  // of the calling loop
    ConnectionPtr current;
    bool redial = false;
    PathState state;
    std::string logged;  // last problem
  };
  bool calls() const { return settings_.party.number > settings_.party.peer_number; }
  ExpectedPeer expected() const { return {self_, peer_}; }
  MonoTime now() const { return clock_.now(); }

  // link_connect.cpp: until a connection is established.
  boost::asio::awaitable<void> answer_all(std::size_t index);
  boost::asio::awaitable<void> answer(Tcp::socket socket, std::size_t index);
  boost::asio::awaitable<Judged<void>> welcome(const ConnectionPtr& connection);
  boost::asio::awaitable<void> call_all(std::size_t index);
  boost::asio::awaitable<Judged<void>> call(const ConnectionPtr& connection);
  boost::asio::awaitable<Judged<void>> introduce(const ConnectionPtr& connection);
  Status listen(Path& path);
  Judged<void> judge_incarnation(const wire::Identity& peer) const;
  void turn_away(const ConnectionPtr& connection, const Refusal& why);
  const Credentials* credentials();

  // link.cpp: from then on.
  void begin_session(std::uint64_t id, const wire::Identity& peer);
  void adopt(const ConnectionPtr& connection);
  boost::asio::awaitable<void> serve(ConnectionPtr connection);
  Judged<void> take(Connection& connection, wire::Frame& frame);
  Judged<void> take_data(const Connection& connection, wire::Data& data);
  void take_heartbeat(Connection& connection, wire::Heartbeat& heartbeat);
  void take_bye(Connection& connection, const wire::Bye& bye);
  void lost(const ConnectionPtr& connection, const Refusal& why);
  void choose_active();
  bool is_stale(const Connection& connection) const;
  void acknowledge_soon();
  std::string more_for(const Connection& connection);
  boost::asio::awaitable<void> beat();
  void send_heartbeats();
  void check_paths();
  void renew_credentials();
  void note_problem(std::size_t index, const Refusal& why);
  void note_connected(std::size_t index);
  void publish_paths();

  boost::asio::io_context& io_;
  const Clock& clock_;
  LinkSettings settings_;
  pki::InstanceName self_;
  pki::InstanceName peer_;
  LinkListener& listener_;
  std::vector<std::unique_ptr<Path>> paths_;
  Session session_;
  ConnectionPtr active_;
  bool acknowledge_ = false;
  std::array<std::deque<std::string>, kKinds.size()> waiting_;  // for room at the listener
  std::string status_;
  MonoTime said_{};
  MonoTime last_path_{};  // when there was one
  MonoTime last_beat_{};
  LoopWake beat_wake_;
  std::optional<Credentials> credentials_;
  std::string credentials_stamp_;
  std::string credentials_problem_;
  MonoTime credentials_checked_{};
  unsigned introductions_ = 0;  // under way
  bool saying_hello_ = false;   // on one path at a time: the answer decides about the session
  std::uint64_t sessions_ = 0;
  std::uint64_t failovers_ = 0;
  std::uint64_t refused_ = 0;
  bool stopping_ = false;
};

}  // namespace gw::gwd::sync
