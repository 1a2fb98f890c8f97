#include "gwd/control/forwarding.hpp"

#include <google/protobuf/util/message_differencer.h>

#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds kRetryPause{1};
constexpr std::chrono::hours kIdle{1};  // every change wakes the loop

bool breaks_session(const Error& error) { return error.code == Errc::kClosed || error.code == Errc::kTimeout; }

void fill_prefix(fp::Route& route, const Prefix& prefix) {
  route.set_prefix(prefix.address().bytes_string());
  route.set_prefix_length(prefix.length());
}

}  // namespace

Forwarding::Forwarding(asio::io_context& io, FastpathClient& client) : io_(io), client_(client), wake_(io) {}

void Forwarding::start() { asio::co_spawn(io_, run(), kEndOnException); }

void Forwarding::stop() {
  stopping_ = true;
  wake_.wake();
}

void Forwarding::set_tunnel(const fp::PutTunnel& tunnel) {
  const std::uint32_t id = tunnel.tunnel_id();
  const auto [it, inserted] = wanted_tunnels_.try_emplace(id, tunnel);
  if (!inserted) {
    const bool same = google::protobuf::util::MessageDifferencer::Equals(it->second, tunnel);
    if (same && (ready_tunnels_.contains(id) || dirty_tunnels_.contains(id))) return;
    it->second = tunnel;
  }
  ready_tunnels_.erase(id);
  dirty_tunnels_.insert(id);
  wake_.wake();
}

void Forwarding::remove_tunnel(std::uint32_t tunnel_id) {
  if (wanted_tunnels_.erase(tunnel_id) == 0) return;
  ready_tunnels_.erase(tunnel_id);
  dirty_tunnels_.insert(tunnel_id);
  wake_.wake();
}

void Forwarding::set_settings(const fp::PutSettings& settings) {
  if (google::protobuf::util::MessageDifferencer::Equals(settings, wanted_settings_)) return;
  wanted_settings_ = settings;
  settings_dirty_ = true;
  wake_.wake();
}

void Forwarding::set_route(const Prefix& prefix, ForwardingEntry entry) {
  auto [it, inserted] = wanted_routes_.try_emplace(prefix);
  if (!inserted && it->second == entry) return;
  it->second = std::move(entry);
  tell(prefix);
  wake_.wake();
}

void Forwarding::remove_route(const Prefix& prefix) {
  if (wanted_routes_.erase(prefix) == 0) return;
  tell(prefix);
  wake_.wake();
}

void Forwarding::tell(const Prefix& prefix) {
  const bool wanted = wanted_routes_.contains(prefix);
  (wanted ? to_remove_ : to_add_).erase(prefix);
  (wanted ? to_add_ : to_remove_).insert(prefix);
}

void Forwarding::set_complete() {
  complete_ = true;
  wake_.wake();
}

void Forwarding::resync() {
  acknowledged_routes_.clear();
  ready_tunnels_.clear();
  refused_tunnels_.clear();
  refused_routes_.clear();
  settings_dirty_ = true;
  for (const auto& [id, tunnel] : wanted_tunnels_) dirty_tunnels_.insert(id);
  for (const auto& [prefix, entry] : wanted_routes_) to_add_.insert(to_add_.end(), prefix);
  sync_done_sent_ = false;
  wake_.wake();
}

asio::awaitable<void> Forwarding::run() {
  while (!stopping_) {
    const bool work = !in_sync() || (complete_ && !sync_done_sent_);
    if (!client_.connected() || !work) {
      const bool refused = client_.connected() && refused_count() > 0;
      co_await wake_.sleep(refused ? std::chrono::milliseconds(kRetryRefused) : std::chrono::milliseconds(kIdle));
      if (refused) retry_refused();
      continue;
    }
    Status ok = co_await push_settings();
    // Tunnels first: a route may name a new one.
    if (ok) ok = co_await push_tunnels();
    if (ok) ok = co_await push_routes();
    if (ok) ok = co_await push_sync_done();
    if (!ok) co_await wake_.sleep(kRetryPause);  // the session is gone; everything is sent again in the next one
  }
}

void Forwarding::retry_refused() {
  dirty_tunnels_.merge(refused_tunnels_);
  for (const Prefix& prefix : refused_routes_) tell(prefix);
  refused_tunnels_.clear();
  refused_routes_.clear();
}

// An error only if the session is broken.
asio::awaitable<Status> Forwarding::push_settings() {
  if (!settings_dirty_) co_return Status{};
  settings_dirty_ = false;
  fp::ClientFrame frame;
  *frame.mutable_put_settings() = wanted_settings_;
  const auto reply = co_await client_.request(std::move(frame));
  if (reply) co_return Status{};
  if (!breaks_session(reply.error())) {
    log::error("fastpath", "the settings were refused: {}", reply.error().describe());
    co_return Status{};
  }
  settings_dirty_ = true;
  co_return std::unexpected(reply.error());
}

asio::awaitable<Status> Forwarding::push_tunnels() {
  while (!dirty_tunnels_.empty()) {
    const std::uint32_t id = dirty_tunnels_.extract(dirty_tunnels_.begin()).value();
    if (const auto done = co_await push_tunnel(id); !done) {
      dirty_tunnels_.insert(id);
      co_return done;
    }
  }
  co_return Status{};
}

// An error only if the session is broken.
asio::awaitable<Status> Forwarding::push_tunnel(std::uint32_t id) {
  fp::ClientFrame frame;
  const auto wanted = wanted_tunnels_.find(id);
  const bool put = wanted != wanted_tunnels_.end();
  if (put)
    *frame.mutable_put_tunnel() = wanted->second;
  else
    frame.mutable_del_tunnel()->set_tunnel_id(id);
  const auto reply = co_await client_.request(std::move(frame));
  if (!reply && breaks_session(reply.error())) co_return std::unexpected(reply.error());
  if (!put) co_return Status{};  // refused means that it is not there
  if (reply) {
    refused_tunnels_.erase(id);
    if (!dirty_tunnels_.contains(id)) ready_tunnels_.insert(id);
    if (tunnel_ready_) tunnel_ready_(id);
  } else if (refused_tunnels_.insert(id).second) {
    log::error("fastpath", "tunnel {} was refused: {}", id, reply.error().describe());
  }
  co_return Status{};
}

asio::awaitable<Status> Forwarding::push_routes() {
  while (!to_add_.empty() || !to_remove_.empty()) {
    const std::vector<Prefix> batch = take_batch();
    if (const auto done = co_await push_batch(batch); !done) {
      for (const Prefix& prefix : batch) tell(prefix);
      co_return done;
    }
  }
  co_return Status{};
}

// Removals first: they make room.
std::vector<Prefix> Forwarding::take_batch() {
  std::set<Prefix>& from = to_remove_.empty() ? to_add_ : to_remove_;
  std::vector<Prefix> batch;
  while (!from.empty() && batch.size() < kBatch) batch.push_back(from.extract(from.begin()).value());
  return batch;
}

// A batch is taken whole or not at all; a refused one is halved until the culprit stands alone. An error only
// if the session is broken.
asio::awaitable<Status> Forwarding::push_batch(std::vector<Prefix> batch) {
  fp::ClientFrame frame;
  auto& update = *frame.mutable_update_routes();
  for (const Prefix& prefix : batch) {
    const auto it = wanted_routes_.find(prefix);
    if (it == wanted_routes_.end()) {
      fill_prefix(*update.add_remove(), prefix);
      continue;
    }
    auto& route = *update.add_add();
    fill_prefix(route, prefix);
    route.set_kind(it->second.kind);
    for (const std::uint32_t id : it->second.tunnel_ids) route.add_tunnel_ids(id);
    for (const IpAddress& gateway : it->second.gateways) route.add_gateways(gateway.bytes_string());
    route.set_behind(it->second.behind);
  }
  const auto reply = co_await client_.request(std::move(frame));
  if (!reply && breaks_session(reply.error())) co_return std::unexpected(reply.error());
  if (!reply && batch.size() > 1) {
    const auto middle = batch.begin() + static_cast<std::ptrdiff_t>(batch.size() / 2);
    if (const auto done = co_await push_batch({batch.begin(), middle}); !done) co_return done;
    co_return co_await push_batch({middle, batch.end()});
  }
  for (const Prefix& prefix : batch) {
    if (!reply) {
      acknowledged_routes_.erase(prefix);
      if (refused_routes_.insert(prefix).second)
        log::error("fastpath", "route {} was refused: {}", prefix, reply.error().describe());
      continue;
    }
    refused_routes_.erase(prefix);
    if (wanted_routes_.contains(prefix))
      acknowledged_routes_.insert(prefix);
    else
      acknowledged_routes_.erase(prefix);
  }
  co_return Status{};
}

asio::awaitable<Status> Forwarding::push_sync_done() {
  if (!complete_ || sync_done_sent_ || !in_sync()) co_return Status{};
  fp::ClientFrame frame;
  frame.mutable_sync_done();
  const auto reply = co_await client_.request(std::move(frame));
  if (!reply) co_return std::unexpected(reply.error());
  sync_done_sent_ = true;
  co_return Status{};
}

}  // namespace gw::gwd
