// Which configuration runs: validates, applies, confirms and rolls back numbered revisions. All or
// nothing: a document with one fault changes nothing. Owner: main; thread: control.
//
// At a start the revision that was running goes on, also when gateway.yaml has been edited since (a warning
// says so): the file takes effect by SIGHUP or `gwctl apply`, with the checks that these have.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "gwd/config/compile.hpp"
#include "gwd/config/revisions.hpp"
#include "gwd/control/config_sync.hpp"
#include "gwd/control/config_types.hpp"
#include "gwd/control/model_ptr.hpp"

namespace gw::gwd {

class ConfigService {
 public:
  /// Brings the gateway to the model; cannot fail, what it asks for is reconciled until it is so.
  using Activate = std::function<void(ModelPtr)>;

  ConfigService(boost::asio::io_context& io, const Clock& clock, config::RevisionStore store, std::string instance);

  /// What this machine has; asked before an operator's document is applied. Empty functions: not asked.
  struct Machine {
    std::function<bool(const std::string& interface)> has_interface;
    std::function<bool(const IpAddress& address)> has_address;
    std::function<std::uint64_t(const std::string& interface)> speed_bps;  // 0: the driver does not say
  };
  void check_against(Machine machine) { machine_ = std::move(machine); }

  void on_activate(Activate activate) { activate_ = std::move(activate); }

  /// Why a first boot left no `file` (an appliance's seed was refused), in the words of status() if start() finds none.
  void set_first_boot_error(std::string why) { first_boot_error_ = std::move(why); }

  /// Runs the revision that was running, or `file` on a machine that has none yet.
  ConfigResult<ConfigOutcome> start(const std::string& file);
  /// Applies what `file` holds now (SIGHUP).
  boost::asio::awaitable<ConfigResult<ConfigOutcome>> reload(std::string file);

  ConfigResult<ConfigOutcome> validate(const ConfigDocument& document) const;
  /// A document as it would run, for questions about it.
  struct Candidate {
    ModelPtr model;
    config::Findings warnings;
  };
  ConfigResult<Candidate> candidate(const ConfigDocument& document) const;
  ConfigResult<ConfigOutcome> apply(const ConfigDocument& document, const ApplyOptions& options);
  ConfigResult<ConfigOutcome> confirm();
  /// `number` 0: the revision before the running one.
  ConfigResult<ConfigOutcome> rollback(std::uint32_t number);

  // The same where the gateway has another instance: it is asked first, and both change or neither does.
  boost::asio::awaitable<ConfigResult<ConfigOutcome>> apply_on_both(ConfigDocument document, ApplyOptions options);
  boost::asio::awaitable<ConfigResult<ConfigOutcome>> rollback_on_both(std::uint32_t number, ApplyOptions options);
  /// How messages get to the other instance (kind `config` of the sync channel).
  void on_send(std::function<void(std::string)> send) { send_ = std::move(send); }
  /// A session of the sync channel begins, or a path is there again after none was; no path is left; a message came.
  void on_peer_session() { sync_.on_session(); }
  void on_peer_lost() { sync_.on_lost(); }
  void on_peer_message(std::string_view payload);
  /// Why two instances run different documents; empty: they do not.
  const std::string& sync_alarm() const { return sync_.alarm(); }

  /// Changes from one revision to another; 0 is the running one.
  struct DiffRange {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
  };
  ConfigResult<ConfigOutcome> diff(const DiffRange& range) const;

  Result<std::vector<config::Revision>> revisions() const { return store_.list(); }
  Result<std::optional<config::Revision>> running() const { return store_.running(); }
  std::uint32_t running_revision() const { return running_number_; }
  /// Why nothing runs after start(); empty when something does.
  const std::string& start_error() const { return start_error_; }
  /// Time left to confirm, 0 when nothing is pending.
  std::chrono::seconds confirm_left() const;
  /// Between two attempts to read what is unconfirmed, and to write down that it was left (a full disk).
  static constexpr std::chrono::seconds kRecordAgain{10};
  void stop();

 private:
  ConfigResult<ConfigOutcome> start_with(const std::string& file);
  /// A document without errors.
  struct Valid {
    config::v1::Config config;
    config::Findings warnings;
    ModelPtr model;
  };
  ConfigResult<Valid> compile(const ConfigDocument& document,
                              config::UnreadableSecrets secrets = config::UnreadableSecrets::kRefuse) const;
  config::Findings findings_of_machine(const Valid& next) const;
  ConfigResult<void> check_machine(Valid& next, const ConfigDocument& document) const;
  std::vector<std::string> changes_to(const Valid& next) const;
  void activate(Valid next, std::uint32_t number);
  void arm_confirm_timer();
  void look_again_later(const Error& error);
  void roll_back_unconfirmed(std::uint32_t unconfirmed);
  void go_back_unrecorded(const config::Revision& target);
  ConfigResult<ConfigOutcome> confirm_here();
  ConfigSync::Ports sync_ports();
  ConfigDocument localized(const ConfigDocument& document) const;
  void arm_sync_timer();

  boost::asio::io_context& io_;
  const Clock& clock_;
  config::RevisionStore store_;
  std::string instance_;
  Activate activate_;
  Machine machine_;
  boost::asio::steady_timer confirm_timer_;
  std::optional<Valid> running_;
  std::uint32_t running_number_ = 0;
  std::string start_error_;
  std::string first_boot_error_;
  std::string config_file_;  // gateway.yaml, as given at start
  std::function<void(std::string)> send_;
  ConfigSync sync_;
  boost::asio::steady_timer sync_timer_;
};

}  // namespace gw::gwd
