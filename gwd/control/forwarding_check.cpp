#include "gwd/control/forwarding_check.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr std::size_t kBatch = 4096;  // addresses in one request
// What changes just now looks different until the answer is there: only what stays so is told.
constexpr std::chrono::milliseconds kLookAgain{300};
constexpr int kSearch = 16;  // longer prefixes that are stepped over

IpAddress last_of(const Prefix& prefix) {
  std::array<std::uint8_t, 16> bytes{};
  std::ranges::copy(prefix.address().bytes(), bytes.begin());
  for (unsigned bit = prefix.length(); bit < address_bits(prefix.family()); ++bit)
    bytes[bit / 8] |= static_cast<std::uint8_t>(0x80 >> (bit % 8));
  return *IpAddress::from_bytes(std::span(bytes).first(address_bytes(prefix.family())));
}

/// Not of the last address of all.
IpAddress next_of(const IpAddress& address) {
  std::array<std::uint8_t, 16> bytes{};
  std::ranges::copy(address.bytes(), bytes.begin());
  for (std::size_t i = address.bytes().size(); i-- > 0 && ++bytes[i] == 0;) {
  }
  return *IpAddress::from_bytes(std::span(bytes).first(address.bytes().size()));
}

/// The shortest of the prefixes within `within`, but longer than it, that have the address.
std::optional<Prefix> longer_one_with(const ForwardingTable& table, const Prefix& within, const IpAddress& address) {
  for (unsigned length = within.length() + 1; length <= address_bits(address.family()); ++length)
    if (const auto prefix = Prefix::make(address, length); prefix && table.contains(*prefix)) return *prefix;
  return std::nullopt;
}

struct Question {
  Prefix prefix;
  IpAddress address;
};

/// Appends what differs. False: gw-fastpath did not answer.
asio::awaitable<bool> ask(const Forwarding& forwarding, FastpathClient& client, const std::vector<Question>& questions,
                          std::vector<ForwardingDifference>& differences) {
  fp::ClientFrame frame;
  for (const Question& question : questions)
    frame.mutable_read_forwarding()->add_addresses(question.address.bytes_string());
  auto answer = co_await client.request(std::move(frame));
  if (!answer || answer->routes().routes_size() != static_cast<int>(questions.size())) co_return false;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const fp::Route& found = answer->routes().routes(static_cast<int>(i));
    const ForwardingEntry* const decided = forwarding.wanted(questions[i].prefix);
    if (decided == nullptr || !forwarding.is_settled(questions[i].prefix) || is_as_decided(*decided, found)) continue;
    differences.push_back({questions[i].prefix, *decided, found});
  }
  co_return true;
}

/// Every `stride`-th prefix from `first` on, as many as one request takes; `at` goes on behind them.
std::vector<Question> next_questions(const ForwardingTable& table, std::size_t stride, std::optional<Prefix>& at) {
  std::vector<Question> questions;
  auto it = at ? table.upper_bound(*at) : table.begin();
  for (std::size_t n = 0; it != table.end() && questions.size() < kBatch && n < kBatch * stride; ++it, ++n) {
    at = it->first;
    if (n % stride != 0) continue;
    if (const auto address = address_of_its_own(table, it->first)) questions.push_back({it->first, *address});
  }
  if (it == table.end()) at.reset();
  return questions;
}

}  // namespace

std::optional<IpAddress> address_of_its_own(const ForwardingTable& table, const Prefix& prefix) {
  // A longer prefix with the first address comes right behind it.
  const auto next = table.upper_bound(prefix);
  if (next == table.end() || !prefix.contains(next->first) || next->first.address() != prefix.address())
    return prefix.address();
  IpAddress address = prefix.address();
  const IpAddress last = last_of(prefix);
  for (int step = 0; step < kSearch; ++step) {
    const auto longer = longer_one_with(table, prefix, address);
    if (!longer) return address;
    const IpAddress end = last_of(*longer);
    if (end == last) break;
    address = next_of(end);
  }
  return std::nullopt;
}

bool is_as_decided(const ForwardingEntry& decided, const fp::Route& found) {
  if (found.kind() == fp::NEXT_HOP_LOCAL) return true;  // an address of ours within the prefix
  if (found.kind() != decided.kind) return false;
  if (decided.kind == fp::NEXT_HOP_TUNNELS) return std::ranges::is_permutation(decided.tunnel_ids, found.tunnel_ids());
  std::vector<std::string> gateways;
  for (const IpAddress& gateway : decided.gateways) gateways.push_back(gateway.bytes_string());
  if (!std::ranges::is_permutation(gateways, found.gateways())) return false;
  return decided.kind != fp::NEXT_HOP_VNET || decided.gateways.empty() || decided.behind == found.behind();
}

asio::awaitable<ForwardingCheck> check_forwarding(const Forwarding& forwarding, FastpathClient& client) {
  ForwardingCheck check;
  if (!client.connected()) co_return check;
  const std::size_t stride = forwarding.table().size() / kMostAsked + 1;
  std::optional<Prefix> at;
  std::vector<ForwardingDifference> suspects;
  do {
    const auto questions = next_questions(forwarding.table(), stride, at);
    if (questions.empty()) continue;
    if (!co_await ask(forwarding, client, questions, suspects)) co_return ForwardingCheck{};
    check.asked += questions.size();
  } while (at);
  if (suspects.empty()) co_return check;
  asio::steady_timer again(co_await asio::this_coro::executor, kLookAgain);
  co_await again.async_wait(asio::use_awaitable);
  for (std::size_t i = 0; i < suspects.size(); i += kBatch) {
    std::vector<Question> questions;
    for (const ForwardingDifference& suspect : std::span(suspects).subspan(i, std::min(kBatch, suspects.size() - i)))
      if (const auto address = address_of_its_own(forwarding.table(), suspect.prefix))
        questions.push_back({suspect.prefix, *address});
    if (!co_await ask(forwarding, client, questions, check.differences)) break;
  }
  co_return check;
}

}  // namespace gw::gwd
