#include "gwd/control/bgp_controller.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <iterator>
#include <utility>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/spawn.hpp"
#include "bgp/reopen.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

bool is_fatal(const Error& error) { return error.code == Errc::kClosed || error.code == Errc::kTimeout; }

// What parse_summary does not give.
void keep_details(const bgp::PeerStatus& from, bgp::PeerStatus& to) {
  to.local = from.local;
  to.learned = from.learned;
  to.last_error = from.last_error;
  to.last_reset = from.last_reset;
  to.watched = from.watched;
  to.path_died = from.path_died;
  to.silent = from.silent;
  to.hold = from.hold;
  to.unsent = from.unsent;
  to.end_of_rib_v4 = from.end_of_rib_v4;
  to.end_of_rib_v6 = from.end_of_rib_v6;
}

// "FRRouting 10.3 (gw-a) on Linux(6.12.0)." -> "FRRouting 10.3"
std::string short_version(std::string_view text) { return std::string(text.substr(0, text.find(" ("))); }

}  // namespace

BgpController::BgpController(asio::io_context& io, const Clock& clock, BgpPaths paths, const BfdController& bfd)
    : io_(io), clock_(clock), paths_(std::move(paths)), bfd_(bfd), vty_(io.get_executor()), wake_(io) {
  vty_.on_closed([this](const Error& why) {
    log::warning("bgp", "bgpd went away: {}", why.message);
    set_connected(Connected::kNo);
    wake_.wake();
  });
}

void BgpController::set_connected(Connected now) {
  const bool connected = now == Connected::kYes;
  if (std::exchange(connected_, connected) != connected) since_ = clock_.wall();
}

void BgpController::start() { asio::co_spawn(io_, run(), kEndOnException); }

void BgpController::stop() {
  stopping_ = true;
  vty_.close();
  wake_.wake();
}

void BgpController::set_intent(BgpIntentPtr intent) {
  wanted_ = std::move(intent);
  keep_config_file();
  wake_.wake();
}

void BgpController::keep_config_file() {
  const auto written = write_config_file();
  is_file_old_ = !written;
  write_again_ = clock_.now() + kWriteAgain;
  if (!written) log::error("bgp", "a bgpd that starts now has an old configuration: {}", written.error().describe());
}

// Atomically, so that a bgpd that starts in this moment reads the old or the new one, never half of it.
Status BgpController::write_config_file() const {
  const Secret text = bgp::render_file(*wanted_);
  const std::string temporary = paths_.config_file + ".new";
  Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!file) return fail_errno(std::format("cannot write {}", temporary));
  constexpr uid_t kSameUser = static_cast<uid_t>(-1);
  if (const passwd* frr = getpwnam("frr"); frr != nullptr && fchown(file.get(), kSameUser, frr->pw_gid) != 0)
    return fail_errno(std::format("cannot give {} to frr", temporary));
  std::string_view rest = text.text();
  while (!rest.empty()) {
    const ssize_t wrote = ::write(file.get(), rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(std::format("cannot write {}", temporary));
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (::rename(temporary.c_str(), paths_.config_file.c_str()) != 0)
    return fail_errno(std::format("cannot write {}", paths_.config_file));
  return {};
}

asio::awaitable<void> BgpController::run() {
  std::string last_reason;
  while (!stopping_) {
    if (!wanted_) {
      co_await wake_.sleep(kPollQuiet);
      continue;
    }
    if (is_file_old_ && clock_.now() >= write_again_) keep_config_file();
    Status done;
    if (!connected_) done = co_await open_session();
    if (done && is_to_be_applied()) done = co_await apply();
    if (done) done = co_await ask_for_routes();
    if (done) done = co_await choose_again();
    if (done) done = co_await read_sessions();
    if (done && sessions_read_) sessions_read_();
    if (done) done = co_await attend_bfd();
    if (done) done = co_await start_forgotten();
    if (done) done = co_await start_freed();
    if (!done) {
      if (done.error().message != last_reason) log::warning("bgp", "bgpd: {}", done.error().message);
      last_reason = done.error().message;
      if (is_fatal(done.error()) || !vty_.is_open()) {
        vty_.close();
        set_connected(Connected::kNo);
      }
      co_await wake_.sleep(connected_ ? kPollBusy : kReconnectPause);
      continue;
    }
    last_reason.clear();
    const bool quiet = std::ranges::all_of(sessions_, [](const auto& entry) { return entry.second.established(); });
    auto pause = quiet ? kPollQuiet : kPollBusy;
    if (!choose_at_.empty())
      pause = std::clamp(std::chrono::ceil<std::chrono::milliseconds>(choose_at_.front() - clock_.now()),
                         std::chrono::milliseconds(1), pause);
    co_await wake_.sleep(pause);
  }
}

void BgpController::tell_again(const std::vector<IpAddress>& peers) {
  ask_again_.insert(peers.begin(), peers.end());
  if (!peers.empty()) wake_.wake();
}

std::string BgpController::neighbour(const IpAddress& peer) const {
  const auto session = sessions_.find(peer);
  return session == sessions_.end() ? peer.to_string() : session->second.name;
}

asio::awaitable<Status> BgpController::ask_for_routes() {
  const auto peers = std::exchange(ask_again_, {});
  for (const IpAddress& peer : peers) {
    const std::string name = neighbour(peer);
    for (const Family family : {Family::kV4, Family::kV6}) {
      const auto done = co_await vty_.show(bgp::clear_soft_in(name, family), kShowTimeout);
      if (!done) co_return std::unexpected(done.error());
    }
  }
  if (!peers.empty()) choose_again_later();
  co_return Status{};
}

void BgpController::choose_again_later() {
  choose_at_.clear();
  for (const auto after : kChooseAfter) choose_at_.push_back(clock_.now() + after);
}

asio::awaitable<Status> BgpController::choose_again() {
  if (!applied_ || choose_at_.empty() || clock_.now() < choose_at_.front()) co_return Status{};
  choose_at_.erase(choose_at_.begin());
  co_return co_await vty_.configure(bgp::choose_again(*applied_), kConfigureTimeout);
}

asio::awaitable<Status> BgpController::open_session() {
  if (const auto open = co_await vty_.connect(paths_.vty_dir + "/bgpd.vty", kShowTimeout); !open) co_return open;
  const auto version = co_await vty_.show("show version", kShowTimeout);
  version_ = version ? short_version(*version) : "FRRouting";
  applied_.reset();  // whatever it has, it gets the whole intent
  refused_.reset();
  sessions_.clear();
  set_connected(Connected::kYes);
  log::info("bgp", "connected to {}", version_);
  co_return Status{};
}

bool BgpController::is_to_be_applied() const {
  return applied_ != wanted_ && (refused_ != wanted_ || clock_.now() >= apply_again_);
}

// It has taken the rest. Meanwhile its sessions are attended to.
void BgpController::note_refusal(const BgpIntentPtr& target, const Error& why) {
  refused_ = target;
  apply_again_ = clock_.now() + kApplyAgain;
  const std::string before = std::exchange(problem_, "it refuses " + why.message);
  if (problem_ != before) log::error("bgp", "bgpd: {}", problem_);
}

asio::awaitable<Status> BgpController::apply() {
  const BgpIntentPtr target = wanted_;
  // The AS number is the one thing that bgpd cannot change in place.
  const bool whole = !applied_ || applied_->asn != target->asn;
  bgp::Commands commands;
  bgp::Leftovers left;
  if (applied_ && whole) commands.push_back(std::format("no router bgp {}", applied_->asn));
  if (!applied_) {
    auto found = co_await read_leftovers(*target);
    if (!found) co_return std::unexpected(found.error());
    left = std::move(*found);
    std::ranges::move(left.before, std::back_inserter(commands));
  }
  for (auto& command : whole ? bgp::render(*target) : bgp::diff(*applied_, *target))
    commands.push_back(std::move(command));
  std::ranges::move(left.after, std::back_inserter(commands));
  const std::size_t count = commands.size();
  const bool judges_anew = bgp::changes_import(commands);
  if (const auto done = co_await vty_.configure(std::move(commands), kConfigureTimeout); !done) {
    if (done.error().code != Errc::kRefused) co_return done;
    note_refusal(target, done.error());
    co_return Status{};
  }
  refused_.reset();
  problem_.clear();
  if (judges_anew) choose_again_later();
  if (!whole)
    for (const IpAddress& peer : bgp::raised_limits(*applied_, *target)) raised_.insert(peer);
  log::info("bgp", "{} commands applied, {} peers", count, target->peers.size());
  applied_ = target;
  if (applied_ == wanted_ && has_applied_) has_applied_();
  co_return Status{};
}

// What bgpd still has from a configuration that gwd never saw (it was down when it changed).
asio::awaitable<Result<bgp::Leftovers>> BgpController::read_leftovers(const bgp::BgpIntent& target) {
  const auto configured = co_await vty_.show(bgp::kShowConfigured, kShowTimeout);
  if (!configured) co_return std::unexpected(configured.error());
  auto left = bgp::leftovers(*configured, target);
  if (left.found > 0) log::info("bgp", "{} lines of an earlier configuration are removed", left.found);
  co_return left;
}

asio::awaitable<Status> BgpController::read_sessions() {
  const bgp::DeviceKeys keys = bgp::device_keys(*wanted_);
  const auto summary = co_await vty_.show(bgp::kShowSummary, kShowTimeout);
  if (!summary) co_return std::unexpected(summary.error());
  auto sessions = bgp::parse_summary(*summary, keys);
  if (!sessions) co_return std::unexpected(sessions.error());
  std::vector<IpAddress> changed;
  for (auto& [address, session] : *sessions) {
    const auto before = sessions_.find(address);
    if (before != sessions_.end() && bgp::is_same_session(before->second, session))
      keep_details(before->second, session);
    else
      changed.push_back(address);
  }
  std::vector<std::string> questions;
  if (clock_.now() >= next_details_ || changed.size() > kFewChanges) {
    questions.emplace_back(bgp::kShowNeighbors);
    next_details_ = clock_.now() + kDetails;
  } else {
    for (const IpAddress& address : changed) questions.push_back(bgp::show_neighbor((*sessions)[address].name));
  }
  for (std::string& question : questions) {
    const auto answer = co_await vty_.show(std::move(question), kShowTimeout);
    if (!answer) co_return std::unexpected(answer.error());
    if (const auto added = bgp::add_neighbors(*answer, *sessions, keys); !added) co_return added;
  }
  sessions_ = std::move(*sessions);
  co_return Status{};
}

asio::awaitable<Status> BgpController::attend_bfd() {
  auto commands = bgp::attend(*wanted_, sessions_, bfd_.states());
  if (commands.empty()) co_return Status{};
  next_details_ = {};  // what bgpd watches now is among them
  co_return co_await vty_.configure(std::move(commands), kConfigureTimeout);
}

asio::awaitable<Status> BgpController::start_forgotten() {
  if (clock_.now() < next_start_) co_return Status{};
  for (const std::string& neighbour : bgp::forgotten(*wanted_, sessions_, bfd_.states())) {
    next_start_ = clock_.now() + kStartPause;
    const auto done = co_await start(neighbour, "bgpd does not open it again, and its BFD is up");
    if (!done) co_return done;
  }
  co_return Status{};
}

asio::awaitable<Status> BgpController::start_freed() {
  for (const IpAddress& peer : std::exchange(raised_, {})) {
    const auto session = sessions_.find(peer);
    if (session == sessions_.end() || !session->second.ended_by_limit()) continue;
    const auto done =
        co_await start(session->second.name, "it ended at its limit of routes, which is a larger one now");
    if (!done) co_return done;
  }
  co_return Status{};
}

asio::awaitable<Status> BgpController::start(std::string neighbour, std::string_view why) {
  log::warning("bgp", "session with {}: {}; bgpd is told to open it", neighbour, why);
  const auto done = co_await vty_.show("clear bgp " + neighbour, kShowTimeout);
  co_return done ? Status{} : std::unexpected(done.error());
}

asio::awaitable<Result<std::vector<bgp::RouteRow>>> BgpController::routes(IpAddress peer, bgp::Direction direction) {
  const auto session = sessions_.find(peer);
  if (session == sessions_.end()) co_return fail(Errc::kNotFound, std::format("no BGP peer {}", peer));
  const std::string name = session->second.name;
  std::vector<bgp::RouteRow> rows;
  for (const Family family : {Family::kV4, Family::kV6}) {
    const std::string command =
        direction == bgp::Direction::kReceived ? bgp::show_received(name, family) : bgp::show_advertised(name, family);
    const auto text = co_await vty_.show(command, kShowTimeout);
    if (!text) co_return std::unexpected(text.error());
    auto part = bgp::parse_routes(*text, session->second, direction);
    if (!part) co_return std::unexpected(part.error());
    std::ranges::move(*part, std::back_inserter(rows));
  }
  co_return rows;
}

asio::awaitable<Result<bool>> BgpController::has_received(IpAddress peer, Prefix prefix) {
  const auto session = sessions_.find(peer);
  if (session == sessions_.end()) co_return fail(Errc::kNotFound, std::format("no BGP peer {}", peer));
  const auto text = co_await vty_.show(bgp::show_received(session->second.name, prefix), kShowTimeout);
  if (!text) co_return std::unexpected(text.error());
  const auto rows = bgp::parse_routes(*text, session->second, bgp::Direction::kReceived);
  if (!rows) co_return std::unexpected(rows.error());
  co_return std::ranges::contains(*rows, prefix, &bgp::RouteRow::network);
}

asio::awaitable<Result<std::string>> BgpController::running_config() {
  if (!connected_) co_return fail(Errc::kClosed, "bgpd is away");
  co_return co_await vty_.show("show running-config", kShowTimeout);
}

}  // namespace gw::gwd
