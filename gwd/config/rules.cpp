#include "gwd/config/rules.hpp"

#include <algorithm>
#include <filesystem>
#include <format>

#include "base/duration.hpp"
#include "gwd/config/secret_file.hpp"
#include "gwd/config/suggest.hpp"

namespace gw::config {
namespace {

constexpr std::size_t kLongestName = 63;       // a DNS label's, so that names may become host names
constexpr std::size_t kLongestInterface = 15;  // IFNAMSIZ - 1

bool one_of(char c, std::string_view others) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || others.contains(c);
}

}  // namespace

Rules::Rules(const Document& document, const ValidateOptions& options)
    : document_(document), options_(options), findings_(document.findings) {
  for (const Finding& finding : findings_) faulty_.insert(finding.field);
}

void Rules::add(Severity severity, const Path& path, std::string message, std::string expected) {
  // Warnings may fill the list; that the document has an error must be seen all the same.
  if (findings_.size() >= kMaxFindings && (severity == Severity::kWarning || !faulty_.empty())) return;
  if (severity == Severity::kError) faulty_.insert(path);
  findings_.push_back(
      {severity, document_.file, document_.source.find(path), path, std::move(message), std::move(expected)});
}

bool Rules::required(const Path& path, bool present, std::string_view what) {
  if (present || faulty(path)) return present;
  // A key with a typing mistake is reported as unknown; that it is missing would be the same again.
  const std::size_t dot = path.rfind('.');
  if (!given(path) && faulty(dot == Path::npos ? Path() : path.substr(0, dot))) return false;
  error(path, given(path) ? "is empty" : "is missing", std::string(what));
  return false;
}

void Rules::name(const Path& path, const std::string& value, std::set<std::string>& seen) {
  if (!required_text(path, value, "a name")) return;
  const bool good = value.size() <= kLongestName && value[0] != '.' && value[0] != '-' &&
                    std::ranges::all_of(value, [](char c) { return one_of(c, ".-"); });
  if (!good)
    return error(path, std::format("'{}' is not a name", value.substr(0, kLongestName + 1)),
                 "a-z, 0-9, '.' and '-', at most 63 characters, beginning with a letter or digit");
  if (!seen.insert(value).second) error(path, std::format("the name '{}' is used twice", value), "each name once");
}

void Rules::interface(const Path& path, const std::string& value) {
  if (!required_text(path, value, "a network interface, e.g. eth0")) return;
  const bool good = value.size() <= kLongestInterface && value != "." && value != ".." &&
                    std::ranges::all_of(value, [](char c) { return one_of(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-@"); });
  if (!good)
    error(path, std::format("'{}' is not an interface name", value.substr(0, 40)),
          "at most 15 letters, digits, '.', '_', '-'");
}

std::optional<IpAddress> Rules::address(const Path& path, const std::string& value) {
  if (value.empty() || faulty(path)) return std::nullopt;
  const auto parsed = IpAddress::parse(value);
  if (!parsed) {
    error(path, parsed.error().message, "an address, e.g. 192.0.2.1 or 2001:db8::1");
    return std::nullopt;
  }
  if (parsed->is_unspecified() || parsed->is_multicast() || parsed->is_loopback()) {
    error(path, std::format("{} is no address of a host on a network", value), "a unicast address");
    return std::nullopt;
  }
  return *parsed;
}

std::optional<Prefix> Rules::prefix(const Path& path, const std::string& value) {
  if (faulty(path)) return std::nullopt;
  const auto parsed = Prefix::parse(value);
  if (!parsed) {
    error(path, parsed.error().message, "a prefix, e.g. 10.0.0.0/16 or 2001:db8::/48");
    return std::nullopt;
  }
  const IpAddress& network = parsed->address();
  if (network.is_multicast() || network.is_loopback() || (network.is_link_local() && parsed->length() > 0)) {
    error(path, std::format("{} cannot be routed through the gateway", value), "a unicast prefix");
    return std::nullopt;
  }
  return *parsed;
}

std::optional<std::chrono::seconds> Rules::seconds(const Path& path, const std::string& value, const Range& range) {
  if (value.empty() || faulty(path)) return std::nullopt;
  const std::string expected = std::format("{}s to {}s", range.min.count(), range.max.count());
  const auto parsed = parse_duration(value);
  if (!parsed) {
    error(path, parsed.error().message, std::format("{}, with a unit: 9s, 5m, 1h", expected));
    return std::nullopt;
  }
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(*parsed);
  if (whole != *parsed) {
    error(path, std::format("{} is not a whole number of seconds", value), expected);
    return std::nullopt;
  }
  if (whole < range.min || whole > range.max) {
    error(path, std::format("{} is out of range", value), expected);
    return std::nullopt;
  }
  return whole;
}

std::optional<std::chrono::milliseconds> Rules::milliseconds(const Path& path, const std::string& value,
                                                             const FineRange& range) {
  if (value.empty() || faulty(path)) return std::nullopt;
  const std::string expected = std::format("{}ms to {}ms", range.min.count(), range.max.count());
  const auto parsed = parse_duration(value);
  if (!parsed) {
    error(path, parsed.error().message, std::format("{}, with a unit: 100ms, 1s", expected));
    return std::nullopt;
  }
  if (*parsed < range.min || *parsed > range.max) {
    error(path, std::format("{} is out of range", value), expected);
    return std::nullopt;
  }
  return *parsed;
}

void Rules::number(const Path& path, std::uint64_t value, const Limits& limits) {
  if (!given(path) || faulty(path) || (value >= limits.min && value <= limits.max)) return;
  error(path, std::format("{} is out of range", value), std::format("{} to {}", limits.min, limits.max));
}

void Rules::transform(const Path& path, const std::string& value, std::span<const Transform> known) {
  if (value.empty()) return;
  const Transform* found = find_transform(known, value);
  const std::vector<std::string> names = names_of(known);
  if (found == nullptr) {
    const std::string meant = suggest(value, names);
    return error(path,
                 std::format("'{}' is not offered by this gateway{}", value.substr(0, 40),
                             meant.empty() ? "" : std::format(", did you mean '{}'?", meant)),
                 "one of " + join(names));
  }
  if (found->strength != Strength::kWeak) return;
  std::vector<std::string> strong;
  for (const Transform& t : known)
    if (t.strength != Strength::kWeak && !t.keyword.empty()) strong.emplace_back(t.name);
  warning(path, std::format("{} is weak; use it only for a device that has nothing better", value),
          "one of " + join(strong));
}

void Rules::secret_file(const Path& path, const std::string& file, std::size_t max_bytes) {
  if (file.empty() || faulty(path) || options_.secret_files == ValidateOptions::SecretFiles::kIgnore) return;
  const auto secret = read_secret_file(resolve_path(file, options_.base_dir));
  if (!secret)
    return error(path, secret.error().message,
                 std::format("a file with the secret, 1 to {} bytes, readable by its owner only", max_bytes));
  if (secret->size() > max_bytes)
    error(path, std::format("the secret in {} has {} bytes", resolve_path(file, options_.base_dir), secret->size()),
          std::format("at most {}", max_bytes));
}

std::optional<Secret> Rules::secret(const Path& path, const std::string& file) const {
  if (file.empty() || faulty(path) || options_.secret_files == ValidateOptions::SecretFiles::kIgnore)
    return std::nullopt;
  auto secret = read_secret_file(resolve_path(file, options_.base_dir));
  return secret ? std::optional(std::move(*secret)) : std::nullopt;
}

void Rules::existing_file(const Path& path, const std::string& file) {
  if (file.empty() || faulty(path) || options_.secret_files == ValidateOptions::SecretFiles::kIgnore) return;
  const std::string full = resolve_path(file, options_.base_dir);
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(full, ignored))
    error(path, std::format("{} does not exist, or is no regular file", full), "a file");
}

// FRR's command line takes a word.
void Rules::one_word(const Path& path, const std::string& file) {
  if (file.empty() || faulty(path) || options_.secret_files == ValidateOptions::SecretFiles::kIgnore) return;
  const auto secret = read_secret_file(resolve_path(file, options_.base_dir));
  const auto printable = [](char c) { return c > ' ' && c <= '~'; };
  if (secret && !std::ranges::all_of(secret->text(), printable))
    error(path,
          std::format("the secret in {} has blanks or characters that BGP passwords cannot have",
                      resolve_path(file, options_.base_dir)),
          "one word of printable ASCII");
}

}  // namespace gw::config
