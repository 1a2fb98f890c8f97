#include "cli/program.hpp"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <format>
#include <utility>

#include "base/duration.hpp"
#include "cli/completion.hpp"

namespace gw::cli {

Program::Program(const Surroundings& surroundings)
    : surroundings_(surroundings), app_("Looks into the gateway and configures it (client of gwd).", "gwctl") {
  socket_ = surroundings.default_socket;
  app_.fallthrough();  // --json and --socket may stand anywhere
  app_.require_subcommand(1);
  app_.add_option("--socket", socket_, std::format("gwd's socket [{}]; also $GWD_SOCKET", kDefaultSocket))
      ->type_name("SOCKET");
  app_.add_option("--timeout", timeout_, "how long to wait for gwd [30s]")->type_name("DURATION");
  app_.add_flag("--json", json_, "print gwd's answer as JSON");
  app_.set_version_flag("--version", surroundings.version, "print gwctl's version");
  app_.footer(
      "Examples:\n  gwctl status\n  gwctl show tunnels --watch 2\n  gwctl apply --confirm 5m\n\n"
      "Exit codes: 0 yes, 1 gwd says no (doctor: findings), 2 wrong usage, 3 gwd does not answer, 4 --check found "
      "something down");
  add_status();
  add_show();
  add_routes();
  add_trace();
  add_doctor();
  add_configuration();
  add_history();
  add_ha();
  add_capture();
  add_upgrade();
  add_completion();
}

int Program::run(const std::vector<std::string>& words) {
  try {
    app_.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& e) {
    return not_parsed(e);
  }
  const auto timeout = parse_duration(timeout_);
  if (!timeout || timeout->count() == 0)
    return usage(std::format("--timeout: {} (expected e.g. 30s)", timeout ? "is 0" : timeout.error().message));
  session_.emplace(surroundings_, Session::Target{socket_, *timeout}, json_ ? Format::kJson : Format::kText);
  return action_();
}

int Program::usage(const std::string& message) const {
  surroundings_.err << "gwctl: " << message << "\n";
  return kUsage;
}

int Program::not_parsed(const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app_.exit(error, surroundings_.out, surroundings_.err);
  const CLI::App* deepest = &app_;
  while (!deepest->get_subcommands().empty()) deepest = deepest->get_subcommands().front();
  const std::string help = std::format("{} --help", command_line(*deepest));
  const std::vector<std::string> unknown = app_.remaining(true);
  std::string known;
  for (const CLI::App* sub : deepest->get_subcommands([](const CLI::App*) { return true; }))
    known += (known.empty() ? "" : ", ") + sub->get_name();
  const auto is = [&error](CLI::ExitCodes code) { return error.get_exit_code() == static_cast<int>(code); };
  if (unknown.empty() && !known.empty() && is(CLI::ExitCodes::RequiredError))
    return usage(std::format("'{}' needs one of {} (see {})", command_line(*deepest), known, help));
  const std::string_view what = error.what();
  if (unknown.empty() && is(CLI::ExitCodes::ArgumentMismatch) && what.ends_with(" missing"))
    return usage(std::format("{} needs a value (see {})", what.substr(0, what.find(':')), help));
  if (unknown.empty()) return usage(std::format("{} (see {})", what, help));
  return usage(std::format("unknown word '{}' ({}see {})", unknown.front(),
                           known.empty() ? "" : "expected " + known + "; ", help));
}

std::string Program::command_line(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name() : command_line(*app.get_parent()) + " " + app.get_name();
}

CLI::App& Program::command(CLI::App& parent, const std::string& name, const std::string& what,
                           const std::string& examples) {
  CLI::App& sub = *parent.add_subcommand(name, what);
  sub.footer("Examples:\n" + examples);
  return sub;
}

void Program::does(CLI::App& sub, Action action) {
  sub.callback([this, action = std::move(action)] { action_ = action; });
}

void Program::add_upgrade() {
  upgrade::add_commands(app_, upgrade_words_,
                        {.tools = [this] { return upgrade_tools(); },
                         .usage = [this](const std::string& message) { return usage(message); },
                         .json = [this] { return json_; },
                         .chosen = [this](Action action) { action_ = std::move(action); }});
}

upgrade::Tools Program::upgrade_tools() const {
  return {.out = surroundings_.out,
          .err = surroundings_.err,
          .ask =
              [this](const Request& request) {
                return surroundings_.connect(socket_, *parse_duration(timeout_))->send(request);
              },
          .run = surroundings_.run_program,
          .uptime = surroundings_.uptime,
          .now = surroundings_.now,
          .pause = surroundings_.pause};
}

void Program::add_completion() {
  CLI::App& completion = command(app_, "completion", "Print a completion script for the shell",
                                 "  source <(gwctl completion bash)\n  gwctl completion zsh > ~/.gwctl.zsh");
  completion.require_subcommand(1);
  for (const auto& [name, shell] : {std::pair("bash", Shell::kBash), std::pair("zsh", Shell::kZsh)}) {
    CLI::App& sub =
        command(completion, name, std::format("for {}", name), std::format("  source <(gwctl completion {})", name));
    does(sub, [this, shell = shell] {
      surroundings_.out << completion_script(app_, shell);
      return kOk;
    });
  }
}

}  // namespace gw::cli
