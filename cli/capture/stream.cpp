#include "cli/capture/stream.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>

#include "base/secret.hpp"

namespace gw::cli::capture {
namespace {

constexpr std::uint32_t kMostPacketBytes = 65535 + 48;  // and a header that was rebuilt

Status check(const fp::CapturedPacket& packet) {
  const auto broken = [](std::string_view what) { return fail(Errc::kMalformed, std::format("a packet's {}", what)); };
  if (!fp::CapturePoint_IsValid(packet.point())) return broken("point is unknown");
  if (!fp::CaptureDirection_IsValid(packet.direction())) return broken("direction is unknown");
  if (packet.data().size() > packet.length()) return broken("data is longer than the packet");
  if (packet.length() > kMostPacketBytes) return broken("length is more than any packet's");
  return {};
}

Status check(const google::protobuf::RepeatedPtrField<fp::CaptureCount>& counts) {
  for (const fp::CaptureCount& count : counts)
    if (!fp::CapturePoint_IsValid(count.point())) return fail(Errc::kMalformed, "a count's point is unknown");
  return {};
}

}  // namespace

Status check(const fp::CaptureFrame& frame) {
  switch (frame.body_case()) {
    case fp::CaptureFrame::kStarted:
    case fp::CaptureFrame::kKeys:
    case fp::CaptureFrame::kRefusal: return {};
    case fp::CaptureFrame::kPackets:
      for (const fp::CapturedPacket& packet : frame.packets().packets()) GW_TRY(check(packet));
      return check(frame.packets().counts());
    case fp::CaptureFrame::kEnded: return check(frame.ended().counts());
    case fp::CaptureFrame::BODY_NOT_SET: break;
  }
  return fail(Errc::kMalformed, "a frame that this gwctl does not know");
}

Result<Stream> Stream::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail_field("socket", std::format("path is too long: {}", path));
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("opening a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return Stream(std::move(socket));
  if (errno == ENOENT) return fail(Errc::kNotFound, "there is no such socket");
  if (errno == ECONNREFUSED) return fail(Errc::kRefused, "nobody listens there");
  return fail_errno("connecting");
}

Status Stream::ask(const fp::CaptureAsk& ask) {
  std::string bytes;
  append_frame(bytes, ask.SerializeAsString());
  if (::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size())) return {};
  return fail(Errc::kClosed, "it closed the connection");
}

void Stream::end() { (void)::shutdown(socket_.get(), SHUT_WR); }

Status Stream::read_some() {
  std::array<std::uint8_t, 65536> buffer;
  const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n > 0) {
    reader_->feed(std::span(buffer).first(static_cast<std::size_t>(n)));
    wipe(buffer.data(), static_cast<std::size_t>(n));  // keys may be among it
    return {};
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  return fail(Errc::kClosed, "it closed the connection");
}

Result<std::optional<fp::CaptureFrame>> Stream::next() {
  GW_TRY_ASSIGN(const auto payload, reader_->next());
  if (!payload) return std::nullopt;
  fp::CaptureFrame frame;
  if (!frame.ParseFromArray(payload->data(), static_cast<int>(payload->size())))
    return fail(Errc::kMalformed, "a frame does not parse");
  GW_TRY(check(frame));
  return frame;
}

Result<fp::CaptureFrame> Stream::wait(std::chrono::milliseconds patience) {
  for (;;) {
    GW_TRY_ASSIGN(auto frame, next());
    if (frame) return std::move(*frame);
    pollfd p{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&p, 1, static_cast<int>(patience.count())) <= 0)
      return fail(Errc::kTimeout, std::format("it says nothing for {} ms", patience.count()));
    GW_TRY(read_some());
  }
}

}  // namespace gw::cli::capture
