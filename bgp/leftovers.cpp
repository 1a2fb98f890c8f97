#include "bgp/leftovers.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <utility>

#include "bgp/endpoint_routes.hpp"
#include "bgp/peer_groups.hpp"
#include "bgp/settings.hpp"

namespace gw::bgp {
namespace {

/// What a neighbour may have that can be taken from it.
constexpr std::array<std::string_view, 10> kRemovable{"shutdown",
                                                      "ebgp-multihop",
                                                      "graceful-restart-disable",
                                                      "bfd",
                                                      "sender-as-path-loop-detection",
                                                      "soo",
                                                      "as-override",
                                                      "remove-private-AS all",
                                                      "maximum-prefix",
                                                      "route-map"};

constexpr std::array<std::string_view, 5> kObjects{"route-map ", "ip prefix-list ", "ipv6 prefix-list ",
                                                   "bgp community-list standard ", "bgp as-path access-list "};

std::string_view word(std::string_view text) { return text.substr(0, text.find(' ')); }
std::string_view after_word(std::string_view text) {
  const std::size_t space = text.find(' ');
  return space == std::string_view::npos ? std::string_view{} : text.substr(space + 1);
}

class Reader {
 public:
  explicit Reader(const BgpIntent& intent) : intent_(intent), policy_(intent) {
    for (const Setting& s : gateway_settings(intent, policy_)) wanted_.emplace(s.block, s.key);
    for (std::size_t i = 0; i < intent.peers.size(); ++i) {
      const PeerIntent& peer = intent.peers[i];
      const Neighbour neighbour{&peer, &intent.policy->peer(peer.name), &policy_.of_peer(i),
                                policy_.groups().at(peer.kind)};
      for (const Setting& s : neighbour_settings(neighbour)) wanted_.emplace(s.block, s.key);
      peers_[neighbour_name(peer)] = &peer;
      // attend()'s to take away: bfdd tells the other end "down" when bgpd lets go of a session (10.3).
      if (peer.bfd && !peer.disabled) wanted_.emplace(Block::kRouter, std::format("{} bfd", neighbour_name(peer)));
    }
  }

  void read(std::string_view line) {
    const std::string_view text = line.substr(std::min(line.find_first_not_of(' '), line.size()));
    if (text.starts_with("router bgp ")) {
      block_ = Block::kRouter;
      if (text != std::format("router bgp {}", intent_.asn)) others_.emplace_back(std::format("no {}", text));
    } else if (text == "exit") {
      block_ = Block::kGlobal;
    } else if (text.starts_with("address-family ")) {
      block_ = text.contains("ipv4") ? Block::kIpv4 : Block::kIpv6;
    } else if (text == "exit-address-family") {
      block_ = Block::kRouter;
    } else if (block_ == Block::kGlobal) {
      read_object(text);
    } else if (text.starts_with("network ")) {
      read_network(after_word(text));
    } else if (text.starts_with("neighbor ")) {
      read_neighbour(after_word(text));
    }
  }

  Leftovers finish() && {
    Leftovers out{.before = {}, .after = {}, .found = others_.size() + objects_.size()};
    out.before = std::move(others_);
    for (const auto& [block, lines] : lines_) {
      out.found += static_cast<std::size_t>(
          std::ranges::count_if(lines, [](const std::string& line) { return !line.ends_with(" password"); }));
    }
    if (!lines_.empty()) {
      out.before.emplace_back(std::format("router bgp {}", intent_.asn));
      add_block(out.before, Block::kRouter, {});
      add_block(out.before, Block::kIpv4, "address-family ipv4 unicast");
      add_block(out.before, Block::kIpv6, "address-family ipv6 unicast");
      out.before.emplace_back("exit");
    }
    for (const std::string_view keyword : kObjects) {
      for (const std::string& off : objects_) {
        if (off.substr(3).starts_with(keyword)) out.after.emplace_back(off);
      }
    }
    return out;
  }

 private:
  void add_block(Commands& out, Block block, std::string open) {
    if (!lines_.contains(block)) return;
    if (!open.empty()) out.emplace_back(open);
    for (std::string& line : lines_[block]) out.emplace_back(std::move(line));
    if (!open.empty()) out.emplace_back("exit-address-family");
  }

  void read_object(std::string_view text) {
    for (const std::string_view keyword : kObjects) {
      if (!text.starts_with(keyword)) continue;
      const std::string_view name = word(text.substr(keyword.size()));
      if (name.starts_with("GW-ENDPOINT-") && keyword == kObjects.front()) continue;  // EndpointAnnouncer's
      if (!policy_.objects().contains(name)) objects_.insert(std::format("no {}{}", keyword, name));
    }
  }

  void read_network(std::string_view rest) {
    const std::string key = std::format("network {}", word(rest));
    // Whether an endpoint is announced changes while this is read: it is announce()'s and withdraw()'s.
    const auto prefix = Prefix::parse(word(rest));
    const auto is_this = [&](const EndpointIntent& e) {
      return prefix && prefix->length() == address_bits(prefix->family()) && prefix->contains(e.address);
    };
    if (std::ranges::any_of(intent_.endpoints, is_this)) return;
    if (!wanted_.contains({block_, key})) lines_[block_].push_back("no " + key);
  }

  void read_neighbour(std::string_view rest) {
    const std::string name(word(rest));
    std::string_view what = after_word(rest);
    if (name.starts_with("GW-") || removed_.contains(name)) return;  // a group of ours, or gone anyway
    if (what.starts_with("interface ")) what.remove_prefix(std::min(what.find("peer-group "), what.size()));
    if (what.starts_with("peer-group ")) {
      const auto peer = peers_.find(name);
      if (peer == peers_.end() || after_word(what) != group_name(peer->second->kind)) {
        removed_.insert(name);
        lines_[Block::kRouter].push_back(std::format("no neighbor {}", name));
      } else if (peer->second->md5.empty()) {
        lines_[Block::kRouter].push_back(std::format("no neighbor {} password", name));  // not shown: it may have one
      }
      return;
    }
    const auto known = std::ranges::find_if(kRemovable, [&](std::string_view w) { return what.starts_with(w); });
    if (known == kRemovable.end()) return;
    const bool map = *known == "route-map";
    const std::string key = map ? std::format("route-map {}", what.substr(what.rfind(' ') + 1)) : std::string(*known);
    if (wanted_.contains({block_, std::format("{} {}", name, key)})) return;
    lines_[block_].push_back(std::format("no neighbor {} {}", name, map ? what : *known));
  }

  const BgpIntent& intent_;
  PolicyRender policy_;
  std::set<std::pair<Block, std::string>> wanted_;
  std::map<std::string, const PeerIntent*> peers_;
  Block block_ = Block::kGlobal;
  Commands others_;
  std::set<std::string> removed_;
  std::map<Block, std::vector<std::string>> lines_;
  std::set<std::string> objects_;
};

}  // namespace

Leftovers leftovers(std::string_view configured, const BgpIntent& intent) {
  Reader reader(intent);
  for (const auto line : configured | std::views::split('\n')) {
    std::string_view text(line.begin(), line.end());
    if (text.ends_with('\r')) text.remove_suffix(1);
    reader.read(text);
  }
  return std::move(reader).finish();
}

}  // namespace gw::bgp
