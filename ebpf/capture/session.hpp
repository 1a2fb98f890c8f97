// One capture: a thread that takes records from the workers' rings and writes them to a client as CaptureFrames. The
// control thread starts it, attaches the taps, and detaches them when it asks for that; whatever the client does, the
// thread waits for it only here.
//
//   running --time is up, client ends its side or reads nothing, gw-fastpath ends--> detaching (asks the control
//   thread)
//     --detached()--> draining (what is left in the rings, and `ended`) --> over (asks to be joined)
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "ebpf/capture/tap.hpp"
#include "gw/fastpath/v1/capture.pb.h"

namespace gw::capture {

namespace fp = ::gw::fastpath::v1;

class Session {
 public:
  using Lanes = std::vector<std::pair<std::uint32_t, std::unique_ptr<Lane>>>;  // by worker
  struct Parts {
    Fd socket;
    Lanes lanes;
    std::chrono::seconds time;
    const Clock& clock;
    fp::CaptureStarted started;          // sent first
    std::function<void()> wants_detach;  // any thread may call these two
    std::function<void()> over;
  };
  explicit Session(Parts parts);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Lanes& lanes() { return parts_.lanes; }
  /// Once: taps are attached, and the client is told.
  void start();
  /// A frame with keys, before start(), or between the wish to detach and detached(): wiped as soon as it is sent.
  void add_keys(fp::CaptureFrame& frame);
  /// No worker writes any more.
  void detached() { detached_ = true; }
  /// Ends it, without waiting for the client for longer than a moment. Taps are detached. Twice does nothing.
  void stop();

  /// Before the first record, and while a client that reads gets none.
  static constexpr std::chrono::milliseconds kLook{1};
  /// A client that reads nothing for so long has gone, as far as a capture is concerned.
  static constexpr std::chrono::seconds kStalled{30};
  /// For a client that is slow, to take what is left.
  static constexpr std::chrono::seconds kLastWords{5};

 private:
  enum class Client : std::uint8_t { kThere, kEnds, kGone };
  void run();
  void forward();
  void finish();
  bool collect();
  const Record* oldest(std::size_t& lane) const;
  void add(const Record& record, std::size_t lane, fp::CapturedPackets& packets) const;
  void fill_counts(google::protobuf::RepeatedPtrField<fp::CaptureCount>& out) const;
  void queue(const fp::CaptureFrame& frame);
  bool write_some();
  Client look_at_client(short events, std::chrono::milliseconds patience);

  Parts parts_;
  std::string unsent_;
  std::size_t sent_ = 0;  // of unsent_
  MonoTime last_progress_;
  fp::CaptureEnd why_ = fp::CAPTURE_END_STOPPED;
  bool client_there_ = true;
  std::string keys_;  // frames to be sent next
  bool unsent_has_keys_ = false;
  std::atomic<bool> detached_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace gw::capture
