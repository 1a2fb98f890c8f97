// The framing of FRR's daemon vty sockets (what vtysh speaks): a command ends with NUL; its output ends
// with 00 00 00 and one status byte (FRR lib/vty.c). Pure codec, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace gw::bgp {

/// Full-table JSON is about 400 MB; nothing that gwd asks for comes near this.
inline constexpr std::size_t kMaxVtyOutput = std::size_t{256} << 20;

/// One line for a daemon. A secret at its end is kept apart: wiped, and never printed.
struct Command {
  std::string text;
  Secret secret;  // sent behind the text; empty: none

  Command() = default;
  explicit(false) Command(std::string line) : text(std::move(line)) {}
  explicit(false) Command(const char* line) : text(line) {}
  Command(std::string line, Secret tail) : text(std::move(line)), secret(std::move(tail)) {}
  /// For logs and tests: the secret is "(secret)".
  std::string printable() const { return secret.empty() ? text : text + "(secret)"; }
  Command clone() const { return {text, secret.clone()}; }
};
using Commands = std::vector<Command>;

// FRR lib/command.h
inline constexpr std::uint8_t kVtySuccess = 0;
inline constexpr std::uint8_t kVtyWarning = 1;
inline constexpr std::uint8_t kVtyNoMatch = 2;

struct VtyReply {
  std::uint8_t status = kVtySuccess;
  std::string output;
  bool ok() const { return status == kVtySuccess; }
};
/// "unknown command", for error messages.
std::string_view describe_status(std::uint8_t status);

/// Refuses what would be a second command: NUL, newline, carriage return.
Status append_command(std::string& out, const Command& command);

class VtyReader {
 public:
  explicit VtyReader(std::size_t max_output = kMaxVtyOutput) : max_output_(max_output) {}
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  /// The next whole reply, nothing if incomplete, kLimit if it grew beyond the limit.
  Result<std::optional<VtyReply>> next();

 private:
  std::size_t max_output_;
  std::string buffer_;
  std::size_t start_ = 0;    // of the reply being read
  std::size_t scanned_ = 0;  // no terminator begins before
};

}  // namespace gw::bgp
