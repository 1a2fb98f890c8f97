// One document on two instances: a commit on one is validated by the other before either runs it, and an instance
// that was away takes over what it missed. Both run it or neither does; what cannot be excluded (an instance dies
// between the yes and the commit) ends when the two meet again: the higher serial wins, after validation. Pure but for
// the ports: what is sent, checked and committed is ConfigService's. Owner: ConfigService; thread: control.
//
//   proposer                          other
//   check here, Proposal      ->      check there
//                             <-      Answer: yes, or why not
//   commit, Decision: commit  ->      commit
//   State                     <->     State       (also at the start of each session)
//                             <-      Fetch       (its serial is lower)
//   Proposal, id 0            ->      check there, commit or alarm
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "gw/ha/v1/ha.pb.h"
#include "gwd/control/config_types.hpp"

namespace gw::gwd {

class ConfigSync {
 public:
  using Message = ::gw::ha::v1::ConfigMessage;
  using State = ::gw::ha::v1::ConfigState;
  using Done = std::function<void(ConfigResult<ConfigOutcome>)>;

  static constexpr std::chrono::seconds kAnswerTime{10};
  /// A proposer that does not decide is gone; what it decided comes with its State.
  static constexpr std::chrono::seconds kDecisionTime{30};

  struct Ports {
    std::function<void(const Message&)> send;
    std::function<State()> state;  // of what runs here
    std::function<ConfigResult<void>(const ConfigDocument&)> check;
    /// Stores it, calls `options.committed`, runs it. `options.serial` is set.
    std::function<ConfigResult<ConfigOutcome>(const ConfigDocument&, const ApplyOptions&)> commit;
    /// What runs here, to be given to the other; nothing if there is none.
    struct Running {
      ConfigDocument document;
      std::string comment;
      std::chrono::seconds confirm_left{0};
    };
    std::function<std::optional<Running>()> running;
    std::function<ConfigResult<ConfigOutcome>()> confirm;
    std::function<void(std::uint64_t)> set_serial;
  };

  ConfigSync(const Clock& clock, Ports ports) : clock_(clock), ports_(std::move(ports)) {}

  /// Who the other one is; empty: there is none. `self` is the lower number's: when both propose at once, it wins.
  enum class Rank : std::uint8_t { kFirst, kSecond };
  struct Peer {
    std::string name;
    Rank self = Rank::kFirst;
  };
  void set_peer(Peer peer);
  const std::string& peer() const { return peer_.name; }

  // The channel. A session: a new one, or a path is there again after none was.
  void on_session();
  void on_lost();
  void on_message(const Message& message);
  /// Time-outs; due every second.
  void tick();

  // The operator.
  void propose(const ConfigDocument& document, const ApplyOptions& options, Done done);
  ConfigResult<ConfigOutcome> confirm();
  /// Something was committed here without asking (start, the way back when nobody confirmed).
  void announce();

  /// What an operator should know: the two run different documents, and why. Empty: they do not.
  const std::string& alarm() const { return alarm_; }
  /// Of the other: none while it is not there.
  const std::optional<State>& theirs() const { return theirs_; }

 private:
  struct Pending {  // ours, that the other is asked about
    std::uint64_t id = 0;
    ConfigDocument document;
    ApplyOptions options;
    Done done;
    MonoTime deadline;
  };
  struct Prepared {  // theirs, that we said yes to
    ::gw::ha::v1::ConfigProposal proposal;
    MonoTime deadline;
  };
  bool alone() const { return peer_.name.empty(); }
  std::uint64_t next_serial() const;
  void ask(const ConfigDocument& document, const ApplyOptions& options, Done done);
  void on_proposal(const ::gw::ha::v1::ConfigProposal& proposal);
  void on_answer(const ::gw::ha::v1::ConfigAnswer& answer);
  void on_decision(const ::gw::ha::v1::ConfigDecision& decision);
  void on_fetch();
  void take_over(const ::gw::ha::v1::ConfigProposal& proposal);
  ConfigResult<ConfigOutcome> commit_theirs(const ::gw::ha::v1::ConfigProposal& proposal);
  void decide(std::uint64_t id, bool commit);
  void fail_pending(Errc code, std::string message);
  void refuse(std::uint64_t id, const ConfigFailure& why);
  void compare();
  void cannot_run(std::uint64_t serial, std::string why);
  void set_alarm(std::string text);
  enum class Ask : std::uint8_t { kNo, kYes };
  void send_state(Ask ask);

  const Clock& clock_;
  Ports ports_;
  Peer peer_;
  bool session_ = false;
  std::optional<State> theirs_;
  std::optional<Pending> pending_;
  std::optional<Prepared> prepared_;
  std::uint64_t next_id_ = 1;
  std::string alarm_;
  struct Refused {  // theirs, that does not run here
    std::uint64_t serial = 0;
    std::string why;
  };
  Refused refused_;
};

}  // namespace gw::gwd
