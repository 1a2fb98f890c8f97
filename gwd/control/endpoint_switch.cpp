#include "gwd/control/endpoint_switch.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr std::chrono::hours kIdle{1};  // every order wakes the loop

std::uint64_t to_ns(MonoTime time) { return static_cast<std::uint64_t>(time.time_since_epoch().count()); }

}  // namespace

EndpointSwitch::EndpointSwitch(const Parts& parts, Owner owner)
    : parts_(parts),
      owner_(std::move(owner)),
      mover_(parts.io,
             {.failed = [this](const IpAddress& address,
                               const std::string& what) { owner_.tell(ha::ActionFailed{address, what}); },
              .announce_route = [this](const IpAddress& address,
                                       std::optional<ha::Epoch> claim) { owner_.announce_route(address, claim); }}),
      wake_(parts.io) {}

void EndpointSwitch::start() {
  running_ = true;
  asio::co_spawn(parts_.io, run(), kEndOnException);
}

void EndpointSwitch::stop() {
  stopping_ = true;
  // A kernel without gw-fastpath's programs would answer for it.
  for (auto& [address, endpoint] : endpoints_)
    if (endpoint.address_goes) remove_address(endpoint);
  for (auto& [address, endpoint] : endpoints_)
    if (endpoint.withdraws) withdraw(endpoint);
  mover_.stop();
  wake_.wake();
}

void EndpointSwitch::configure(AddressMover::Settings settings, const std::vector<config::HaEndpoint>& endpoints) {
  wan_interface_ = settings.interface;
  mover_.configure(std::move(settings));
  for (auto& [address, endpoint] : endpoints_) endpoint.removed = true;
  for (const config::HaEndpoint& model : endpoints) {
    Endpoint& endpoint = endpoints_[model.address];
    const bool moves_otherwise = endpoint.model.move != model.move || endpoint.model.hook != model.hook;
    endpoint.model = model;
    endpoint.removed = false;
    if (endpoint.carried && endpoint.wanted == ha::Ownership::kOwned && moves_otherwise)
      mover_.attract(endpoint.model, endpoint.epoch);
  }
  forget_removed();
  put_due_ = true;
  wake_.wake();
}

void EndpointSwitch::own(const ha::Own& order) {
  const auto it = endpoints_.find(order.address);
  if (it == endpoints_.end()) return;
  met_ = true;
  Endpoint& endpoint = it->second;
  endpoint.wanted = ha::Ownership::kOwned;
  endpoint.epoch = order.epoch;
  endpoint.how = order.how;
  endpoint.until = order.until;
  endpoint.dirty = true;
  endpoint.parting.reset();
  endpoint.withdraws.reset();
  wake_.wake();
}

void EndpointSwitch::extend(const ha::Extend& order) {
  const auto it = endpoints_.find(order.address);
  if (it == endpoints_.end() || it->second.epoch != order.epoch) return;
  it->second.until = order.until;
  put_due_ = true;
  wake_.wake();
}

void EndpointSwitch::release(const ha::Release& order) {
  const auto it = endpoints_.find(order.address);
  if (it == endpoints_.end()) return;
  Endpoint& endpoint = it->second;
  endpoint.wanted = ha::Ownership::kStandby;
  endpoint.epoch = order.epoch;
  endpoint.until.reset();
  endpoint.cause = order.cause;
  endpoint.dirty = true;
  wake_.wake();
}

// Those of an earlier hand-over may come late, or again.
void EndpointSwitch::taken(const IpAddress& address, ha::Epoch epoch) {
  const auto it = endpoints_.find(address);
  if (it == endpoints_.end() || !it->second.parting || epoch <= it->second.epoch) return;
  it->second.parting = parts_.clock.now();
  wake_.wake();
}

void EndpointSwitch::resync() {
  met_ = true;
  put_due_ = true;
  wake_.wake();
}

bool EndpointSwitch::carries(const IpAddress& address) const {
  const auto it = endpoints_.find(address);
  return it != endpoints_.end() && it->second.carried;
}

bool EndpointSwitch::announces(const IpAddress& address) const {
  const auto it = endpoints_.find(address);
  return it != endpoints_.end() && it->second.model.move == config::MoveBy::kBgp &&
         (it->second.carried || it->second.withdraws);
}

bool EndpointSwitch::busy() const {
  return working_ || has_work() ||
         std::ranges::any_of(endpoints_, [](const auto& entry) { return entry.second.parting.has_value(); });
}

bool EndpointSwitch::has_work() const {
  if (!met_) return false;
  const MonoTime now = parts_.clock.now();
  return put_due_ || std::ranges::any_of(endpoints_, [&](const auto& entry) {
           const Endpoint& e = entry.second;
           return e.dirty || (e.parting && *e.parting <= now) || (e.address_goes && *e.address_goes <= now) ||
                  (e.withdraws && *e.withdraws <= now);
         });
}

std::chrono::nanoseconds EndpointSwitch::until_next() const {
  std::chrono::nanoseconds pause = kIdle;
  for (const auto& [address, endpoint] : endpoints_)
    for (const auto& due : {endpoint.parting, endpoint.address_goes, endpoint.withdraws})
      if (due) pause = std::min(pause, *due - parts_.clock.now());
  return std::max(pause, std::chrono::nanoseconds(0));
}

asio::awaitable<void> EndpointSwitch::run() {
  while (!stopping_) {
    if (!has_work()) {
      co_await wake_.sleep(std::chrono::ceil<std::chrono::milliseconds>(until_next()));
      continue;
    }
    working_ = true;
    co_await step();
    working_ = false;
  }
  running_ = false;
}

// Those that are still endpoints: a new document may have come meanwhile.
void EndpointSwitch::set_dirty(const std::vector<IpAddress>& addresses) {
  for (const IpAddress& address : addresses)
    if (const auto it = endpoints_.find(address); it != endpoints_.end()) it->second.dirty = true;
}

void EndpointSwitch::forget_removed() {
  if (std::erase_if(endpoints_, [](const auto& entry) { return entry.second.over(); }) > 0) put_due_ = true;
}

bool EndpointSwitch::is_planned_release(const IpAddress& address) const {
  const Endpoint& e = endpoints_.at(address);
  return e.carried && e.wanted == ha::Ownership::kStandby && e.cause == ha::ReleaseCause::kHandOver;
}

asio::awaitable<void> EndpointSwitch::step() {
  end_what_is_over();
  co_await finish_partings();
  // What is ordered from here on waits for the next step.
  put_due_ = false;
  std::vector<IpAddress> planned;
  std::vector<IpAddress> releases;
  std::vector<IpAddress> owns;
  for (auto& [address, endpoint] : endpoints_) {
    if (!std::exchange(endpoint.dirty, false)) continue;
    if (endpoint.wanted == ha::Ownership::kOwned)
      owns.push_back(address);
    else
      (is_planned_release(address) ? planned : releases).push_back(address);
  }
  // Before gw-fastpath opens, so that it finds the way of what it sends. Until then it answers nobody for them.
  if (parts_.fastpath.connected())
    for (const IpAddress& address : owns) add_address(endpoints_.at(address));
  // Exchanges under way end first, which may take a while; packets go on meanwhile.
  if (!planned.empty()) co_await release_ike(planned);
  std::vector<Put> put_owns;
  for (const IpAddress& address : owns)
    if (const auto it = endpoints_.find(address); it != endpoints_.end())
      put_owns.push_back({address, it->second.epoch});
  auto put = co_await put_exactly();
  if (!put) {
    if (put.error().code != Errc::kClosed && put.error().code != Errc::kTimeout)
      log::error("ha", "gw-fastpath does not take the endpoints: {}", put.error().describe());
    put_due_ = true;
    set_dirty(owns);
    for (const IpAddress& address : owns)
      if (const auto it = endpoints_.find(address); it != endpoints_.end() && !it->second.carried)
        remove_address(it->second);
    // A fast path that is gone sends nothing, and one that comes back is told before anything else. One that is only
    // silent may send yet: what it has is not released before it says so.
    if (!parts_.fastpath.gone()) {
      set_dirty(std::exchange(releases, {}));
      set_dirty(std::exchange(planned, {}));
    }
  }
  if (!planned.empty()) part(planned);
  if (!releases.empty()) co_await finish_releases(std::move(releases));
  if (!put) {
    co_await wake_.sleep(kRetry);
    co_return;
  }
  forget_removed();
  if (!put_owns.empty()) co_await finish_owns(std::move(put_owns));
  if (put->needs_rekey_size() > 0) owner_.rekey({put->needs_rekey().begin(), put->needs_rekey().end()});
}

asio::awaitable<Result<fp::PutEndpointsReply>> EndpointSwitch::put_endpoints() {
  fp::ClientFrame frame;
  fp::PutEndpoints& put = *frame.mutable_put_endpoints();
  for (const auto& [address, endpoint] : endpoints_) {
    fp::EndpointClaim& claim = *put.add_endpoints();
    const bool owned = endpoint.wanted == ha::Ownership::kOwned;
    claim.set_address(address.bytes_string());
    claim.set_ownership(owned ? fp::OWNERSHIP_OWNED : fp::OWNERSHIP_STANDBY);
    claim.set_lease_epoch(endpoint.epoch);
    if (endpoint.until) claim.set_deadline_ns(to_ns(*endpoint.until));
    claim.set_handover(endpoint.how == ha::Handover::kPlanned ? fp::HANDOVER_PLANNED : fp::HANDOVER_TAKEOVER);
    claim.set_awaits_positions(owned && endpoint.how == ha::Handover::kPlanned);
    claim.set_parting(!owned && (endpoint.parting || is_planned_release(address)));
  }
  auto reply = co_await parts_.fastpath.request(std::move(frame));
  if (!reply) co_return std::unexpected(reply.error());
  co_return std::move(*reply->mutable_put_endpoints());
}

/// Again until the old owner's last positions are here, for a moment; then sequence numbers go on as after a takeover.
asio::awaitable<Result<fp::PutEndpointsReply>> EndpointSwitch::put_exactly() {
  const MonoTime late = parts_.clock.now() + kPositions;
  fp::PutEndpointsReply all;
  for (;;) {
    auto put = co_await put_endpoints();
    if (!put) co_return put;
    all.mutable_needs_rekey()->MergeFrom(put->needs_rekey());
    if (put->awaited().empty()) co_return all;
    if (parts_.clock.now() < late) {
      asio::steady_timer timer(parts_.io, std::chrono::milliseconds(1));
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      continue;
    }
    for (const std::string& bytes : put->awaited()) {
      const auto address = IpAddress::from_bytes(std::string_view(bytes));
      const auto it = address ? endpoints_.find(*address) : endpoints_.end();
      if (it == endpoints_.end()) continue;
      log::warning("ha", "{}: its old owner's last positions are not here: sequence numbers go on as after a takeover",
                   *address);
      it->second.how = ha::Handover::kTakeover;
    }
  }
}

asio::awaitable<void> EndpointSwitch::release_ike(std::vector<IpAddress> addresses) {
  for (const IpAddress& address : addresses) {
    const auto released = co_await parts_.ike.release(address, kIkeTimeout);
    if (released || released.error().code == Errc::kClosed) continue;
    owner_.tell(ha::ActionFailed{address, "charon did not let go of it: " + released.error().describe()});
    const auto it = endpoints_.find(address);
    if (it != endpoints_.end() && !std::exchange(it->second.letting_go, true))
      asio::co_spawn(parts_.io, let_go(address), kEndOnException);
  }
}

/// charon goes on behind our back; it is asked again until it has let go, so that the alarm ends. Beside run(): what
/// else is ordered does not wait for it.
asio::awaitable<void> EndpointSwitch::let_go(IpAddress address) {
  ++asking_again_;
  asio::steady_timer timer(parts_.io);
  while (!stopping_) {
    timer.expires_after(kAskAgain);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    const auto is_released = [&] {
      const auto it = endpoints_.find(address);
      return it != endpoints_.end() && it->second.wanted == ha::Ownership::kStandby;
    };
    if (stopping_ || !is_released()) break;  // ours again: its alarm ends with that
    const auto released = co_await parts_.ike.release(address, kIkeTimeout);
    if (!released && released.error().code != Errc::kClosed) continue;
    if (is_released()) owner_.tell(ha::ActionFailed{address, {}});
    break;
  }
  if (const auto it = endpoints_.find(address); it != endpoints_.end()) it->second.letting_go = false;
  --asking_again_;
}

/// The fast path has stopped: the next owner may begin. Everything else here stays as it is until that forwards.
void EndpointSwitch::part(const std::vector<IpAddress>& addresses) {
  for (const IpAddress& address : addresses) {
    const auto it = endpoints_.find(address);
    if (it == endpoints_.end() || it->second.wanted == ha::Ownership::kOwned) continue;  // ours again meanwhile
    it->second.parting = parts_.clock.now() + kParting;
    owner_.tell(ha::ReleaseDone{address, it->second.epoch});
  }
}

/// Routes first: packets that wait for that are on their way then.
asio::awaitable<void> EndpointSwitch::finish_partings() {
  std::vector<IpAddress> gone;
  for (auto& [address, endpoint] : endpoints_) {
    if (!endpoint.parting || *endpoint.parting > parts_.clock.now()) continue;
    endpoint.parting.reset();
    endpoint.carried = false;
    if (endpoint.model.move != config::MoveBy::kGarp) endpoint.withdraws = parts_.clock.now() + kStillAnnounces;
    gone.push_back(address);
  }
  if (gone.empty()) co_return;
  co_await owner_.redirect();
  owner_.carry();
  put_due_ = true;  // devices lose their carrier
  for (const IpAddress& address : gone) {
    const auto it = endpoints_.find(address);
    if (it == endpoints_.end() || it->second.carried) continue;
    if (!it->second.withdraws) mover_.repel(it->second.model);
    it->second.address_goes = parts_.clock.now() + kStillReceives;
  }
}

asio::awaitable<void> EndpointSwitch::finish_releases(std::vector<IpAddress> addresses) {
  std::vector<ha::ReleaseDone> done;
  bool changed = false;
  co_await release_ike(addresses);
  for (const IpAddress& address : addresses) {
    const auto it = endpoints_.find(address);
    if (it == endpoints_.end() || it->second.wanted == ha::Ownership::kOwned) continue;  // ours again meanwhile
    changed = std::exchange(it->second.carried, false) || changed;
    it->second.parting.reset();
    repel(it->second);
    done.push_back({address, it->second.epoch});
  }
  if (changed) owner_.carry();
  for (const ha::ReleaseDone& event : done) owner_.tell(event);
}

/// What was ordered since then is the next step's.
bool EndpointSwitch::still_wanted(const Put& own) const {
  const auto it = endpoints_.find(own.address);
  return it != endpoints_.end() && it->second.wanted == ha::Ownership::kOwned && it->second.epoch == own.epoch;
}

asio::awaitable<void> EndpointSwitch::finish_owns(std::vector<Put> owns) {
  std::erase_if(owns, [this](const Put& own) { return !still_wanted(own); });
  for (const Put& own : owns) {
    Endpoint& endpoint = endpoints_.at(own.address);
    endpoint.carried = true;
    mover_.attract(endpoint.model, endpoint.epoch);
  }
  co_await owner_.redirect();
  for (const Put& own : owns)
    if (still_wanted(own)) owner_.forwards(own.address, own.epoch);
  for (const auto& [address, epoch] : owns) {
    const auto it = endpoints_.find(address);
    const bool handed_over = it != endpoints_.end() && it->second.how == ha::Handover::kPlanned;
    const auto taken =
        co_await parts_.ike.take(address, kIkeTimeout, handed_over ? kLastWord : std::chrono::milliseconds(0));
    if (taken && taken->ike_sas > 0)
      log::info("ha", "{}: {} IKE SAs in {} us", address, taken->ike_sas, taken->took.count());
    if (!taken && taken.error().code != Errc::kClosed)
      owner_.tell(ha::ActionFailed{address, "charon did not take it over: " + taken.error().describe()});
  }
  owner_.carry();
  for (const Put& own : owns)
    if (still_wanted(own) && endpoints_.at(own.address).carried) owner_.tell(ha::OwnDone{own.address, own.epoch});
}

DeviceAddress EndpointSwitch::device_address(const Endpoint& endpoint) const {
  const IpAddress& address = endpoint.model.address;
  return DeviceAddress::on_link(wan_interface_, {address, static_cast<std::uint8_t>(address_bits(address.family()))});
}

void EndpointSwitch::add_address(Endpoint& endpoint) {
  endpoint.address_goes.reset();
  if (const auto done = parts_.kernel.add_address(device_address(endpoint)); !done)
    owner_.tell(ha::ActionFailed{endpoint.model.address, done.error().describe()});
}

void EndpointSwitch::repel(Endpoint& endpoint) {
  endpoint.withdraws.reset();
  mover_.repel(endpoint.model);
  remove_address(endpoint);
}

void EndpointSwitch::remove_address(Endpoint& endpoint) {
  endpoint.address_goes.reset();
  if (const auto done = parts_.kernel.remove_address(device_address(endpoint)); !done)
    owner_.tell(ha::ActionFailed{endpoint.model.address, done.error().describe()});
}

void EndpointSwitch::withdraw(Endpoint& endpoint) {
  endpoint.withdraws.reset();
  mover_.repel(endpoint.model);
}

void EndpointSwitch::end_what_is_over() {
  for (auto& [address, endpoint] : endpoints_) {
    if (endpoint.withdraws && *endpoint.withdraws <= parts_.clock.now()) withdraw(endpoint);
    if (endpoint.address_goes && *endpoint.address_goes <= parts_.clock.now()) remove_address(endpoint);
  }
}

}  // namespace gw::gwd
