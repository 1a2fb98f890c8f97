// Rules for `bgp` blocks, wherever they stand, and for prefix ranges.
#include <format>

#include "gwd/config/policy.hpp"
#include "gwd/config/rules.hpp"

namespace gw::config {
namespace {

using std::chrono::seconds;

constexpr std::size_t kMaxMd5Bytes = 80;  // TCP_MD5SIG_MAXKEYLEN

/// FRR's limits (10.3); 50 ms is its least.
void check_bfd(Rules& rules, const Path& path, const v1::BgpSession& bgp) {
  if (!bgp.has_bfd()) return;
  const Path own = path + ".bfd";
  if (bgp.no_bfd()) rules.error(own, "`no_bfd` says that there is none", "either `bfd` or `no_bfd`");
  rules.milliseconds(own + ".interval", bgp.bfd().interval(), {std::chrono::milliseconds(50), seconds(60)});
  rules.number(own + ".multiplier", bgp.bfd().multiplier(), {2, 255});
}

void check_timers(Rules& rules, const Path& path, const v1::BgpSession& bgp) {
  const auto keepalive = rules.seconds(path + ".keepalive", bgp.keepalive(), {seconds(1), seconds(21'845)});
  const auto hold = rules.seconds(path + ".hold", bgp.hold(), {seconds(3), seconds(65'535)});  // RFC 4271 4.2
  if (keepalive && keepalive->count() * 3 > hold.value_or(seconds(180)).count())
    rules.error(path + ".keepalive",
                std::format("three keepalives of {} do not fit the hold time of {}", bgp.keepalive(),
                            bgp.hold().empty() ? "180s" : bgp.hold()),
                "at most a third of `hold`");
}

void check_filter(Rules& rules, const Path& path, const google::protobuf::RepeatedPtrField<v1::PrefixFilter>& lines) {
  for (int i = 0; i < lines.size(); ++i) {
    const Path own = std::format("{}[{}]", path, i);
    check_prefix_range(rules, own, {lines[i].prefix(), lines[i].ge(), lines[i].le()});
  }
}

}  // namespace

void check_prefix_range(Rules& rules, const Path& path, const PrefixRangeText& range) {
  if (!rules.required_text(path + ".prefix", range.prefix, "a prefix, e.g. 10.0.0.0/8")) return;
  const auto prefix = Prefix::parse(range.prefix);
  if (!prefix) {
    if (!rules.faulty(path + ".prefix"))
      rules.error(path + ".prefix", prefix.error().message, "a prefix, e.g. 10.0.0.0/8 or 2001:db8::/32");
    return;
  }
  const unsigned longest = address_bits(prefix->family());
  rules.number(path + ".ge", range.ge, {prefix->length(), longest});
  rules.number(path + ".le", range.le, {range.ge == 0 ? prefix->length() : range.ge, longest});
}

void check_session(Rules& rules, const Path& path, const v1::BgpSession& bgp) {
  check_timers(rules, path, bgp);
  check_bfd(rules, path, bgp);
  rules.number(path + ".max_routes", bgp.max_routes(), {1, 1'000'000});
  rules.secret_file(path + ".md5_file", bgp.md5_file(), kMaxMd5Bytes);
  rules.one_word(path + ".md5_file", bgp.md5_file());
  check_filter(rules, path + ".import_filter", bgp.import_filter());
  check_filter(rules, path + ".export_filter", bgp.export_filter());
}

void check_session_without_tunnel(Rules& rules, const Path& path, const v1::BgpSession& bgp) {
  check_session(rules, path, bgp);
  for (const char* name : {"addresses", "unnumbered"})
    if (rules.given(path + "." + name))
      rules.error(path + "." + name, "is for connections: this session is not in a tunnel", "no such key here");
}

}  // namespace gw::config
