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
              .advertise = [this](const IpAddress& address, ha::Switch to) { owner_.advertise(address, to); }}),
      wake_(parts.io) {}

void EndpointSwitch::start() {
  running_ = true;
  asio::co_spawn(parts_.io, run(), kEndOnException);
}

void EndpointSwitch::stop() {
  stopping_ = true;
  mover_.stop();
  wake_.wake();
}

void EndpointSwitch::configure(AddressMover::Settings settings, const std::vector<config::HaEndpoint>& endpoints) {
  wan_interface_ = settings.interface;
  mover_.configure(std::move(settings));
  std::map<IpAddress, Endpoint> next;
  for (const config::HaEndpoint& model : endpoints) {
    const auto before = endpoints_.find(model.address);
    Endpoint& endpoint = next[model.address];
    if (before != endpoints_.end()) endpoint = before->second;
    endpoint.model = model;
  }
  endpoints_ = std::move(next);
  put_due_ = true;
  wake_.wake();
}

void EndpointSwitch::own(const ha::Own& order) {
  const auto it = endpoints_.find(order.address);
  if (it == endpoints_.end()) return;
  Endpoint& endpoint = it->second;
  endpoint.wanted = ha::Ownership::kOwned;
  endpoint.epoch = order.epoch;
  endpoint.how = order.how;
  endpoint.until = order.until;
  endpoint.dirty = true;
  endpoint.leaving = false;
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
  endpoint.leaving = endpoint.carried && order.cause == ha::ReleaseCause::kHandOver;
  wake_.wake();
}

void EndpointSwitch::resync() {
  put_due_ = true;
  wake_.wake();
}

bool EndpointSwitch::carries(const IpAddress& address) const {
  const auto it = endpoints_.find(address);
  return it != endpoints_.end() && it->second.carried;
}

bool EndpointSwitch::is_leaving(const IpAddress& address) const {
  const auto it = endpoints_.find(address);
  return it != endpoints_.end() && it->second.leaving;
}

bool EndpointSwitch::has_work() const {
  return put_due_ || std::ranges::any_of(endpoints_, [](const auto& entry) { return entry.second.dirty; });
}

asio::awaitable<void> EndpointSwitch::run() {
  while (!stopping_) {
    if (!has_work()) {
      co_await wake_.sleep(kIdle);
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

asio::awaitable<void> EndpointSwitch::step() {
  if (std::ranges::any_of(endpoints_, [](const auto& entry) { return entry.second.leaving; }))
    co_await owner_.redirect();
  // What is ordered from here on waits for the next step.
  put_due_ = false;
  std::vector<IpAddress> releases;
  std::vector<IpAddress> owns;
  for (auto& [address, endpoint] : endpoints_) {
    if (!std::exchange(endpoint.dirty, false)) continue;
    (endpoint.wanted == ha::Ownership::kOwned ? owns : releases).push_back(address);
  }
  auto put = co_await put_endpoints();
  if (!put) {
    if (put.error().code != Errc::kClosed && put.error().code != Errc::kTimeout)
      log::error("ha", "gw-fastpath does not take the endpoints: {}", put.error().describe());
    put_due_ = true;
    set_dirty(owns);
    // A fast path that is gone sends nothing, and one that comes back is told before anything else. One that is only
    // silent may send yet: what it has is not released before it says so.
    if (!parts_.fastpath.gone()) set_dirty(std::exchange(releases, {}));
  }
  if (!releases.empty()) co_await finish_releases(std::move(releases));
  if (!put) {
    co_await wake_.sleep(kRetry);
    co_return;
  }
  if (!owns.empty()) co_await finish_owns(std::move(owns));
  if (!put->empty()) owner_.rekey(std::move(*put));
}

asio::awaitable<Result<std::vector<fp::SaId>>> EndpointSwitch::put_endpoints() {
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
  }
  auto reply = co_await parts_.fastpath.request(std::move(frame));
  if (!reply) co_return std::unexpected(reply.error());
  const auto& list = reply->put_endpoints().needs_rekey();
  co_return std::vector<fp::SaId>(list.begin(), list.end());
}

asio::awaitable<void> EndpointSwitch::finish_releases(std::vector<IpAddress> addresses) {
  std::vector<ha::ReleaseDone> done;
  bool changed = false;
  for (const IpAddress& address : addresses) {
    const auto released = co_await parts_.ike.release(address, kIkeTimeout);
    if (!released && released.error().code != Errc::kClosed)
      owner_.tell(ha::ActionFailed{address, "charon did not let go of it: " + released.error().describe()});
    const auto it = endpoints_.find(address);
    if (it == endpoints_.end() || it->second.wanted == ha::Ownership::kOwned) continue;  // ours again meanwhile
    changed = std::exchange(it->second.carried, false) || changed;
    it->second.leaving = false;
    repel(it->second);
    done.push_back({address, it->second.epoch});
  }
  if (changed) owner_.carry();
  for (const ha::ReleaseDone& event : done) owner_.tell(event);
}

asio::awaitable<void> EndpointSwitch::finish_owns(std::vector<IpAddress> addresses) {
  std::erase_if(addresses, [this](const IpAddress& address) { return !endpoints_.contains(address); });
  for (const IpAddress& address : addresses) {
    Endpoint& endpoint = endpoints_.at(address);
    endpoint.carried = true;
    attract(endpoint);
  }
  for (const IpAddress& address : addresses) {
    const auto taken = co_await parts_.ike.take(address, kIkeTimeout);
    if (taken && taken->ike_sas > 0)
      log::info("ha", "{}: {} IKE SAs in {} us", address, taken->ike_sas, taken->took.count());
    if (!taken && taken.error().code != Errc::kClosed)
      owner_.tell(ha::ActionFailed{address, "charon did not take it over: " + taken.error().describe()});
  }
  owner_.carry();
  for (const IpAddress& address : addresses) {
    const auto it = endpoints_.find(address);
    if (it != endpoints_.end() && it->second.carried && it->second.wanted == ha::Ownership::kOwned)
      owner_.tell(ha::OwnDone{address, it->second.epoch});
  }
}

DeviceAddress EndpointSwitch::device_address(const Endpoint& endpoint) const {
  const IpAddress& address = endpoint.model.address;
  return DeviceAddress::on_link(wan_interface_, {address, static_cast<std::uint8_t>(address_bits(address.family()))});
}

void EndpointSwitch::attract(const Endpoint& endpoint) {
  if (const auto done = parts_.kernel.add_address(device_address(endpoint)); !done)
    owner_.tell(ha::ActionFailed{endpoint.model.address, done.error().describe()});
  mover_.attract(endpoint.model);
}

void EndpointSwitch::repel(const Endpoint& endpoint) {
  mover_.repel(endpoint.model);
  if (const auto done = parts_.kernel.remove_address(device_address(endpoint)); !done)
    owner_.tell(ha::ActionFailed{endpoint.model.address, done.error().describe()});
}

}  // namespace gw::gwd
