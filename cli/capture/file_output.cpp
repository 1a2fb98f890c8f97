// A capture as a pcapng file: an interface for each point, what is known of a packet as its comment.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
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
  PcapngOutput(Fd fd, const Frame& frame) : fd_(std::move(fd)), frame_(frame) {}

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
    std::size_t written = 0;
    while (written < buffer_.size()) {
      const ssize_t n = ::write(fd_.get(), buffer_.data() + written, buffer_.size() - written);
      if (n >= 0) {
        written += static_cast<std::size_t>(n);
        continue;
      }
      if (errno == EINTR) continue;
      const int error = errno;
      // Nothing but whole blocks stays; of a pipe nothing can be taken back.
      const std::size_t whole = whole_blocks(std::string_view(buffer_).substr(0, written));
      (void)!::ftruncate(fd_.get(), static_cast<off_t>(size_ + whole));
      buffer_.clear();
      return fail_errno("writing the capture", error);
    }
    size_ += written;
    buffer_.clear();
    return {};
  }

 private:
  Fd fd_;
  const Frame& frame_;
  std::array<std::uint32_t, kPoints> interfaces_{};
  std::string buffer_;    // whole blocks
  std::size_t size_ = 0;  // of the file
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

std::unique_ptr<Output> pcapng_output(Fd fd, const Frame& frame) {
  return std::make_unique<PcapngOutput>(std::move(fd), frame);
}

Result<Fd> create_file(const std::string& path) {
  // Not over a link: it is root who writes, maybe where others may.
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (fd) {
    struct stat status{};
    if (::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode))
      (void)::fchmod(fd.get(), 0600);  // it was there before
    return fd;
  }
  if (errno == ELOOP) return fail(Errc::kIo, std::format("{} is a symbolic link: name the file itself", path));
  return fail_errno(std::format("making {}", path));
}

}  // namespace gw::cli::capture
