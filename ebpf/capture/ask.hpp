// What a client wants to see, checked. Pure; any thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "ebpf/capture/tap.hpp"
#include "ebpf/worker/frame_pool.hpp"
#include "gw/fastpath/v1/capture.pb.h"

namespace gw::capture {

namespace fp = ::gw::fastpath::v1;

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kLeastSnapBytes = 32;
inline constexpr std::uint32_t kMostSnapBytes = 65535;  // no packet is longer
inline constexpr std::chrono::seconds kLongest = std::chrono::hours(24);

enum class EspKeys : std::uint8_t { kNotWanted, kWanted };

struct Request {
  Wanted wanted;
  EspKeys keys = EspKeys::kNotWanted;
  std::optional<worker::WorkerIndex> worker;  // none: all
  std::chrono::seconds time{};
};

/// What there is to choose from.
struct Choice {
  std::size_t workers = 0;
  std::function<std::optional<std::uint32_t>(const std::string& name)> tunnel;  // its id
};

/// The fault names the field.
Result<Request> parse_ask(const fp::CaptureAsk& ask, const Choice& choice);

}  // namespace gw::capture
