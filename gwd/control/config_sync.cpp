#include "gwd/control/config_sync.hpp"

#include <algorithm>
#include <utility>

#include "base/log.hpp"

namespace gw::gwd {
namespace wire = ::gw::ha::v1;

namespace {

ConfigFailure failure(Errc code, std::string message) {
  return {Error{code, std::move(message), {}, std::source_location::current()}, {}};
}

void fill(wire::ConfigFinding& out, const config::Finding& finding) {
  out.set_warning(finding.severity == config::Severity::kWarning);
  out.set_file(finding.file);
  out.set_line(finding.at.line);
  out.set_column(finding.at.column);
  out.set_field(finding.field);
  out.set_message(finding.message);
  out.set_expected(finding.expected);
}

config::Finding finding_of(const wire::ConfigFinding& finding, const std::string& instance) {
  return {.severity = finding.warning() ? config::Severity::kWarning : config::Severity::kError,
          .file = std::format("{}:{}", instance, finding.file()),
          .at = {finding.line(), finding.column()},
          .field = finding.field(),
          .message = finding.message(),
          .expected = finding.expected()};
}

bool same(const wire::ConfigState& a, const wire::ConfigState& b) {
  return a.serial() == b.serial() && a.hash() == b.hash();
}

}  // namespace

void ConfigSync::set_peer(Peer peer) {
  peer_ = std::move(peer);
  if (!alone()) return;
  on_lost();
  set_alarm({});
}

std::uint64_t ConfigSync::next_serial() const {
  return std::max(ports_.state().serial(), theirs_ ? theirs_->serial() : 0) + 1;
}

// --- the channel -----------------------------------------------------------------------------------

void ConfigSync::on_session() {
  on_lost();
  session_ = true;
  send_state(Ask::kYes);
}

void ConfigSync::on_lost() {
  session_ = false;
  theirs_.reset();
  prepared_.reset();
  fail_pending(Errc::kClosed,
               std::format("the connection to {} broke while it was asked; nothing was applied here, and "
                           "nothing there",
                           peer_.name));
}

void ConfigSync::on_message(const Message& message) {
  switch (message.body_case()) {
    case Message::kState:
      session_ = true;
      theirs_ = message.state();
      if (message.state().asks()) send_state(Ask::kNo);
      return compare();
    case Message::kProposal: return on_proposal(message.proposal());
    case Message::kAnswer: return on_answer(message.answer());
    case Message::kDecision: return on_decision(message.decision());
    case Message::kFetch: return on_fetch();
    case Message::kConfirm:
      if (same(message.confirm().state(), ports_.state())) (void)ports_.confirm();
      return;
    case Message::BODY_NOT_SET: return;  // a newer release's
  }
}

void ConfigSync::tick() {
  if (pending_ && clock_.now() >= pending_->deadline) {
    decide(pending_->id, false);
    fail_pending(Errc::kTimeout,
                 std::format("{} did not answer within {} s; nothing was applied", peer_.name, kAnswerTime.count()));
  }
  if (prepared_ && clock_.now() >= prepared_->deadline) {
    log::warning("config", "{} asked about a document and did not say whether it runs", peer_.name);
    prepared_.reset();
    compare();
  }
}

void ConfigSync::send_state(Ask ask) {
  Message message;
  *message.mutable_state() = ports_.state();
  message.mutable_state()->set_asks(ask == Ask::kYes);
  ports_.send(message);
}

void ConfigSync::announce() {
  if (!session_) return;
  send_state(Ask::kNo);
  compare();
}

void ConfigSync::set_alarm(std::string text) {
  if (alarm_ == text) return;
  alarm_ = std::move(text);
  if (!alarm_.empty()) log::error("config", "{}", alarm_);
}

void ConfigSync::cannot_run(std::uint64_t serial, std::string why) {
  refused_ = {serial, std::move(why)};
  set_alarm(refused_.why);
}

// Whether both run the same, and who takes over whose.
void ConfigSync::compare() {
  if (!theirs_ || prepared_ || pending_) return;
  const State mine = ports_.state();
  if (same(mine, *theirs_)) return set_alarm({});
  if (theirs_->serial() > mine.serial()) {
    if (theirs_->serial() == refused_.serial) return set_alarm(refused_.why);
    Message message;
    message.mutable_fetch();
    ports_.send(message);
  } else if (theirs_->serial() == mine.serial() && !mine.hash().empty() && !theirs_->hash().empty()) {
    set_alarm(
        std::format("this instance and {} were given different documents while they did not see each other: "
                    "`gwctl apply` on one of them settles it",
                    peer_.name));
  }
}

// --- proposer --------------------------------------------------------------------------------------

void ConfigSync::propose(const ConfigDocument& document, const ApplyOptions& options, Done done) {
  if (pending_) return done(std::unexpected(failure(Errc::kRefused, "another document is being applied; try again")));
  if (prepared_)
    return done(std::unexpected(
        failure(Errc::kRefused, std::format("{} is being given a document at the moment; try again", peer_.name))));
  if (auto fits = ports_.check(document); !fits) return done(std::unexpected(std::move(fits.error())));
  if (!alone() && !theirs_ && !options.alone)
    return done(std::unexpected(
        failure(Errc::kClosed,
                std::format("{} does not answer, so that it cannot say whether it can run this. `gwctl apply --alone` "
                            "applies it here; {} takes it over when it is back",
                            peer_.name, peer_.name))));
  if (!alone() && theirs_ && !options.alone) return ask(document, options, std::move(done));
  ApplyOptions here = options;
  here.serial = next_serial();
  auto outcome = ports_.commit(document, here);
  announce();
  done(std::move(outcome));
}

void ConfigSync::ask(const ConfigDocument& document, const ApplyOptions& options, Done done) {
  pending_ = Pending{next_id_++, document, options, std::move(done), clock_.now() + kAnswerTime};
  pending_->options.serial = next_serial();
  Message message;
  wire::ConfigProposal& proposal = *message.mutable_proposal();
  proposal.set_id(pending_->id);
  *proposal.mutable_base() = ports_.state();
  proposal.mutable_next()->set_serial(*pending_->options.serial);
  proposal.set_document(document.text);
  proposal.set_file(document.file);
  proposal.set_comment(options.comment);
  proposal.set_confirm_seconds(static_cast<std::uint64_t>(options.confirm_within.count()));
  ports_.send(message);
}

void ConfigSync::on_answer(const wire::ConfigAnswer& answer) {
  if (!pending_ || answer.id() != pending_->id) return;
  Pending asked = std::move(*std::exchange(pending_, std::nullopt));
  if (!answer.accepted()) {
    ConfigFailure why =
        failure(Errc::kRefused, std::format("{} cannot run it: {}; nothing was applied", peer_.name, answer.message()));
    for (const auto& finding : answer.findings()) why.findings.push_back(finding_of(finding, peer_.name));
    return asked.done(std::unexpected(std::move(why)));
  }
  // Said before it is activated: that may cut the channel, when its addresses are what changes.
  bool said = false;
  asked.options.committed = [&] { decide(asked.id, said = true); };
  auto outcome = ports_.commit(asked.document, asked.options);
  if (!said) decide(asked.id, false);
  announce();
  asked.done(std::move(outcome));
}

void ConfigSync::decide(std::uint64_t id, bool commit) {
  if (!session_) return;
  Message message;
  message.mutable_decision()->set_id(id);
  message.mutable_decision()->set_commit(commit);
  ports_.send(message);
}

void ConfigSync::fail_pending(Errc code, std::string message) {
  if (!pending_) return;
  const Pending asked = std::move(*std::exchange(pending_, std::nullopt));
  asked.done(std::unexpected(failure(code, std::move(message))));
}

ConfigResult<ConfigOutcome> ConfigSync::confirm() {
  auto done = ports_.confirm();
  if (!done || alone()) return done;
  if (theirs_ && same(*theirs_, ports_.state())) {
    Message message;
    *message.mutable_confirm()->mutable_state() = ports_.state();
    ports_.send(message);
  } else {
    // The other goes back by itself when its time is over, with the next serial: what was confirmed has to outrank
    // that.
    ports_.set_serial(next_serial() + 1);
    announce();
  }
  return done;
}

// --- the other -------------------------------------------------------------------------------------

void ConfigSync::refuse(std::uint64_t id, const ConfigFailure& why) {
  Message message;
  wire::ConfigAnswer& answer = *message.mutable_answer();
  answer.set_id(id);
  answer.set_message(why.error.describe());
  for (const auto& finding : why.findings) fill(*answer.add_findings(), finding);
  ports_.send(message);
}

void ConfigSync::on_proposal(const wire::ConfigProposal& proposal) {
  if (proposal.id() == 0) return take_over(proposal);
  if (pending_ && peer_.self == Rank::kFirst)
    return refuse(proposal.id(), failure(Errc::kRefused, "it is being given another document at the moment"));
  fail_pending(Errc::kRefused,
               std::format("{} is being given another document at the moment; nothing was applied", peer_.name));
  if (const State mine = ports_.state(); proposal.next().serial() <= mine.serial())
    return refuse(proposal.id(), failure(Errc::kRefused, "it runs a newer document, which is on its way"));
  if (auto fits = ports_.check({proposal.document(), proposal.file()}); !fits)
    return refuse(proposal.id(), fits.error());
  prepared_ = Prepared{proposal, clock_.now() + kDecisionTime};
  Message message;
  message.mutable_answer()->set_id(proposal.id());
  message.mutable_answer()->set_accepted(true);
  ports_.send(message);
}

ConfigResult<ConfigOutcome> ConfigSync::commit_theirs(const wire::ConfigProposal& proposal) {
  constexpr std::uint64_t kLongestConfirm = 86'400;
  return ports_.commit(
      {proposal.document(), proposal.file()},
      {.confirm_within = std::chrono::seconds(std::min(proposal.confirm_seconds(), kLongestConfirm)),
       .comment = proposal.comment().empty() ? std::format("from {}", peer_.name)
                                             : std::format("{} (from {})", proposal.comment(), peer_.name),
       .origin = config::Origin::kSync,
       .serial = proposal.next().serial()});
}

void ConfigSync::on_decision(const wire::ConfigDecision& decision) {
  if (!prepared_ || prepared_->proposal.id() != decision.id()) return;
  const wire::ConfigProposal proposal = std::move(std::exchange(prepared_, std::nullopt)->proposal);
  if (decision.commit()) {
    if (const auto done = commit_theirs(proposal); !done)
      cannot_run(proposal.next().serial(),
                 std::format("{} runs a document that this instance agreed to and cannot run: {}", peer_.name,
                             done.error().error.describe()));
  }
  announce();
}

void ConfigSync::on_fetch() {
  const auto running = ports_.running();
  if (!running) return;
  Message message;
  wire::ConfigProposal& proposal = *message.mutable_proposal();
  *proposal.mutable_next() = ports_.state();
  proposal.set_document(running->document.text);
  proposal.set_file(running->document.file);
  proposal.set_comment(running->comment);
  proposal.set_confirm_seconds(static_cast<std::uint64_t>(running->confirm_left.count()));
  ports_.send(message);
}

// It was committed there while we were away.
void ConfigSync::take_over(const wire::ConfigProposal& proposal) {
  if (pending_ || prepared_ || proposal.next().serial() <= ports_.state().serial()) return;
  const auto cannot = [&](const ConfigFailure& why) {
    cannot_run(proposal.next().serial(),
               std::format("{} runs another document, which this instance cannot take over: {}", peer_.name,
                           why.error.describe()));
    for (const auto& finding : why.findings) log::error("config", "{}", finding.describe());
  };
  if (auto fits = ports_.check({proposal.document(), proposal.file()}); !fits) return cannot(fits.error());
  if (auto done = commit_theirs(proposal); !done) return cannot(done.error());
  log::info("config", "took over the document of {}", peer_.name);
  announce();
}

}  // namespace gw::gwd
