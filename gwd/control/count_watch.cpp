#include "gwd/control/count_watch.hpp"

#include <algorithm>
#include <format>
#include <utility>

namespace gw::gwd {

bool CountWatch::see(const std::string& session, const Counts& counts, MonoTime now) {
  if (counts.gwd == counts.bgpd) {
    seen_.erase(session);
    return false;
  }
  const auto [it, fresh] = seen_.try_emplace(session, counts, now);
  Seen& seen = it->second;
  if (seen.counts != counts) seen = {counts, now};
  return now - seen.since >= kPatience && !std::exchange(seen.lasting, true);
}

void CountWatch::keep_only(const std::set<std::string>& sessions) {
  std::erase_if(seen_, [&](const auto& entry) { return !sessions.contains(entry.first); });
}

std::string CountWatch::alarm() const {
  const auto it = std::ranges::find_if(seen_, [](const auto& entry) { return entry.second.lasting; });
  if (it == seen_.end()) return {};
  const Counts& counts = it->second.counts;
  return std::format("bgpd has taken {} IPv4 and {} IPv6 routes of {}, gwd {} and {} (RoutesDiffer)", counts.bgpd[0],
                     counts.bgpd[1], it->first, counts.gwd[0], counts.gwd[1]);
}

}  // namespace gw::gwd
