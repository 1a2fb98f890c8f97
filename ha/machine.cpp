#include "ha/machine.hpp"

#include <algorithm>
#include <format>
#include <map>
#include <utility>

#include "ha/alarm_book.hpp"
#include "ha/endpoint_fsm.hpp"
#include "ha/view.hpp"

namespace gw::ha {

class Machine::Impl {
 public:
  Impl(Configuration configuration, std::uint64_t incarnation, MonoTime now)
      : view_(std::move(configuration), now), incarnation_(incarnation) {
    if (view_.config().lease == LeaseKind::kEmbedded) view_.lease_service = Link::kUp;
    add_endpoints();
  }

  std::vector<Action> handle(MonoTime now, const Event& event) {
    view_.advance(now);
    std::visit([this](const auto& e) { on(e); }, event);
    return finish();
  }

  Result<std::vector<Action>> command(MonoTime now, const Command& command) {
    view_.advance(now);
    const Status status = std::visit([this](const auto& c) { return on_command(c); }, command);
    std::vector<Action> actions = finish();
    if (!status) {
      // What the time brought about is not lost for the refusal: it comes with the next event.
      held_.insert(held_.end(), std::make_move_iterator(actions.begin()), std::make_move_iterator(actions.end()));
      return std::unexpected(status.error());
    }
    return actions;
  }

  std::vector<Action> reconfigure(MonoTime now, Configuration configuration);

  MonoTime next_deadline() const { return held_.empty() ? view_.next_look() : view_.now(); }
  Report report(Instance peer) const;
  Snapshot snapshot(MonoTime now) const;

 private:
  // Events.
  void on(const Tick&) {}
  void on(const SyncChannel& e);
  void on(const ReportHeard& e);
  void on(const MessageHeard& e);
  void on(const DataPath& e);
  void on(const EndpointLost& e);
  void on(const LocalHealth& e);
  void on(const Adopted& e);
  void on(const SyncProgress& e);
  void on(const LeaseService& e);
  void on(const SitesMoved& e) {
    with(e.address, [](EndpointFsm& f) { f.sites_moved(); });
  }
  void on(const ActionFailed& e) {
    with(e.address, [&](EndpointFsm& f) { f.action_failed(e.what); });
  }
  void on(const OwnDone& e) {
    with(e.address, [&](EndpointFsm& f) { f.done(e); });
  }
  void on(const ReleaseDone& e) {
    with(e.address, [&](EndpointFsm& f) { f.done(e); });
  }
  void on(const ReadyDone& e) {
    with(e.address, [&](EndpointFsm& f) { f.done(e); });
  }
  void on(const LeaseGranted& e);
  void on(const LeaseDenied& e) {
    with_lease(e.address, [&](EndpointFsm& f) { f.denied(e); });
  }
  void on(const LeaseRenewed& e) {
    with_lease(e.address, [&](EndpointFsm& f) { f.renewed(e); });
  }
  void on(const LeaseLost& e) {
    with_lease(e.address, [&](EndpointFsm& f) { f.lease_lost(e); });
  }
  void on(const LeaseHolder& e) {
    with_lease(e.address, [&](EndpointFsm& f) { f.lease_holder(e); });
  }

  Status on_command(const Drain&);
  Status on_command(const Undrain&);
  Status on_command(const Move& c);
  Status on_command(const Takeover& c);

  template <class F>
  void with(const IpAddress& address, F f) {
    if (const auto found = endpoints_.find(address); found != endpoints_.end()) f(found->second);
  }
  /// News of a lease service that the document does not have any more is none.
  template <class F>
  void with_lease(const IpAddress& address, F f) {
    if (view_.config().lease == LeaseKind::kEtcd) with(address, f);
  }
  void add_endpoints();
  void note_claims(const std::vector<Claim>& claims);
  /// Lets every endpoint follow what has changed; then reports and alarms.
  std::vector<Action> finish();

  View view_;
  std::uint64_t incarnation_;
  std::vector<Action> out_;
  std::vector<Action> held_;
  std::map<IpAddress, EndpointFsm> endpoints_;
  AlarmBook alarms_;
  Report told_;
};

void Machine::Impl::add_endpoints() {
  for (const Endpoint& e : view_.config().endpoints) {
    const auto [at, added] = endpoints_.try_emplace(e.address, e, view_, out_);
    if (!added) at->second.set_endpoint(e);
    if (added && view_.health() && view_.health()->fastpath == Link::kUp) at->second.reinstate();
  }
}

void Machine::Impl::note_claims(const std::vector<Claim>& claims) {
  for (const Claim& c : claims) with(c.address, [&](EndpointFsm& f) { f.note_epoch(c.epoch); });
}

void Machine::Impl::on(const SyncChannel& e) {
  PeerView* peer = view_.peer(e.peer);
  if (peer == nullptr) return;
  peer->channel = e.link;
  peer->channel_since = view_.now();
  peer->report_at.reset();
  peer->fit_since.reset();
  if (e.link == Link::kUp)
    for (auto& [address, fsm] : endpoints_) fsm.reconnected(e.peer);
}

void Machine::Impl::on(const ReportHeard& e) {
  PeerView* peer = view_.peer(e.peer);
  if (peer == nullptr) return;
  peer->channel = Link::kUp;
  peer->report_at = peer->sync_heard = view_.now();
  peer->report = e.report;
  if (!view_.data_alive(*peer)) peer->data_claims = e.report.claims;  // newer than what it said last
  if (e.report.unfit != Reason::kNone) peer->fit_since.reset();
  if (e.report.unfit == Reason::kNone && !peer->fit_since) peer->fit_since = view_.now();
  note_claims(e.report.claims);
}

void Machine::Impl::on(const MessageHeard& e) {
  if (view_.peer(e.peer) == nullptr) return;
  const IpAddress& address = address_of(e.message);
  if (endpoints_.contains(address)) return with(address, [&](EndpointFsm& f) { f.hear(e.peer, e.message); });
  // Its document is ahead of ours; whoever waits for an answer gets one.
  const auto refuse = [&](Epoch epoch) {
    out_.push_back(Tell{e.peer, Refuse{address, epoch, Reason::kUnknownEndpoint}});
  };
  if (const auto* prepare = std::get_if<Prepare>(&e.message)) refuse(prepare->epoch);
  if (const auto* handover = std::get_if<HandOver>(&e.message)) refuse(handover->epoch);
  if (const auto* request = std::get_if<Request>(&e.message)) refuse(request->epoch);
}

void Machine::Impl::on(const DataPath& e) {
  PeerView* peer = view_.peer(e.peer);
  if (peer == nullptr) return;
  if (peer->forwarding != e.forwarding) peer->forwarding_since = view_.now();
  if (peer->control != e.control) peer->control_since = view_.now();
  peer->data = e.link;
  peer->forwarding = e.forwarding;
  peer->control = e.control;
  // A fast path that was restarted has heard less than we know.
  peer->data_heard = std::max(peer->data_heard, e.last_heard);
  if (e.link == Link::kDown) return;
  peer->data_claims = e.claims;
  if (!view_.sync_alive(*peer)) peer->report.claims = e.claims;
  note_claims(e.claims);
}

void Machine::Impl::on(const EndpointLost& e) {
  // Its fast path claims it, whatever else has been heard of it yet.
  if (PeerView* peer = view_.peer(claimant(e.epoch))) {
    std::erase_if(peer->data_claims, [&](const Claim& c) { return c.address == e.address; });
    peer->data_claims.push_back({e.address, e.epoch, Ownership::kOwned});
  }
  with(e.address, [&](EndpointFsm& f) { f.lost(e.epoch); });
}

void Machine::Impl::on(const LocalHealth& e) {
  const bool came = e.fastpath == Link::kUp && (!view_.health() || view_.health()->fastpath == Link::kDown);
  view_.set_health(e);
  if (!came) return;
  for (auto& [address, fsm] : endpoints_) fsm.reinstate();
}

void Machine::Impl::on(const Adopted& e) {
  // It comes before the first LocalHealth that says so: what is adopted now is not given away for want of a fast path.
  view_.fastpath_spoke();
  for (const Claim& c : e.claims) {
    const bool ours = c.ownership == Ownership::kOwned && claimant(c.epoch) == view_.config().self;
    with(c.address, [&](EndpointFsm& f) { ours ? f.adopt(c.epoch) : f.note_epoch(c.epoch); });
  }
}

void Machine::Impl::on(const SyncProgress& e) {
  if (PeerView* peer = view_.peer(e.peer)) peer->complete = e.complete;
}

void Machine::Impl::on(const LeaseService& e) {
  if (view_.config().lease != LeaseKind::kEtcd) return;  // of a document of before
  const bool back = view_.lease_service == Link::kDown && e.link == Link::kUp;
  view_.lease_service = e.link;
  view_.lease_words = e.words;
  if (!back) return;
  for (auto& [address, fsm] : endpoints_) fsm.lease_service_back();
}

void Machine::Impl::on(const LeaseGranted& e) {
  if (!endpoints_.contains(e.address)) return out_.push_back(DropLease{e.address, e.epoch});
  with_lease(e.address, [&](EndpointFsm& f) { f.granted(e); });
}

// --- the operator --------------------------------------------------------------------------------------------

Status Machine::Impl::on_command(const Drain&) {
  if (view_.drained == Switch::kOn) return {};
  const bool owner = std::ranges::any_of(endpoints_, [](const auto& e) { return owns(e.second.state()); });
  std::string reasons;
  for (const PeerView& p : view_.peers()) {
    const Reason unfit = view_.unfit(p);
    if (unfit == Reason::kNone && p.report.in_sync == Link::kUp) reasons.clear();
    if (unfit == Reason::kNone && p.report.in_sync == Link::kUp) break;
    reasons += std::format("{}{}: {}", reasons.empty() ? "" : "; ", view_.config().name_of(p.id),
                           to_string(unfit != Reason::kNone ? unfit : Reason::kNotInSync));
  }
  if (owner && !reasons.empty()) return fail(Errc::kRefused, "no other instance could take over: " + reasons);
  view_.drained = Switch::kOn;
  out_.push_back(GracefulShutdown{std::nullopt, Switch::kOn});
  return {};
}

Status Machine::Impl::on_command(const Undrain&) {
  if (view_.drained == Switch::kOff) return fail(Errc::kRefused, "this instance is not drained");
  view_.drained = Switch::kOff;
  out_.push_back(GracefulShutdown{std::nullopt, Switch::kOff});
  for (auto& [address, fsm] : endpoints_) fsm.undrained();
  return {};
}

Status Machine::Impl::on_command(const Move& c) {
  const auto found = endpoints_.find(c.address);
  if (found == endpoints_.end())
    return fail(Errc::kNotFound, std::format("there is no endpoint {}: gwctl ha show lists them", c.address));
  return found->second.move(c.to);
}

Status Machine::Impl::on_command(const Takeover& c) {
  if (c.address) {
    const auto found = endpoints_.find(*c.address);
    if (found == endpoints_.end())
      return fail(Errc::kNotFound, std::format("there is no endpoint {}: gwctl ha show lists them", *c.address));
    return found->second.takeover();
  }
  Status last = {};
  bool any = false;
  for (auto& [address, fsm] : endpoints_) {
    const Status status = fsm.takeover();
    any = any || status.has_value();
    if (!status) last = status;
  }
  return any ? Status{} : last;
}

std::vector<Action> Machine::Impl::reconfigure(MonoTime now, Configuration configuration) {
  view_.advance(now);
  configuration.self = view_.config().self;
  const bool moved = configuration.mode != view_.config().mode || configuration.preferred != view_.config().preferred;
  const bool other_lease = configuration.lease != view_.config().lease;
  view_.set_config(std::move(configuration));
  if (other_lease) {
    view_.lease_service = view_.config().lease == LeaseKind::kEmbedded ? Link::kUp : Link::kDown;
    for (auto& [address, fsm] : endpoints_) fsm.other_lease();
  }
  for (auto& [address, fsm] : endpoints_)
    if (std::ranges::find(view_.config().endpoints, address, &Endpoint::address) == view_.config().endpoints.end())
      fsm.remove();
  std::erase_if(endpoints_, [](const auto& e) { return e.second.gone(); });
  add_endpoints();
  if (moved)
    for (auto& [address, fsm] : endpoints_) fsm.rebalance();
  return finish();
}

// --- what comes out --------------------------------------------------------------------------------------------

std::vector<Action> Machine::Impl::finish() {
  for (auto& [address, fsm] : endpoints_) {
    // A state leads to the next at most a few times without anything new being heard.
    for (int rounds = 0; rounds < 8 && fsm.step(); ++rounds) {
    }
  }
  std::erase_if(endpoints_, [](const auto& e) { return e.second.gone(); });
  Report now = report(view_.config().self);
  if (now != told_) out_.push_back(TellReports{});
  told_ = std::move(now);
  alarms_.update(view_, endpoints_, out_);
  if (held_.empty()) return std::exchange(out_, {});
  std::vector<Action> all = std::exchange(held_, {});
  all.insert(all.end(), std::make_move_iterator(out_.begin()), std::make_move_iterator(out_.end()));
  out_.clear();
  return all;
}

Report Machine::Impl::report(Instance peer) const {
  Report r{.incarnation = incarnation_, .unfit = view_.reported()};
  if (const PeerView* p = view_.peer(peer)) {
    r.in_sync = p->complete;
    r.hears_data = view_.data_alive(*p) ? Link::kUp : Link::kDown;
  }
  for (const auto& [address, fsm] : endpoints_) r.claims.push_back(fsm.claim());
  return r;
}

Snapshot Machine::Impl::snapshot(MonoTime now) const {
  Snapshot s{.self = view_.config().self,
             .unfit = view_.reported(),
             .drained = view_.drained,
             .lease_service = view_.lease_service,
             .alarms = alarms_.raised()};
  const auto age = [&](MonoTime heard) {
    return heard == MonoTime{} ? std::nullopt : std::optional<std::chrono::nanoseconds>(now - heard);
  };
  for (const PeerView& p : view_.peers())
    s.peers.push_back({.id = p.id,
                       .sync = view_.sync_alive(p) ? Link::kUp : Link::kDown,
                       .sync_age = age(p.sync_heard),
                       .data = view_.data_alive(p) ? Link::kUp : Link::kDown,
                       .data_age = age(view_.data_alive(p) ? now : p.data_heard),
                       .unfit = view_.unfit(p),
                       .in_sync = view_.sync_alive(p) ? p.report.in_sync : Link::kDown,
                       .we_are_in_sync = p.complete,
                       .incarnation = p.report.incarnation});
  for (const auto& [address, fsm] : endpoints_) s.endpoints.push_back(fsm.snapshot());
  return s;
}

Machine::Machine(Configuration configuration, std::uint64_t incarnation, MonoTime now)
    : impl_(std::make_unique<Impl>(std::move(configuration), incarnation, now)) {}
Machine::~Machine() = default;
Machine::Machine(Machine&&) noexcept = default;
Machine& Machine::operator=(Machine&&) noexcept = default;

std::vector<Action> Machine::handle(MonoTime now, const Event& event) { return impl_->handle(now, event); }
Result<std::vector<Action>> Machine::command(MonoTime now, const Command& command) {
  return impl_->command(now, command);
}
std::vector<Action> Machine::reconfigure(MonoTime now, Configuration configuration) {
  return impl_->reconfigure(now, std::move(configuration));
}
MonoTime Machine::next_deadline() const { return impl_->next_deadline(); }
Report Machine::report(Instance peer) const { return impl_->report(peer); }
Snapshot Machine::snapshot(MonoTime now) const { return impl_->snapshot(now); }

}  // namespace gw::ha
