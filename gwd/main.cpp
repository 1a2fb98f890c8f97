// gwd: the gateway's control daemon. Reads the configuration, drives charon, FRR and gw-fastpath, serves the
// API and the metrics. This file is the wiring diagram; one io_context, one thread.
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <tuple>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/service_manager.hpp"
#include "base/spawn.hpp"
#include "gwd/api/api.hpp"
#include "gwd/api/http_server.hpp"
#include "gwd/config/compile.hpp"
#include "gwd/control/config_service.hpp"
#include "gwd/control/fastpath_ports.hpp"
#include "gwd/control/gateway.hpp"
#include "gwd/control/watchdog.hpp"
#include "gwd/metrics/metrics.hpp"
#include "gwd/version.hpp"

namespace {

using namespace gw;
namespace asio = boost::asio;

struct Options {
  std::string config = "/etc/gw/gateway.yaml";
  std::string instance;
  std::string state_dir = "/var/lib/gw";
  std::string run_dir = "/run/gw";
  std::string vici = "/run/charon.vici";
  std::string fastpath = "/run/gw/fastpath.sock";
  std::string frr_dir = "/run/frr";
  std::string fastpath_ports;  // empty: gw-fastpath is told its ports by somebody else
  std::string api_group;       // empty: the process's own
  std::string seed_error = "/var/lib/gw-seed/error";
  std::uint16_t bmp_port = 11019;
  std::string log_level = "info";
};

constexpr std::uint16_t kDefaultMetricsPort = 9620;
constexpr int kExitStart = 3;
constexpr uid_t kSameUser = static_cast<uid_t>(-1);

log::Level to_level(const std::string& name) {
  if (name == "debug") return log::Level::kDebug;
  if (name == "warning") return log::Level::kWarning;
  if (name == "error") return log::Level::kError;
  return log::Level::kInfo;
}

int stop_with(int code, const Error& error) {
  std::fprintf(stderr, "gwd: %s\n", error.describe().c_str());
  return code;
}

void print(const gwd::ConfigFailure& failure) {
  for (const auto& finding : failure.findings) std::fprintf(stderr, "%s\n", finding.describe().c_str());
  std::fprintf(stderr, "gwd: %s\n", failure.error.describe().c_str());
}

// Where the configuration says, or (while there is none) at the default.
Status listen_metrics(gwd::TcpHttpServer& server, const gwd::ModelPtr& model) {
  if (!model) return server.listen({asio::ip::address_v4::loopback(), kDefaultMetricsPort});
  return server.listen({asio::ip::make_address(model->metrics_address), model->metrics_port});
}

// bgpd reads its file there as user frr; the database beside it is 0600.
Status make_frr_dir(const std::string& path) {
  if (::mkdir(path.c_str(), 0750) != 0 && errno != EEXIST) return fail_errno(std::format("cannot create {}", path));
  const group* frr = getgrnam("frr");
  if (frr != nullptr && ::chown(path.c_str(), kSameUser, frr->gr_gid) != 0)
    return fail_errno(std::format("cannot give {} to group frr", path));
  if (::chmod(path.c_str(), 0750) != 0) return fail_errno(std::format("cannot set the mode of {}", path));
  return {};
}

// The socket is for root and one group: operators, who need not be able to talk to gw-fastpath and charon themselves.
Status give_to_group(const std::string& socket, const std::string& name) {
  if (name.empty()) return {};
  const group* operators = getgrnam(name.c_str());
  if (operators == nullptr) return fail(Errc::kNotFound, std::format("--api-group: there is no group {}", name));
  if (::chown(socket.c_str(), kSameUser, operators->gr_gid) != 0)
    return fail_errno(std::format("cannot give {} to group {}", socket, name));
  return {};
}

Result<config::RevisionStore> open_store(const Options& options) {
  std::error_code error;
  std::filesystem::create_directories(options.state_dir, error);
  if (error) return fail(Errc::kIo, std::format("cannot create {}: {}", options.state_dir, error.message()));
  if (::chmod(options.state_dir.c_str(), 0751) != 0)
    return fail_errno(std::format("cannot set the mode of {}", options.state_dir));
  GW_TRY(make_frr_dir(options.state_dir + "/frr"));
  std::filesystem::create_directories(options.run_dir, error);
  if (error) return fail(Errc::kIo, std::format("cannot create {}: {}", options.run_dir, error.message()));
  return config::RevisionStore::open(options.state_dir + "/gwd.db");
}

/// What a first boot has written down (images/appliance/usr/lib/gw/seed), less gwd --check's warnings; empty: nothing.
std::string refused_seed(const std::string& file) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);)
    if (!line.empty() && line.find(": warning: ") == std::string::npos)
      return std::format("the seed of the first boot was refused: {} ({} has all of it)", line, file);
  return {};
}

/// For whoever has a document and no gwd yet (the first boot's seed): 0, or 1 with the findings on stderr.
int check(const std::string& file, const std::string& instance) {
  std::ifstream stream(file);
  if (!stream) return stop_with(1, Error{Errc::kNotFound, std::format("cannot read {}", file)});
  std::ostringstream text;
  text << stream.rdbuf();
  const config::Compiled compiled = config::compile({text.str(), std::filesystem::absolute(file).string(), instance});
  for (const auto& finding : compiled.findings) std::fprintf(stderr, "%s\n", finding.describe().c_str());
  return compiled.model ? 0 : 1;
}

int run(const Options& options) {
  const SystemClock clock;
  asio::io_context io(1);
  auto store = open_store(options);
  if (!store) return stop_with(kExitStart, store.error());
  auto kernel = gwd::KernelNet::open();
  if (!kernel) return stop_with(kExitStart, kernel.error());

  gwd::Gateway gateway(io, clock,
                       {.vici = options.vici,
                        .fastpath = options.fastpath,
                        .bgp = {.vty_dir = options.frr_dir, .config_file = options.state_dir + "/frr/bgpd.conf"},
                        .bmp_port = options.bmp_port,
                        .ike_ha = options.run_dir + "/ike-sync.sock"},
                       std::move(*kernel));
  gwd::ConfigService config(io, clock, std::move(*store), options.instance);
  config.check_against({.has_interface = gwd::KernelNet::has_interface,
                        .has_address = gwd::KernelNet::has_address,
                        .speed_bps = gwd::KernelNet::speed_bps});
  config.on_activate([&](gwd::ModelPtr model) {
    const gwd::ModelPtr before = gateway.model();
    if (before && std::tie(before->metrics_address, before->metrics_port) !=
                      std::tie(model->metrics_address, model->metrics_port))
      log::warning("metrics", "management.metrics takes effect when gwd starts again");
    if (!options.fastpath_ports.empty())
      if (const auto done = gwd::write_fastpath_ports(options.fastpath_ports, *model); !done)
        log::error("gwd", "{}", done.error().describe());
    gateway.apply(std::move(model));
  });
  config.on_send([&](std::string message) {
    if (gateway.ha() != nullptr) gateway.ha()->send(gwd::sync::Kind::kConfig, std::move(message));
  });
  gateway.on_config_sync({.session = [&] { config.on_peer_session(); },
                          .lost = [&] { config.on_peer_lost(); },
                          .message = [&](std::string_view message) { config.on_peer_message(message); }});
  gwd::Api api(gateway, config, clock);
  gwd::UnixHttpServer api_server(io, [&](gwd::HttpRequest request) { return api.handle(std::move(request)); });
  gwd::MetricsEndpoint metrics(gateway, config, clock);
  gwd::TcpHttpServer metrics_server(io, [&](gwd::HttpRequest request) { return metrics.handle(std::move(request)); });

  if (const auto ok = gateway.start(); !ok) return stop_with(kExitStart, ok.error());
  config.set_first_boot_error(refused_seed(options.seed_error));
  // A faulty document must not lock the operator out: without one gwd serves its API, and waits for `gwctl apply`.
  if (const auto started = config.start(options.config); !started) print(started.error());
  if (const auto ok = api_server.listen({options.run_dir + "/gwd.sock"}); !ok) return stop_with(kExitStart, ok.error());
  if (const auto ok = give_to_group(options.run_dir + "/gwd.sock", options.api_group); !ok)
    return stop_with(kExitStart, ok.error());
  if (const auto ok = listen_metrics(metrics_server, gateway.model()); !ok) return stop_with(kExitStart, ok.error());

  gwd::Watchdog watchdog(io, ServiceManager::from_environment(), [&]() -> std::optional<std::uint64_t> {
    if (gateway.ha() == nullptr) return std::nullopt;
    return gateway.ha()->sync_reports();
  });
  asio::signal_set reload(io, SIGHUP);
  std::function<void(const boost::system::error_code&, int)> on_reload = [&](const boost::system::error_code& error,
                                                                             int) {
    if (error) return;
    asio::co_spawn(
        io,
        [&]() -> asio::awaitable<void> {
          const auto done = co_await config.reload(options.config);
          if (done) co_return;
          log::error("config", "SIGHUP: {}; revision {} goes on", done.error().error.describe(),
                     config.running_revision());
          for (const auto& finding : done.error().findings) log::error("config", "{}", finding.describe());
        },
        kEndOnException);
    reload.async_wait(on_reload);
  };
  reload.async_wait(on_reload);
  asio::signal_set quit(io, SIGTERM, SIGINT);
  quit.async_wait([&](const boost::system::error_code&, int signal) {
    // Nothing is torn down: tunnels, sessions and routes go on without gwd.
    log::info("gwd", "signal {}, stopping", signal);
    watchdog.stop();
    reload.cancel();
    api_server.stop();
    metrics_server.stop();
    config.stop();
    gateway.stop();
    io.stop();
  });
  log::info("gwd", "gwd {} runs {}", gwd::kVersion,
            gateway.model() ? "instance " + gateway.model()->instance : "without a configuration");
  watchdog.start();
  io.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"gwd - control daemon of the VPN gateway"};
  Options options;
  std::string checked;
  app.add_option("--check", checked, "says what is wrong with this document, and ends")->check(CLI::ExistingFile);
  app.add_option("--config", options.config, "gateway.yaml")->capture_default_str();
  app.add_option("--instance", options.instance,
                 "which of the document's instances this machine is (not needed with one)");
  app.add_option("--state-dir", options.state_dir, "revisions, bgpd's configuration")->capture_default_str();
  app.add_option("--run-dir", options.run_dir, "where gwd.sock is made")->capture_default_str();
  app.add_option("--vici", options.vici, "charon's VICI socket")->capture_default_str();
  app.add_option("--fastpath", options.fastpath, "gw-fastpath's socket")->capture_default_str();
  app.add_option("--frr-dir", options.frr_dir, "folder of FRR's vty sockets")->capture_default_str();
  app.add_option("--fastpath-ports", options.fastpath_ports,
                 "file that is given the document's ports as gw-fastpath's options, for its unit");
  app.add_option("--seed-error", options.seed_error, "why a first boot's seed was refused, if it was")
      ->capture_default_str();
  app.add_option("--api-group", options.api_group, "group of operators, who may use gwd.sock");
  app.add_option("--bmp-port", options.bmp_port, "loopback port for bgpd's BMP; 0: any free one")
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "debug, info, warning, error")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  bool state_format = false;
  app.add_flag("--state-format", state_format,
               "prints the number of the state's format (an update's bundle has it), and ends");
  app.set_version_flag("--version", std::string(gw::gwd::kVersion));
  CLI11_PARSE(app, argc, argv);
  if (state_format) return std::printf("%d\n", gw::config::kStateFormat), 0;
  gw::log::init("gwd", to_level(options.log_level));
  ::umask(0027);
  return checked.empty() ? run(options) : check(checked, options.instance);
}
