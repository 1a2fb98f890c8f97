// Logging: one line per event to standard error, for journald or a file. Never a key, never a packet's
// payload. Not for the packet path: drops are counters. Thread-safe.
#pragma once

#include <cstdint>
#include <format>
#include <string>
#include <string_view>
#include <vector>

namespace gw::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError };

/// Once at start. Under systemd (JOURNAL_STREAM set) lines carry the syslog priority instead of a time.
void init(std::string_view program, Level threshold);
bool enabled(Level level);
/// What stands in the log for `text`: one line whatever it holds. Control characters, also a newline in a name that a
/// client chose, are written as escapes; after kMaxLine bytes it is cut.
inline constexpr std::size_t kMaxLine = 4096;
std::string one_line(std::string_view text);
/// The last lines since init(), oldest first, with their times; for support bundles.
inline constexpr std::size_t kRecentLines = 2000;
std::vector<std::string> recent();
/// `area` is the package or subject: "ike", "bgp", "rpc".
void write(Level level, std::string_view area, std::string_view line);

template <class... Args>
void debug(std::string_view area, std::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kDebug)) write(Level::kDebug, area, std::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void info(std::string_view area, std::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, area, std::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void warning(std::string_view area, std::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kWarning)) write(Level::kWarning, area, std::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void error(std::string_view area, std::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kError)) write(Level::kError, area, std::format(f, std::forward<Args>(args)...));
}

}  // namespace gw::log
