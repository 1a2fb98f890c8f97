#include "cli/capture/run.hpp"

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <format>

#include "cli/capture/esp_keys.hpp"
#include "cli/capture/filter.hpp"
#include "cli/capture/interrupts.hpp"
#include "cli/capture/output.hpp"
#include "cli/capture/stream.hpp"
#include "cli/commands.hpp"

namespace gw::cli::capture {
namespace {

using namespace std::chrono_literals;

constexpr auto kAnswer = 10s;
// After Ctrl-C, for what was captured before; gw-fastpath gives a slow reader as long.
constexpr auto kLastWords = 5s;

std::string_view why_of(fp::CaptureEnd end) {
  switch (end) {
    case fp::CAPTURE_END_TIME: return "time is up";
    case fp::CAPTURE_END_STALLED: return "nothing was read for 30 s";
    case fp::CAPTURE_END_STOPPED: return "gw-fastpath ends, or another one takes its place";
    default: return "";
  }
}

class Run {
 public:
  Run(const Words& words, const Surroundings& surroundings) : words_(words), s_(surroundings) {}

  int run() {
    if (const Status asked = prepare(); !asked) return usage(asked.error());
    auto stream = Stream::connect(s_.socket);
    if (!stream) return unreachable(stream.error());
    if (const int begun = begin(*stream); begun != kOk) return begun;
    const Status done = follow(*stream);
    return finish(done);
  }

 private:
  Status prepare() {
    std::string expression;
    for (const std::string& word : words_.filter) expression += (expression.empty() ? "" : " ") + word;
    GW_TRY_ASSIGN(filter_, Filter::compile(expression));
    for (std::size_t point = 0; point < kPoints; ++point) {
      frame_.points[point] = words_.points.empty() || std::ranges::contains(words_.points, "all") ||
                             std::ranges::contains(words_.points, kPointNames[point]);
      if (frame_.points[point]) ask_.add_points(static_cast<fp::CapturePoint>(point));
    }
    ask_.set_version(1);
    ask_.set_tunnel(words_.tunnel);
    if (words_.worker) ask_.set_worker(*words_.worker);
    ask_.set_snap_bytes(words_.snap);
    ask_.set_seconds(words_.seconds);
    ask_.set_esp_keys(!words_.esp_keys.empty());
    frame_.snap_bytes = words_.snap;
    frame_.version = s_.version;
    return {};
  }

  /// Until gw-fastpath captures and there is a place for it.
  int begin(Stream& stream) {
    if (const Status asked = stream.ask(ask_); !asked) return unreachable(asked.error());
    const auto answer = stream.wait(kAnswer);
    if (!answer) return unreachable(answer.error());
    if (answer->has_refusal()) return refused(answer->refusal());
    if (!answer->has_started())
      return unreachable({Errc::kMalformed, "it answers something else than expected", {}, {}});
    frame_.take(answer->started());
    interrupts_.emplace();  // before that, a signal ends gwctl
    auto opened = open_output();
    if (!opened) return usage(opened.error());
    if (const Status begun = output_->begin(); !begun) return usage(begun.error());
    if (!words_.esp_keys.empty()) {
      auto keys = create_key_file(words_.esp_keys);
      if (!keys) return usage(keys.error());
      key_file_ = std::move(*keys);
    }
    s_.err << std::format("gwctl: capturing for at most {} s; Ctrl-C ends it\n", words_.seconds);
    return kOk;
  }

  Status open_output() {
    const bool to_file = !words_.file.empty() && words_.file != "-";
    GW_TRY_ASSIGN(Sink sink, to_file ? Sink::create(words_.file, *interrupts_) : Sink::standard_output(*interrupts_));
    if (!words_.file.empty())
      output_ = pcapng_output(std::move(sink), frame_);
    else
      output_ = s_.json ? json_output(std::move(sink), frame_) : text_output(std::move(sink), s_.style, frame_);
    return {};
  }

  /// An error is one of writing, or that gw-fastpath has gone.
  Status follow(Stream& stream) {
    auto end = std::chrono::steady_clock::time_point::max();
    while (!ended_ && std::chrono::steady_clock::now() < end) {
      std::array<pollfd, 2> p{pollfd{stream.fd(), POLLIN, 0}, pollfd{interrupts_->fd(), POLLIN, 0}};
      (void)::poll(p.data(), p.size(), 100);
      if (const unsigned signals = interrupts_->count(); signals > signals_) {
        if (ending_ || signals > 1) return {};  // a second time: at once
        signals_ = signals;
        begin_end(stream, end);
      }
      if (p[0].revents == 0) continue;
      if (const Status read = stream.read_some(); !read) return ending_ ? Status{} : read;
      GW_TRY(work_off(stream));
      if (seen_ >= words_.count && !ending_) begin_end(stream, end);
    }
    return {};
  }

  void begin_end(Stream& stream, std::chrono::steady_clock::time_point& end) {
    ending_ = true;
    stream.end();
    end = std::chrono::steady_clock::now() + kLastWords;
  }

  Status work_off(Stream& stream) {
    for (;;) {
      GW_TRY_ASSIGN(auto frame, stream.next());
      if (!frame) return output_->flush();
      if (frame->has_keys()) {
        GW_TRY(take_keys(*frame->mutable_keys()));
      } else if (frame->has_packets()) {
        for (const fp::CapturedPacket& packet : frame->packets().packets()) GW_TRY(take(packet));
        note(frame->packets().counts());
      } else if (frame->has_ended()) {
        note(frame->ended().counts());
        end_ = frame->ended().why();
        ended_ = true;
        return output_->flush();
      }
    }
  }

  Status take_keys(fp::CaptureKeys& keys) {
    Status written = key_file_ ? keys_.write(key_file_.get(), keys) : Status{};
    wipe_keys(keys);
    return written;
  }

  Status take(const fp::CapturedPacket& packet) {
    if (seen_ >= words_.count) return {};
    const std::string& data = packet.data();
    if (!filter_.matches({reinterpret_cast<const std::uint8_t*>(data.data()), data.size()}, packet.length())) return {};
    ++seen_;
    return output_->packet(packet);
  }

  void note(const google::protobuf::RepeatedPtrField<fp::CaptureCount>& counts) {
    for (const fp::CaptureCount& count : counts)
      counts_[static_cast<std::size_t>(count.point())] = {count.taken(), count.lost()};
  }

  int finish(const Status& done) {
    const bool unwritten = !done && done.error().code != Errc::kClosed && done.error().code != Errc::kMalformed;
    Status last = unwritten ? done : output_->finish(counts_);
    interrupts_->let_through();  // whoever is to read what follows may stand still as well
    const std::string_view why = why_of(end_);
    Count all;
    for (const Count& count : counts_) {
      all.taken += count.taken;
      all.lost += count.lost;
    }
    s_.err << std::format("gwctl: {} packets captured, of {} that came by; {} lost, because the buffer was full{}{}\n",
                          seen_, all.taken + all.lost, all.lost, why.empty() ? "" : "; ", why);
    if (key_file_)
      s_.err << std::format(
          "gwctl: {} has the keys of {} SAs: whoever has it reads what they carried and will carry until they are "
          "rekeyed; "
          "delete it when you are done\n",
          words_.esp_keys, keys_.count());
    if (!last) return usage(last.error());
    if (!done) {
      s_.err << std::format("gwctl: gw-fastpath has gone ({}); what came before is complete\n", done.error().message);
      return kNo;
    }
    return end_ == fp::CAPTURE_END_STALLED || end_ == fp::CAPTURE_END_STOPPED ? kNo : kOk;
  }

  int usage(const Error& error) const {
    s_.err << std::format("gwctl: {}\n", error.describe());
    return kUsage;
  }

  int refused(const fp::Status& status) const {
    const std::string field = status.field().empty() ? "" : printable(status.field()) + ": ";
    s_.err << std::format("gwctl: gw-fastpath: {}{}\n", field, printable(status.message()));
    return kNo;
  }

  int unreachable(const Error& error) const {
    const std::string_view advice = error.code == Errc::kPermission
                                        ? "A capture shows clear packets and is root's alone: try sudo"
                                        : "Is gw-fastpath running (systemctl status gw-fastpath)? Its socket for "
                                          "captures is beside gwd's (--socket)";
    s_.err << std::format("gwctl: cannot reach gw-fastpath on {}: {}\n{}\n", s_.socket, error.message, advice);
    return kUnreachable;
  }

  const Words& words_;
  const Surroundings& s_;
  std::optional<Interrupts> interrupts_;
  unsigned signals_ = 0;  // that had an effect
  Filter filter_;
  fp::CaptureAsk ask_;
  Frame frame_;
  std::unique_ptr<Output> output_;
  Fd key_file_;
  KeyLines keys_;
  Counts counts_;
  std::uint64_t seen_ = 0;
  fp::CaptureEnd end_ = fp::CAPTURE_END_UNSPECIFIED;
  bool ending_ = false;
  bool ended_ = false;
};

}  // namespace

int run(const Words& words, const Surroundings& surroundings) { return Run(words, surroundings).run(); }

}  // namespace gw::cli::capture
