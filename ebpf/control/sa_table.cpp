#include "ebpf/control/sa_table.hpp"

#include <algorithm>

namespace gw::control {

SaEntry& SaTable::insert(SaEntry entry) {
  const SaKey key = entry.key;
  if (entry.active) active_[entry.tunnel_id] = key;
  const std::uint32_t tunnel = entry.tunnel_id;
  const auto [it, is_new] = entries_.insert_or_assign(key, std::move(entry));
  if (is_new) ++of_tunnel_[tunnel];
  return it->second;
}

SaEntry* SaTable::find(const SaKey& key) {
  const auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second;
}

SaEntry* SaTable::find_key(const KeyIdentity& identity) {
  // Ordered by SPI first; few SAs, usually one, have the same.
  for (auto it = entries_.lower_bound({identity.spi, IpAddress{}}); it != entries_.end(); ++it) {
    SaEntry& e = it->second;
    if (e.key.spi != identity.spi) break;
    if (e.direction == identity.direction && e.fingerprint == identity.fingerprint) return &e;
  }
  return nullptr;
}

void SaTable::move(const SaKey& from, const SaKey& to) {
  if (from == to) return;
  auto node = entries_.extract(from);
  node.key() = to;
  node.mapped().key = to;
  if (node.mapped().active) active_[node.mapped().tunnel_id] = to;
  entries_.insert(std::move(node));
}

SaEntry* SaTable::active(std::uint32_t tunnel_id) {
  const auto it = active_.find(tunnel_id);
  return it == active_.end() ? nullptr : find(it->second);
}

void SaTable::activate(SaEntry& entry) {
  if (SaEntry* before = active(entry.tunnel_id)) before->active = false;
  entry.active = true;
  active_[entry.tunnel_id] = entry.key;
}

std::size_t SaTable::count(std::uint32_t tunnel_id) const {
  const auto it = of_tunnel_.find(tunnel_id);
  return it == of_tunnel_.end() ? 0 : it->second;
}

void SaTable::erase(const SaKey& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return;
  if (it->second.active) active_.erase(it->second.tunnel_id);
  if (const auto count = of_tunnel_.find(it->second.tunnel_id); --count->second == 0) of_tunnel_.erase(count);
  entries_.erase(it);
}

void SaTable::on_hello(std::uint64_t epoch) {
  epoch_ = epoch;
  for (auto& [key, e] : entries_)
    if (e.owner_epoch == epoch) e.seen = false;
}

std::vector<SaKey> SaTable::not_seen(std::uint64_t epoch) const {
  std::vector<SaKey> keys;
  for (const auto& [key, e] : entries_)
    if (e.owner_epoch == epoch && !e.seen && !e.leaving) keys.push_back(key);
  return keys;
}

void SaTable::on_confirmed(const SaKey& key, MonoTime now) {
  if (SaEntry* e = find(key); e && !e->confirmed) e->confirmed = now;
}

void SaTable::on_raised(const SaKey& key, std::uint8_t events) {
  if (SaEntry* e = find(key)) e->raised |= events;
}

std::vector<SaKey> SaTable::ended_orphans(MonoTime now) const {
  std::map<std::uint32_t, MonoTime> replaced;  // tunnel -> when its new SA proved itself
  for (const auto& [key, e] : entries_) {
    if (is_orphan(e) || !e.confirmed) continue;
    const auto [it, first] = replaced.emplace(e.tunnel_id, *e.confirmed);
    if (!first) it->second = std::min(it->second, *e.confirmed);
  }
  std::vector<SaKey> keys;
  for (const auto& [key, e] : entries_) {
    if (!is_orphan(e) || e.leaving) continue;
    const auto it = replaced.find(e.tunnel_id);
    const bool succeeded = it != replaced.end() && now >= it->second + kOrphanGrace;
    const bool expired = e.hard_lifetime.count() > 0 && now >= e.installed + e.hard_lifetime;
    if (succeeded || expired) keys.push_back(key);
  }
  return keys;
}

}  // namespace gw::control
