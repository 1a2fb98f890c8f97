#include "gwd/sync/session.hpp"

#include <algorithm>
#include <format>

#include "base/frame.hpp"

namespace gw::gwd::sync {
namespace {

void append_chunk(std::string& frames, Kind kind, const Outbox::Chunk& chunk) {
  wire::Frame frame;
  wire::Data& data = *frame.mutable_data();
  data.set_kind(static_cast<std::uint32_t>(kind));
  data.set_sequence(chunk.sequence);
  data.set_more(chunk.more);
  data.set_payload(chunk.payload.data(), chunk.payload.size());
  append_frame(frames, frame.SerializeAsString());
}

}  // namespace

wire::Identity identity_of(const Party& party) {
  wire::Identity out;
  out.set_gateway(party.gateway);
  out.set_instance(party.instance);
  out.set_number(party.number);
  out.set_incarnation(party.incarnation);
  out.set_release(party.release);
  for (const Kind kind : kKinds) out.add_kinds(static_cast<std::uint32_t>(kind));
  return out;
}

Judged<void> judge_identity(const Party& party, const wire::Identity& peer) {
  if (peer.gateway() != party.gateway)
    return refuse(wire::REASON_WRONG_GATEWAY,
                  std::format("it is of gateway '{}', this is {}", peer.gateway().substr(0, 64), party.gateway));
  if (peer.instance() == party.instance || peer.number() == party.number)
    return refuse(wire::REASON_OWN_INSTANCE,
                  std::format("it says that it is {} (number {}), as this one is: a cloned machine, or the wrong "
                              "--instance",
                              peer.instance().substr(0, 64), peer.number()));
  if (peer.instance() != party.peer_instance || peer.number() != party.peer_number)
    return refuse(wire::REASON_WRONG_INSTANCE,
                  std::format("it is '{}' (number {}), expected {} (number {})", peer.instance().substr(0, 64),
                              peer.number(), party.peer_instance, party.peer_number));
  return {};
}

Judged<std::uint32_t> choose_version(const wire::Hello& hello) {
  const std::uint32_t version = std::min(hello.max_version(), kMaxVersion);
  if (version < kMinVersion || version < hello.min_version())
    return refuse(wire::REASON_VERSION,
                  std::format("it speaks versions {} to {} of the sync channel, this gwd {} to {}: upgrade one release "
                              "at a time",
                              hello.min_version(), hello.max_version(), kMinVersion, kMaxVersion));
  return version;
}

Session::Session() {
  for (const Kind kind : kKinds) {
    outboxes_.emplace_back(kind);
    inboxes_.emplace_back(kind);
  }
}

void Session::begin(std::uint64_t id, const wire::Identity& peer) {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    outboxes_[i].count(before_[i], MonoTime{});
    inboxes_[i].count(before_[i]);
    outboxes_[i] = Outbox(kKinds[i]);
    inboxes_[i] = Inbox(kKinds[i]);
  }
  id_ = id;
  peer_incarnation_ = peer.incarnation();
  peer_kinds_.clear();
  for (const std::uint32_t number : peer.kinds())
    if (const auto kind = kind_of(number)) peer_kinds_.insert(*kind);
}

bool Session::untouched() const {
  return std::ranges::all_of(outboxes_, &Outbox::untouched) && std::ranges::all_of(inboxes_, &Inbox::untouched);
}

// A caller that was told of this session on another path a moment ago may not know it yet when it says Hello on this
// one; as long as nothing was exchanged, it has missed nothing.
bool Session::continues(const wire::Hello& hello) const {
  if (id_ == 0 || hello.identity().incarnation() != peer_incarnation_) return false;
  return hello.session() == id_ || untouched();
}

void Session::rewind() {
  for (Outbox& outbox : outboxes_) outbox.rewind();
}

std::string Session::collect(std::size_t budget) {
  std::string frames;
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    auto chunk = outboxes_[i].next();
    while (chunk) {
      append_chunk(frames, kKinds[i], *chunk);
      if (frames.size() >= budget) break;
      chunk = outboxes_[i].next();
    }
  }
  return frames;
}

bool Session::waiting() const { return std::ranges::any_of(outboxes_, &Outbox::waiting); }

Judged<void> Session::acknowledge(const google::protobuf::RepeatedPtrField<wire::Position>& positions, MonoTime now) {
  for (const wire::Position& position : positions) {
    const auto kind = kind_of(position.kind());
    if (!kind) continue;  // a newer release's
    if (auto ok = out(*kind).acknowledge(position, now); !ok) return ok;
  }
  return {};
}

void Session::positions(google::protobuf::RepeatedPtrField<wire::Position>& into) const {
  for (const Inbox& inbox : inboxes_) *into.Add() = inbox.position();
}

void Session::count(std::array<KindCounters, kKinds.size()>& into, MonoTime now) const {
  into = before_;
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    outboxes_[i].count(into[i], now);
    inboxes_[i].count(into[i]);
  }
}

}  // namespace gw::gwd::sync
