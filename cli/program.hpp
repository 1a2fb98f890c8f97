// The tree of gwctl's words, and one run of it: the words are parsed into the members, and the chosen command's action
// runs. program.cpp has the frame, program_show.cpp what is looked at, program_trace.cpp packets,
// program_configuration.cpp documents and revisions, program_ha.cpp two instances. Owner: commands.cpp; one thread.
#pragma once

#include <CLI/App.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/capture/run.hpp"
#include "cli/commands.hpp"
#include "cli/ha_certificates.hpp"
#include "cli/render_ha.hpp"
#include "cli/session.hpp"
#include "cli/upgrade/commands.hpp"

namespace gw::cli {

class Program {
 public:
  explicit Program(const Surroundings& surroundings);
  int run(const std::vector<std::string>& words);

 private:
  using Action = std::function<int()>;
  int usage(const std::string& message) const;

  /// --help is no error; an unknown word is named, with what could stand there.
  int not_parsed(const CLI::ParseError& error);
  static std::string command_line(const CLI::App& app);
  CLI::App& command(CLI::App& parent, const std::string& name, const std::string& what, const std::string& examples);
  void does(CLI::App& sub, Action action);

  // --- show -------------------------------------------------------------------------------------

  void can_watch(CLI::App& sub);
  void can_check(CLI::App& sub) { sub.add_flag("--check", check_, "exit with 4 if something is not up"); }

  /// Asks, prints, and asks again as long as --watch wants.
  template <class Reply>
  int show(const std::string& target) {
    while (true) {
      Reply reply;
      if (const Exit asked = session_->ask(get(target), reply); asked != kOk) return asked;
      print(reply);
      if (watch_ == 0 || !surroundings_.pause(std::chrono::seconds(watch_))) return verdict(reply);
    }
  }

  template <class Reply>
  void print(const Reply& reply) {
    if (watch_ != 0 && surroundings_.style == Style::kColoured)
      surroundings_.out << "\033[H\033[2J";  // to the top, clear
    if (json_)
      session_->print_json(reply);
    else
      surroundings_.out << render(reply, view());
    surroundings_.out.flush();
  }

  View view() const;

  template <class Reply>
  int verdict(const Reply& reply) const {
    if constexpr (requires { all_up(reply); })
      if (check_ && !all_up(reply)) return kNotUp;
    return kOk;
  }

  template <class Reply>
  CLI::App& add_view(CLI::App& parent, const std::string& name, const std::string& what, const std::string& target,
                     const std::string& examples) {
    CLI::App& sub = command(parent, name, what, examples);
    can_watch(sub);
    if constexpr (requires(Reply reply) { all_up(reply); }) can_check(sub);
    does(sub, [this, target] { return show<Reply>(target); });
    return sub;
  }

  void add_status();
  void add_show();
  std::string routes_target() const;
  void add_routes();
  int what_if_routes();

  // --- doctor -----------------------------------------------------------------------------------

  void add_doctor();
  void add_bgp(CLI::App& parent);
  void add_bgp_routes(CLI::App& parent, const std::string& name, const std::string& what);
  int show_config();
  void add_workers(CLI::App& parent);
  int show_workers();

  // --- trace ------------------------------------------------------------------------------------

  void add_trace();
  bool read_trace(api::TraceRequest& request) const;
  int trace_packet();

  // --- configuration ----------------------------------------------------------------------------

  void takes_file(CLI::App& sub);
  void add_configuration();
  void applies_alone(CLI::App& sub);
  std::string file() const { return file_.empty() ? kDefaultConfig : file_; }
  void warn(const api::ConfigReply& reply) const;
  int validate_document();
  int apply_document();

  /// The outcome of what changed the running revision.
  int report(Exit asked, const api::ConfigReply& reply, std::string_view done) const;

  // --- history ----------------------------------------------------------------------------------

  void add_history();
  int show_diff();
  int choose_range(std::string& target) const;

  // --- two instances ----------------------------------------------------------------------------

  void add_ha();
  void add_ha_orders(CLI::App& ha);
  int ha_order(const std::string& order, const google::protobuf::Message& request);
  int ha_drain();
  CertificateFolder folder() const { return {folder_, surroundings_.now()}; }
  int certificates(const Result<std::string>& done) const;

  // --- packets ----------------------------------------------------------------------------------

  void add_capture();

  // --- updates ----------------------------------------------------------------------------------

  void add_upgrade();
  upgrade::Tools upgrade_tools() const;

  // --- completion -------------------------------------------------------------------------------

  void add_completion();

  const Surroundings& surroundings_;
  CLI::App app_;
  Action action_;
  std::optional<Session> session_;
  std::string socket_;
  std::string timeout_ = "30s";
  bool json_ = false;
  bool check_ = false;
  bool details_ = false;
  int watch_ = 0;
  std::string interval_;
  struct TraceWords {
    std::string from;
    std::string source;
    std::string destination;
    std::string protocol = "udp";
    std::uint32_t source_port = 0;
    std::uint32_t destination_port = 0;
    std::uint32_t size = 100;
    bool may_be_cut = false;
  } trace_;
  std::string prefix_;
  std::vector<std::string> peers_down_;
  bool circuit_down_ = false;
  std::string peer_;
  std::string bundle_;
  std::string file_;
  std::string confirm_;
  std::string comment_;
  std::uint32_t revision_ = 0;
  std::vector<std::string> range_;
  std::string endpoint_;
  std::string instance_;
  std::string folder_ = kDefaultCertificates;
  std::string gateway_;
  std::string wait_;
  upgrade::Words upgrade_words_;
  capture::Words capture_words_;
  std::vector<std::string> instances_;
  bool alone_ = false;
  bool authority_ = false;
  bool drop_authority_ = false;
};

}  // namespace gw::cli
