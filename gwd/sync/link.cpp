#include "gwd/sync/link.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/address.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd::sync {
namespace asio = boost::asio;

namespace {

using std::chrono::milliseconds;

// One batch to a connection: what becomes urgent meanwhile waits for it.
constexpr std::size_t kBatch = 64 * 1024;
constexpr milliseconds kDead{1000};  // silent for this long: closed, to be called again
constexpr int kDeadBeats = 10;
constexpr std::size_t kMostWaiting = std::size_t{1} << 20;  // minutes of heartbeats that nobody reads
constexpr std::chrono::seconds kCredentialsCheck{1};

asio::ip::address to_asio(const IpAddress& address) { return asio::ip::make_address(address.to_string()); }

std::uint64_t as_ns(MonoTime time) { return static_cast<std::uint64_t>(time.time_since_epoch().count()); }

}  // namespace

LinkSettings link_settings(const ChannelSettings& settings) {
  const config::HaModel& ha = settings.ha;
  const config::HaInstance& own = ha.instances.at(ha.self);
  const config::HaInstance& other = ha.instances.at(ha.peer());
  LinkSettings out;
  out.party = {.gateway = settings.gateway,
               .instance = own.name,
               .number = ha.self,
               .incarnation = 0,
               .release = settings.release,
               .peer_instance = other.name,
               .peer_number = ha.peer()};
  for (std::size_t i = 0; i < own.sync.size(); ++i)
    out.paths.push_back({to_asio(own.sync[i]), to_asio(other.sync.at(i))});
  out.port = ha.port;
  out.tls_dir = ha.tls_dir;
  out.heartbeat = ha.heartbeat;
  out.multiplier = ha.multiplier;
  return out;
}

Link::Link(asio::io_context& io, const Clock& clock, LinkSettings settings, LinkListener& listener)
    : io_(io),
      clock_(clock),
      settings_(std::move(settings)),
      self_{settings_.party.gateway, settings_.party.instance},
      peer_{settings_.party.gateway, settings_.party.peer_instance},
      listener_(listener),
      beat_wake_(io) {
  for (const LinkSettings::Path& addresses : settings_.paths) {
    paths_.push_back(std::make_unique<Path>(io));
    paths_.back()->addresses = addresses;
  }
}

void Link::start() {
  last_beat_ = said_ = now();
  for (std::size_t i = 0; i < paths_.size(); ++i)
    asio::co_spawn(io_, calls() ? call_all(i) : answer_all(i), kEndOnException);
  asio::co_spawn(io_, beat(), kEndOnException);
}

void Link::stop() {
  stopping_ = true;
  if (active_) active_->queue(more_for(*active_));  // the last words, ahead of the Bye
  for (const auto& path : paths_) {
    boost::system::error_code ignored;
    path->acceptor.close(ignored);
    path->wake.wake();
    if (path->current) path->current->end({wire::REASON_STOPPING, "gwd ends"});
  }
  beat_wake_.wake();
}

// --- the session ---------------------------------------------------------------------------------

void Link::begin_session(std::uint64_t id, const wire::Identity& peer) {
  for (const auto& path : paths_)
    if (const ConnectionPtr old = std::exchange(path->current, nullptr))
      old->end({wire::REASON_REPLACED, "a new session begins"});
  active_.reset();
  for (auto& waiting : waiting_) waiting.clear();
  session_.begin(id, peer);
  ++sessions_;
  log::info("sync", "a new session with {} ({}) begins", peer.instance(), peer.release());
  listener_.on_reset({peer.release(), peer.incarnation()});
}

void Link::end_session(std::string why) {
  if (session_.id() == 0) return;
  log::warning("sync", "the session with {} ends: {}", peer_.instance, why);
  session_.end();
  for (const auto& path : paths_)
    if (path->current) path->current->end({wire::REASON_OVERFLOW, why});
}

void Link::send(Kind kind, std::string payload) {
  if (session_.id() == 0 || !session_.knows(kind)) return;
  if (!session_.out(kind).push(std::move(payload), now()))
    return end_session(std::format("more of kind {} is not acknowledged than is kept", to_string(kind)));
  if (active_) active_->wake();
}

void Link::hand_on() {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    while (!waiting_[i].empty()) {
      const std::size_t size = waiting_[i].front().size();
      if (!listener_.on_message(kKinds[i], waiting_[i].front())) break;
      waiting_[i].pop_front();
      session_.in(kKinds[i]).handed_on(size);
      acknowledge_soon();
    }
  }
}

void Link::acknowledge_soon() {
  acknowledge_ = true;
  if (active_) active_->wake();
}

// --- connections ---------------------------------------------------------------------------------

void Link::adopt(const ConnectionPtr& connection) {
  Path& path = *paths_[connection->path()];
  connection->established = true;
  connection->session = session_.id();
  connection->heard = last_path_ = now();
  connection->expire(milliseconds(0));
  // The new one is there before the old one goes: nothing has to wait for a certificate to be replaced.
  if (const ConnectionPtr old = std::exchange(path.current, connection))
    old->end({wire::REASON_REPLACED, "a newer connection is there"});
  choose_active();
  note_connected(connection->path());
  if (!calls())
    asio::co_spawn(io_, connection->write_all([this, one = connection.get()] { return more_for(*one); }),
                   kEndOnException);
  asio::co_spawn(io_, serve(connection), kEndOnException);
}

asio::awaitable<void> Link::serve(ConnectionPtr connection) {
  const Refusal why =
      co_await connection->read_all([this, one = connection.get()](wire::Frame& frame) { return take(*one, frame); });
  lost(connection, why);
}

void Link::lost(const ConnectionPtr& connection, const Refusal& why) {
  Path& path = *paths_[connection->path()];
  if (path.current != connection) return connection->close();  // replaced, or seen off already
  const bool judged = why.reason != wire::REASON_STOPPING;
  if (judged) ++refused_;
  if (judged && connection->open())
    turn_away(connection, why);
  else
    connection->close();
  path.current.reset();
  last_path_ = now();
  if (!stopping_ && path.state.connected) note_problem(connection->path(), why);
  choose_active();
  path.wake.wake();
}

bool Link::is_stale(const Connection& connection) const {
  return now() - connection.heard > settings_.heartbeat * settings_.multiplier;
}

void Link::choose_active() {
  const auto usable = [](const ConnectionPtr& c) { return c && c->open(); };
  if (active_ && usable(active_) && !is_stale(*active_) && paths_[active_->path()]->current == active_) return;
  ConnectionPtr best;
  for (const auto& path : paths_)
    if (usable(path->current) && !is_stale(*path->current) && !best) best = path->current;
  for (const auto& path : paths_)
    if (usable(path->current) && !best) best = path->current;
  if (best == active_) return;
  if (active_ && best && best->path() != active_->path()) {
    ++failovers_;
    log::info("sync", "goes on by path {}", best->path() + 1);
  }
  active_ = std::move(best);
  session_.rewind();
  acknowledge_ = true;  // the last one may be lost with the connection
  if (active_) active_->wake();
}

std::string Link::more_for(const Connection& connection) {
  if (active_.get() != &connection || connection.session != session_.id()) return {};
  std::string out;
  if (std::exchange(acknowledge_, false)) {
    wire::Frame frame;
    session_.positions(*frame.mutable_ack()->mutable_positions());
    append_frame(out, frame.SerializeAsString());
  }
  return out += session_.collect(kBatch);
}

Judged<void> Link::take(Connection& connection, wire::Frame& frame) {
  connection.heard = now();
  switch (frame.body_case()) {
    case wire::Frame::kHeartbeat: take_heartbeat(connection, *frame.mutable_heartbeat()); return {};
    case wire::Frame::kData: return take_data(connection, *frame.mutable_data());
    case wire::Frame::kAck:
      if (connection.session != session_.id()) return {};
      if (auto ok = session_.acknowledge(frame.ack().positions(), now()); !ok) return ok;
      if (active_ && session_.waiting()) active_->wake();
      return {};
    case wire::Frame::kBye: take_bye(connection, frame.bye()); return {};
    case wire::Frame::kRedial:
      if (calls()) {
        paths_[connection.path()]->redial = true;
        paths_[connection.path()]->wake.wake();
      }
      return {};
    case wire::Frame::kHello:
    case wire::Frame::kWelcome: return refuse(wire::REASON_MALFORMED, "it introduced itself a second time");
    case wire::Frame::BODY_NOT_SET: return {};  // a newer release's
  }
  return {};
}

Judged<void> Link::take_data(const Connection& connection, wire::Data& data) {
  const auto kind = kind_of(data.kind());
  if (!kind || connection.session != session_.id()) return {};
  Inbox& inbox = session_.in(*kind);
  auto message = inbox.accept(data);
  if (!message) return std::unexpected(std::move(message).error());
  acknowledge_soon();
  if (!*message) return {};
  auto& waiting = waiting_[index_of(*kind)];
  const std::size_t size = (*message)->size();
  if (!waiting.empty() || !listener_.on_message(*kind, **message))
    waiting.push_back(std::move(**message));
  else
    inbox.handed_on(size);
  return {};
}

void Link::take_heartbeat(Connection& connection, wire::Heartbeat& heartbeat) {
  using std::chrono::microseconds;
  const MonoTime at = now();
  connection.peer_sent_ns = heartbeat.sent_ns();
  connection.peer_heard = at;
  const std::uint64_t away = heartbeat.echo_sent_ns() + heartbeat.echo_held_ns();
  if (heartbeat.echo_sent_ns() != 0 && away >= heartbeat.echo_sent_ns() && as_ns(at) >= away)
    connection.round_trip = std::chrono::duration_cast<microseconds>(std::chrono::nanoseconds(as_ns(at) - away));
  paths_[connection.path()]->state.round_trip = connection.round_trip;
  listener_.on_heartbeat({.path = connection.path(),
                          .round_trip = connection.round_trip,
                          .loop_age = milliseconds(std::min<std::uint64_t>(heartbeat.loop_age_ms(), 86'400'000)),
                          .status = std::move(*heartbeat.mutable_status()),
                          .sequence = heartbeat.sequence()});
}

void Link::take_bye(Connection& connection, const wire::Bye& bye) {
  const ConnectionPtr self = connection.shared_from_this();
  const bool news = bye.reason() != wire::REASON_STOPPING && bye.reason() != wire::REASON_REPLACED &&
                    bye.reason() != wire::REASON_OVERFLOW;
  const Refusal why{news ? bye.reason() : wire::REASON_STOPPING, "it says: " + bye.message().substr(0, 300)};
  self->close();
  lost(self, why);
}

// --- heartbeats ------------------------------------------------------------------------------------

void Link::say(std::string status) {
  said_ = now();
  if (status_ == status) return;
  status_ = std::move(status);
  send_heartbeats();
}

asio::awaitable<void> Link::beat() {
  while (!stopping_) {
    send_heartbeats();
    check_paths();
    hand_on();
    renew_credentials();
    last_beat_ = now();
    co_await beat_wake_.sleep(settings_.heartbeat);
  }
}

void Link::send_heartbeats() {
  const MonoTime at = now();
  for (const auto& path : paths_) {
    if (!path->current) continue;
    Connection& connection = *path->current;
    wire::Frame frame;
    wire::Heartbeat& heartbeat = *frame.mutable_heartbeat();
    heartbeat.set_sequence(++connection.heartbeats);
    heartbeat.set_sent_ns(as_ns(at));
    if (connection.peer_sent_ns != 0) {
      heartbeat.set_echo_sent_ns(connection.peer_sent_ns);
      heartbeat.set_echo_held_ns(as_ns(at) - as_ns(connection.peer_heard));
    }
    heartbeat.set_loop_age_ms(static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(at - said_).count()));
    heartbeat.set_status(status_);
    connection.say(frame);
  }
}

void Link::check_paths() {
  const MonoTime at = now();
  // We did not run: what the others said meanwhile is still to be read.
  const bool frozen = at - last_beat_ > settings_.heartbeat * settings_.multiplier;
  bool any = false;
  for (const auto& path : paths_) {
    const ConnectionPtr current = path->current;
    if (!current) continue;
    any = true;
    if (frozen) current->heard = at;
    const auto silent = std::chrono::duration_cast<milliseconds>(at - current->heard);
    if (silent > std::max(kDead, settings_.heartbeat * kDeadBeats)) {
      current->close();
      lost(current, {wire::REASON_STOPPING, std::format("nothing was heard for {} ms", silent.count())});
    } else if (current->waiting() > kMostWaiting) {
      current->close();
      lost(current, {wire::REASON_STOPPING, std::format("it speaks and does not read: {} KiB of heartbeats wait for it",
                                                        current->waiting() / 1024)});
    }
  }
  if (any || frozen) last_path_ = at;
  if (session_.id() != 0 && at - last_path_ > kResumeWithin) {
    log::info("sync", "{} was away for too long to go on where it was", peer_.instance);
    session_.end();
  }
  choose_active();
}

// A connection with the new certificate on every path; each then replaces the old one.
void Link::renew_credentials() {
  if (now() - credentials_checked_ < kCredentialsCheck) return;
  credentials_checked_ = now();
  if (!credentials_) return;
  const std::string before = credentials_stamp_;
  if (credentials() == nullptr || credentials_stamp_ == before) return;
  log::info("sync", "new certificates in {}", settings_.tls_dir);
  for (const auto& path : paths_) {
    if (!path->current) continue;
    if (calls()) {
      path->redial = true;
      path->wake.wake();
    } else {
      wire::Frame frame;
      frame.mutable_redial();
      path->current->say(frame);
    }
  }
}

// --- what can be seen --------------------------------------------------------------------------------

void Link::note_problem(std::size_t index, const Refusal& why) {
  Path& path = *paths_[index];
  PathState next{.connected = false, .problem = why.message, .refused = why.reason != wire::REASON_STOPPING};
  if (path.logged != why.message) {
    path.logged = why.message;
    log::warning("sync", "path {} to {} ({}): {}", index + 1, peer_.instance, path.addresses.remote.to_string(),
                 why.message);
  }
  if (next == std::exchange(path.state, next)) return;
  publish_paths();
}

void Link::note_connected(std::size_t index) {
  Path& path = *paths_[index];
  path.logged.clear();
  if (path.state.connected) return;
  path.state = {.connected = true};
  log::info("sync", "path {} to {} ({}) is up", index + 1, peer_.instance, path.addresses.remote.to_string());
  publish_paths();
}

void Link::publish_paths() {
  std::vector<PathState> states;
  for (const auto& path : paths_) states.push_back(path->state);
  listener_.on_paths(states);
}

ChannelStats Link::stats() const {
  ChannelStats out;
  out.sessions = sessions_;
  out.failovers = failovers_;
  out.refused = refused_;
  for (const auto& path : paths_) {
    out.connected = out.connected || path->state.connected;
    out.paths.push_back(path->state);
  }
  session_.count(out.kinds, now());
  if (credentials_) out.certificate_ends = credentials_->ends;
  return out;
}

}  // namespace gw::gwd::sync
