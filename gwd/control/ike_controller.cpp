#include "gwd/control/ike_controller.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/control/tunnel_intent.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

// A rekeyed one has its successor beside it. With IKEv1 it stays until its lifetime ends, without its outbound half: it
// carries nothing if the successor goes.
bool is_installed(const ike::ChildSa& child) {
  return child.state == "INSTALLED" || child.state == "REKEYING" || child.state == "UPDATING";
}

bool is_up(const ike::IkeSa& sa) { return std::ranges::any_of(sa.children, is_installed); }

std::uint64_t packets_sent(const ike::IkeSa& sa) {
  std::uint64_t sent = 0;
  for (const auto& child : sa.children) sent += child.packets_out;
  return sent;
}

// Only a statement about the stream itself ends the session; a refused command is logged and goes on.
bool is_fatal(const Error& error) { return error.code == Errc::kClosed || error.code == Errc::kTimeout; }

}  // namespace

std::string_view to_string(TunnelState state) {
  switch (state) {
    case TunnelState::kDisabled: return "disabled";
    case TunnelState::kStandby: return "standby";
    case TunnelState::kDown: return "down";
    case TunnelState::kConnecting: return "connecting";
    case TunnelState::kUp: return "up";
  }
  return "down";
}

IkeController::IkeController(asio::io_context& io, const Clock& clock, std::string vici_path)
    : io_(io), clock_(clock), vici_path_(std::move(vici_path)), vici_(io.get_executor()), wake_(io) {
  vici_.on_event([this](std::string_view event, const ike::ViciMessage& message) { on_event(event, message); });
  vici_.on_closed([this](const Error& why) {
    log::warning("ike", "charon went away: {}", why.message);
    set_connected(Connected::kNo);
    wake_.wake();
  });
}

void IkeController::set_connected(Connected now) {
  const bool connected = now == Connected::kYes;
  if (std::exchange(connected_, connected) != connected) since_ = clock_.wall();
}

void IkeController::start() { asio::co_spawn(io_, run(), kEndOnException); }

void IkeController::stop() {
  stopping_ = true;
  vici_.close();
  wake_.wake();
}

void IkeController::set_model(const ModelPtr& whole) {
  Tunnels next;
  const auto add = [&](const config::TunnelModel& model, Carried carried) {
    const auto before = tunnels_.find(model.name);
    Tunnel& tunnel = next[model.name];
    if (before != tunnels_.end()) {
      tunnel = std::move(before->second);
      tunnels_.erase(before);
      const bool unchanged = same_connection(*tunnel.model, model);
      tunnel.reestablish =
          tunnel.reestablish || !same_sas(*tunnel.model, model) || (model.disabled && !tunnel.model->disabled);
      tunnel.model = TunnelPtr(whole, &model);
      if (tunnel.carried != carried) {
        tunnel.carried = carried;
        tunnel.next_attempt = {};
      }
      if (unchanged) return;
      tunnel.loaded = false;
      tunnel.retry = kFirstRetry;
      tunnel.next_attempt = {};
    }
    tunnel.model = TunnelPtr(whole, &model);
    tunnel.carried = carried;
    retired_.erase(model.name);
  };
  instances_ = {whole->instance};
  for (const auto& model : whole->tunnels) add(model, Carried::kHere);
  for (const auto& model : whole->elsewhere) add(model, Carried::kElsewhere);
  for (const auto& [name, tunnel] : next) instances_.insert(tunnel.model->home);
  for (const auto& [name, tunnel] : tunnels_) retired_.insert(name);
  tunnels_ = std::move(next);
  told_loaded_ = told_loaded_ && connections_loaded();
  wake_.wake();
}

void IkeController::set_default_encapsulation(ike::Encapsulation by_default) {
  if (std::exchange(default_encapsulation_, by_default) == by_default) return;
  for (auto& [name, tunnel] : tunnels_)
    if (tunnel.model->encapsulation == config::v1::ENCAPSULATION_AUTO) tunnel.loaded = false;
  wake_.wake();
}

const IkeStatus* IkeController::status(std::string_view tunnel) const {
  const auto it = tunnels_.find(tunnel);
  return it == tunnels_.end() ? nullptr : &it->second.status;
}

asio::awaitable<void> IkeController::run() {
  std::string last_reason;
  while (!stopping_) {
    if (!connected_) {
      if (const auto opened = co_await open_session(); !opened) {
        if (opened.error().message != last_reason) log::warning("ike", "charon: {}", opened.error().message);
        last_reason = opened.error().message;
        vici_.close();
        co_await wake_.sleep(kReconnectPause);
        continue;
      }
      last_reason.clear();
    }
    if (const auto done = co_await reconcile(); !done && is_fatal(done.error())) {
      log::warning("ike", "charon does not answer: {}", done.error().message);
      vici_.close();
      set_connected(Connected::kNo);
      co_await wake_.sleep(kReconnectPause);
      continue;
    }
    if (connected_) co_await wake_.sleep(poll_interval());
  }
}

asio::awaitable<Status> IkeController::open_session() {
  if (const auto open = co_await vici_.connect(vici_path_, kCommandTimeout); !open) co_return open;
  for (const auto& event : ike::followed_events())
    if (const auto done = co_await vici_.subscribe(event, kCommandTimeout); !done) co_return done;
  const auto version = co_await vici_.request("version", {}, kCommandTimeout);
  if (!version) co_return std::unexpected(version.error());
  version_ = std::format("{} {}", version->text("daemon"), version->text("version"));
  told_loaded_ = strangers_noted_ = false;
  for (auto& [name, tunnel] : tunnels_) {
    tunnel.loaded = false;
    tunnel.told_down = true;  // a new charon has no SAs; one that only lost the connection will show them
    tunnel.retry = kFirstRetry;
    tunnel.next_attempt = {};
    tunnel.childless.clear();  // a new charon counts from 1 again
  }
  set_connected(Connected::kYes);
  log::info("ike", "connected to {}", version_);
  co_return Status{};
}

// Of the document's instances, and none of its tunnels.
bool IkeController::is_stranger(std::string_view connection) const {
  const std::size_t slash = connection.rfind('/');
  return slash != std::string_view::npos && instances_.contains(connection.substr(slash + 1)) &&
         !tunnels_.contains(connection);
}

// What charon still has from an earlier configuration: connections, and keys and SAs of which gwd had unloaded the
// connection when it ended.
asio::awaitable<Status> IkeController::note_strangers() {
  // Of two instances the model comes late: before it nobody knows what is strange.
  if (instances_.empty() || strangers_noted_) co_return Status{};
  const auto conns = co_await vici_.stream("list-conns", "list-conn", {}, kCommandTimeout);
  if (!conns) co_return std::unexpected(conns.error());
  const auto shared = co_await vici_.request("get-shared", {}, kCommandTimeout);
  if (!shared) co_return std::unexpected(shared.error());
  const auto sas = co_await read_sas();
  if (!sas) co_return std::unexpected(sas.error());
  const auto note = [this](const std::string& name) {
    if (is_stranger(name)) retired_.insert(name);
  };
  for (const auto& message : *conns)
    for (const auto& item : message.items()) note(item.key);
  if (const auto* keys = shared->list("keys")) std::ranges::for_each(*keys, note);
  for (const auto& [name, of_it] : *sas)
    if (std::ranges::any_of(of_it, [](const ike::IkeSa& sa) { return sa.state != "DELETING"; })) note(name);
  strangers_noted_ = true;
  co_return Status{};
}

asio::awaitable<Status> IkeController::reconcile() {
  if (const auto done = co_await note_strangers(); !done && is_fatal(done.error())) co_return done;
  while (!retired_.empty()) {
    const std::string name = *retired_.begin();
    retired_.erase(retired_.begin());
    if (const auto done = co_await retire(name); !done && is_fatal(done.error())) co_return done;
  }
  // By name: an apply may replace the map while a command is under way.
  std::vector<std::string> names;
  for (const auto& [name, tunnel] : tunnels_) names.push_back(name);
  for (const auto& name : names)
    if (const auto done = co_await load(name); !done && is_fatal(done.error())) co_return done;
  const bool loaded = connections_loaded();
  if (loaded && !std::exchange(told_loaded_, true) && loaded_) loaded_();
  if (const auto done = co_await rekey_due(); !done && is_fatal(done.error())) co_return done;
  const auto sas = co_await read_sas();
  if (!sas) co_return std::unexpected(sas.error());
  static const std::vector<ike::IkeSa> kNone;
  for (const auto& name : names) {
    const auto found = sas->find(name);
    if (const auto done = co_await drive(name, found == sas->end() ? kNone : found->second);
        !done && is_fatal(done.error()))
      co_return done;
  }
  co_return Status{};
}

asio::awaitable<Status> IkeController::load(const std::string& name) {
  auto it = tunnels_.find(name);
  if (it == tunnels_.end() || it->second.loaded) co_return Status{};
  if (!it->second.model->fault.empty()) co_return Status{};  // what charon may still have of it goes on
  it->second.loaded = true;                                  // set before waiting: a change meanwhile clears it again
  if (it->second.model->disabled) {
    it->second.reestablish = false;
    co_return co_await retire(name);
  }
  const ike::TunnelIntent intent = to_intent(*it->second.model, default_encapsulation_);
  auto connection = ike::render_connection(intent);
  auto secret = ike::render_secret(intent);
  Status done;
  if (!connection)
    done = std::unexpected(connection.error());
  else if (!secret)
    done = std::unexpected(secret.error());
  if (done) {
    const auto loaded = co_await vici_.command("load-shared", std::move(*secret), kCommandTimeout);
    if (!loaded) done = std::unexpected(loaded.error());
  }
  if (done) {
    const auto loaded = co_await vici_.command("load-conn", std::move(*connection), kCommandTimeout);
    if (!loaded) done = std::unexpected(loaded.error());
  }
  it = tunnels_.find(name);
  if (it == tunnels_.end()) co_return Status{};
  if (!done) {
    if (is_fatal(done.error())) it->second.loaded = false;
    log::error("ike", "{}: charon did not take the connection: {}", name, done.error().describe());
    it->second.status.diagnosis = {ike::Fault::kIkePolicyMismatch,
                                   std::format("charon did not take the connection: {}", done.error().describe()),
                                   {}};
    co_return done;
  }
  // Elsewhere: it is the other instance that ends its SAs.
  if (std::exchange(it->second.reestablish, false) && it->second.carried == Carried::kHere) {
    log::info("ike", "{}: settings changed, establishing it again", name);
    const auto ended = co_await vici_.command("terminate", ike::render_terminate(name), kCommandTimeout);
    if (!ended && is_fatal(ended.error())) co_return std::unexpected(ended.error());  // nothing to terminate is fine
  }
  co_return Status{};
}

bool IkeController::connections_loaded() const {
  // Without a model nobody has said yet which connections there are.
  return connected_ && !instances_.empty() && std::ranges::all_of(tunnels_, [](const auto& entry) {
           return entry.second.loaded || entry.second.model->disabled || !entry.second.model->fault.empty();
         });
}

void IkeController::rekey(std::vector<std::string> tunnels) {
  rekeys_.insert(std::make_move_iterator(tunnels.begin()), std::make_move_iterator(tunnels.end()));
  wake_.wake();
}

asio::awaitable<Status> IkeController::rekey_due() {
  while (!rekeys_.empty()) {
    const std::string name = rekeys_.extract(rekeys_.begin()).value();
    if (!tunnels_.contains(name)) continue;
    log::info("ike", "{}: asking for a new key", name);
    const auto reply = co_await vici_.command("rekey", ike::render_rekey(name), kCommandTimeout);
    if (reply) continue;
    if (is_fatal(reply.error())) {
      rekeys_.insert(name);
      co_return std::unexpected(reply.error());
    }
    log::warning("ike", "{}: rekeying: {}", name, reply.error().message);
  }
  co_return Status{};
}

asio::awaitable<Status> IkeController::retire(const std::string& name) {
  ike::ViciMessage conn;
  conn.add("name", name);
  ike::ViciMessage shared;
  shared.add("id", name);
  const auto unloaded = co_await vici_.command("unload-conn", std::move(conn), kCommandTimeout);
  const auto forgotten = co_await vici_.command("unload-shared", std::move(shared), kCommandTimeout);
  const auto ended = co_await vici_.command("terminate", ike::render_terminate(name), kCommandTimeout);
  for (const auto* reply : {&unloaded, &forgotten, &ended}) {
    if (*reply || !is_fatal(reply->error())) continue;  // there is nothing of it: fine
    if (is_stranger(name)) retired_.insert(name);       // all of it once more; a disabled one is load()'s
    co_return std::unexpected(reply->error());
  }
  if (is_stranger(name)) recent_log_.clear(name);
  log::info("ike", "{}: taken out of charon", name);
  co_return Status{};
}

asio::awaitable<Result<IkeController::SasByTunnel>> IkeController::read_sas() {
  // Not "noblock": it leaves out an SA that is being worked on, just when an event made us look. A tunnel in
  // that moment would be initiated once more. Waiting takes as long as the work on one message.
  auto messages = co_await vici_.stream("list-sas", "list-sa", {}, kCommandTimeout);
  if (!messages) co_return std::unexpected(messages.error());
  SasByTunnel sas;
  for (const auto& message : *messages) {
    auto sa = ike::parse_ike_sa(message);
    if (!sa) co_return std::unexpected(sa.error());
    if (!sa->name.empty()) sas[sa->name].push_back(std::move(*sa));
  }
  co_return sas;
}

void IkeController::update_status(Tunnel& tunnel, const std::vector<ike::IkeSa>& sas) {
  IkeStatus& status = tunnel.status;
  const TunnelState before = status.state;
  const auto up = std::ranges::find_if(sas, is_up);
  if (up != sas.end()) {
    tunnel.missed = 0;
    tunnel.told_down = false;
  } else if (before == TunnelState::kUp && !tunnel.told_down && ++tunnel.missed < kMissedPolls) {
    return;
  }
  if (tunnel.model->disabled) {
    status.state = TunnelState::kDisabled;
    status.diagnosis = {};
  } else if (tunnel.carried == Carried::kElsewhere) {
    status.state = TunnelState::kStandby;
    status.diagnosis = {};
  } else if (up != sas.end()) {
    const auto child = std::ranges::find_if(up->children, is_installed);
    status.state = TunnelState::kUp;
    status.diagnosis = {};
    status.ike_proposal = up->proposal;
    status.esp_proposal =
        child->encryption + (child->dh_group.empty() ? "" : "/" + child->dh_group) + (child->esn ? "/ESN" : "");
    status.udp_encapsulation = child->udp_encapsulation;
    if (!status.up_since) status.up_since = clock_.wall() - up->established_for;
    if (before != TunnelState::kUp) {
      log::info("ike", "{}: up, {} {}", tunnel.model->name, status.ike_proposal, status.esp_proposal);
      recent_log_.clear(tunnel.model->name);
      tunnel.retry = kFirstRetry;
    }
  } else if (!tunnel.model->fault.empty()) {
    status.state = TunnelState::kDown;
    status.diagnosis = {ike::Fault::kAuthentication, tunnel.model->fault, {}};
  } else {
    status.state = sas.empty() ? TunnelState::kDown : TunnelState::kConnecting;
    const ike::Diagnosis diagnosis =
        recent_log_.diagnose({tunnel.model->name, tunnel.model->local.to_string(), tunnel.model->remote.to_string(),
                              tunnel.model->remote_identity});
    // "charon does not say why" is worth showing when an attempt has failed, not while one is under way.
    const bool known = diagnosis.fault != ike::Fault::kNoFault && diagnosis.fault != ike::Fault::kUnknown;
    const bool unexplained = diagnosis.fault == ike::Fault::kUnknown && sas.empty() && tunnel.retry > kFirstRetry;
    if ((known || unexplained) && diagnosis.sentence != status.diagnosis.sentence) {
      log::warning("ike", "{}: {}", tunnel.model->name, diagnosis.sentence);
      status.diagnosis = diagnosis;
    }
  }
  if (before == TunnelState::kUp && status.state != TunnelState::kUp) {
    if (status.state == TunnelState::kStandby)
      log::info("ike", "{}: with the other instance", tunnel.model->name);
    else
      log::warning("ike", "{}: down", tunnel.model->name);
    status.up_since.reset();
    tunnel.next_attempt = {};
  }
}

asio::awaitable<Status> IkeController::drive(const std::string& name, const std::vector<ike::IkeSa>& sas) {
  const auto it = tunnels_.find(name);
  if (it == tunnels_.end()) co_return Status{};
  Tunnel& tunnel = it->second;
  update_status(tunnel, sas);
  if (const auto due = childless_due(tunnel, sas); !due.empty()) {
    for (const std::uint32_t id : due)
      if (const auto done = co_await end_ike_sa(id); !done && is_fatal(done.error())) co_return done;
    co_return Status{};  // the tunnel may have gone meanwhile; its turn comes again
  }
  if (tunnel.status.state == TunnelState::kUp) co_return co_await end_duplicate(tunnel, sas);
  const bool ours = !tunnel.model->disabled && tunnel.carried == Carried::kHere &&
                    tunnel.model->initiate != config::Initiate::kResponderOnly;
  // An IKE_SA without a CHILD_SA is not enough; charon drops one that stays CONNECTING by itself.
  const bool attempt_running = std::ranges::any_of(sas, [](const auto& sa) { return sa.state == "CONNECTING"; });
  if (!ours || !tunnel.loaded || attempt_running || clock_.now() < tunnel.next_attempt) co_return Status{};
  tunnel.next_attempt = clock_.now() + tunnel.retry;
  tunnel.retry = std::min(tunnel.retry * 2, kMaxRetry);
  log::debug("ike", "{}: initiating", name);
  const auto reply = co_await vici_.command("initiate", ike::render_initiate(name), kCommandTimeout);
  if (!reply) {
    if (!is_fatal(reply.error())) log::warning("ike", "{}: initiate: {}", name, reply.error().message);
    co_return std::unexpected(reply.error());
  }
  wake_.wake();
  co_return Status{};
}

// Both ends initiated at the same moment. The IKE_SA that ends is the one we do not send with: the peer drops
// its SAs when it reads our DELETE, and what we sent with them until then would be lost. The other direction
// loses nothing: our inbound SA stays until the peer has answered.
asio::awaitable<Status> IkeController::end_duplicate(Tunnel& tunnel, const std::vector<ike::IkeSa>& sas) {
  if (std::ranges::count_if(sas, is_up) < 2) {
    tunnel.duplicate_since.reset();
    co_return Status{};
  }
  if (!tunnel.duplicate_since) {
    tunnel.duplicate_since = clock_.now();
    tunnel.sent_before.clear();
    for (const auto& sa : sas) tunnel.sent_before[sa.unique_id] = packets_sent(sa);
  }
  if (clock_.now() - *tunnel.duplicate_since < tunnel.duplicate_grace) co_return Status{};
  tunnel.duplicate_since.reset();
  tunnel.duplicate_grace = std::min(tunnel.duplicate_grace * 10, kMaxDuplicateGrace);
  const ike::IkeSa* idle = nullptr;
  std::uint64_t least = 0;
  for (const auto& sa : sas) {
    if (!is_up(sa)) continue;
    const std::uint64_t before = tunnel.sent_before.contains(sa.unique_id) ? tunnel.sent_before[sa.unique_id] : 0;
    const std::uint64_t sent = packets_sent(sa) - std::min(before, packets_sent(sa));
    // Equally idle: the older one goes.
    if (idle && (sent > least || (sent == least && sa.unique_id > idle->unique_id))) continue;
    idle = &sa;
    least = sent;
  }
  log::info("ike", "{}: ending one of two IKE SAs", tunnel.model->name);
  co_return co_await end_ike_sa(idle->unique_id);
}

// IKE_SAs that have been without a CHILD_SA for too long.
std::vector<std::uint32_t> IkeController::childless_due(Tunnel& tunnel, const std::vector<ike::IkeSa>& sas) {
  std::map<std::uint32_t, MonoTime> childless;
  std::vector<std::uint32_t> due;
  if (!tunnel.model->disabled && tunnel.carried == Carried::kHere) {
    for (const auto& sa : sas) {
      if (sa.state != "ESTABLISHED" || !sa.children.empty()) continue;
      const auto known = tunnel.childless.find(sa.unique_id);
      const MonoTime since = known == tunnel.childless.end() ? clock_.now() : known->second;
      if (clock_.now() - since >= kChildlessGrace)
        due.push_back(sa.unique_id);  // seen again, it has the grace again: charon has refused
      else
        childless[sa.unique_id] = since;
    }
  }
  tunnel.childless = std::move(childless);
  if (!due.empty()) log::info("ike", "{}: ending {} IKE SAs without a CHILD SA", tunnel.model->name, due.size());
  return due;
}

asio::awaitable<Status> IkeController::end_ike_sa(std::uint32_t unique_id) {
  ike::ViciMessage message;
  message.add("ike-id", std::to_string(unique_id)).add("timeout", "-1");
  const auto reply = co_await vici_.command("terminate", std::move(message), kCommandTimeout);
  if (!reply) co_return std::unexpected(reply.error());
  co_return Status{};
}

void IkeController::on_event(std::string_view event, const ike::ViciMessage& message) {
  const auto parsed = ike::parse_event(event, message);
  if (!parsed) return;
  if (const auto* line = std::get_if<ike::LogLine>(&*parsed)) {
    recent_log_.add(*line);
    return;
  }
  const auto tunnel = [this](const std::string& name) -> Tunnel* {
    const auto it = tunnels_.find(name);
    return it == tunnels_.end() ? nullptr : &it->second;
  };
  if (const auto* rekey = std::get_if<ike::ChildRekey>(&*parsed)) {
    if (Tunnel* t = tunnel(rekey->sa.name)) ++t->status.rekeys;
  } else if (const auto* ike = std::get_if<ike::IkeUpdown>(&*parsed)) {
    if (Tunnel* t = tunnel(ike->sa.name); t != nullptr && ike->direction == ike::Updown::kDown) t->told_down = true;
  } else if (const auto* child = std::get_if<ike::ChildUpdown>(&*parsed)) {
    if (Tunnel* t = tunnel(child->sa.name); t != nullptr && child->direction == ike::Updown::kDown) t->told_down = true;
  }
  wake_.wake();
}

std::chrono::milliseconds IkeController::poll_interval() const {
  if (std::ranges::any_of(tunnels_, [](const auto& entry) { return entry.second.missed > 0; })) return kPollMissing;
  const bool quiet = std::ranges::all_of(tunnels_, [](const auto& entry) {
    const TunnelState state = entry.second.status.state;
    return state == TunnelState::kUp || state == TunnelState::kDisabled || state == TunnelState::kStandby;
  });
  return quiet ? kPollQuiet : kPollBusy;
}

}  // namespace gw::gwd
