// A capture on the terminal: a line a packet, or an object.
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <format>

#include "cli/capture/output.hpp"
#include "cli/capture/summary.hpp"

namespace gw::cli::capture {
namespace {

std::span<const std::uint8_t> bytes_of(const fp::CapturedPacket& packet) {
  return {reinterpret_cast<const std::uint8_t*>(packet.data().data()), packet.data().size()};
}

std::string_view direction_of(const fp::CapturedPacket& packet) {
  static constexpr std::array<std::string_view, 3> kNames{"-", "in", "out"};
  return kNames[static_cast<std::size_t>(packet.direction())];
}

std::chrono::sys_time<std::chrono::nanoseconds> time_of(const fp::CapturedPacket& packet) {
  return std::chrono::sys_time<std::chrono::nanoseconds>(
      std::chrono::nanoseconds(static_cast<std::int64_t>(packet.time_unix_ns())));
}

/// Lines, many at a time.
class Lines : public Output {
 public:
  Status flush() override {
    std::string_view rest = buffer_;
    Status done = sink_.write(rest);
    buffer_.clear();
    return done;
  }

 protected:
  explicit Lines(Sink sink) : sink_(std::move(sink)) {}
  Status add(std::string_view line) {
    constexpr std::size_t kBufferBytes = std::size_t{64} << 10;
    buffer_ += line;
    buffer_ += '\n';
    return buffer_.size() < kBufferBytes ? Status{} : flush();
  }

 private:
  Sink sink_;
  std::string buffer_;
};

class TextOutput final : public Lines {
 public:
  TextOutput(Sink sink, Style style, const Frame& frame) : Lines(std::move(sink)), style_(style), frame_(frame) {}

  Status packet(const fp::CapturedPacket& packet) override {
    const auto time = std::chrono::floor<std::chrono::microseconds>(time_of(packet));
    const bool drop = packet.point() == fp::CAPTURE_DROPS;
    const std::string point = drop ? "drop " + printable(packet.reason())
                                   : std::string(kPointNames[static_cast<std::size_t>(packet.point())]);
    const std::string spi = packet.spi() == 0 ? "-" : std::format("{:08x}", packet.spi());
    return add(std::format("{:%H:%M:%S}Z {:3} {} {} {:8} {}", time, direction_of(packet),
                           paint(point, drop ? Colour::kBad : Colour::kNone, style_), frame_.tunnel(packet.tunnel_id()),
                           spi, summarize(bytes_of(packet), packet.length())));
  }

 private:
  const Style style_;
  const Frame& frame_;
};

std::string hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return out;
}

class JsonOutput final : public Lines {
 public:
  JsonOutput(Sink sink, const Frame& frame) : Lines(std::move(sink)), frame_(frame) {}

  Status packet(const fp::CapturedPacket& packet) override {
    boost::json::object o;
    o["time"] = std::format("{:%FT%T}Z", time_of(packet));
    o["point"] = kPointNames[static_cast<std::size_t>(packet.point())];
    if (packet.direction() != fp::CAPTURE_DIRECTION_UNKNOWN) o["direction"] = direction_of(packet);
    if (packet.tunnel_id() != 0) {
      o["tunnel"] = frame_.tunnel(packet.tunnel_id());
      o["tunnel_id"] = packet.tunnel_id();
    }
    if (packet.spi() != 0) o["spi"] = std::format("{:08x}", packet.spi());
    if (!packet.reason().empty()) o["reason"] = printable(packet.reason());
    o["worker"] = packet.worker();
    o["length"] = packet.length();
    o["captured"] = packet.data().size();
    o["rebuilt_header"] = packet.rebuilt_header();
    o["summary"] = summarize(bytes_of(packet), packet.length());
    o["data"] = hex(packet.data());
    return add(boost::json::serialize(o));
  }

 private:
  const Frame& frame_;
};

}  // namespace

std::unique_ptr<Output> text_output(Sink sink, Style style, const Frame& frame) {
  return std::make_unique<TextOutput>(std::move(sink), style, frame);
}

std::unique_ptr<Output> json_output(Sink sink, const Frame& frame) {
  return std::make_unique<JsonOutput>(std::move(sink), frame);
}

}  // namespace gw::cli::capture
