#include "cli/program.hpp"

#include <algorithm>
#include <format>

#include "base/duration.hpp"

namespace gw::cli {

using std::chrono::seconds;

void Program::add_ha() {
  CLI::App& ha = command(app_, "ha", "Two instances that are one gateway",
                         "  gwctl ha init --gateway hub-east gw-a gw-b\n  gwctl ha certificates");
  ha.require_subcommand(1);
  add_ha_orders(ha);
  const auto in_folder = [this](CLI::App& sub) {
    sub.add_option("--dir", folder_, std::format("the folder [{}]", kDefaultCertificates))->type_name("DIR");
  };
  CLI::App& init = command(ha, "init", "Make the certificates by which the instances know each other",
                           "  gwctl ha init --gateway hub-east gw-a gw-b");
  init.add_option("--gateway", gateway_, "gateway.name of the document")->type_name("NAME")->required();
  init.add_option("INSTANCE", instances_, "names of the instances")->type_name("NAME")->required()->expected(2, 16);
  in_folder(init);
  does(init, [this] { return certificates(init_certificates(folder(), {gateway_, instances_})); });
  CLI::App& renew = command(ha, "renew", "New certificates for all instances, or a new authority; without a gap",
                            "  gwctl ha renew\n  gwctl ha renew --authority\n  gwctl ha renew --drop-old-authority");
  CLI::Option* authority = renew.add_flag("--authority", authority_, "a new authority, beside the old one");
  renew.add_flag("--drop-old-authority", drop_authority_, "trust the new one only")->excludes(authority);
  in_folder(renew);
  does(renew, [this] {
    return certificates(authority_        ? renew_authority(folder())
                        : drop_authority_ ? drop_old_authority(folder())
                                          : renew_certificates(folder()));
  });
  CLI::App& show = command(ha, "certificates", "What certificates there are, and until when they are good",
                           "  gwctl ha certificates");
  in_folder(show);
  does(show, [this] { return certificates(describe_certificates(folder())); });
}

void Program::add_ha_orders(CLI::App& ha) {
  add_view<api::HaReply>(ha, "show", "Who owns which endpoint and why, the other instance, the paths to it", "/v1/ha",
                         "  gwctl ha show\n  gwctl ha show --details --watch 1\n  gwctl ha show --check || alert")
      .add_flag("--details", details_, "what state was sent, and how far it lags");
  CLI::App& drain = command(
      ha, "drain", "All endpoints to the other instance; nothing is lost",
      "  gwctl ha drain\n  gwctl ha drain --wait 30s     done when it ends; exit code 1 if it does not get done");
  drain.add_option("--wait", wait_, "until this instance owns nothing any more")->type_name("DURATION");
  does(drain, [this] { return ha_drain(); });
  does(command(ha, "undrain", "This instance may own endpoints again; those at home here come back",
               "  gwctl ha undrain"),
       [this] { return ha_order("undrain", api::HaTakeoverRequest()); });
  CLI::App& move = command(ha, "move", "One endpoint to another instance; nothing is lost",
                           "  gwctl ha move 203.0.113.10\n  gwctl ha move 203.0.113.10 gw-b");
  move.add_option("ENDPOINT", endpoint_, "its address")->type_name("ADDRESS")->required();
  move.add_option("INSTANCE", instance_, "where to [the other one]")->type_name("NAME");
  does(move, [this] {
    api::HaMoveRequest request;
    request.set_address(endpoint_);
    request.set_instance(instance_);
    return ha_order("move", request);
  });
  CLI::App& takeover =
      command(ha, "takeover", "Own an endpoint (or all) now, without asking whoever has it: for when it is dead",
              "  gwctl ha takeover\n  gwctl ha takeover 203.0.113.10");
  takeover.add_option("ENDPOINT", endpoint_, "its address [all]")->type_name("ADDRESS");
  does(takeover, [this] {
    api::HaTakeoverRequest request;
    request.set_address(endpoint_);
    return ha_order("takeover", request);
  });
}

int Program::ha_order(const std::string& order, const google::protobuf::Message& request) {
  api::HaReply reply;
  if (const Exit asked = session_->ask(post("/v1/ha/" + order, request), reply); asked != kOk) return asked;
  if (json_) return session_->print_json(reply), kOk;
  surroundings_.out << render(reply, view());
  return kOk;
}

int Program::ha_drain() {
  std::chrono::milliseconds wait{0};
  if (!wait_.empty()) {
    const auto within = parse_duration(wait_);
    if (!within) return usage(std::format("--wait: {} (expected e.g. 30s)", within.error().message));
    wait = *within;
  }
  if (const int begun = ha_order("drain", api::HaTakeoverRequest()); begun != kOk || wait_.empty()) return begun;
  const auto start = surroundings_.uptime();
  while (true) {
    api::HaReply reply;
    if (const Exit asked = session_->ask(get("/v1/ha"), reply); asked != kOk) return asked;
    const auto ours = std::ranges::find(reply.endpoints(), reply.instance(), &api::HaEndpoint::owner);
    if (ours == reply.endpoints().end()) return kOk;
    if (surroundings_.uptime() - start >= wait) {
      surroundings_.err << std::format("gwctl: endpoint {} is still here after {}: {}\n", printable(ours->address()),
                                       wait_, printable(ours->cause()));
      return kNo;
    }
    surroundings_.pause(seconds(1));
  }
}

int Program::certificates(const Result<std::string>& done) const {
  if (done) return surroundings_.out << *done, kOk;
  surroundings_.err << std::format("gwctl: {}\n", done.error().describe());
  return kNo;
}

}  // namespace gw::cli
