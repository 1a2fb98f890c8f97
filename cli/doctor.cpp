#include "cli/doctor.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <format>
#include <fstream>
#include <sstream>
#include <string_view>

#include "base/fd.hpp"
#include "cli/archive.hpp"
#include "gwd/doctor/doctor.hpp"

namespace gw::cli {
namespace {

constexpr std::uintmax_t kMaxBundleBytes = std::uintmax_t{64} << 20;
constexpr std::string_view kSnapshotFile = "snapshot.json";
constexpr std::string_view kInfo = "info";  // of findings: nothing is wrong because of it

// What the machine says of itself. None of these prints a secret: `ip xfrm` is not among them, and the nft rules are
// the guard's.
struct Question {
  const char* file;
  const char* command;
};
constexpr auto kQuestions = std::to_array<Question>({
    {"system.txt", "uname -a; cat /etc/os-release; uptime; free -m; df -h / /run /var/lib 2>/dev/null"},
    {"ip-link.txt", "ip -d -s link"},
    {"ip-address.txt", "ip address"},
    {"ip-rule.txt", "ip rule; ip -6 rule"},
    {"ip-route.txt", "ip route | head -n 2000; ip -6 route | head -n 2000"},
    {"nft.txt", "nft list ruleset"},
    {"journal-gwd.txt", "journalctl --no-pager -n 2000 -u gwd"},
    {"journal-gw-fastpath.txt", "journalctl --no-pager -n 2000 -u gw-fastpath"},
    {"journal-gw-charon.txt", "journalctl --no-pager -n 2000 -u gw-charon"},
    {"journal-frr.txt", "journalctl --no-pager -n 2000 -u gw-zebra -u gw-bgpd -u gw-bfdd"},
});

Colour colour_of(const std::string& severity) {
  if (severity == "critical" || severity == "error") return Colour::kBad;
  if (severity == kInfo) return Colour::kNone;
  return Colour::kWarning;
}

std::string lines_of(std::string_view title, const google::protobuf::RepeatedPtrField<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += std::format("  {:<11}{}\n", out.empty() ? title : "", printable(line));
  return out;
}

int show(const Session& session, const api::DoctorReply& reply) {
  if (session.format() == Format::kJson)
    session.print_json(reply);
  else
    session.out() << render(reply, session.view());
  const bool wrong = std::ranges::any_of(reply.findings(), [](const auto& f) { return f.severity() != kInfo; });
  return wrong ? kNo : kOk;
}

/// kUsage, reported, if it cannot be read.
Exit read_file(const Session& session, const std::string& file, std::string& into) {
  std::error_code ec;
  const auto failed = [&](const std::string& why) {
    session.err() << std::format("gwctl: cannot read {}: {}\n", file, why);
    return kUsage;
  };
  if (std::filesystem::is_directory(file, ec)) return failed("it is a directory");
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return failed(std::strerror(errno));
  if (const auto size = std::filesystem::file_size(file, ec); !ec && size > kMaxBundleBytes)
    return failed("it is too large for a support bundle");
  std::stringstream text;
  text << stream.rdbuf();
  into = std::move(text).str();
  return kOk;
}

Result<api::Snapshot> snapshot_in(const std::string& bytes) {
  std::string json = bytes;
  if (is_gzip(bytes)) {
    GW_TRY_ASSIGN(auto files, unpack(bytes));
    const auto it = std::ranges::find_if(
        files, [](const ArchiveFile& f) { return std::filesystem::path(f.name).filename() == kSnapshotFile; });
    if (it == files.end()) return fail(Errc::kNotFound, std::format("there is no {} in it", kSnapshotFile));
    json = std::move(it->content);
  }
  api::Snapshot snapshot;
  if (!from_json(json, snapshot) || snapshot.version() == 0)
    return fail(Errc::kMalformed, "it is neither a support bundle nor a snapshot");
  return snapshot;
}

Status write_private(const std::string& file, std::string_view bytes) {
  Fd out(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!out) return fail_errno(std::format("cannot write {}", file));
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(out.get(), bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(std::format("cannot write {}", file));
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

}  // namespace

std::string render(const api::DoctorReply& reply, const View& view) {
  std::string out;
  for (const api::DoctorFinding& finding : reply.findings()) {
    out += std::format("{} {}: {}\n", paint(finding.severity(), colour_of(finding.severity()), view.style),
                       printable(finding.name()), printable(finding.subject()));
    out += lines_of("evidence", finding.evidence());
    out += std::format("  {:<11}{}\n", "leads to", printable(finding.consequence()));
    out += lines_of("do", finding.remedy()) + "\n";
  }
  for (const std::string& blind : reply.blind())
    out += paint("not examined: " + printable(blind), Colour::kWarning, view.style) + "\n";
  const auto count = reply.findings_size();
  out += std::format("{} / {}, {}: {} ({} rules)\n", printable(reply.gateway()), printable(reply.instance()),
                     human_time(reply.taken_unix_ms()),
                     count == 0 ? "no findings" : std::format("{} finding{}", count, count == 1 ? "" : "s"),
                     reply.rules_size());
  return out;
}

int examine_gateway(const Session& session) {
  api::DoctorReply reply;
  if (const Exit asked = session.ask(get("/v1/doctor"), reply); asked != kOk) return asked;
  return show(session, reply);
}

int examine_bundle(const Session& session, const std::string& file) {
  std::string bytes;
  if (const Exit read = read_file(session, file, bytes); read != kOk) return read;
  const auto snapshot = snapshot_in(bytes);
  if (!snapshot) {
    session.err() << std::format("gwctl: {}: {}\n", file, snapshot.error().message);
    return kUsage;
  }
  return show(session, doctor::report(*snapshot));
}

int write_bundle(const Session& session, const std::string& file) {
  api::SupportReply reply;
  if (const Exit asked = session.ask(get("/v1/support"), reply); asked != kOk) return asked;
  const View view = session.view();
  std::string time = human_time(reply.snapshot().taken_unix_ms());  // "2026-01-31 12:00:00Z"
  std::erase_if(time, [](char c) { return c == '-' || c == ':' || c == 'Z'; });
  std::ranges::replace(time, ' ', '-');
  const auto& status = reply.snapshot().status();
  std::string folder = std::format("gw-support-{}-{}-{}", status.gateway(), status.instance(), time);
  std::ranges::replace(folder, '/', '_');

  std::vector<ArchiveFile> files{
      {folder + "/" + std::string(kSnapshotFile), to_json(reply.snapshot(), Layout::kIndented)}};
  files.push_back({folder + "/doctor.txt", render(doctor::report(reply.snapshot()), {view.now, Style::kPlain})});
  for (const api::SupportFile& one : reply.files()) files.push_back({folder + "/" + one.name(), one.content()});
  for (const Question& question : kQuestions)
    files.push_back({folder + "/" + question.file, session.run_command(question.command)});

  const std::string target = file.empty() ? folder + ".tar.gz" : file;
  if (const auto done = write_private(target, pack(files, view.now)); !done) {
    session.err() << std::format("gwctl: {}\n", done.error().message);
    return kUsage;
  }
  session.out() << std::format("{}: {} files, without secrets; gwctl doctor --bundle {}\n", target, files.size(),
                               target);
  return kOk;
}

}  // namespace gw::cli
