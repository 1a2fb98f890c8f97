#include "base/log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace gw::log {
namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarning: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
  }
  return spdlog::level::err;
}

// sd-daemon(3): "<N>" at the start of a line is its syslog priority.
class JournalPriority final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& msg, const std::tm&, spdlog::memory_buf_t& out) override {
    const char digit = msg.level >= spdlog::level::err    ? '3'
                       : msg.level == spdlog::level::warn ? '4'
                       : msg.level == spdlog::level::info ? '6'
                                                          : '7';
    out.push_back('<');
    out.push_back(digit);
    out.push_back('>');
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JournalPriority>(); }
};

constexpr const char* kPattern = "%Y-%m-%dT%H:%M:%S.%e %n %l %v";

std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt>& ring() {
  static std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> sink;
  return sink;
}

}  // namespace

void init(std::string_view program, Level threshold) {
  auto to_stderr = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  ring() = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(kRecentLines);
  ring()->set_pattern(kPattern);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (std::getenv("JOURNAL_STREAM") != nullptr)
    formatter->add_flag<JournalPriority>('*').set_pattern("%*%v");
  else
    formatter->set_pattern(kPattern);
  to_stderr->set_formatter(std::move(formatter));
  const std::initializer_list<spdlog::sink_ptr> sinks{to_stderr, ring()};
  auto logger = std::make_shared<spdlog::logger>(std::string(program), sinks);
  logger->set_level(to_spdlog(threshold));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

bool enabled(Level level) { return spdlog::default_logger_raw()->should_log(to_spdlog(level)); }

std::vector<std::string> recent() { return ring() ? ring()->last_formatted() : std::vector<std::string>{}; }

std::string one_line(std::string_view text) {
  std::string line;
  line.reserve(std::min(text.size(), kMaxLine));
  for (const char c : text) {
    if (line.size() >= kMaxLine) return line += "... (cut)";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      line += "\\n";
    else if (byte < 0x20 || byte == 0x7f)
      line += std::format("\\x{:02x}", byte);
    else
      line += c;
  }
  return line;
}

void write(Level level, std::string_view area, std::string_view line) {
  spdlog::default_logger_raw()->log(to_spdlog(level), "{}: {}", area, one_line(line));
}

}  // namespace gw::log
