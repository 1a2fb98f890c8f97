#include "cli/program.hpp"

#include <CLI/Validators.hpp>
#include <algorithm>
#include <charconv>
#include <format>

#include "base/duration.hpp"

namespace gw::cli {

using std::chrono::seconds;

namespace {

constexpr seconds kLongestConfirm = std::chrono::hours(24);

// Of `diff`'s words: a number is a revision, anything else a file.
std::optional<std::uint32_t> revision_number(const std::string& word) {
  std::uint32_t n = 0;
  const auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), n);
  if (ec != std::errc() || end != word.data() + word.size() || n == 0) return std::nullopt;
  return n;
}

}  // namespace

void Program::takes_file(CLI::App& sub) {
  CLI::Option* positional =
      sub.add_option("FILE", file_, std::format("the document [{}]", kDefaultConfig))->type_name("FILE");
  sub.add_option("-f,--file", file_, "the same")->type_name("FILE")->excludes(positional);
}

void Program::add_configuration() {
  CLI::App& validate =
      command(app_, "validate", "Check a document; nothing changes", "  gwctl validate\n  gwctl validate -f new.yaml");
  takes_file(validate);
  does(validate, [this] { return validate_document(); });
  CLI::App& apply =
      command(app_, "apply", "Bring the gateway to a document, all of it or nothing",
              "  gwctl apply\n  gwctl apply -f new.yaml --confirm 5m --comment \"paris moves\"\n  gwctl confirm");
  takes_file(apply);
  apply.add_option("--confirm", confirm_, "go back after this time unless `gwctl confirm` says it is good")
      ->type_name("DURATION");
  apply.add_option("--comment", comment_, "for `show revisions`")->type_name("TEXT");
  applies_alone(apply);
  does(apply, [this] { return apply_document(); });
  CLI::App& confirm = command(app_, "confirm", "Keep what `apply --confirm` applied", "  gwctl confirm");
  does(confirm, [this] {
    api::ConfigReply reply;
    return report(session_->ask(post("/v1/config/confirm", reply), reply), reply, "confirmed");
  });
}

void Program::applies_alone(CLI::App& sub) {
  sub.add_flag("--alone", alone_, "of two instances: here, although the other does not answer; it follows later");
}

void Program::warn(const api::ConfigReply& reply) const {
  for (const api::Finding& finding : reply.warnings()) surroundings_.err << render(finding) << "\n";
}

int Program::validate_document() {
  api::ConfigRequest request;
  if (const Exit read = session_->read_document(file(), request); read != kOk) return read;
  api::ConfigReply reply;
  if (const Exit asked = session_->ask(post("/v1/config/validate", request), reply); asked != kOk) return asked;
  if (json_) return session_->print_json(reply), kOk;
  warn(reply);
  surroundings_.out << std::format(
      "{} is valid; {}\n", request.file(),
      reply.changes().empty() ? "it changes nothing"
                              : std::format("applying it makes {} change{} (gwctl diff -f {})", reply.changes_size(),
                                            reply.changes_size() == 1 ? "" : "s", file()));
  return kOk;
}

int Program::apply_document() {
  api::ConfigRequest request;
  if (!confirm_.empty()) {
    const auto within = parse_duration(confirm_);
    if (!within || *within < seconds(1) || *within > kLongestConfirm)
      return usage(std::format("--confirm: {} (expected 1s to 24h, e.g. 5m)",
                               within ? std::format("{} is out of range", confirm_) : within.error().message));
    request.set_confirm_seconds(static_cast<std::uint32_t>(std::chrono::ceil<seconds>(*within).count()));
  }
  if (const Exit read = session_->read_document(file(), request); read != kOk) return read;
  request.set_comment(comment_);
  request.set_alone(alone_);
  api::ConfigReply reply;
  return report(session_->ask(post("/v1/config/apply", request), reply), reply, "applied");
}

int Program::report(Exit asked, const api::ConfigReply& reply, std::string_view done) const {
  if (asked != kOk) return asked;
  if (json_) return session_->print_json(reply), kOk;
  warn(reply);
  const bool nothing = reply.changes().empty() && done == "applied" && reply.confirm_seconds() == 0;
  if (!reply.changes().empty()) surroundings_.out << render_changes(reply, session_->view());
  surroundings_.out << (nothing ? std::format("no changes: revision {} has it already\n", reply.revision())
                                : std::format("revision {} {}\n", reply.revision(), done));
  if (reply.confirm_seconds() != 0)
    surroundings_.out << std::format("gwd goes back in {} unless you say: gwctl confirm\n",
                                     human_duration(seconds(reply.confirm_seconds())));
  return kOk;
}

void Program::add_history() {
  CLI::App& rollback =
      command(app_, "rollback", "Apply an earlier revision again", "  gwctl rollback\n  gwctl rollback 12");
  rollback.add_option("N", revision_, "the revision [the one before the running one]")
      ->type_name("N")
      ->check(CLI::Range(1U, 4294967295U));
  applies_alone(rollback);
  does(rollback, [this] {
    api::RollbackRequest request;
    request.set_alone(alone_);
    request.set_revision(revision_);
    api::ConfigReply reply;
    return report(session_->ask(post("/v1/config/rollback", request), reply), reply, "applied");
  });
  CLI::App& diff = command(app_, "diff", "What changed between revisions, or what a file would change",
                           "  gwctl diff                   what the last apply changed\n  gwctl diff 12              "
                           "  from revision 12 to the running one\n"
                           "  gwctl diff 12 14\n  gwctl diff -f new.yaml       what applying the file would change");
  CLI::Option* range =
      diff.add_option("FROM", range_, "revisions FROM and TO, or a file")->type_name("FILE")->expected(0, 2);
  diff.add_option("-f,--file", file_, "a document against the running one")->type_name("FILE")->excludes(range);
  does(diff, [this] { return show_diff(); });
}

int Program::show_diff() {
  if (range_.size() == 1 && !revision_number(range_[0])) file_ = range_[0];
  api::ConfigReply reply;
  if (!file_.empty()) {
    api::ConfigRequest request;
    if (const Exit read = session_->read_document(file_, request); read != kOk) return read;
    if (const Exit asked = session_->ask(post("/v1/config/validate", request), reply); asked != kOk) return asked;
  } else {
    std::string target;
    if (const int chosen = choose_range(target); chosen != kOk) return chosen;
    if (const Exit asked = session_->ask(get(target), reply); asked != kOk) return asked;
  }
  if (json_) return session_->print_json(reply), kOk;
  surroundings_.out << render_changes(reply, session_->view());
  return kOk;
}

int Program::choose_range(std::string& target) const {
  for (const std::string& word : range_)
    if (!revision_number(word))
      return usage(
          std::format("'{}' is not the number of a revision (expected one or two that `gwctl show revisions` "
                      "lists, or a file alone: gwctl diff -f FILE)",
                      word));
  std::string from = range_.empty() ? std::string() : range_[0];
  if (from.empty()) {
    api::RevisionsReply revisions;  // newest first
    if (const Exit asked = session_->ask(get("/v1/config/revisions"), revisions); asked != kOk) return asked;
    const auto& list = revisions.revisions();
    const auto running = std::ranges::find_if(list, [](const api::Revision& r) { return r.running(); });
    if (running == list.end() || running + 1 == list.end())
      return usage("there is no earlier revision to compare with; give a file: gwctl diff -f FILE");
    from = std::to_string((running + 1)->number());
  }
  target = "/v1/config/diff?from=" + from + (range_.size() > 1 ? "&to=" + range_[1] : "");
  return kOk;
}

}  // namespace gw::cli
