#include "gwd/control/forwarding.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <utility>

#include "base/log.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds kRetryPause{1};
constexpr std::chrono::hours kIdle{1};  // every change wakes the loop

void fill_prefix(fp::Route& route, const Prefix& prefix) {
  route.set_prefix(prefix.address().bytes_string());
  route.set_prefix_length(prefix.length());
}

}  // namespace

Forwarding::Forwarding(asio::io_context& io, FastpathClient& client) : io_(io), client_(client), wake_(io) {}

void Forwarding::start() { asio::co_spawn(io_, run(), asio::detached); }

void Forwarding::stop() {
  stopping_ = true;
  wake_.wake();
}

void Forwarding::set_tunnel(const fp::PutTunnel& tunnel) {
  wanted_tunnels_[tunnel.tunnel_id()] = tunnel;
  dirty_tunnels_.insert(tunnel.tunnel_id());
  wake_.wake();
}

void Forwarding::remove_tunnel(std::uint32_t tunnel_id) {
  if (wanted_tunnels_.erase(tunnel_id) == 0) return;
  dirty_tunnels_.insert(tunnel_id);
  wake_.wake();
}

void Forwarding::set_route(const Prefix& prefix, ForwardingEntry entry) {
  auto [it, inserted] = wanted_routes_.try_emplace(prefix);
  if (!inserted && it->second == entry) return;
  it->second = std::move(entry);
  dirty_routes_.insert(prefix);
  wake_.wake();
}

void Forwarding::remove_route(const Prefix& prefix) {
  if (wanted_routes_.erase(prefix) == 0) return;
  dirty_routes_.insert(prefix);
  wake_.wake();
}

void Forwarding::set_complete() {
  complete_ = true;
  wake_.wake();
}

void Forwarding::resync() {
  acknowledged_routes_.clear();
  for (const auto& [id, tunnel] : wanted_tunnels_) dirty_tunnels_.insert(id);
  for (const auto& [prefix, entry] : wanted_routes_) dirty_routes_.insert(prefix);
  sync_done_sent_ = false;
  wake_.wake();
}

asio::awaitable<void> Forwarding::run() {
  while (!stopping_) {
    const bool work = !in_sync() || (complete_ && !sync_done_sent_);
    if (!client_.connected() || !work) {
      co_await wake_.sleep(kIdle);
      continue;
    }
    // Tunnels first: a route may name a new one.
    Status ok = co_await push_tunnels();
    if (ok) ok = co_await push_routes();
    if (ok) ok = co_await push_sync_done();
    if (!ok) {
      if (ok.error().code != Errc::kClosed) log::warning("fastpath", "forwarding update failed: {}", ok.error().describe());
      co_await wake_.sleep(kRetryPause);
    }
  }
}

asio::awaitable<Status> Forwarding::push_tunnels() {
  while (!dirty_tunnels_.empty()) {
    const std::uint32_t id = *dirty_tunnels_.begin();
    dirty_tunnels_.erase(dirty_tunnels_.begin());
    fp::ClientFrame frame;
    const auto wanted = wanted_tunnels_.find(id);
    const bool put = wanted != wanted_tunnels_.end();
    if (put) *frame.mutable_put_tunnel() = wanted->second;
    else frame.mutable_del_tunnel()->set_tunnel_id(id);
    const auto reply = co_await client_.request(std::move(frame));
    if (!reply && !(reply.error().code == Errc::kNotFound && !put)) {
      dirty_tunnels_.insert(id);
      co_return std::unexpected(reply.error());
    }
    if (put && tunnel_ready_) tunnel_ready_(id);
  }
  co_return Status{};
}

asio::awaitable<Status> Forwarding::push_routes() {
  while (!dirty_routes_.empty()) {
    std::vector<Prefix> batch;
    fp::ClientFrame frame;
    auto& update = *frame.mutable_update_routes();
    while (!dirty_routes_.empty() && batch.size() < kBatch) {
      batch.push_back(dirty_routes_.extract(dirty_routes_.begin()).value());
      const Prefix& prefix = batch.back();
      if (const auto it = wanted_routes_.find(prefix); it != wanted_routes_.end()) {
        auto& route = *update.add_add();
        fill_prefix(route, prefix);
        route.set_kind(it->second.kind);
        for (const std::uint32_t id : it->second.tunnel_ids) route.add_tunnel_ids(id);
        if (it->second.gateway) route.set_gateway(it->second.gateway->bytes_string());
      } else {
        fill_prefix(*update.add_remove(), prefix);
      }
    }
    const auto reply = co_await client_.request(std::move(frame));
    if (!reply) {
      dirty_routes_.insert(batch.begin(), batch.end());
      co_return std::unexpected(reply.error());
    }
    for (const Prefix& prefix : batch) {
      if (wanted_routes_.contains(prefix)) acknowledged_routes_.insert(prefix);
      else acknowledged_routes_.erase(prefix);
    }
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
