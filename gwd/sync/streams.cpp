#include "gwd/sync/streams.hpp"

#include <algorithm>
#include <format>

namespace gw::gwd::sync {
namespace {

using std::chrono::microseconds;

// What a slow reader may let wait; beyond, the sender waits.
constexpr std::size_t kMaxWaiting = std::size_t{16} << 20;

void note_lag(KindCounters& counters, std::chrono::nanoseconds lag) {
  const auto bucket = std::ranges::find_if(kLagBounds, [&](auto bound) { return lag <= bound; }) - kLagBounds.begin();
  ++counters.lag_histogram.at(static_cast<std::size_t>(bucket));
  counters.lag_sum_seconds += std::chrono::duration<double>(lag).count();
}

}  // namespace

bool Outbox::push(std::string message, MonoTime now) {
  if (bytes_ + message.size() > kMaxUnacknowledged) return false;
  ++counters_.sent_messages;
  counters_.sent_bytes += message.size();
  bytes_ += message.size();
  for (std::size_t at = 0; at + kMaxChunk < message.size(); at += kMaxChunk)
    kept_.push_back({++last_, true, message.substr(at, kMaxChunk), now});
  const std::size_t rest = message.empty() ? 0 : (message.size() - 1) / kMaxChunk * kMaxChunk;
  kept_.push_back({++last_, false, rest == 0 ? std::move(message) : message.substr(rest), now});
  return true;
}

std::optional<Outbox::Chunk> Outbox::next() {
  if (!waiting()) return std::nullopt;
  const Kept& chunk = kept_[next_++];
  if (chunk.sequence <= sent_) ++counters_.repeated_frames;
  sent_ = std::max(sent_, chunk.sequence);
  return Chunk{chunk.sequence, chunk.more, chunk.payload};
}

void Outbox::rewind() { next_ = 0; }

Judged<void> Outbox::acknowledge(const wire::Position& position, MonoTime now) {
  if (position.received() > sent_)
    return refuse(wire::REASON_MALFORMED,
                  std::format("acknowledges {} {}, sent were {}", to_string(kind_), position.received(), sent_));
  limit_ = std::max(limit_, position.limit());
  acknowledged_ = std::max(acknowledged_, position.received());
  while (!kept_.empty() && kept_.front().sequence <= acknowledged_) {
    const Kept& done = kept_.front();
    if (!done.more) note_lag(counters_, now - done.queued);
    bytes_ -= done.payload.size();
    kept_.pop_front();
    if (next_ > 0) --next_;
  }
  return {};
}

void Outbox::count(KindCounters& into, MonoTime now) const {
  into.sent_messages += counters_.sent_messages;
  into.sent_bytes += counters_.sent_bytes;
  into.repeated_frames += counters_.repeated_frames;
  into.unacknowledged_bytes = bytes_;
  into.lag = kept_.empty() ? microseconds(0) : std::chrono::ceil<microseconds>(now - kept_.front().queued);
  for (std::size_t i = 0; i < into.lag_histogram.size(); ++i) into.lag_histogram[i] += counters_.lag_histogram[i];
  into.lag_sum_seconds += counters_.lag_sum_seconds;
}

Judged<std::optional<std::string>> Inbox::accept(wire::Data& data) {
  if (data.sequence() <= received_) return std::nullopt;
  if (data.sequence() != received_ + 1)
    return refuse(wire::REASON_REORDERED,
                  std::format("{} {} follows {}", to_string(kind_), data.sequence(), received_));
  if (data.sequence() > limit_)
    return refuse(wire::REASON_CREDIT,
                  std::format("{} {} was sent, allowed was {}", to_string(kind_), data.sequence(), limit_));
  if (data.payload().size() > kMaxChunk || partial_.size() + data.payload().size() > kMaxMessage)
    return refuse(wire::REASON_OVERSIZED,
                  std::format("a message of {} has {} bytes and more, the limit is {}", to_string(kind_),
                              partial_.size() + data.payload().size(), kMaxMessage));
  received_ = data.sequence();
  bytes_ += data.payload().size();
  if (partial_.empty())
    partial_ = std::move(*data.mutable_payload());
  else
    partial_ += data.payload();
  std::optional<std::string> whole;
  if (!data.more()) {
    ++messages_;
    ++waiting_messages_;
    waiting_bytes_ += partial_.size();
    whole = std::exchange(partial_, {});
  }
  extend();
  return whole;
}

void Inbox::handed_on(std::size_t bytes) {
  --waiting_messages_;
  waiting_bytes_ -= bytes;
  extend();
}

void Inbox::extend() {
  if (waiting_messages_ >= kWindow || waiting_bytes_ >= kMaxWaiting) return;
  limit_ = std::max(limit_, received_ + kWindow - waiting_messages_);
}

wire::Position Inbox::position() const {
  wire::Position out;
  out.set_kind(static_cast<std::uint32_t>(kind_));
  out.set_received(received_);
  out.set_limit(limit_);
  return out;
}

void Inbox::count(KindCounters& into) const {
  into.received_messages += messages_;
  into.received_bytes += bytes_;
}

}  // namespace gw::gwd::sync
