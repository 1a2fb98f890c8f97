// Keeps bgpd at the intended configuration: the whole of it after every connect, the smallest difference
// after a change, and the file that bgpd needs to come back with. Reads the sessions' states, and has bgpd watch
// the BFD of those whose peer answers it. Owner: Gateway; thread: control.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "bgp/config_model.hpp"
#include "bgp/leftovers.hpp"
#include "bgp/summary.hpp"
#include "bgp/vty_client.hpp"
#include "gwd/control/bfd_controller.hpp"
#include "gwd/control/loop_wake.hpp"

namespace gw::gwd {

using BgpIntentPtr = std::shared_ptr<const bgp::BgpIntent>;

struct BgpPaths {
  std::string vty_dir;      // has bgpd.vty
  std::string config_file;  // what bgpd is started with (-f); owned frr:frr 0640
};

class BgpController {
 public:
  static constexpr std::chrono::milliseconds kShowTimeout{5000};
  static constexpr std::chrono::seconds kStartPause{10};  // between two attempts to start sessions that bgpd forgot
  static constexpr std::chrono::milliseconds kConfigureTimeout{30'000};  // 500 tunnels take about 1 s
  static constexpr std::chrono::milliseconds kReconnectPause{100};
  /// After bgpd refused some of an intent: it is not asked all the time.
  static constexpr std::chrono::seconds kApplyAgain{10};
  static constexpr std::chrono::seconds kWriteAgain{10};  // a file that could not be written (a full disk)
  /// After another import policy, best paths are chosen again (bgp::choose_again): most tables are through by the first
  /// time, a full one by the last.
  static constexpr std::array<std::chrono::milliseconds, 3> kChooseAfter{
      {std::chrono::milliseconds(500), std::chrono::milliseconds(5000), std::chrono::milliseconds(30'000)}};
  static constexpr std::chrono::milliseconds kPollBusy{500};  // a session is not established
  static constexpr std::chrono::milliseconds kPollQuiet{5000};
  /// The details (5 kB a neighbour) are read of all this often, and of a session that changed its state at once: what
  /// ended it decides whether its routes are kept. When more than a few changed, of all.
  static constexpr std::chrono::seconds kDetails{5};
  static constexpr std::size_t kFewChanges = 8;

  BgpController(boost::asio::io_context& io, const Clock& clock, BgpPaths paths, const BfdController& bfd);

  void start();
  void stop();

  void set_intent(BgpIntentPtr intent);
  /// Told after every read of the sessions.
  void on_sessions(std::function<void()> callback) { sessions_read_ = std::move(callback); }

  /// Told when bgpd has taken the whole intent.
  void on_applied(std::function<void()> callback) { has_applied_ = std::move(callback); }
  /// bgpd looks at all that these peers have told it, and says it by BMP: also what it refuses.
  void tell_again(const std::vector<IpAddress>& peers);

  /// A session changed: what is shown of it is read anew, now.
  void refresh() { wake_.wake(); }

  bool connected() const { return connected_; }
  /// What bgpd refuses of the intent, in its words; empty: nothing.
  const std::string& problem() const { return problem_; }
  const std::string& version() const { return version_; }
  /// Of the connection, or since it was lost.
  std::optional<WallTime> since() const { return since_; }
  /// bgpd has taken the whole intent.
  bool in_sync() const { return connected_ && applied_ == wanted_; }
  /// By PeerIntent::peer.
  const std::map<IpAddress, bgp::PeerStatus>& sessions() const { return sessions_; }
  /// What bgpd calls it.
  std::string neighbour(const IpAddress& peer) const;
  /// The output of one command, for whoever compares or heals.
  boost::asio::awaitable<Result<std::string>> show(std::string command) {
    return vty_.show(std::move(command), kShowTimeout);
  }
  /// Rows of one session, read from bgpd now; both families.
  boost::asio::awaitable<Result<std::vector<bgp::RouteRow>>> routes(IpAddress peer, bgp::Direction direction);
  /// The peer has told `prefix` and not taken it back, whatever policy made of it.
  boost::asio::awaitable<Result<bool>> has_received(IpAddress peer, Prefix prefix);
  /// bgpd's own words, as it has them now: has passwords.
  boost::asio::awaitable<Result<std::string>> running_config();

 private:
  enum class Connected : std::uint8_t { kNo, kYes };
  void set_connected(Connected now);
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<Status> open_session();
  bool is_to_be_applied() const;
  boost::asio::awaitable<Status> apply();
  void note_refusal(const BgpIntentPtr& target, const Error& why);
  boost::asio::awaitable<Result<bgp::Leftovers>> read_leftovers(const bgp::BgpIntent& target);
  void choose_again_later();
  boost::asio::awaitable<Status> ask_for_routes();
  /// Some time after routes were judged anew.
  boost::asio::awaitable<Status> choose_again();
  boost::asio::awaitable<Status> read_sessions();
  boost::asio::awaitable<Status> attend_bfd();
  boost::asio::awaitable<Status> start_forgotten();
  /// What ended at a limit that has been raised.
  boost::asio::awaitable<Status> start_freed();
  /// As an operator would; it is logged why.
  boost::asio::awaitable<Status> start(std::string neighbour, std::string_view why);
  void keep_config_file();
  Status write_config_file() const;

  boost::asio::io_context& io_;
  const Clock& clock_;
  BgpPaths paths_;
  const BfdController& bfd_;
  bgp::VtyClient vty_;
  LoopWake wake_;
  BgpIntentPtr wanted_;
  BgpIntentPtr applied_;  // none: it is not known what bgpd has
  BgpIntentPtr refused_;  // bgpd has taken some of this
  MonoTime apply_again_{};
  std::string problem_;
  bool is_file_old_ = false;
  MonoTime write_again_{};
  std::map<IpAddress, bgp::PeerStatus> sessions_;
  MonoTime next_details_{};
  MonoTime next_start_{};            // of sessions that bgpd has forgotten
  std::vector<MonoTime> choose_at_;  // sorted
  std::set<IpAddress> ask_again_;
  std::set<IpAddress> raised_;  // whose limits were since the sessions were read
  std::function<void()> has_applied_;
  std::function<void()> sessions_read_;
  std::string version_;
  std::optional<WallTime> since_;
  bool connected_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
