#include "gwd/control/address_mover.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/control/announcement.hpp"
#include "gwd/control/hook.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

/// What is to be so for one endpoint; one coroutine at a time brings it about.
struct AddressMover::Job {
  explicit Job(asio::io_context& io) : wake(io) {}

  AddressMover* mover = nullptr;  // empty: stopped
  config::HaEndpoint endpoint;
  ha::Switch here = ha::Switch::kOff;
  std::uint64_t wanted = 0;  // grows with every order
  std::uint64_t done = 0;
  bool running = false;
  bool failing = false;  // and the owner has been told so
  LoopWake wake;

  /// Nothing newer was ordered than what is being done.
  bool current(std::uint64_t order) const { return mover != nullptr && wanted == order; }
};

AddressMover::AddressMover(asio::io_context& io, Owner owner) : io_(io), owner_(std::move(owner)) {}

AddressMover::~AddressMover() { stop(); }

void AddressMover::stop() {
  for (const auto& [address, job] : jobs_) {
    job->mover = nullptr;
    job->wake.wake();
  }
  jobs_.clear();
}

// The way may be another one than last time: a commit can change it.
void AddressMover::move(const config::HaEndpoint& endpoint, std::optional<ha::Epoch> claim) {
  if (endpoint.move == config::MoveBy::kBgp) {
    if (jobs_.contains(endpoint.address)) move_by_job(endpoint, ha::Switch::kOff);  // ends what another way has begun
    announced_.insert(endpoint.address);
    return owner_.announce_route(endpoint.address, claim);
  }
  move_by_job(endpoint, claim ? ha::Switch::kOn : ha::Switch::kOff);
  if (announced_.erase(endpoint.address) > 0) owner_.announce_route(endpoint.address, std::nullopt);
}

void AddressMover::move_by_job(const config::HaEndpoint& endpoint, ha::Switch here) {
  std::shared_ptr<Job>& job = jobs_[endpoint.address];
  if (!job) job = std::make_shared<Job>(io_);
  job->mover = this;
  job->endpoint = endpoint;
  job->here = here;
  ++job->wanted;
  if (std::exchange(job->running, true)) return job->wake.wake();
  asio::co_spawn(io_, work(job), kEndOnException);
}

asio::awaitable<void> AddressMover::work(std::shared_ptr<Job> job) {
  while (job->mover != nullptr && job->done != job->wanted) {
    const std::uint64_t order = job->wanted;
    switch (job->endpoint.move) {
      case config::MoveBy::kGarp:
        if (job->here == ha::Switch::kOn) co_await announce_all(job);
        break;
      case config::MoveBy::kHook: co_await call_hook(job); break;
      case config::MoveBy::kBgp: break;
    }
    job->done = order;
    // Whoever woke it for the next order has been heard: the pauses of that one are its own.
    if (job->done != job->wanted) co_await job->wake.sleep(std::chrono::milliseconds(0));
  }
  job->running = false;
}

asio::awaitable<void> AddressMover::announce_all(std::shared_ptr<Job> job) {
  const std::uint64_t order = job->wanted;
  const auto begun = std::chrono::steady_clock::now();
  for (const std::chrono::milliseconds at : kAnnounceAfter) {
    auto due = begun + at;
    while (job->current(order) && std::chrono::steady_clock::now() < due) {
      co_await job->wake.sleep(std::chrono::ceil<std::chrono::milliseconds>(due - std::chrono::steady_clock::now()));
      // This process stood still: another instance may have the address by now, and that comes to be known first.
      if (std::chrono::steady_clock::now() > due + kLate) due = std::chrono::steady_clock::now() + kBreath;
    }
    if (!job->current(order)) co_return;
    const IpAddress address = job->endpoint.address;
    if (const Status told = announce(job->mover->settings_.interface, address); !told)
      job->mover->owner_.failed(address, told.error().describe());
  }
}

/// PROGRAM take|release ADDRESS INTERFACE; until it succeeds, or something else is wanted.
asio::awaitable<void> AddressMover::call_hook(std::shared_ptr<Job> job) {
  const std::uint64_t order = job->wanted;
  std::chrono::milliseconds pause = kFirstRetry;
  while (job->current(order)) {
    const Settings& settings = job->mover->settings_;
    const config::HaEndpoint endpoint = job->endpoint;
    const std::string word = job->here == ha::Switch::kOn ? "take" : "release";
    const IpAddress shown = endpoint.public_address.value_or(endpoint.address);
    const Status done = co_await run_hook(
        {.program = endpoint.hook,
         .arguments = {word, endpoint.address.to_string(), settings.interface},
         .environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GW_ACTION=" + word,
                         "GW_ADDRESS=" + endpoint.address.to_string(), "GW_PUBLIC_ADDRESS=" + shown.to_string(),
                         "GW_INTERFACE=" + settings.interface, "GW_INSTANCE=" + settings.instance},
         .timeout = settings.hook_timeout});
    if (done) {
      log::info("ha", "{} {} {}: done", endpoint.hook, word, endpoint.address);
      if (std::exchange(job->failing, false) && job->mover != nullptr) job->mover->owner_.failed(endpoint.address, {});
      co_return;
    }
    if (!job->current(order)) co_return;
    job->failing = true;
    job->mover->owner_.failed(endpoint.address, done.error().describe());
    co_await job->wake.sleep(pause);
    pause = std::min(pause * 2, kLastRetry);
  }
}

}  // namespace gw::gwd
