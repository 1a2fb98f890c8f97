#include "bgp/vty_protocol.hpp"

#include <algorithm>
#include <array>
#include <format>

namespace gw::bgp {
namespace {

constexpr std::string_view kTerminator("\0\0\0", 3);  // then the status

bool harmless(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return c == '\0' || c == '\n' || c == '\r'; });
}

}  // namespace

std::string_view describe_status(std::uint8_t status) {
  constexpr std::array<std::string_view, 15> kNames{"success",
                                                    "warning",
                                                    "unknown command",
                                                    "ambiguous command",
                                                    "incomplete command",
                                                    "too many arguments",
                                                    "nothing to do",
                                                    "matched",
                                                    "matched",
                                                    "matched",
                                                    "a daemon is missing",
                                                    "suspended",
                                                    "not connected",
                                                    "configuration refused",
                                                    "configuration locked"};
  return status < kNames.size() ? kNames[status] : "unknown status";
}

Status append_command(std::string& out, const Command& command) {
  if (!harmless(command.text) || !harmless(command.secret.text())) {
    return fail(Errc::kInvalidArgument, std::format("a line break in a command: {}", command.printable()));
  }
  out += command.text;
  out += command.secret.text();
  out += '\0';
  return {};
}

Result<std::optional<VtyReply>> VtyReader::next() {
  const std::size_t at = buffer_.find(kTerminator, std::max(start_, scanned_));
  if (at == std::string::npos || at + kTerminator.size() >= buffer_.size()) {
    // The terminator may begin in the last bytes.
    scanned_ = buffer_.size() < start_ + kTerminator.size() ? start_ : buffer_.size() - kTerminator.size();
    if (buffer_.size() - start_ > max_output_) {
      return fail(Errc::kLimit, std::format("output of more than {} bytes", max_output_));
    }
    if (start_ > 0) {
      buffer_.erase(0, start_);
      scanned_ -= start_;
      start_ = 0;
    }
    return std::nullopt;
  }
  VtyReply reply;
  reply.output = buffer_.substr(start_, at - start_);
  reply.status = static_cast<std::uint8_t>(buffer_[at + kTerminator.size()]);
  start_ = at + kTerminator.size() + 1;
  scanned_ = start_;
  return reply;
}

}  // namespace gw::bgp
