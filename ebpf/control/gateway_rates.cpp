#include "ebpf/control/gateway_rates.hpp"

#include <algorithm>

namespace gw::control {
namespace {

/// 20 ms: the smaller, the less all shares together may exceed the gateway's own burst by; at least some packets.
ip::ByteRate share_of(const ip::ByteRate& all, std::uint64_t tunnels) {
  constexpr std::uint64_t kLeast = 32768;
  if (all.per_second == 0) return {};
  const std::uint64_t each = std::max<std::uint64_t>(all.per_second / tunnels, 1);
  return {each, std::max(each / 50, kLeast)};
}

}  // namespace

void GatewayRates::set(const worker::Rates& rates) {
  if (rates == rates_) return;
  rates_ = rates;
  workers_.shared().rate_in.set(rates.in);
  workers_.shared().rate_out.set(rates.out);
  share_out();
}

void GatewayRates::share_out() {
  const auto sending = std::ranges::count_if(tunnels_.all(), [](const auto& t) { return t.second.sending; });
  const auto tunnels = static_cast<std::uint64_t>(std::max<std::ptrdiff_t>(sending, 1));
  const worker::Rates share{share_of(rates_.in, tunnels), share_of(rates_.out, tunnels)};
  if (share == share_) return;
  share_ = share;
  workers_.call_all([&](worker::DataPath& d) { d.set_share(share); });
}

}  // namespace gw::control
