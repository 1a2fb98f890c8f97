// A capture as a pcapng file: an interface for each point, what is known of a packet as its comment.
#include <algorithm>
#include <format>

#include "cli/capture/output.hpp"
#include "cli/capture/pcapng.hpp"

namespace gw::cli::capture {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;

std::string comment_of(const fp::CapturedPacket& packet, const Frame& frame) {
  std::string text;
  const auto add = [&text](const std::string& words) { text += (text.empty() ? "" : ", ") + words; };
  if (!packet.reason().empty()) add(std::format("dropped: {}", printable(packet.reason())));
  if (packet.tunnel_id() != 0) add(std::format("tunnel {}", frame.tunnel(packet.tunnel_id())));
  if (packet.spi() != 0) add(std::format("SPI 0x{:08x}", packet.spi()));
  if (packet.rebuilt_header()) add("outer header by the kernel: its id, TTL and checksums are not known");
  return text;
}

std::string describe(std::size_t point, const Frame& frame) {
  switch (point) {
    case fp::CAPTURE_INNER: return "clear packets: before encapsulation, after decapsulation";
    case fp::CAPTURE_OUTER: return std::format("ESP on {} ({} port)", frame.interface, frame.kind);
    default: return "packets as they were when gw-fastpath dropped them";
  }
}

class PcapngOutput final : public Output {
 public:
  PcapngOutput(Sink sink, const Frame& frame) : sink_(std::move(sink)), frame_(frame) {}

  Status begin() override {
    buffer_ = section_block(std::format("gwctl {}", frame_.version));
    std::uint32_t next = 0;
    for (std::size_t point = 0; point < kPoints; ++point) {
      if (!frame_.points[point]) continue;
      interfaces_[point] = next++;
      buffer_ += interface_block({kPointNames[point], describe(point, frame_), frame_.snap_bytes});
    }
    return flush();
  }

  Status packet(const fp::CapturedPacket& packet) override {
    if (!frame_.points[static_cast<std::size_t>(packet.point())]) return {};  // nobody asked for it
    const std::string comment = comment_of(packet, frame_);
    const std::string& data = packet.data();
    if (first_ns_ == 0) first_ns_ = packet.time_unix_ns();
    last_ns_ = std::max(last_ns_, packet.time_unix_ns());
    buffer_ += packet_block({.interface = interfaces_[static_cast<std::size_t>(packet.point())],
                             .unix_ns = packet.time_unix_ns(),
                             .length = packet.length(),
                             .bytes = {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()},
                             .direction = static_cast<PacketDirection>(packet.direction()),
                             .comment = comment});
    return buffer_.size() < kBufferBytes ? Status{} : flush();
  }

  Status finish(const Counts& counts) override {
    for (std::size_t point = 0; point < kPoints; ++point) {
      if (!frame_.points[point]) continue;
      buffer_ += statistics_block({.interface = interfaces_[point],
                                   .start_unix_ns = first_ns_,
                                   .end_unix_ns = last_ns_,
                                   .received = counts[point].taken + counts[point].lost,
                                   .lost = counts[point].lost});
    }
    return flush();
  }

  Status flush() override {
    std::string_view rest = buffer_;
    Status done = sink_.write(rest);
    if (!done) {  // nothing but whole blocks stays
      const std::string_view written = std::string_view(buffer_).substr(0, buffer_.size() - rest.size());
      sink_.take_back(written.size() - whole_blocks(written));
    }
    buffer_.clear();
    return done;
  }

 private:
  Sink sink_;
  const Frame& frame_;
  std::array<std::uint32_t, kPoints> interfaces_{};
  std::string buffer_;  // whole blocks
  std::uint64_t first_ns_ = 0;
  std::uint64_t last_ns_ = 0;
};

}  // namespace

void Frame::take(const fp::CaptureStarted& started) {
  interface = printable(started.interface());
  kind = printable(started.kind());
  for (const fp::CaptureTunnel& one : started.tunnels()) tunnels[one.tunnel_id()] = printable(one.name());
}

std::string Frame::tunnel(std::uint32_t id) const {
  if (id == 0) return "-";
  const auto found = tunnels.find(id);
  return found == tunnels.end() ? std::format("#{}", id) : found->second;
}

std::unique_ptr<Output> pcapng_output(Sink sink, const Frame& frame) {
  return std::make_unique<PcapngOutput>(std::move(sink), frame);
}

}  // namespace gw::cli::capture
