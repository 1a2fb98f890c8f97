#include "ebpf/capture/ask.hpp"

#include <format>

namespace gw::capture {
namespace {

Result<std::uint8_t> parse_points(const fp::CaptureAsk& ask) {
  std::uint8_t points = 0;
  for (const int point : ask.points()) {
    if (!fp::CapturePoint_IsValid(point))
      return fail_field("points", std::format("{} is unknown to this gw-fastpath", point), Errc::kUnsupported);
    points = static_cast<std::uint8_t>(points | bit(static_cast<Point>(point)));
  }
  if (points == 0) return fail_field("points", "there are none: inner, outer or drops");
  return points;
}

}  // namespace

Result<Request> parse_ask(const fp::CaptureAsk& ask, const Choice& choice) {
  if (ask.version() != kVersion)
    return fail_field("version", std::format("{} is not supported; {} is", ask.version(), kVersion),
                      Errc::kUnsupported);
  Request request;
  GW_TRY_ASSIGN(request.wanted.points, parse_points(ask));
  if (ask.snap_bytes() < kLeastSnapBytes || ask.snap_bytes() > kMostSnapBytes)
    return fail_field(
        "snap", std::format("{} is not between {} and {} bytes", ask.snap_bytes(), kLeastSnapBytes, kMostSnapBytes));
  request.wanted.snap_bytes = ask.snap_bytes();
  if (ask.seconds() < 1 || ask.seconds() > kLongest.count())
    return fail_field("seconds", std::format("{} is not between 1 and {}", ask.seconds(), kLongest.count()));
  request.time = std::chrono::seconds(ask.seconds());
  if (ask.esp_keys()) request.keys = EspKeys::kWanted;
  if (ask.has_worker()) {
    if (ask.worker() >= choice.workers)
      return fail_field("worker",
                        std::format("{} does not exist; there are {}, from 0 on", ask.worker(), choice.workers),
                        Errc::kNotFound);
    request.worker = static_cast<worker::WorkerIndex>(ask.worker());
  }
  if (!ask.tunnel().empty()) {
    const auto id = choice.tunnel(ask.tunnel());
    if (!id)
      return fail_field("tunnel", std::format("'{}' does not exist (gwctl show tunnels has their names)", ask.tunnel()),
                        Errc::kNotFound);
    request.wanted.tunnel = *id;
  }
  return request;
}

}  // namespace gw::capture
