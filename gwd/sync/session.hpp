// What two gwds share for longer than a connection: a stream each way for every kind. Also the rules of the first
// exchange: who may talk to us, and whether a new connection goes on with the session or begins another one.
// Without I/O. Owner: Link; thread: sync.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gwd/sync/streams.hpp"

namespace gw::gwd::sync {

inline constexpr std::uint32_t kMinVersion = 1;
inline constexpr std::uint32_t kMaxVersion = 1;

/// We, and whom we expect.
struct Party {
  std::string gateway;
  std::string instance;
  std::uint32_t number = 0;
  std::uint64_t incarnation = 0;
  std::string release;
  std::string peer_instance;
  std::uint32_t peer_number = 0;
};

wire::Identity identity_of(const Party& party);
/// The certificate has been checked; this is about what it says of itself.
Judged<void> judge_identity(const Party& party, const wire::Identity& peer);
/// The highest version that both know.
Judged<std::uint32_t> choose_version(const wire::Hello& hello);

class Session {
 public:
  Session();

  std::uint64_t id() const { return id_; }
  std::uint64_t peer_incarnation() const { return peer_incarnation_; }
  /// Nothing of an earlier session is left.
  void begin(std::uint64_t id, const wire::Identity& peer);
  /// It cannot go on: the next connection begins another one.
  void end() { id_ = 0; }

  /// Whether the caller goes on with this session (asked of the one that answers).
  bool continues(const wire::Hello& hello) const;

  bool knows(Kind kind) const { return peer_kinds_.contains(kind); }
  Outbox& out(Kind kind) { return outboxes_[index_of(kind)]; }
  Inbox& in(Kind kind) { return inboxes_[index_of(kind)]; }
  void rewind();
  /// The most urgent chunks that may go out now, as frames, up to about `budget` bytes. Every stream that waits gets
  /// one chunk at least, so that none starves.
  std::string collect(std::size_t budget);
  bool waiting() const;
  Judged<void> acknowledge(const google::protobuf::RepeatedPtrField<wire::Position>& positions, MonoTime now);
  void positions(google::protobuf::RepeatedPtrField<wire::Position>& into) const;
  void count(std::array<KindCounters, kKinds.size()>& into, MonoTime now) const;

 private:
  bool untouched() const;

  std::uint64_t id_ = 0;
  std::uint64_t peer_incarnation_ = 0;
  std::set<Kind> peer_kinds_;
  std::vector<Outbox> outboxes_;
  std::vector<Inbox> inboxes_;
  std::array<KindCounters, kKinds.size()> before_{};  // of earlier sessions
};

}  // namespace gw::gwd::sync
