#include "gwd/control/port_watch.hpp"

#include <algorithm>
#include <format>
#include <fstream>
#include <utility>

#include "gwd/control/announcement.hpp"
#include "gwd/control/kernel_net.hpp"

namespace gw::gwd {
namespace {

constexpr std::size_t kMostNextHops = 4;

std::optional<std::uint64_t> received_packets(const std::string& interface) {
  std::ifstream file(std::format("/sys/class/net/{}/statistics/rx_packets", interface));
  std::uint64_t count = 0;
  if (!(file >> count)) return std::nullopt;
  return count;
}

}  // namespace

PortSilence::Verdict PortSilence::look(MonoTime now, std::uint64_t received) {
  if (received_ != received) {
    received_ = received;
    heard_ = now;
    asked_.reset();
  }
  if (now - heard_ < patience_) return Verdict::kHeard;
  if (!asked_) asked_ = now;
  return now - *asked_ < patience_ ? Verdict::kAsk : Verdict::kSilent;
}

void PortWatch::configure(std::string interface, std::vector<IpAddress> next_hops, std::vector<IpAddress> towards) {
  interface_ = std::move(interface);
  given_ = std::move(next_hops);
  towards_ = std::move(towards);
  found_at_.reset();
}

void PortWatch::find_next_hops() {
  if (found_at_ && clock_.now() - *found_at_ < kNextHops) return;
  found_at_ = clock_.now();
  next_hops_ = given_;
  for (const IpAddress& address : towards_) {
    if (next_hops_.size() == kMostNextHops) break;
    const auto gateway = KernelNet::gateway_towards(address, interface_);
    if (gateway && std::ranges::find(next_hops_, *gateway) == next_hops_.end()) next_hops_.push_back(*gateway);
  }
}

PortSilence::Verdict PortWatch::look() {
  find_next_hops();
  const auto received = received_packets(interface_);
  if (!received || next_hops_.empty()) return PortSilence::Verdict::kHeard;
  const PortSilence::Verdict verdict = silence_.look(clock_.now(), *received);
  if (verdict == PortSilence::Verdict::kHeard) return verdict;
  // What cannot be sent gets no answer either: that is the same silence.
  for (const IpAddress& next_hop : next_hops_) (void)ask(interface_, next_hop);
  return verdict;
}

}  // namespace gw::gwd
