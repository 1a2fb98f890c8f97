#include "gwd/control/wan_announcements.hpp"

#include <algorithm>
#include <format>
#include <iterator>
#include <span>
#include <utility>

namespace gw::gwd {
namespace {

bool is_here(const config::HaEndpoint& endpoint, const config::GatewayModel& document,
             const std::optional<std::map<IpAddress, WanAnnouncements::Claim>>& claims) {
  if (!claims) return endpoint.home == document.ha->self;
  const auto claim = claims->find(endpoint.address);
  return claim != claims->end() && claim->second.announced;
}

}  // namespace

WanAnnouncements::WanAnnouncements(boost::asio::io_context& io, const Clock& clock, const std::string& vty_dir)
    : clock_(clock), announcer_(io, clock, vty_dir) {}

void WanAnnouncements::tell() { announcer_.set(asn_, announcements_); }

void WanAnnouncements::set(std::uint32_t asn, const IpAddress& address, std::optional<ha::Epoch> claim) {
  asn_ = asn;
  announcements_[address] = claim.transform(bgp::med_of_claim);
  tell();
}

void WanAnnouncements::set_document(const config::GatewayModel& document,
                                    const std::optional<std::map<IpAddress, Claim>>& claims) {
  asn_ = document.asn;
  Announcements next;
  std::set<std::uint32_t> expected;
  const auto endpoints = document.ha ? std::span(document.ha->endpoints) : std::span<const config::HaEndpoint>();
  for (const config::HaEndpoint& endpoint : endpoints) {
    if (endpoint.move != config::MoveBy::kBgp) continue;
    if (claims)
      if (const auto claim = claims->find(endpoint.address); claim != claims->end())
        std::ranges::transform(claim->second.expected, std::inserter(expected, expected.end()), bgp::med_of_claim);
    auto& announced = next[endpoint.address];
    if (!is_here(endpoint, document, claims)) continue;
    const auto before = announcements_.find(endpoint.address);
    announced = before != announcements_.end() && before->second ? before->second : bgp::med_of_claim(0);
  }
  announcements_ = std::move(next);
  tell();
  announcer_.expect(std::move(expected));
}

std::vector<bgp::EndpointIntent> WanAnnouncements::endpoints() const {
  std::vector<bgp::EndpointIntent> out;
  for (const auto& [address, med] : announcements_) out.push_back({address, med});
  return out;
}

void WanAnnouncements::set_sessions(const config::GatewayModel& model,
                                    const std::map<IpAddress, bgp::PeerStatus>& sessions) {
  std::array<Hearing, 2> now;
  for (const config::SessionModel& session : model.sessions) {
    if (session.kind != routes::SourceKind::kWan) continue;
    const auto family = std::to_underlying(session.bgp.peer.family());
    const auto status = sessions.find(session.bgp.peer);
    if (status != sessions.end() && status->second.established()) now[family].open.push_back(session.name);
    now[family].states += std::format("{}{} is {}", now[family].states.empty() ? "" : ", ", session.name,
                                      status == sessions.end() ? "unknown" : status->second.state);
  }
  for (std::size_t family = 0; family < now.size(); ++family)
    if (now[family].open.empty()) now[family].none_since = hearing_[family].none_since.value_or(clock_.now());
  hearing_ = std::move(now);
}

std::vector<std::string> WanAnnouncements::announced_to(const IpAddress& address) const {
  const auto announced = announcements_.find(address);
  if (announced == announcements_.end() || !announced->second || !announcer_.trouble().empty()) return {};
  return hearing_[std::to_underlying(address.family())].open;
}

std::string WanAnnouncements::unannounced(const IpAddress& address) const {
  if (!announcer_.trouble().empty() && clock_.now() - announcer_.trouble_since() >= kGrace)
    return std::format("bgpd does not announce it: {}", announcer_.trouble());
  const Hearing& hearing = hearing_[std::to_underlying(address.family())];
  if (!hearing.none_since || clock_.now() - *hearing.none_since < kGrace) return {};
  return std::format("it is announced to nobody: {}",
                     hearing.states.empty() ? "there is no router on the wan" : hearing.states);
}

}  // namespace gw::gwd
