// The two ends of one stream of the sync channel, without I/O. The Outbox cuts messages into numbered chunks, keeps
// them until they are acknowledged, and gives out no more than the receiver allowed; the Inbox takes them in order,
// puts messages together again and says how far it is. Chunks may come twice (sent again on another path) but
// never out of order: within a connection nothing overtakes. Owner: Session; thread: sync.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "gwd/sync/channel.hpp"
#include "gwd/sync/kinds.hpp"
#include "gwd/sync/refusal.hpp"

namespace gw::gwd::sync {

class Outbox {
 public:
  explicit Outbox(Kind kind) : kind_(kind) {}

  /// False: more than kMaxUnacknowledged would have to be kept; nothing was taken, and the stream is broken.
  bool push(std::string message, MonoTime now);
  /// What goes out next: nothing if all is sent, or the receiver does not allow more.
  struct Chunk {
    std::uint64_t sequence = 0;
    bool more = false;
    std::string_view payload;  // valid until the next call of push() or acknowledge()
  };
  std::optional<Chunk> next();
  /// A new connection: everything that is not acknowledged goes out again.
  void rewind();
  /// Refused when it acknowledges what was never sent.
  Judged<void> acknowledge(const wire::Position& position, MonoTime now);

  bool waiting() const { return next_ < kept_.size() && kept_[next_].sequence <= limit_; }
  /// Nothing of this stream has been acknowledged yet.
  bool untouched() const { return acknowledged_ == 0; }
  /// Adds what this stream knows.
  void count(KindCounters& into, MonoTime now) const;

 private:
  struct Kept {
    std::uint64_t sequence = 0;
    bool more = false;
    std::string payload;
    MonoTime queued;
  };
  Kind kind_;
  std::deque<Kept> kept_;   // not acknowledged
  std::size_t next_ = 0;    // of kept_: the first that this connection has not sent
  std::uint64_t last_ = 0;  // number given
  std::uint64_t sent_ = 0;  // highest that was ever sent
  std::uint64_t acknowledged_ = 0;
  std::uint64_t limit_ = kWindow;
  std::size_t bytes_ = 0;
  KindCounters counters_;
};

class Inbox {
 public:
  explicit Inbox(Kind kind) : kind_(kind) {}

  /// A whole message, or nothing: more of it is to come, or it was here before.
  Judged<std::optional<std::string>> accept(wire::Data& data);
  /// A message was handed on: there is room for another.
  void handed_on(std::size_t bytes);
  wire::Position position() const;
  bool untouched() const { return received_ == 0; }
  void count(KindCounters& into) const;

 private:
  void extend();

  Kind kind_;
  std::uint64_t received_ = 0;
  std::uint64_t limit_ = kWindow;
  std::string partial_;
  std::uint64_t waiting_messages_ = 0;  // not handed on yet
  std::size_t waiting_bytes_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace gw::gwd::sync
