#include "gwd/control/endpoint_announcer.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <format>
#include <iterator>
#include <set>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

EndpointAnnouncer::EndpointAnnouncer(asio::io_context& io, const Clock& clock, const std::string& vty_dir)
    : io_(io), clock_(clock), path_(vty_dir + "/bgpd.vty"), vty_(io.get_executor()), wake_(io) {
  vty_.on_closed([this](const Error&) {  // BgpController says so
    forget();
    wake_.wake();
  });
}

void EndpointAnnouncer::start() { asio::co_spawn(io_, run(), kEndOnException); }

void EndpointAnnouncer::stop() {
  stopping_ = true;
  vty_.close();
  wake_.wake();
}

/// Another bgpd may have other things.
void EndpointAnnouncer::forget() {
  told_ = false;
  read_ = false;
  maps_.clear();
}

void EndpointAnnouncer::set(std::uint32_t asn, Announcements wanted) {
  if (asn_ == asn && wanted_ == wanted) return;
  if (asn_ != asn) told_ = false;  // that is another router for bgpd
  asn_ = asn;
  wanted_ = std::move(wanted);
  wake_.wake();
}

void EndpointAnnouncer::expect(std::set<std::uint32_t> meds) {
  if (expected_ == meds) return;
  expected_ = std::move(meds);
  prepare_at_ = std::chrono::steady_clock::now() + kQuiet;
  wake_.wake();
}

asio::awaitable<void> EndpointAnnouncer::run() {
  while (!stopping_) {
    const auto now = std::chrono::steady_clock::now();
    if (!needed() || (in_sync() && (!prepare_at_ || *prepare_at_ > now))) {
      const auto pause = prepare_at_ && needed() ? *prepare_at_ - now : kIdle;
      co_await wake_.sleep(std::chrono::ceil<std::chrono::milliseconds>(pause));
      continue;
    }
    const Status done = co_await step();
    if (!done && !vty_.is_open()) forget();
    if (done) {
      trouble_.clear();
      continue;
    }
    if (in_sync()) {  // what failed was a preparation: what comes next takes longer, and is tried again before
      log::warning("bgp", "route-maps of the next claims: {}", done.error().describe());
      trouble_.clear();
      prepare_at_ = std::chrono::steady_clock::now() + kPrepareAgain;
      continue;
    }
    if (trouble_ != done.error().message) log::warning("bgp", "endpoints on the wan: {}", done.error().describe());
    if (trouble_.empty()) trouble_since_ = clock_.now();
    trouble_ = done.error().message;
    co_await wake_.sleep(kReconnectPause);
  }
}

asio::awaitable<Status> EndpointAnnouncer::step() {
  if (!vty_.is_open()) {
    forget();
    if (const auto open = co_await vty_.connect(path_, kTimeout); !open) co_return open;
  }
  if (!in_sync()) co_return co_await tell();
  co_return co_await prepare();
}

std::set<std::uint32_t> EndpointAnnouncer::used_by(const Announcements& announcements) const {
  std::set<std::uint32_t> meds;
  for (const auto& [address, med] : announcements)
    if (med) meds.insert(*med);
  return meds;
}

// New ones first; what goes may take its time. After a connect bgpd may have any of them, and all is said.
bgp::Commands EndpointAnnouncer::commands_to(const Announcements& target) const {
  std::set<std::uint32_t> missing = used_by(target);
  std::erase_if(missing, [this](std::uint32_t med) { return maps_.contains(med); });
  bgp::Commands out = bgp::in_transaction(bgp::claim_maps(missing));
  const auto add = [&out](bgp::Commands commands) { std::ranges::move(commands, std::back_inserter(out)); };
  const auto is_new = [this](const auto& entry) {
    const auto before = applied_.find(entry.first);
    return !told_ || before == applied_.end() || before->second != entry.second;
  };
  for (const auto& entry : target)
    if (entry.second && is_new(entry)) add(bgp::announce(asn_, {entry.first, entry.second}));
  for (const auto& entry : target)
    if (!entry.second && is_new(entry)) add(bgp::withdraw(asn_, entry.first));
  for (const auto& [address, med] : applied_)
    if (med && !target.contains(address)) add(bgp::withdraw(asn_, address));
  return out;
}

/// A `no` of what a new bgpd does not have is no fault.
asio::awaitable<Status> EndpointAnnouncer::configure(bgp::Commands commands) {
  commands.insert(commands.begin(), bgp::Command("configure terminal"));
  commands.emplace_back("end");
  std::vector<std::string> names;
  for (const bgp::Command& command : commands) names.push_back(command.text);
  const auto replies = co_await vty_.run(std::move(commands), kTimeout);
  if (!replies) co_return std::unexpected(replies.error());
  for (std::size_t i = 0; i < replies->size(); ++i)
    if (!(*replies)[i].ok() && !names[i].starts_with("no "))
      co_return fail(Errc::kRefused, std::format("'{}': {}", names[i], (*replies)[i].output));
  co_return Status{};
}

asio::awaitable<Status> EndpointAnnouncer::tell() {
  Announcements target = wanted_;
  const std::uint32_t router = asn_;
  const auto begun = std::chrono::steady_clock::now();
  bgp::Commands commands = commands_to(target);
  told_ = false;  // if one is refused, those before it have taken effect
  if (const auto done = co_await configure(std::move(commands)); !done) co_return done;
  const auto now = std::chrono::steady_clock::now();
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(now - begun);
  const auto announced = std::ranges::count_if(target, [](const auto& entry) { return entry.second.has_value(); });
  log::info("bgp", "{} of {} endpoints are announced on the wan ({} us)", announced, target.size(), took.count());
  maps_.merge(used_by(target));
  applied_ = std::move(target);
  told_ = asn_ == router;
  prepare_at_ = now + kQuiet;
  co_return Status{};
}

/// Route-maps of what may come next are made, those of what has been are removed.
asio::awaitable<Status> EndpointAnnouncer::prepare() {
  prepare_at_.reset();
  if (!read_) {
    const auto shown = co_await vty_.show(bgp::kShowClaimMaps, kTimeout);
    if (!shown) co_return std::unexpected(shown.error());
    maps_ = bgp::read_claim_maps(*shown);
    read_ = true;
  }
  std::set<std::uint32_t> kept = used_by(applied_);
  kept.insert(expected_.begin(), expected_.end());
  std::set<std::uint32_t> missing;
  std::set<std::uint32_t> gone;
  std::ranges::set_difference(kept, maps_, std::inserter(missing, missing.end()));
  std::ranges::set_difference(maps_, kept, std::inserter(gone, gone.end()));
  bgp::Commands commands = bgp::claim_maps(missing);
  std::ranges::move(bgp::remove_claim_maps(gone), std::back_inserter(commands));
  if (commands.empty()) co_return Status{};
  maps_.clear();  // whatever becomes of it
  if (const auto done = co_await configure(bgp::in_transaction(std::move(commands))); !done) {
    read_ = false;
    co_return done;
  }
  maps_ = std::move(kept);
  co_return Status{};
}

}  // namespace gw::gwd
