#include "ebpf/capture/session.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/frame.hpp"
#include "base/secret.hpp"
#include "ebpf/abi/drop_names.hpp"

namespace gw::capture {
namespace {

using std::chrono::milliseconds;

// Of one message: large enough that a system call is shared by many packets, small enough to be written soon.
constexpr std::size_t kBatchPackets = 512;
constexpr std::size_t kBatchBytes = 256 * 1024;
constexpr int kSendBuffer = 1 << 20;
constexpr milliseconds kPatience{50};
constexpr milliseconds kLastWordsAtStop{200};

std::span<const std::uint8_t> bytes_of(const Record& record) {
  return {reinterpret_cast<const std::uint8_t*>(&record) + sizeof record, record.captured};
}

}  // namespace

Session::Session(Parts parts) : parts_(std::move(parts)), last_progress_(parts_.clock.now()) {
  (void)::setsockopt(parts_.socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
  fp::CaptureFrame first;
  *first.mutable_started() = parts_.started;
  queue(first);
}

void Session::start() {
  thread_ = std::thread(&Session::run, this);
  (void)::pthread_setname_np(thread_.native_handle(), "gw-capture");
}

Session::~Session() { stop(); }

void Session::add_keys(fp::CaptureFrame& frame) {
  std::string payload = frame.SerializeAsString();
  // What grows leaves copies behind.
  std::string grown;
  constexpr std::size_t kLengthBytes = 4;
  grown.reserve(keys_.size() + kLengthBytes + payload.size());
  grown = keys_;
  append_frame(grown, payload);
  wipe(keys_);
  keys_ = std::move(grown);
  wipe(payload);
}

void Session::stop() {
  stop_ = true;
  detached_ = true;
  if (thread_.joinable()) thread_.join();
}

void Session::run() {
  forward();
  parts_.wants_detach();
  while (!detached_) std::this_thread::sleep_for(kLook);
  if (client_there_) finish();
  wipe(unsent_);  // clear packets
  wipe(keys_);
  parts_.socket.reset();
  parts_.over();
}

/// Until something ends it; why_ says what.
void Session::forward() {
  const MonoTime end = parts_.clock.now() + parts_.time;
  for (;;) {
    if (stop_) return;
    const MonoTime now = parts_.clock.now();
    if (now >= end) {
      why_ = fp::CAPTURE_END_TIME;
      return;
    }
    if (now - last_progress_ >= kStalled) {
      why_ = fp::CAPTURE_END_STALLED;
      return;
    }
    const bool idle = unsent_.empty() && !collect();
    if (idle) last_progress_ = now;
    if (!write_some()) return;
    const auto client = idle              ? look_at_client(POLLIN, kLook)
                        : unsent_.empty() ? look_at_client(POLLIN, milliseconds(0))
                                          : look_at_client(POLLIN | POLLOUT, kPatience);
    if (client == Client::kThere) continue;
    why_ = fp::CAPTURE_END_ASKED;
    client_there_ = client == Client::kEnds;
    return;
  }
}

/// What the rings still have, and the counts.
void Session::finish() {
  const MonoTime begin = parts_.clock.now();
  bool ended = false;
  while (parts_.clock.now() - begin < (stop_ ? kLastWordsAtStop : milliseconds(kLastWords))) {
    if (unsent_.empty() && !collect()) {
      if (ended) return;
      fp::CaptureFrame last;
      last.mutable_ended()->set_why(why_);
      fill_counts(*last.mutable_ended()->mutable_counts());
      queue(last);
      ended = true;
    }
    if (!write_some()) return;
    if (!unsent_.empty() && look_at_client(POLLOUT, kPatience) == Client::kGone) return;
  }
}

/// The record that is oldest by its time, of all lanes' first ones; null: there is none.
const Record* Session::oldest(std::size_t& lane) const {
  const Record* first = nullptr;
  for (std::size_t i = 0; i < parts_.lanes.size(); ++i) {
    const auto bytes = parts_.lanes[i].second->ring->front();
    if (bytes.empty()) continue;
    const auto* record = reinterpret_cast<const Record*>(bytes.data());
    if (first && first->mark.unix_ns <= record->mark.unix_ns) continue;
    first = record;
    lane = i;
  }
  return first;
}

void Session::add(const Record& record, std::size_t lane, fp::CapturedPackets& packets) const {
  const Mark& m = record.mark;
  const auto bytes = bytes_of(record);
  fp::CapturedPacket& packet = *packets.add_packets();
  packet.set_point(static_cast<fp::CapturePoint>(m.point));
  packet.set_direction(static_cast<fp::CaptureDirection>(m.direction));
  packet.set_time_unix_ns(static_cast<std::uint64_t>(m.unix_ns));
  packet.set_tunnel_id(m.tunnel);
  packet.set_spi(m.spi);
  if (m.reason != GW_DROP_NONE) packet.set_reason(std::string(drop_info(m.reason).name));
  packet.set_length(record.length);
  packet.set_data(bytes.data(), bytes.size());
  packet.set_rebuilt_header(m.header == OuterHeader::kRebuilt);
  packet.set_worker(parts_.lanes[lane].first);
}

/// A batch of what is there, in the order of time. False: nothing is. Nothing waits to be sent.
bool Session::collect() {
  if (!keys_.empty()) {
    std::swap(unsent_, keys_);
    unsent_has_keys_ = true;
    return true;
  }
  fp::CaptureFrame frame;
  fp::CapturedPackets& packets = *frame.mutable_packets();
  std::size_t bytes = 0;
  std::size_t lane = 0;
  while (static_cast<std::size_t>(packets.packets_size()) < kBatchPackets && bytes < kBatchBytes) {
    const Record* const record = oldest(lane);
    if (!record) break;
    bytes += record->captured;
    add(*record, lane, packets);
    parts_.lanes[lane].second->ring->pop();
  }
  if (packets.packets_size() == 0) return false;
  fill_counts(*packets.mutable_counts());
  queue(frame);
  return true;
}

void Session::fill_counts(google::protobuf::RepeatedPtrField<fp::CaptureCount>& out) const {
  for (std::size_t point = 0; point < kPoints; ++point) {
    std::uint64_t taken = 0;
    std::uint64_t lost = 0;
    bool wanted = false;
    for (const auto& [worker, lane] : parts_.lanes) {
      taken += lane->counts[point].taken.load(std::memory_order_relaxed);
      lost += lane->counts[point].lost.load(std::memory_order_relaxed);
      wanted = (lane->wanted.points & bit(static_cast<Point>(point))) != 0;
    }
    if (!wanted) continue;
    fp::CaptureCount& count = *out.Add();
    count.set_point(static_cast<fp::CapturePoint>(point));
    count.set_taken(taken);
    count.set_lost(lost);
  }
}

void Session::queue(const fp::CaptureFrame& frame) { append_frame(unsent_, frame.SerializeAsString()); }

/// False: the client has gone.
bool Session::write_some() {
  while (sent_ < unsent_.size()) {
    const ssize_t n =
        ::send(parts_.socket.get(), unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return true;
      client_there_ = false;
      return false;
    }
    sent_ += static_cast<std::size_t>(n);
    last_progress_ = parts_.clock.now();
  }
  std::exchange(unsent_has_keys_, false) ? wipe(unsent_) : unsent_.clear();
  sent_ = 0;
  return true;
}

/// Waits for any of `events`.
Session::Client Session::look_at_client(short events, milliseconds patience) {
  pollfd p{.fd = parts_.socket.get(), .events = events, .revents = 0};
  if (::poll(&p, 1, static_cast<int>(patience.count())) <= 0) return Client::kThere;
  if ((p.revents & (POLLERR | POLLHUP)) != 0) return Client::kGone;
  if ((p.revents & POLLIN) == 0) return Client::kThere;
  std::array<char, 512> said;
  const ssize_t n = ::recv(parts_.socket.get(), said.data(), said.size(), MSG_DONTWAIT);
  if (n > 0 || (n < 0 && errno == EAGAIN)) return Client::kThere;  // it has nothing more to say
  return n == 0 ? Client::kEnds : Client::kGone;
}

}  // namespace gw::capture
