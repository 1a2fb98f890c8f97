// Keeps charon at the intended connections: loads them over VICI, initiates those that we are to bring up,
// follows their SAs, and does it all again when charon returns. Owner: Gateway; thread: control.
//
// charon starts nothing by itself (ike/connection.hpp), so every initiation is decided here. A charon that
// comes back empty is told everything and initiates at once, while the orphaned SAs in gw-fastpath go on.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gwd/control/loop_wake.hpp"
#include "gwd/control/model_ptr.hpp"
#include "ike/connection.hpp"
#include "ike/diagnosis.hpp"
#include "ike/sas.hpp"
#include "ike/vici_client.hpp"

namespace gw::gwd {

enum class TunnelState : std::uint8_t { kDisabled, kStandby, kDown, kConnecting, kUp };
std::string_view to_string(TunnelState state);  // "disabled", "standby", "down", "connecting", "up"

/// What is known of one tunnel's IKE and CHILD_SA.
struct IkeStatus {
  TunnelState state = TunnelState::kDown;
  ike::Diagnosis diagnosis;  // why it is not up; kNoFault when it is
  std::string ike_proposal;
  std::string esp_proposal;
  bool udp_encapsulation = false;
  std::optional<WallTime> up_since;
  std::uint64_t rekeys = 0;  // of the CHILD_SA, since gwd started
};

class IkeController {
 public:
  static constexpr std::chrono::milliseconds kCommandTimeout{2000};
  static constexpr std::chrono::milliseconds kReconnectPause{100};
  /// How often the SAs are read while something is not up, and when everything is (events tell the rest).
  static constexpr std::chrono::milliseconds kPollBusy{500};
  static constexpr std::chrono::milliseconds kPollQuiet{5000};
  /// Between attempts at one tunnel; doubles up to the maximum.
  static constexpr std::chrono::milliseconds kFirstRetry{1000};
  static constexpr std::chrono::milliseconds kMaxRetry{10'000};
  /// list-sas leaves out an SA that charon is working on at that moment. One that was up counts as gone when an
  /// event said so, or when it was missing this many times in a row.
  static constexpr int kMissedPolls = 3;
  static constexpr std::chrono::milliseconds kPollMissing{200};
  /// Both ends initiated at once: two IKE_SAs of one tunnel. After this time the older one goes; a peer that
  /// makes a new one at once (close_action) is asked less and less often.
  static constexpr std::chrono::seconds kDuplicateGrace{5};
  static constexpr std::chrono::seconds kMaxDuplicateGrace{86'400};
  /// An IKE_SA whose CHILD_SA was refused, or deleted by the peer, stays in charon, and every attempt makes a new one.
  /// After this time without a CHILD_SA it goes; a peer that wants to make another in it has that long.
  static constexpr std::chrono::seconds kChildlessGrace{10};

  IkeController(boost::asio::io_context& io, const Clock& clock, std::string vici_path);

  void start();
  void stop();

  /// The whole intent; what differs from before is loaded, and re-established where the old SAs do not fit.
  /// For tunnels that leave it open (`encapsulation: auto`). Their SAs stay; the next ones are so.
  void set_default_encapsulation(ike::Encapsulation by_default);
  ike::Encapsulation default_encapsulation() const { return default_encapsulation_; }
  void set_model(const ModelPtr& model);
  /// These tunnels' CHILD_SAs get new keys at once: an endpoint came with keys that may not be used here.
  void rekey(std::vector<std::string> tunnels);

  /// charon has all connections of the document; told again when there were new ones.
  void on_connections_loaded(std::function<void()> callback) { loaded_ = std::move(callback); }
  bool connections_loaded() const;

  bool connected() const { return connected_; }
  const std::string& version() const { return version_; }
  /// Of the connection, or since it was lost.
  std::optional<WallTime> since() const { return since_; }
  /// Of any intended tunnel; nullptr otherwise.
  const IkeStatus* status(std::string_view tunnel) const;

 private:
  enum class Connected : std::uint8_t { kNo, kYes };
  enum class Carried : std::uint8_t {
    kHere,
    kElsewhere,  // its endpoint is with another instance: charon knows the connection, and is asked for nothing
  };
  void set_connected(Connected now);
  struct Tunnel {
    TunnelPtr model;  // never null
    Carried carried = Carried::kHere;
    IkeStatus status;
    bool loaded = false;       // charon has this very model
    bool reestablish = false;  // its SAs are of an earlier model
    bool told_down = false;    // by an event, since it was last seen up
    int missed = 0;            // polls in a row without an SA of it, since it was last seen up
    std::chrono::milliseconds retry = kFirstRetry;
    MonoTime next_attempt{};
    std::optional<MonoTime> duplicate_since;
    std::map<std::uint32_t, std::uint64_t> sent_before;  // packets, by IKE_SA, at duplicate_since
    std::chrono::seconds duplicate_grace = kDuplicateGrace;
    std::map<std::uint32_t, MonoTime> childless;  // established IKE_SAs without a CHILD_SA: since when
  };
  using Tunnels = std::map<std::string, Tunnel, std::less<>>;
  using SasByTunnel = std::map<std::string, std::vector<ike::IkeSa>, std::less<>>;

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<Status> open_session();
  boost::asio::awaitable<Status> note_strangers();
  bool is_stranger(std::string_view connection) const;
  boost::asio::awaitable<Status> reconcile();
  boost::asio::awaitable<Status> load(const std::string& name);
  boost::asio::awaitable<Status> rekey_due();
  boost::asio::awaitable<Status> retire(const std::string& name);
  boost::asio::awaitable<Result<SasByTunnel>> read_sas();
  boost::asio::awaitable<Status> drive(const std::string& name, const std::vector<ike::IkeSa>& sas);
  boost::asio::awaitable<Status> end_duplicate(Tunnel& tunnel, const std::vector<ike::IkeSa>& sas);
  boost::asio::awaitable<Status> end_ike_sa(std::uint32_t unique_id);
  std::vector<std::uint32_t> childless_due(Tunnel& tunnel, const std::vector<ike::IkeSa>& sas);
  void update_status(Tunnel& tunnel, const std::vector<ike::IkeSa>& sas);
  void on_event(std::string_view event, const ike::ViciMessage& message);
  std::chrono::milliseconds poll_interval() const;

  boost::asio::io_context& io_;
  const Clock& clock_;
  std::string vici_path_;
  ike::Encapsulation default_encapsulation_ = ike::Encapsulation::kAuto;
  ike::ViciClient vici_;
  LoopWake wake_;
  Tunnels tunnels_;
  std::set<std::string, std::less<>> retired_;  // no longer intended, still in charon
  std::function<void()> loaded_;
  bool told_loaded_ = false;
  bool strangers_noted_ = false;  // of this session
  ike::RecentLog recent_log_;
  std::set<std::string, std::less<>> rekeys_;     // names
  std::set<std::string, std::less<>> instances_;  // of the document, whose connections are in this charon
  std::string version_;
  std::optional<WallTime> since_;
  bool connected_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
