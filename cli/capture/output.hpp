// Where a capture's packets go: a pcapng file, lines for people, JSON. One run of gwctl.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "cli/capture/sink.hpp"
#include "cli/text.hpp"
#include "gw/fastpath/v1/capture.pb.h"

namespace gw::cli::capture {

namespace fp = ::gw::fastpath::v1;

inline constexpr std::size_t kPoints = 3;
inline constexpr std::array<std::string_view, kPoints> kPointNames{"inner", "outer", "drops"};

struct Count {
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
};
using Counts = std::array<Count, kPoints>;  // by fp::CapturePoint

/// What was agreed with gw-fastpath.
struct Frame {
  std::string interface;  // the wan port
  std::string kind;
  std::map<std::uint32_t, std::string> tunnels;  // names by id
  std::array<bool, kPoints> points{};
  std::uint32_t snap_bytes = 0;
  std::string version;  // gwctl's

  void take(const fp::CaptureStarted& started);
  /// "paris-ce1/gw-a"; "#7" of a tunnel that came later; "-" of none.
  std::string tunnel(std::uint32_t id) const;
};

class Output {
 public:
  virtual ~Output() = default;
  virtual Status begin() { return {}; }
  /// An error ends the capture: a full disk, a pipe that nobody reads.
  virtual Status packet(const fp::CapturedPacket& packet) = 0;
  /// No more packets for the moment: what there was is to be seen.
  virtual Status flush() = 0;
  virtual Status finish(const Counts& /*counts*/) { return flush(); }
};

/// A file that was made for it ends with a whole block, whatever happens.
std::unique_ptr<Output> pcapng_output(Sink sink, const Frame& frame);
std::unique_ptr<Output> text_output(Sink sink, Style style, const Frame& frame);
std::unique_ptr<Output> json_output(Sink sink, const Frame& frame);

}  // namespace gw::cli::capture
