// Every state with every event, for both kinds of lease: the state that follows, as a table, and what must hold
// whatever the cell. The machine is gw-b's; the endpoint is at home on gw-a.
#include <gtest/gtest.h>

#include <algorithm>
#include <format>
#include <functional>
#include <map>
#include <sstream>
#include <string>

#include "ha/machine.hpp"

namespace gw::ha {
namespace {

using ms = std::chrono::milliseconds;

constexpr Instance kA{0};
constexpr Instance kB{1};
const IpAddress kE = IpAddress::from_v4(0xcb00710a);
constexpr Epoch kOfA = next_epoch(next_epoch(0, kA), kA);
constexpr Epoch kOld = next_epoch(0, kA);
constexpr Epoch kOfB = next_epoch(kOfA, kB);
constexpr Epoch kHigh = next_epoch(kOfB + 64, kA);
constexpr LocalHealth kFine{Link::kUp, Link::kUp, Link::kUp, Link::kUp};

/// One machine, brought into a state, with a peer that is well.
class Rig {
 public:
  explicit Rig(LeaseKind lease) : machine_(configuration(lease), 7, now_), etcd_(lease == LeaseKind::kEtcd) {
    put(kFine);
    put(SyncChannel{kA, Link::kUp});
    put(SyncProgress{kA, Link::kUp});
    a_owns(kOfA);
    if (etcd_) put(LeaseService{Link::kUp, ""});
    if (etcd_) put(LeaseHolder{kE, kA, kOfA});
  }

  void reach(State state) {
    if (state == State::kStandby) return;
    if (state == State::kWaiting) return wait();
    put(MessageHeard{kA, Prepare{kE, kOfA}});
    if (state == State::kReceiving) return;
    put(ReadyDone{kE, kOfA});
    a_standby(kOfA);
    put(MessageHeard{kA, HandOver{kE, kOfA, Handover::kPlanned, Stay::kUntilMoved}});
    if (etcd_) put(LeaseGranted{kE, kOfB, now_ + ms(9000)});
    a_standby(kOfB);
    if (state == State::kTaking) return;
    put(OwnDone{kE, kOfB});
    if (state == State::kOwned) return;
    command(Move{kE, kA});
    if (state == State::kPreparing) return;
    put(MessageHeard{kA, Ready{kE, kOfB}});
    put(SitesMoved{kE});
    if (state == State::kReleasing) return;
    put(ReleaseDone{kE, kOfB});
  }

  void put(const Event& event) { take(machine_.handle(now_, event)); }
  bool command(const Command& command) {
    auto result = machine_.command(now_, command);
    if (result) take(*result);
    return result.has_value();
  }
  void remove() {
    Configuration c = configuration(etcd_ ? LeaseKind::kEtcd : LeaseKind::kEmbedded);
    c.endpoints.clear();
    take(machine_.reconfigure(now_, c));
  }
  void a_owns(Epoch epoch) { a_says({.unfit = Reason::kNone, .claims = {{kE, epoch, Ownership::kOwned}}}); }
  void a_standby(Epoch epoch, Reason unfit = Reason::kNone) {
    a_says({.unfit = unfit, .claims = {{kE, epoch, Ownership::kStandby}}});
  }
  /// Sync and data path say the same.
  void a_says(Report report) {
    report.incarnation = 3;
    report.in_sync = Link::kUp;
    said_ = report;
    put(DataPath{kA, Link::kUp, Link::kUp, Link::kUp, now_, report.claims});
    put(ReportHeard{kA, report});
  }
  /// kData: and that gw-a's gwd is there; kOrphan: that it is not.
  enum class Heard { kBoth, kData, kOrphan, kNothing };
  void pass(ms duration, Heard heard) {
    for (const MonoTime end = now_ + duration; now_ < end;) {
      now_ += ms(25);
      put(Tick{});
      if (heard == Heard::kBoth) put(ReportHeard{kA, said_});
      if (heard == Heard::kOrphan) put(DataPath{kA, Link::kUp, Link::kUp, Link::kDown, now_, said_.claims});
      if (heard == Heard::kNothing) put(DataPath{kA, Link::kDown, Link::kDown, Link::kUp, now_ - ms(200), {}});
      if (etcd_) put(LeaseRenewed{kE, kOfB, now_ + ms(9000)});
    }
  }

  /// Empty: the machine does not know the endpoint any more.
  std::optional<State> state() const {
    const Snapshot s = machine_.snapshot(now_);
    return s.endpoints.empty() ? std::nullopt : std::optional(s.endpoints.front().state);
  }
  void begin() { actions_.clear(); }
  const std::vector<Action>& actions() const { return actions_; }
  bool etcd() const { return etcd_; }
  MonoTime now() const { return now_; }

  static Configuration configuration(LeaseKind lease) {
    return {.self = kB, .members = {{kA, "gw-a"}, {kB, "gw-b"}}, .endpoints = {{kE, kA}}, .lease = lease};
  }

 private:
  void wait() {
    if (etcd_) {
      put(LeaseHolder{kE, std::nullopt, kOfA});
      a_standby(kOfA, Reason::kWanDown);
      return pass(ms(600), Heard::kBoth);
    }
    a_standby(kOfA, Reason::kWanDown);
    pass(ms(150), Heard::kBoth);
  }
  void take(const std::vector<Action>& actions) { actions_.insert(actions_.end(), actions.begin(), actions.end()); }

  MonoTime now_{std::chrono::seconds(100)};
  Machine machine_;
  bool etcd_;
  Report said_;
  std::vector<Action> actions_;
};

struct Row {
  const char* name;
  std::function<void(Rig&)> what;
};

std::vector<Row> rows() {
  const auto message = [](Message m) { return [m = std::move(m)](Rig& r) { r.put(MessageHeard{kA, m}); }; };
  const auto event = [](Event e) { return [e = std::move(e)](Rig& r) { r.put(e); }; };
  const auto order = [](Command c) { return [c = std::move(c)](Rig& r) { (void)r.command(c); }; };
  const auto health = [](LocalHealth h, ms lasts) {
    return [h, lasts](Rig& r) {
      r.put(h);
      r.pass(lasts, Rig::Heard::kBoth);
    };
  };
  return {
      {"Tick", event(Tick{})},
      {"SyncChannel down", event(SyncChannel{kA, Link::kDown})},
      {"SyncChannel up anew", event(SyncChannel{kA, Link::kUp})},
      {"report: owns, higher", [](Rig& r) { r.a_owns(kHigh); }},
      {"report: owns, older", [](Rig& r) { r.a_owns(kOfA); }},
      {"report: standby", [](Rig& r) { r.a_standby(kOfA); }},
      {"report: standby, higher", [](Rig& r) { r.a_standby(kHigh); }},
      {"report: unfit", [](Rig& r) { r.a_standby(kOfA, Reason::kWanDown); }},
      {"Prepare", message(Prepare{kE, kOfA})},
      {"Prepare, higher", message(Prepare{kE, kHigh})},
      {"Prepare, old", message(Prepare{kE, kOld})},
      {"Ready", message(Ready{kE, kOfB})},
      {"Ready, old", message(Ready{kE, kOld})},
      {"HandOver", message(HandOver{kE, kOfA, Handover::kPlanned, Stay::kUntilPreferred})},
      {"HandOver, old", message(HandOver{kE, kOld, Handover::kPlanned, Stay::kUntilPreferred})},
      {"Taken", message(Taken{kE, next_epoch(kOfB, kA)})},
      {"Taken, old", message(Taken{kE, kOld})},
      {"Cancel", message(Cancel{kE, kOfA})},
      {"Refuse", message(Refuse{kE, kOfB, Reason::kNotInSync})},
      {"Request", message(Request{kE, kOfB, Stay::kUntilMoved})},
      {"data path down",
       event(DataPath{kA, Link::kDown, Link::kDown, Link::kUp, MonoTime(std::chrono::seconds(100)), {}})},
      {"data path: owns, higher", event(DataPath{kA,
                                                 Link::kUp,
                                                 Link::kUp,
                                                 Link::kUp,
                                                 MonoTime(std::chrono::seconds(100)),
                                                 {{kE, kHigh, Ownership::kOwned}}})},
      {"EndpointLost", event(EndpointLost{kE, kHigh})},
      {"EndpointLost, old", event(EndpointLost{kE, kOld})},
      {"wan down 50 ms", health({Link::kUp, Link::kUp, Link::kDown, Link::kUp}, ms(50))},
      {"wan down 200 ms", health({Link::kUp, Link::kUp, Link::kDown, Link::kUp}, ms(200))},
      {"fast path down 200 ms", health({Link::kDown, Link::kDown, Link::kUp, Link::kUp}, ms(200))},
      {"fast path restarted",
       [](Rig& r) {
         r.put(LocalHealth{Link::kDown, Link::kDown, Link::kUp, Link::kUp});
         r.put(kFine);
       }},
      {"charon away", health({Link::kUp, Link::kUp, Link::kUp, Link::kUp, Link::kUp, Link::kDown}, ms(0))},
      {"Adopted", event(Adopted{{{kE, kOfB, Ownership::kOwned}}})},
      {"SyncProgress down", event(SyncProgress{kA, Link::kDown})},
      {"OwnDone", event(OwnDone{kE, kOfB})},
      {"OwnDone, old", event(OwnDone{kE, kOld})},
      {"ReleaseDone", event(ReleaseDone{kE, kOfB})},
      {"ReleaseDone, old", event(ReleaseDone{kE, kOld})},
      {"ReadyDone", event(ReadyDone{kE, kOfA})},
      {"ReadyDone, refused", event(ReadyDone{kE, kOfA, Reason::kNotInSync})},
      {"SitesMoved", event(SitesMoved{kE})},
      {"ActionFailed", event(ActionFailed{kE, "hook: exit 1"})},
      {"LeaseGranted", [](Rig& r) { r.put(LeaseGranted{kE, next_epoch(kOfB, kB), r.now() + ms(9000)}); }},
      {"LeaseDenied: gw-a", event(LeaseDenied{kE, kA, kHigh})},
      {"LeaseDenied: no answer", event(LeaseDenied{kE, std::nullopt, 0})},
      {"LeaseRenewed", [](Rig& r) { r.put(LeaseRenewed{kE, kOfB, r.now() + ms(9000)}); }},
      {"LeaseLost", event(LeaseLost{kE, kOfB})},
      {"LeaseHolder: nobody", event(LeaseHolder{kE, std::nullopt, kOfB})},
      {"LeaseHolder: gw-a", event(LeaseHolder{kE, kA, kHigh})},
      {"LeaseHolder, old news", event(LeaseHolder{kE, kA, kOld})},
      {"LeaseService down", event(LeaseService{Link::kDown, "timeout"})},
      {"drain", order(Drain{})},
      {"undrain", order(Undrain{})},
      {"move to gw-a", order(Move{kE, kA})},
      {"move to gw-b", order(Move{kE, kB})},
      {"takeover", order(Takeover{kE})},
      {"endpoint removed", [](Rig& r) { r.remove(); }},
      {"sync silent 300 ms", [](Rig& r) { r.pass(ms(300), Rig::Heard::kData); }},
      {"both silent 300 ms", [](Rig& r) { r.pass(ms(300), Rig::Heard::kNothing); }},
      {"2.5 s pass", [](Rig& r) { r.pass(ms(2500), Rig::Heard::kBoth); }},
      {"7 s pass", [](Rig& r) { r.pass(ms(7000), Rig::Heard::kBoth); }},
      {"sync silent 40 s", [](Rig& r) { r.pass(ms(40'000), Rig::Heard::kData); }},
      {"gwd away 4 s", [](Rig& r) { r.pass(ms(4'000), Rig::Heard::kOrphan); }},
      {"gwd away 6 s", [](Rig& r) { r.pass(ms(6'000), Rig::Heard::kOrphan); }},
  };
}

constexpr std::array kStates{State::kStandby, State::kWaiting,   State::kReceiving, State::kTaking,
                             State::kOwned,   State::kPreparing, State::kReleasing, State::kHandedOver};

/// S W R T O P L(et go) H; '-': not there any more.
char letter(std::optional<State> s) {
  constexpr std::string_view kLetters = "SWRTOPLH";
  return s ? kLetters[static_cast<std::size_t>(*s)] : '-';
}

/// What must hold in every cell.
void check_cell(Rig& rig, State before, const char* row) {
  const std::string cell = std::format("{} in {}", row, to_string(before));
  State at = before;
  bool told_to_stop = false;
  for (const Action& action : rig.actions()) {
    if (const auto* t = std::get_if<Transition>(&action)) {
      EXPECT_EQ(to_string(t->from), to_string(at)) << cell;
      EXPECT_FALSE(t->cause.empty()) << cell;
      EXPECT_NE(t->situation.find("gw-a"), std::string::npos) << cell << ": " << t->situation;
      at = t->to;
    }
    if (const auto* own = std::get_if<Own>(&action)) {
      EXPECT_EQ(claimant(own->epoch), kB) << cell;
      EXPECT_EQ(own->until.has_value(), rig.etcd()) << cell << ": a deadline is what etcd gives, and only that";
      told_to_stop = false;
    }
    if (std::holds_alternative<Release>(action)) told_to_stop = true;
    if (const auto* tell = std::get_if<Tell>(&action)) {
      EXPECT_EQ(tell->to, kA) << cell;
      EXPECT_EQ(address_of(tell->message), kE) << cell;
      if (std::holds_alternative<HandOver>(tell->message)) {
        EXPECT_FALSE(owns(at)) << cell << ": it says that it has stopped, and has not";
      }
    }
  }
  const std::optional<State> after = rig.state();
  if (after) {
    EXPECT_EQ(to_string(at), to_string(*after)) << cell << ": every change is told";
  }
  if (owns(before) && (!after || !owns(*after))) {
    EXPECT_TRUE(told_to_stop) << cell;
  }
}

std::string table(LeaseKind lease) {
  std::string text;
  for (const Row& row : rows()) {
    text += std::format("{:<26}", row.name);
    for (const State before : kStates) {
      Rig rig(lease);
      rig.reach(before);
      EXPECT_EQ(letter(rig.state()), letter(before));
      rig.begin();
      row.what(rig);
      check_cell(rig, before, row.name);
      text += std::format(" {}", letter(rig.state()));
    }
    text += "\n";
  }
  return text;
}

constexpr const char* kHead = "                           S W R T O P L H\n";

// clang-format off
constexpr const char* kEmbedded = R"(
Tick                       S W R T O P L H
SyncChannel down           S S S T O O L H
SyncChannel up anew        S S S T O O L H
report: owns, higher       S S R S S S S S
report: owns, older        S S R T O P L H
report: standby            S W R T O P L H
report: standby, higher    S W R T T P L H
report: unfit              S W R T O O L H
Prepare                    R R R T O P L H
Prepare, higher            R R R T O P L R
Prepare, old               S W R T O P L H
Ready                      S W R T O P L H
Ready, old                 S W R T O P L H
HandOver                   T T T T O P L H
HandOver, old              S W S T O P L H
Taken                      S W R T T P L S
Taken, old                 S W R T O P L H
Cancel                     S W S T O P L H
Refuse                     S S R T O O L T
Request                    S H S T P P L H
data path down             S W R T O P L H
data path: owns, higher    S S R S S S S S
EndpointLost               S S R S S S S S
EndpointLost, old          S S R T O P L H
wan down 50 ms             S S S T O P L H
wan down 200 ms            S S S L L L L H
fast path down 200 ms      S S S L L L L H
fast path restarted        S S S T O P L H
charon away                S W R T P P L H
Adopted                    T W R T O P L H
SyncProgress down          S W R T O P L H
OwnDone                    S W R O O P L H
OwnDone, old               S W R T O P L H
ReleaseDone                S W R T O P H H
ReleaseDone, old           S W R T O P L H
ReadyDone                  S W R T O P L H
ReadyDone, refused         S W S T O P L H
SitesMoved                 S W R T O P L H
ActionFailed               S W R T O P L H
LeaseGranted               S W R T O P L H
LeaseDenied: gw-a          S W R T O P L H
LeaseDenied: no answer     S W R T O P L H
LeaseRenewed               S W R T O P L H
LeaseLost                  S W R T O P L H
LeaseHolder: nobody        S W R T O P L H
LeaseHolder: gw-a          S W R T O P L H
LeaseHolder, old news      S W R T O P L H
LeaseService down          S W R T O P L H
drain                      S S S T P P L H
undrain                    S W R T O P L H
move to gw-a               S W R T P P L H
move to gw-b               S W R T O O L H
takeover                   T T T T O P T T
endpoint removed           - - - L L L L -
sync silent 300 ms         S S S T O O L H
both silent 300 ms         T T T T O O L T
2.5 s pass                 S W R T O P H H
7 s pass                   S W S T O O T T
sync silent 40 s           S T S T O O T T
gwd away 4 s               S T S T O O T T
gwd away 6 s               T T T T O O T T
)";
constexpr const char* kEtcd = R"(
Tick                       S W R T O P L H
SyncChannel down           S W S T O O L H
SyncChannel up anew        S W S T O O L H
report: owns, higher       S W R S S S S S
report: owns, older        S W R T O P L H
report: standby            S W R T O P L H
report: standby, higher    S W R T O P L H
report: unfit              S W R T O O L H
Prepare                    R R R T O P L H
Prepare, higher            R R R T O P L R
Prepare, old               S W R T O P L H
Ready                      S W R T O P L H
Ready, old                 S W R T O P L H
HandOver                   W W W T O P L H
HandOver, old              S W S T O P L H
Taken                      S W R T O P L S
Taken, old                 S W R T O P L H
Cancel                     S W S T O P L H
Refuse                     S W R T O O L W
Request                    S W R T P P L H
data path down             S W R T O P L H
data path: owns, higher    S W R S S S S S
EndpointLost               S W R S S S S S
EndpointLost, old          S W R T O P L H
wan down 50 ms             S W S T O P L H
wan down 200 ms            S W S L L L L H
fast path down 200 ms      S W S L L L L H
fast path restarted        S W S T O P L H
charon away                S W R T P P L H
Adopted                    W W R T O P L H
SyncProgress down          S W R T O P L H
OwnDone                    S W R O O P L H
OwnDone, old               S W R T O P L H
ReleaseDone                S W R T O P H H
ReleaseDone, old           S W R T O P L H
ReadyDone                  S W R T O P L H
ReadyDone, refused         S W S T O P L H
SitesMoved                 S W R T O P L H
ActionFailed               S W R T O P L H
LeaseGranted               S T R T O P L H
LeaseDenied: gw-a          S S R S S S S S
LeaseDenied: no answer     S S R T O P L H
LeaseRenewed               S W R T O P L H
LeaseLost                  S W R S S S S H
LeaseHolder: nobody        S W R S S S S H
LeaseHolder: gw-a          S W R S S S S S
LeaseHolder, old news      S W R T O P L H
LeaseService down          S W R T O P L H
drain                      S W S T P P L H
undrain                    S W R T O P L H
move to gw-a               S W R T P P L H
move to gw-b               S W R T O O L H
takeover                   S W R T O P L H
endpoint removed           - - - L L L L -
sync silent 300 ms         S W S T O O L H
both silent 300 ms         S W S T O O L W
2.5 s pass                 S W R T O P L H
7 s pass                   S W S T O O L W
sync silent 40 s           S W S T O O S S
gwd away 4 s               S W S T O O L S
gwd away 6 s               S W S T O O L S
)";
// clang-format on

TEST(HaTable, EmbeddedLease) { EXPECT_EQ("\n" + table(LeaseKind::kEmbedded), kEmbedded) << kHead; }
TEST(HaTable, Etcd) { EXPECT_EQ("\n" + table(LeaseKind::kEtcd), kEtcd) << kHead; }

// A gwd that was restarted hears the other instance before its own gw-fastpath.
TEST(HaAdopted, AFastPathThatIsHeardForTheFirstTimeKeepsItsEndpoints) {
  const MonoTime now(std::chrono::seconds(100));
  Machine machine(Rig::configuration(LeaseKind::kEmbedded), 7, now);
  const auto put = [&](const Event& event) { (void)machine.handle(now, event); };
  put(LocalHealth{Link::kDown, Link::kDown, Link::kUp, Link::kUp});
  put(SyncChannel{kA, Link::kUp});
  put(SyncProgress{kA, Link::kUp});
  put(ReportHeard{kA, {.unfit = Reason::kNone, .in_sync = Link::kUp, .claims = {{kE, kOfA, Ownership::kStandby}}}});
  put(Adopted{{{kE, kOfB, Ownership::kOwned}}});
  put(Tick{});
  EXPECT_EQ(machine.snapshot(now).endpoints.front().state, State::kTaking);
}

}  // namespace
}  // namespace gw::ha
