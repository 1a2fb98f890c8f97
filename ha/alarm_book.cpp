#include "ha/alarm_book.hpp"

#include <format>
#include <utility>

namespace gw::ha {

void AlarmBook::of_peer(const View& view, const PeerView& peer, Texts& wanted) {
  const std::string name = view.config().name_of(peer.id);
  const auto raise = [&](AlarmKind kind, std::string text) { wanted[{kind, std::nullopt, peer.id}] = std::move(text); };
  const bool sync = view.sync_alive(peer);
  const bool data = view.data_alive(peer);
  const bool listening = view.health() && view.health()->fastpath == Link::kUp;
  // Whatever begins right after a start is no news.
  if (!view.ever_heard(peer) && !view.due(view.started() + view.timing().foreign_wait)) return;
  if (!sync && !data) {
    if (view.dead(peer)) raise(AlarmKind::kPeerDead, std::format("{} is not heard on any path", name));
    return;
  }
  if (!sync && view.due(view.sync_silent_since(peer) + view.timing().start_wait))
    raise(AlarmKind::kSyncPathDown,
          std::format("{} forwards, but its gwd is not heard: nothing is synced. {}", name,
                      peer.control == Link::kDown ? "Its gw-fastpath says that gwd is away"
                                                  : "Its gw-fastpath says that gwd is there: the sync network?"));
  const MonoTime listening_since = std::max(view.fastpath_since(), view.started());
  if (!data && listening && view.due(std::max(peer.data_heard, listening_since) + view.timing().start_wait))
    raise(AlarmKind::kDataPathDown,
          std::format("the data path to {} is silent though its gwd is there: the VNet between them?", name));
  if (sync && peer.report.unfit != Reason::kNone)
    raise(AlarmKind::kPeerUnfit, std::format("{} could not take over: {}", name, to_string(peer.report.unfit)));
}

void AlarmBook::of_self(const View& view, Texts& wanted) {
  const auto raise = [&](AlarmKind kind, std::string text) {
    wanted[{kind, std::nullopt, std::nullopt}] = std::move(text);
  };
  if (const Reason unfit = view.unfit(); unfit != Reason::kNone && unfit != Reason::kStarting)
    raise(AlarmKind::kSelfUnfit, std::format("this instance owns no endpoints: {}", to_string(unfit)));
  else if (view.ike_away())
    raise(AlarmKind::kSelfUnfit, "charon does not answer: endpoints go to the other instance while it can have them");
  if (view.config().lease == LeaseKind::kEtcd && view.lease_service == Link::kDown &&
      view.due(view.started() + view.timing().start_wait))
    raise(AlarmKind::kLeaseService, std::format("etcd does not answer{}{}: endpoints stop when their leases end",
                                                view.lease_words.empty() ? "" : ": ", view.lease_words));
}

void AlarmBook::of_endpoint(const View& view, const EndpointFsm& endpoint, Texts& wanted) {
  const auto raise = [&](AlarmKind kind, std::string text) {
    wanted[{kind, endpoint.address(), std::nullopt}] = std::move(text);
  };
  if (const std::optional<Instance> rival = endpoint.rival())
    raise(AlarmKind::kSplitBrain, std::format("{} is claimed by {}, too: it gives way when it hears us",
                                              endpoint.address(), view.config().name_of(*rival)));
  if (endpoint.state() == State::kStandby && endpoint.vacant_since() &&
      view.due(*endpoint.vacant_since() + view.timing().start_wait))
    raise(AlarmKind::kNoOwner, std::format("nobody sends for {}", endpoint.address()));
  if (!endpoint.move_failure().empty())
    raise(AlarmKind::kMoveFailed, std::format("{} {}", endpoint.address(), endpoint.move_failure()));
  if (!endpoint.action_failure().empty())
    raise(AlarmKind::kActionFailed, std::format("{}: {}", endpoint.address(), endpoint.action_failure()));
}

void AlarmBook::update(const View& view, const std::map<IpAddress, EndpointFsm>& endpoints, std::vector<Action>& out) {
  Texts wanted;
  for (const PeerView& p : view.peers()) of_peer(view, p, wanted);
  of_self(view, wanted);
  for (const auto& [address, fsm] : endpoints) of_endpoint(view, fsm, wanted);
  const auto put = [&](const Key& key, Switch to, const std::string& text) {
    out.push_back(Alarm{std::get<0>(key), to, std::get<1>(key), std::get<2>(key), text});
  };
  for (const auto& [key, text] : raised_)
    if (!wanted.contains(key)) put(key, Switch::kOff, text);
  for (const auto& [key, text] : wanted)
    if (const auto old = raised_.find(key); old == raised_.end() || old->second != text) put(key, Switch::kOn, text);
  raised_ = std::move(wanted);
}

std::vector<Alarm> AlarmBook::raised() const {
  std::vector<Alarm> alarms;
  for (const auto& [key, text] : raised_)
    alarms.push_back({std::get<0>(key), Switch::kOn, std::get<1>(key), std::get<2>(key), text});
  return alarms;
}

}  // namespace gw::ha
