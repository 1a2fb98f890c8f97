#include "gwd/api/support.hpp"

#include <format>

#include "base/log.hpp"
#include "gwd/api/redact.hpp"
#include "gwd/version.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

void add_file(api::SupportReply& reply, const std::string& name, std::string content) {
  auto& file = *reply.add_files();
  file.set_name(name);
  file.set_content(std::move(content));
}

std::string revisions_text(const ConfigService& config) {
  const auto list = config.revisions();
  if (!list) return list.error().describe() + "\n";
  std::string out;
  for (const auto& revision : *list)
    out += std::format("{}{} {:%FT%TZ} {} {}\n", revision.running ? "*" : " ", revision.number,
                       std::chrono::floor<std::chrono::seconds>(revision.applied), config::to_string(revision.origin),
                       revision.comment);
  return out;
}

std::string versions_text(const Gateway& gateway) {
  std::string out = std::format("gwd {}\n", kVersion);
  for (const ComponentStatus& component : gateway.components())
    out += std::format("{} {}\n", component.name, component.connected ? component.detail : "away");
  return out;
}

}  // namespace

asio::awaitable<api::SupportReply> make_support_reply(SnapshotSources sources) {
  api::SupportReply reply;
  *reply.mutable_snapshot() = co_await take_snapshot(sources);
  const auto frr = co_await sources.gateway.bgp().running_config();
  add_file(reply, "bgpd-running.conf", frr ? mask_passwords(*frr) : frr.error().describe() + "\n");
  add_file(reply, "gateway.yaml", reply.snapshot().configuration());
  add_file(reply, "revisions.txt", revisions_text(sources.config));
  add_file(reply, "versions.txt", versions_text(sources.gateway));
  std::string lines;
  for (const std::string& line : log::recent()) lines += line;
  add_file(reply, "gwd.log", std::move(lines));
  if (const ModelPtr& model = sources.gateway.model())
    for (auto& file : *reply.mutable_files()) file.set_content(without_secrets(file.content(), *model));
  co_return reply;
}

}  // namespace gw::gwd
