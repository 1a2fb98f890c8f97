// gw-decide: the Rib on standard input and output, so that a test can hold it beside another router's table.
//   source NAME KIND TYPE ROUTER-ID ADDRESS WEIGHT LOCAL-PREFERENCE   KIND circuit|vpn|partner|vnet, TYPE
//   ebgp|ibgp|local announce NAME PREFIX NEXT-HOP ORIGIN MED LOCAL-PREFERENCE COMMUNITY PATH    "-" is absent; path
//   65021,7,{1,2} withdraw NAME PREFIX show    prints "PREFIX best NAME... | step" for each prefix, best first, then
//   "."
#include <format>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "routes/rib.hpp"
#include "tests/support/route_words.hpp"

namespace gw::routes {
namespace {

using words::kind;
using words::number;
using words::path;

PeerType type(const std::string& word) {
  if (word == "local") return PeerType::kLocal;
  return word == "ibgp" ? PeerType::kIbgp : PeerType::kEbgp;
}

class Tool {
 public:
  void run() {
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream words(line);
      std::string command;
      words >> command;
      if (command == "source") add_source(words);
      if (command == "announce") announce(words);
      if (command == "withdraw") withdraw(words);
      if (command == "show") show();
    }
  }

 private:
  void add_source(std::istringstream& words) {
    std::string name, kind_word, type_word, id, address, weight, preference;
    words >> name >> kind_word >> type_word >> id >> address >> weight >> preference;
    Rule rule{.name = name, .match = {.source = name}};
    rule.set.weight = static_cast<std::uint16_t>(number(weight).value());
    rule.set.local_preference = number(preference);
    policy_.import_rules.push_back(std::move(rule));
    rib_.set_policy(std::make_shared<const Policy>(policy_));
    rib_.put_source({.kind = kind(kind_word),
                     .name = name,
                     .type = type(type_word),
                     .router_id = IpAddress::parse(id).value(),
                     .peer_address = IpAddress::parse(address).value()});
  }

  void announce(std::istringstream& words) {
    std::string name, prefix, next_hop, origin, med, preference, community, path_text;
    words >> name >> prefix >> next_hop >> origin >> med >> preference >> community >> path_text;
    Attributes a{.next_hop = IpAddress::parse(next_hop).value(),
                 .as_path = path(path_text),
                 .origin = static_cast<Origin>(number(origin).value()),
                 .med = number(med),
                 .local_preference = number(preference)};
    if (const auto c = number(community)) a.communities.push_back(*c);
    const Prefix p = Prefix::parse(prefix).value();
    rib_.announce(rib_.find_source(name).value(), std::make_shared<const Attributes>(std::move(a)), {&p, 1}, {});
  }

  void withdraw(std::istringstream& words) {
    std::string name, prefix;
    words >> name >> prefix;
    const Prefix p = Prefix::parse(prefix).value();
    rib_.withdraw(rib_.find_source(name).value(), {&p, 1});
  }

  void show() {
    for (const Change& c : rib_.drain()) published_[c.prefix] = rib_.paths(c.after).size();
    for (const Prefix& prefix : rib_.prefixes()) {
      std::cout << prefix.to_string();
      std::size_t selected = 0;
      std::string step;
      for (const Explanation& e : rib_.explain(prefix)) {
        if (e.action == Action::kRefuse || e.ranked.place == Place::kNotUsed) continue;
        if (selected++ == 0) step = to_string(e.ranked.step);
        std::cout << ' ' << e.candidate.source->name;
      }
      // What is forwarded and what is explained come from two computations.
      std::cout << " | " << (selected == published_[prefix] ? step : "explanation differs from forwarding") << '\n';
    }
    std::cout << ".\n" << std::flush;
  }

  Policy policy_;
  Rib rib_;
  std::map<Prefix, std::size_t> published_;
};

}  // namespace
}  // namespace gw::routes

int main() {
  gw::routes::Tool().run();
  return 0;
}
