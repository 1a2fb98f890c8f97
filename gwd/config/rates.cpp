#include "gwd/config/rates.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <utility>

namespace gw::config {
namespace {

constexpr std::array<std::pair<std::string_view, std::uint64_t>, 4> kUnits{
    {{"Gbit/s", 1'000'000'000}, {"Mbit/s", 1'000'000}, {"kbit/s", 1'000}, {"bit/s", 1}}};

constexpr std::uint64_t kMbit = 1'000'000;
constexpr std::uint64_t kGbit = 1'000'000'000;

/// Azure's, generation 1 (docs/azure-conventions.md).
constexpr std::array<Sku, 7> kSkus{{
    {"Unlimited", 0, 0},
    {"Basic", 10, 100 * kMbit, Bgp::kNo},
    {"VpnGw1", 30, 650 * kMbit},
    {"VpnGw2", 30, 1 * kGbit},
    {"VpnGw3", 30, 1250 * kMbit},
    {"VpnGw4", 100, 5 * kGbit},
    {"VpnGw5", 100, 10 * kGbit},
}};

template <class Message>
Result<RateSettings> rates_of(const Message& m) {
  RateSettings rates;
  const auto take = [](const std::string& text, std::uint64_t& to) -> Status {
    if (text.empty()) return {};
    GW_TRY_ASSIGN(to, parse_rate(text));
    return {};
  };
  GW_TRY(take(m.rate(), rates.in_bps));
  rates.out_bps = rates.in_bps;
  GW_TRY(take(m.rate_in(), rates.in_bps));
  GW_TRY(take(m.rate_out(), rates.out_bps));
  return rates;
}

template <class Message>
std::vector<StatedRate> stated_in(const Message& m) {
  const auto bps = [](const std::string& text) { return parse_rate(text).value_or(0); };
  const std::uint64_t both = bps(m.rate());
  std::vector<StatedRate> stated{
      {"rate", {m.rate_in().empty() ? both : 0, m.rate_out().empty() ? both : 0}},
      {"rate_in", {bps(m.rate_in()), 0}},
      {"rate_out", {0, bps(m.rate_out())}},
  };
  std::erase_if(stated, [](const StatedRate& s) { return s.rates == RateSettings{}; });
  return stated;
}

}  // namespace

Result<std::uint64_t> parse_rate(std::string_view text) {
  const std::string_view shown = text.substr(0, 40);
  const auto wrong = [&](std::string_view why) { return fail(Errc::kMalformed, std::format("'{}' {}", shown, why)); };
  double number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (end == text.data() || text.front() < '0' || text.front() > '9') return wrong("is not a rate");
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.empty()) return wrong("has no unit");
  const auto known = std::ranges::find(kUnits, unit, &std::pair<std::string_view, std::uint64_t>::first);
  if (known == kUnits.end()) return wrong("is not a rate");
  const double bps = number * static_cast<double>(known->second);
  if (ec != std::errc() || bps > static_cast<double>(kMostRateBps))
    return wrong(std::format("is more than {}, the most there is", rate_text(kMostRateBps)));
  if (bps == 0) return wrong("would let nothing pass");
  if (bps < static_cast<double>(kLeastRateBps))
    return wrong(std::format("is less than {}, a packet every 0.2 s", rate_text(kLeastRateBps)));
  return static_cast<std::uint64_t>(bps + 0.5);
}

std::string rate_text(std::uint64_t bps) {
  for (const auto& [name, size] : kUnits)
    if (bps >= size) return std::format("{:.6g}{}", static_cast<double>(bps) / static_cast<double>(size), name);
  return "0bit/s";
}

std::span<const Sku> skus() { return kSkus; }

const Sku* find_sku(std::string_view name) {
  if (name.empty()) return &kSkus.front();
  const auto found = std::ranges::find(kSkus, name, &Sku::name);
  return found == kSkus.end() ? nullptr : &*found;
}

Result<RateSettings> resolve_rates(const v1::Gateway& gateway) {
  const Sku* const sku = find_sku(gateway.sku());
  if (sku == nullptr) return fail_field("gateway.sku", std::format("there is no SKU '{}'", gateway.sku()));
  GW_TRY_ASSIGN(RateSettings rates, rates_of(gateway));
  if (rates.in_bps == 0) rates.in_bps = sku->bps;
  if (rates.out_bps == 0) rates.out_bps = sku->bps;
  return rates;
}

Result<RateSettings> resolve_rates(const v1::Connection& connection) { return rates_of(connection); }

std::vector<StatedRate> stated_rates(const v1::Gateway& gateway) { return stated_in(gateway); }
std::vector<StatedRate> stated_rates(const v1::Connection& connection) { return stated_in(connection); }

}  // namespace gw::config
