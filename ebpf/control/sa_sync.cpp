#include "ebpf/control/sa_sync.hpp"

#include <algorithm>
#include <cstring>
#include <format>
#include <utility>

#include "base/log.hpp"
#include "ebpf/esp/grants.hpp"
#include "ebpf/esp/takeover_rules.hpp"

namespace gw::control {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr int kTogether = 1000;  // announcements in a frame: about 30 KiB

void fill(const esp::StoreName& name, fp::StoreId& out) {
  out.set_id(name.id.data(), name.id.size());
  out.set_generation(name.generation);
  out.set_connection(name.connection);
}

std::optional<esp::StoreName> parse(const fp::StoreId& m) {
  esp::StoreName name;
  if (m.id().size() != name.id.size()) return std::nullopt;
  std::memcpy(name.id.data(), m.id().data(), name.id.size());
  name.generation = m.generation();
  name.connection = m.connection();
  return name;
}

std::optional<SyncKey> parse_key(const std::string& bytes) {
  SyncKey key{};
  if (bytes.size() != key.size()) return std::nullopt;
  std::memcpy(key.data(), bytes.data(), key.size());
  return key;
}

std::uint64_t position_of(const SaSync::Sa& sa) {
  return esp::load_field(sa.direction == esp::Direction::kOutbound ? sa.record->next_sequence : sa.record->replay_top);
}

}  // namespace

SyncKey sync_key(std::span<const std::uint8_t> key_identity, esp::Direction direction) {
  esp::StoreSalt label{};
  const std::string_view text = direction == esp::Direction::kOutbound ? "gw sa sync 1, out" : "gw sa sync 1, in";
  std::ranges::copy(text, label.begin());
  return esp::fingerprint_of(key_identity, label);
}

// --- the connection ----------------------------------------------------------------------------------

fp::SaSync SaSync::frame() const {
  fp::SaSync m;
  fill(own_, *m.mutable_from());
  if (peer_) fill(*peer_, *m.mutable_to());
  return m;
}

void SaSync::connect() {
  disconnect();
  state_ = State::kMeeting;
  own_ = store_.next_connection();
  fp::SaSync m = frame();
  m.mutable_hello()->set_version(kVersion);
  m.mutable_hello()->set_instance(instance_);
  host_.send(m);
}

void SaSync::disconnect() {
  state_ = State::kAway;
  why_.clear();
  peer_.reset();
  trusted_ = false;
  remote_.clear();
  remote_by_key_.clear();
  grants_.Clear();
  in_flight_.clear();
}

void SaSync::refuse(std::string why) {
  disconnect();
  state_ = State::kRefused;
  why_ = std::move(why);
  log::error("sync", "the other instance is refused: {}", why_);
}

void SaSync::receive(std::string_view bytes) {
  if (!connected()) return;
  fp::SaSync m;
  if (!m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return refuse("a frame does not parse");
  if (m.has_hello()) return on_hello(m);
  const auto from = parse(m.from());
  const bool for_us = m.has_verdict() || parse(m.to()) == own_;
  if (!peer_ || from != peer_ || !for_us) {
    ++counters_.stale_frames;
    return;
  }
  if (m.has_verdict()) return on_verdict(m.verdict());
  if (state_ != State::kInSync) {
    ++counters_.stale_frames;
    return;
  }
  switch (m.body_case()) {
    case fp::SaSync::kAnnouncements: return on_announcements(m.announcements());
    case fp::SaSync::kPositions: return on_positions(m.positions());
    case fp::SaSync::kGrants: return on_grants(m.grants());
    case fp::SaSync::kAck: return on_ack(m.ack().batch());
    default: return;  // of a later version
  }
}

void SaSync::on_hello(const fp::SaSync& m) {
  const auto from = parse(m.from());
  if (!from) return refuse("its store has no id");
  if (m.hello().version() != kVersion)
    return refuse(std::format("it speaks version {} of the SA sync, this is {}", m.hello().version(), kVersion));
  if (m.hello().instance() == instance_ || m.hello().instance() > esp::kMaxInstance)
    return refuse(std::format("it says that it is instance {}; this one is {} (a cloned machine?)",
                              m.hello().instance(), instance_));
  if (from->id == own_.id) return refuse("it has this instance's own store (a cloned machine)");
  const esp::PeerStanding standing = store_.note_peer(m.hello().instance(), *from);
  const bool rolled_back = standing == esp::PeerStanding::kRolledBack;
  if (rolled_back)
    log::error("sync",
               "the store of instance {} has gone back in time (a restored snapshot?): it starts with a new one",
               m.hello().instance());
  remote_.clear();
  remote_by_key_.clear();
  peer_ = from;
  if (rolled_back) peer_.reset();
  judge(*from, standing);
  state_ = State::kMeeting;
  if (trusted_ && peer_) begin_telling();
}

void SaSync::judge(const esp::StoreName& store, esp::PeerStanding standing) {
  fp::SaSync m = frame();
  fill(store, *m.mutable_verdict()->mutable_about());
  m.mutable_verdict()->set_rolled_back(standing == esp::PeerStanding::kRolledBack);
  host_.send(m);
}

void SaSync::on_verdict(const fp::SyncVerdict& m) {
  if (parse(m.about()) != own_) return;  // about an earlier connection
  if (!m.rolled_back()) {
    trusted_ = true;
    if (state_ == State::kMeeting) begin_telling();
    return;
  }
  log::error("sync",
             "this instance's store has gone back in time (a restored snapshot?): its keys wait for new epochs");
  store_.forget_epochs([this](std::span<esp::RuntimeRecord* const> records) { host_.forget(records); });
  trusted_ = false;
  state_ = State::kMeeting;
  own_ = store_.next_connection();
  fp::SaSync again = frame();
  again.clear_to();
  again.mutable_hello()->set_version(kVersion);
  again.mutable_hello()->set_instance(instance_);
  host_.send(again);
  if (peer_) judge(*peer_, esp::PeerStanding::kKnown);  // what was said under the old name counts no more
}

/// Each side trusts the other's store. Everything is new to it.
void SaSync::begin_telling() {
  state_ = State::kInSync;
  in_flight_.clear();
  gone_.clear();
  for (std::uint32_t i = 0; i < local_.size(); ++i) {
    local_[i].reported = 0;
    if (local_[i].used) changed_.insert(i);
  }
  log::info("sync", "in sync with the other instance's gw-fastpath: {} SAs here", local_by_key_.size());
  tick();
}

// --- what the other says -----------------------------------------------------------------------------

void SaSync::on_announcements(const fp::SaAnnouncements& m) {
  for (const fp::SaAnnouncement& a : m.sas()) {
    const auto key = parse_key(a.key());
    if (!key || a.index() >= kMaxIndex) return refuse("an SA is announced in a way that this version does not know");
    if (a.index() >= remote_.size()) remote_.resize(a.index() + 1);
    Remote& remote = remote_[a.index()];
    if (a.gone() || (remote.there && remote.key != *key)) {
      if (remote.there) remote_by_key_.erase(remote.key);
      remote = {};
      if (a.gone()) continue;
    }
    if (const auto other = remote_by_key_.find(*key); other != remote_by_key_.end() && other->second != a.index())
      remote_[other->second] = {};
    remote.key = *key;
    remote.there = true;
    remote.blocks_end = a.blocks_end();
    remote.wants_grant = a.wants_grant();
    remote_by_key_[*key] = a.index();
    const auto local = local_by_key_.find(*key);
    remote.local = local == local_by_key_.end() ? kNowhere : local->second;
    if (remote.local != kNowhere) consider(remote, local_[remote.local]);
  }
  flush_grants();
}

/// Both sides have the SA.
void SaSync::consider(Remote& remote, Local& local) {
  if (local.sa.direction == esp::Direction::kOutbound) {
    esp::learn_peer_blocks(*local.sa.record, remote.blocks_end);
    if (remote.wants_grant) {
      if (const auto block = esp::grant_block(*local.sa.record)) {
        fp::EpochGrant& grant = *grants_.add_grants();
        grant.set_key(local.key.data(), local.key.size());
        grant.set_block(*block);
        grant.set_blocks_end(esp::own_blocks_end(*local.sa.record));
        remote.wants_grant = false;
        ++counters_.granted;
      }
    }
  }
  take_note(remote, local);
}

void SaSync::flush_grants() {
  if (grants_.grants().empty()) return;
  fp::SaSync m = frame();
  m.mutable_grants()->Swap(&grants_);
  m.mutable_grants()->set_generation(store_.next_generation().generation);
  grants_.Clear();
  host_.send(m);
}

void SaSync::on_grants(const fp::EpochGrants& m) {
  store_.note_progress({peer_->id, m.generation(), 0});
  std::vector<Granted> grants;
  for (const fp::EpochGrant& g : m.grants()) {
    const auto key = parse_key(g.key());
    Local* const local = key ? find(*key) : nullptr;
    if (!local || local->sa.direction != esp::Direction::kOutbound || !esp::wants_grant(*local->sa.record)) {
      ++counters_.refused_grants;
      continue;
    }
    esp::learn_peer_blocks(*local->sa.record, g.blocks_end());
    grants.push_back({local->sa.record, g.block()});
    changed_.insert(local_by_key_.at(*key));
  }
  if (!grants.empty()) host_.accept(grants);
}

void SaSync::on_positions(const fp::SaPositions& m) {
  if (m.steps_size() != m.advances_size()) return refuse("a report of positions is malformed");
  const MonoTime now = clock_.now();
  std::uint64_t index = 0;
  for (int i = 0; i < m.steps_size(); ++i) {
    index += m.steps(i);
    if (index >= remote_.size()) return refuse("a position is of an SA that was not announced");
    Remote& remote = remote_[index];
    remote.position += m.advances(i);
    remote.at = now;
    if (remote.local == kNowhere) continue;
    Local& local = local_[remote.local];
    if (local.owned) continue;
    local.exact = false;
    esp::note_report(*local.sa.record, remote.position, now);
  }
  if (!m.final_for().empty())
    if (const auto endpoint = IpAddress::from_bytes(m.final_for())) on_final(*endpoint);
  if (m.batch() == 0) return;
  store_.note_progress({peer_->id, m.batch(), 0});
  fp::SaSync ack = frame();
  ack.mutable_ack()->set_batch(m.batch());
  host_.send(ack);
}

void SaSync::on_final(const IpAddress& endpoint) {
  for (Local& local : local_) {
    if (!local.used || local.owned || local.sa.endpoint != endpoint) continue;
    const auto it = remote_by_key_.find(local.key);
    local.exact = it != remote_by_key_.end();
    if (local.exact) take_note(remote_[it->second], local);
  }
}

/// Also of what was reported while this instance still believed that it owns the endpoint itself.
void SaSync::take_note(const Remote& remote, const Local& local) {
  if (remote.position != 0 && !local.owned) esp::note_report(*local.sa.record, remote.position, remote.at);
}

void SaSync::on_ack(std::uint64_t batch) {
  while (!in_flight_.empty() && in_flight_.front().number <= batch) {
    const auto lag = clock_.now() - in_flight_.front().sent;
    lags_us_[lags_++ % lags_us_.size()] =
        static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(lag).count());
    in_flight_.pop_front();
  }
}

// --- what is told ------------------------------------------------------------------------------------

void SaSync::tick() {
  if (state_ != State::kInSync) return;
  announce();
  if (in_flight_.size() >= kMaxInFlight) return;
  fp::SaSync m = frame();
  fp::SaPositions& positions = *m.mutable_positions();
  tell_positions(positions, nullptr);
  if (positions.steps().empty()) return;
  positions.set_batch(store_.next_generation().generation);
  in_flight_.push_back({positions.batch(), clock_.now()});
  host_.send(m);
}

void SaSync::announce() {
  fp::SaSync m = frame();
  const auto flush = [&] {
    if (!m.has_announcements()) return;
    host_.send(m);
    m = frame();
  };
  const auto next = [&]() -> fp::SaAnnouncement& {
    if (m.announcements().sas_size() >= kTogether) flush();
    return *m.mutable_announcements()->add_sas();
  };
  for (const std::uint32_t index : std::exchange(gone_, {})) {
    fp::SaAnnouncement& a = next();
    a.set_index(index);
    a.set_key(std::string(sizeof(SyncKey), '\0'));
    a.set_gone(true);
  }
  for (const std::uint32_t index : std::exchange(changed_, {})) {
    const Local& local = local_[index];
    fp::SaAnnouncement& a = next();
    a.set_index(index);
    a.set_key(local.key.data(), local.key.size());
    if (local.sa.direction != esp::Direction::kOutbound) continue;
    a.set_blocks_end(esp::own_blocks_end(*local.sa.record));
    a.set_wants_grant(esp::wants_grant(*local.sa.record));
  }
  flush();
}

/// Of all SAs that are used here, or of those of one endpoint.
void SaSync::tell_positions(fp::SaPositions& out, const IpAddress* endpoint) {
  std::uint32_t before = 0;
  constexpr std::size_t kAhead = 8;
  for (std::uint32_t i = 0; i < local_.size(); ++i) {
    // Each record is a miss of the cache: the worker has its line.
    if (i + kAhead < local_.size() && local_[i + kAhead].sa.record)
      __builtin_prefetch(&local_[i + kAhead].sa.record->next_sequence);
    Local& local = local_[i];
    if (!local.used || (endpoint ? local.sa.endpoint != *endpoint : !local.owned)) continue;
    const std::uint64_t position = position_of(local.sa);
    if (position <= local.reported) continue;
    out.add_steps(i - before);
    out.add_advances(position - local.reported);
    before = i;
    local.reported = position;
    ++counters_.reports;
  }
}

void SaSync::tell_final(const IpAddress& endpoint) {
  if (state_ != State::kInSync) return;
  announce();
  fp::SaSync m = frame();
  tell_positions(*m.mutable_positions(), &endpoint);
  m.mutable_positions()->set_final_for(endpoint.bytes_string());
  m.mutable_positions()->set_batch(store_.next_generation().generation);
  host_.send(m);
}

// --- the SAs here ------------------------------------------------------------------------------------

SaSync::Local* SaSync::find(const SyncKey& key) {
  const auto it = local_by_key_.find(key);
  return it == local_by_key_.end() ? nullptr : &local_[it->second];
}

void SaSync::add(const SyncKey& key, const Sa& sa) {
  if (local_by_key_.contains(key)) remove(key);
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(local_.size()));
    local_.emplace_back();
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  local_[index] = {.key = key, .sa = sa, .used = true, .owned = host_.owned(sa.endpoint)};
  local_by_key_[key] = index;
  const auto remote = remote_by_key_.find(key);
  if (remote != remote_by_key_.end()) remote_[remote->second].local = index;
  if (state_ != State::kInSync) return;
  changed_.insert(index);
  if (remote != remote_by_key_.end()) {
    consider(remote_[remote->second], local_[index]);
    flush_grants();
  }
}

void SaSync::remove(const SyncKey& key) {
  const auto it = local_by_key_.find(key);
  if (it == local_by_key_.end()) return;
  const std::uint32_t index = it->second;
  local_by_key_.erase(it);
  if (const auto remote = remote_by_key_.find(key); remote != remote_by_key_.end())
    remote_[remote->second].local = kNowhere;
  local_[index] = {};
  changed_.erase(index);
  free_.push_back(index);
  if (state_ == State::kInSync) gone_.push_back(index);
}

void SaSync::move(const SyncKey& key, const IpAddress& endpoint) {
  if (Local* local = find(key)) {
    local->sa.endpoint = endpoint;
    local->owned = host_.owned(endpoint);
  }
}

void SaSync::ownership_changed() {
  for (Local& local : local_) {
    if (!local.used) continue;
    const bool before = std::exchange(local.owned, host_.owned(local.sa.endpoint));
    if (!before || local.owned) continue;
    local.exact = false;
    if (const auto it = remote_by_key_.find(local.key); it != remote_by_key_.end())
      take_note(remote_[it->second], local);
  }
}

bool SaSync::awaits_final(const IpAddress& endpoint) const {
  return state_ == State::kInSync && std::ranges::any_of(local_, [&](const Local& local) {
           return local.used && !local.owned && local.sa.endpoint == endpoint && !local.exact &&
                  remote_by_key_.contains(local.key);
         });
}

bool SaSync::exact(const SyncKey& key) const {
  const auto it = local_by_key_.find(key);
  return it != local_by_key_.end() && local_[it->second].exact;
}

SyncLag SaSync::lag() const {
  std::vector<std::uint32_t> sorted(lags_us_.begin(),
                                    lags_us_.begin() + static_cast<std::ptrdiff_t>(std::min(lags_, lags_us_.size())));
  if (sorted.empty()) return {};
  std::ranges::sort(sorted);
  const auto at = [&](std::size_t percent) {
    return std::chrono::microseconds(sorted[std::min(sorted.size() - 1, sorted.size() * percent / 100)]);
  };
  return {at(50), at(99), std::chrono::microseconds(sorted.back())};
}

}  // namespace gw::control
