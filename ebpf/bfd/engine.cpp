#include "ebpf/bfd/engine.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace gw::bfd {

namespace {

/// `wanted` says nothing that `key` does not.
bool is_covered(const SessionKey& wanted, const SessionKey& key) {
  return wanted.peer == key.peer && wanted.hops == key.hops && (wanted.device.empty() || wanted.device == key.device) &&
         (wanted.local.is_unspecified() || wanted.local == key.local);
}

}  // namespace

// --- bfdd -------------------------------------------------------------------------------------------------

Status Engine::add(const AddSession& wanted, MonoTime now) {
  const auto known = by_bfdd_.find(wanted.id);
  if (known != by_bfdd_.end() && !is_covered(wanted.key, known->second->key)) detach(*known->second, wanted.id, now);
  Entry* entry = find_running(wanted);
  if (!entry) {
    if (sessions_.size() >= kMaxSessions)
      return fail(Errc::kLimit, std::format("there are {} BFD sessions already", sessions_.size()));
    const auto shared = shared_.find(wanted.key);
    if (shared != shared_.end() && shared->second.snapshot.state == State::kUp) {
      entry = &make_from(shared->second, wanted.settings, now);
    } else {
      const std::uint32_t own = free_discriminator(static_cast<std::uint32_t>(wanted.id));
      entry = &make(wanted.key, Session(own, wanted.settings, now), now);
    }
  }
  if (entry->key == wanted.key) {
    entry->min_ttl = wanted.min_ttl;
    entry->session.configure(wanted.settings, now);
  }
  attach(*entry, wanted.id);
  service(*entry, now);
  if (changed_) changed_(*entry);  // whatever it is: bfdd takes a new session for down
  return {};
}

/// The very session, or, for one that names no device or no local address, the one that does: bgpd, which outlived a
/// bfdd, asks the new one for its sessions before gwd has told it all of that. Two of them would make the peer reset
/// both.
Engine::Entry* Engine::find_running(const AddSession& wanted) {
  if (const auto it = sessions_.find(wanted.key); it != sessions_.end()) return it->second.get();
  for (auto it = sessions_.lower_bound({.peer = wanted.key.peer}); it != sessions_.end(); ++it) {
    if (it->first.peer != wanted.key.peer) break;
    if (is_covered(wanted.key, it->first) && it->second->session.state() != State::kAdminDown) return it->second.get();
  }
  return nullptr;
}

void Engine::attach(Entry& entry, DplaneId id) {
  if (!std::ranges::contains(entry.bfdd, id)) entry.bfdd.push_back(id);
  entry.ends.reset();
  entry.leaves.reset();
  by_bfdd_[id] = &entry;
}

void Engine::detach(Entry& entry, DplaneId id, MonoTime now) {
  std::erase(entry.bfdd, id);
  by_bfdd_.erase(id);
  if (!entry.bfdd.empty()) return;
  entry.leaves = now + kReturn;
  enqueue(entry);
}

void Engine::remove(DplaneId id, MonoTime now) {
  if (const auto it = by_bfdd_.find(id); it != by_bfdd_.end()) detach(*it->second, id, now);
}

/// The peer is told, and the session kept for a while so that it hears it.
void Engine::leave(Entry& entry, MonoTime now) {
  entry.leaves.reset();
  const auto hears =
      std::clamp<std::chrono::nanoseconds>(entry.session.detection_time(), std::chrono::seconds(1), kFarewell);
  Settings off = entry.session.settings();
  off.admin = Admin::kDisabled;
  entry.session.configure(off, now);
  entry.ends = now + hears;
  service(entry, now);
}

void Engine::detach_all(MonoTime now) {
  by_bfdd_.clear();
  for (auto& [key, entry] : sessions_) {
    if (std::exchange(entry->bfdd, {}).empty()) continue;
    entry->ends = now + kOrphan;
    enqueue(*entry);
  }
}

const Engine::Entry* Engine::find(DplaneId id) const {
  const auto it = by_bfdd_.find(id);
  return it == by_bfdd_.end() ? nullptr : it->second;
}

// --- sessions -----------------------------------------------------------------------------------------------

std::uint32_t Engine::free_discriminator(std::uint32_t wanted) {
  while (wanted == 0 || by_discriminator_.contains(wanted)) wanted = random_();
  return wanted;
}

Engine::Entry& Engine::make(const SessionKey& key, Session session, MonoTime now) {
  auto& place = sessions_[key];
  place = std::make_unique<Entry>(key, std::move(session));
  place->since = now;
  by_discriminator_[place->session.local_discriminator()] = place.get();
  enqueue(*place);
  return *place;
}

Engine::Entry& Engine::make_from(const SharedSession& shared, const Settings& settings, MonoTime now) {
  Snapshot snapshot = shared.snapshot;
  snapshot.local_discriminator = free_discriminator(snapshot.local_discriminator);
  Entry& entry = make(shared.key, Session(snapshot, settings, now), now);
  entry.min_ttl = shared.min_ttl;
  entry.origin = Origin::kAdopted;
  return entry;
}

// --- the other instance ---------------------------------------------------------------------------------------

void Engine::put_shared(SharedSession session) {
  if (shared_.size() >= kMaxSessions && !shared_.contains(session.key)) return;
  const SessionKey key = session.key;
  shared_.insert_or_assign(key, std::move(session));
}

void Engine::adopt(const std::string& device, MonoTime now) {
  for (const auto& [key, shared] : shared_) {
    if (key.device != device || shared.snapshot.state != State::kUp) continue;
    const auto here = sessions_.find(key);
    if (here != sessions_.end() && here->second->session.state() == State::kUp) continue;
    std::vector<DplaneId> bfdd;
    Settings settings = shared.settings;
    if (here != sessions_.end()) {
      const Entry& old = *here->second;
      bfdd = old.bfdd;
      if (!bfdd.empty()) settings = old.session.settings();
      if (settings.admin == Admin::kDisabled) continue;
      by_discriminator_.erase(old.session.local_discriminator());
      sessions_.erase(here);
    }
    Entry& entry = make_from(shared, settings, now);
    for (const DplaneId id : bfdd) attach(entry, id);
    if (bfdd.empty()) entry.ends = now + kOrphan;
    service(entry, now);
  }
}

void Engine::adopt_all(MonoTime now) {
  std::set<std::string> devices;
  for (const auto& [key, shared] : shared_) devices.insert(key.device);
  for (const std::string& device : devices) adopt(device, now);
  shared_.clear();
}

// --- packets ---------------------------------------------------------------------------------------------------

/// The peer's address, the way that it came and how far (RFC 5881 4, 5; RFC 5883 4, 5).
bool Engine::is_its_place(Entry& entry, const Received& r) {
  const SessionKey& key = entry.key;
  if (key.peer != r.source || key.hops != r.hops) return false;
  if (!key.local.is_unspecified() && key.local != r.local) return false;
  if (key.device.empty()) return true;
  open_link(entry);  // of a passive session, nothing has been sent yet
  return entry.link && entry.link->ifindex() == r.ifindex;
}

std::expected<Engine::Entry*, Refusal> Engine::match(const Packet& packet, const Received& r) {
  if (packet.your_discriminator != 0) {
    const auto it = by_discriminator_.find(packet.your_discriminator);
    if (it == by_discriminator_.end()) return std::unexpected(Refusal::kUnknownSession);
    if (!is_its_place(*it->second, r)) return std::unexpected(Refusal::kAnotherPlace);
    return it->second;
  }
  // Several for a peer differ by device or local address: a few at most.
  for (auto it = sessions_.lower_bound({.peer = r.source}); it != sessions_.end() && it->first.peer == r.source; ++it)
    if (is_its_place(*it->second, r)) return it->second.get();
  return std::unexpected(Refusal::kUnknownSession);
}

void Engine::receive(const Received& r, MonoTime now) {
  const auto packet = parse(r.bytes);
  if (!packet) return refuse(packet.error());
  const auto found = match(*packet, r);
  if (!found) return refuse(found.error());
  Entry& entry = **found;
  if (r.ttl < entry.min_ttl) return refuse(Refusal::kTtl);
  ++entry.counts.in_packets;
  entry.counts.in_bytes += r.bytes.size();
  if (const auto heard = entry.session.receive(*packet, now); !heard) return refuse(heard.error());
  service(entry, now);
}

void Engine::run(MonoTime now) {
  while (!queue_.empty() && queue_.top().at <= now) {
    const Due due = queue_.top();
    queue_.pop();
    const auto it = by_discriminator_.find(due.discriminator);
    if (it == by_discriminator_.end()) continue;
    Entry& entry = *it->second;
    if (entry.queued == due.at) entry.queued = MonoTime::max();
    if (entry.ends && now >= *entry.ends) {
      if (ended_) ended_(entry);
      by_discriminator_.erase(it);
      sessions_.erase(SessionKey(entry.key));
      continue;
    }
    if (entry.leaves && now >= *entry.leaves)
      leave(entry, now);
    else
      service(entry, now);
  }
}

/// What the session wants done now, and when it wants to be looked at again.
void Engine::service(Entry& entry, MonoTime now) {
  entry.session.advance(now);
  while (const auto packet = entry.session.take_packet(now)) send(entry, *packet);
  tell(entry, now);
  enqueue(entry);
}

void Engine::open_link(Entry& entry) {
  if (entry.link) return;
  if (auto made = links_(entry.key)) entry.link = std::move(*made);
}

void Engine::send(Entry& entry, const Packet& packet) {
  open_link(entry);
  if (!entry.link) return;
  const auto bytes = serialize(packet);
  if (!entry.link->send(bytes)) return entry.link.reset();
  ++entry.counts.out_packets;
  entry.counts.out_bytes += bytes.size();
}

void Engine::tell(Entry& entry, MonoTime now) {
  const State state = entry.session.state();
  const Remote& remote = entry.session.remote();
  if (entry.told_state == state && entry.told_remote == remote) return;
  if (entry.told_state != state) entry.since = now;
  entry.told_state = state;
  entry.told_remote = remote;
  if (changed_) changed_(entry);
}

/// Packets that come put due() off all the time: an entry stays where it is in the queue, and is looked at too early.
void Engine::enqueue(Entry& entry) {
  const MonoTime at =
      std::min({entry.session.due(), entry.ends.value_or(MonoTime::max()), entry.leaves.value_or(MonoTime::max())});
  if (at >= entry.queued) return;
  entry.queued = at;
  queue_.push({at, entry.session.local_discriminator()});
}

}  // namespace gw::bfd
