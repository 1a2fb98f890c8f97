// The ladder of routes/decide.hpp: each row wins at exactly one step, in both orders. Step numbers are
// the header's.
#include "routes/decide.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <random>

#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using test::Build;
using test::ip;

struct Row {
  const char* description;
  Step step;
  std::function<void(Build& winner, Build& loser)> change;
};

// Every row's loser is made better in all later steps that can be, so that the row cannot win below.
void better_below(Build& loser, Step step) {
  const auto below = [step](Step s) { return s > step; };
  if (below(Step::kLocalPreference)) loser.attributes.local_preference = 500;
  if (below(Step::kAsPathLength)) loser.attributes.as_path = AsPath::sequence({65021});
  if (below(Step::kMed)) loser.attributes.med = 0;
  if (below(Step::kRouterId)) loser.source.router_id = ip("192.0.2.0");
  if (below(Step::kPeerAddress)) loser.source.peer_address = ip("169.254.21.0");
}

const std::vector<Row>& rows() {
  static const std::vector<Row> kRows{
      {"1 higher weight", Step::kWeight, [](Build& w, Build&) { w.attributes.weight = 100; }},
      {"2 higher local preference", Step::kLocalPreference,
       [](Build& w, Build& l) { w.attributes.local_preference = 200, l.attributes.local_preference = 150; }},
      {"2 absent local preference is 100", Step::kLocalPreference,
       [](Build&, Build& l) { l.attributes.local_preference = 99; }},
      {"2 graceful shutdown is local preference 0", Step::kLocalPreference,
       [](Build&, Build& l) {
         l.attributes.local_preference = 900;
         l.attributes.communities = {kGracefulShutdown};
       }},
      {"3 locally originated", Step::kLocallyOriginated,
       [](Build& w, Build& l) {
         w.source.type = PeerType::kLocal;
         w.attributes.local_preference = l.attributes.local_preference = 500;
       }},
      {"4 shorter AS path", Step::kAsPathLength,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         l.attributes.as_path = AsPath::sequence({65021, 65021});
         w.attributes.origin = Origin::kIncomplete;
       }},
      {"4 a set counts one", Step::kAsPathLength,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         w.attributes.as_path = AsPath({{AsSegment::Type::kSequence, {65021}}, {AsSegment::Type::kSet, {1, 2, 3}}});
         l.attributes.as_path = AsPath::sequence({65021, 1, 2});
       }},
      {"4 confederation segments count nothing", Step::kAsPathLength,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         w.attributes.as_path =
             AsPath({{AsSegment::Type::kConfedSequence, {64600, 64601}}, {AsSegment::Type::kSequence, {65021}}});
         l.attributes.as_path = AsPath::sequence({65021, 1});
       }},
      {"5 IGP over incomplete", Step::kOrigin,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         w.attributes.med = 10;
         l.attributes.origin = Origin::kIncomplete;
       }},
      {"5 EGP over incomplete", Step::kOrigin,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         w.attributes.origin = Origin::kEgp;
         l.attributes.origin = Origin::kIncomplete;
       }},
      {"6 lower MED", Step::kMed,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         w.attributes.med = 10, l.attributes.med = 20;
         w.source.type = PeerType::kIbgp;  // would lose at 7
       }},
      {"6 absent MED is 0", Step::kMed,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         l.attributes.med = 1;
       }},
      {"7 eBGP over iBGP", Step::kEbgpOverIbgp,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         l.source.type = PeerType::kIbgp;
       }},
      {"8 lower router id", Step::kRouterId,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         l.source.router_id = ip("192.0.2.9");
       }},
      {"9 lower peer address", Step::kPeerAddress,
       [](Build& w, Build& l) {
         w.attributes.local_preference = l.attributes.local_preference;
         l.source.peer_address = ip("169.254.21.6");
       }},
  };
  return kRows;
}

struct Pair {
  Candidate winner;
  Candidate loser;
};

Pair make(const Row& row) {
  Build winner;
  Build loser;
  loser.source.name = "b";
  better_below(loser, row.step);
  row.change(winner, loser);
  return {winner(), loser()};
}

TEST(Decide, EachRowWinsAtItsStepInBothOrders) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.description);
    const auto [winner, loser] = make(row);
    const Comparison forward = compare(winner, loser);
    EXPECT_TRUE(forward.order < 0);
    EXPECT_EQ(forward.step, row.step) << to_string(forward.step);
    const Comparison backward = compare(loser, winner);
    EXPECT_TRUE(backward.order > 0);
    EXPECT_EQ(backward.step, row.step);
    for (const std::vector<Candidate>& both : {std::vector{winner, loser}, std::vector{loser, winner}}) {
      const Decision d = decide(both, {});
      EXPECT_EQ(both[d.best].source->name, "a");
      EXPECT_EQ(d.ranked[d.best].step, row.step);
      EXPECT_EQ(d.ranked[1 - d.best].step, row.step);
      EXPECT_EQ(d.selected.size(), row.step >= Step::kRouterId ? 2U : 1U);
    }
  }
}

TEST(Decide, NothingAndOnlyOne) {
  EXPECT_TRUE(decide({}, {}).selected.empty());
  const std::vector one{test::route("a")};
  const Decision d = decide(one, {});
  EXPECT_EQ(d.selected, std::vector<std::size_t>{0});
  EXPECT_EQ(d.ranked[0].step, Step::kOnlyRoute);
}

TEST(Decide, MedIsComparedAcrossNeighbourAses) {
  Build a;
  a.attributes.med = 50;
  Build b;
  b.source.name = "b";
  b.attributes.as_path = AsPath::sequence({65022});
  b.attributes.med = 10;
  b.source.peer_address = ip("169.254.21.6");
  EXPECT_EQ(compare(a(), b()).step, Step::kMed);
  EXPECT_TRUE(compare(a(), b()).order > 0);
}

TEST(Decide, AGracefulShutdownOfAnIbgpPeerIsItsBusiness) {
  Build a;
  a.source.type = PeerType::kIbgp;
  a.attributes.communities = {kGracefulShutdown};
  Build b;
  b.source.name = "b";
  b.source.type = PeerType::kIbgp;
  b.attributes.local_preference = 99;
  EXPECT_TRUE(compare(a(), b()).order < 0) << "bgpd lowers the preference of eBGP routes only";
}

TEST(Decide, ALongerPathThanFitsIsAsLongAsCanBe) {
  Build a;
  a.attributes.as_path = AsPath::sequence(std::vector<std::uint32_t>(40'000, 65021));
  Build b;
  b.source.name = "b";
  b.attributes.as_path = AsPath::sequence(std::vector<std::uint32_t>(32'766, 65021));
  EXPECT_EQ(compare(a(), b()).step, Step::kAsPathLength);
  EXPECT_TRUE(compare(a(), b()).order > 0);
}

// The order is total: any three are in an order, whoever comes first. Values few enough that ties are many.
TEST(Decide, RandomCandidatesAreInOneOrder) {
  std::mt19937 random(4);
  const auto pick = [&](auto... values) {
    const std::array all{values...};
    return all[random() % all.size()];
  };
  for (int turn = 0; turn < 2000; ++turn) {
    std::vector<Candidate> all;
    for (unsigned i = 0; i < 4; ++i) {
      Build b;
      b.source.name = std::string(1, static_cast<char>('a' + i));
      b.source.type = pick(PeerType::kEbgp, PeerType::kEbgp, PeerType::kIbgp, PeerType::kLocal);
      b.source.router_id = pick(ip("192.0.2.1"), ip("192.0.2.2"));
      b.source.peer_address = pick(ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1"));
      b.attributes.weight = static_cast<std::uint16_t>(pick(100, 200));
      b.attributes.local_preference = static_cast<std::uint32_t>(pick(100, 200));
      b.attributes.as_path = AsPath::sequence(std::vector<std::uint32_t>(1 + random() % 2, 65021 + random() % 2));
      b.attributes.origin = pick(Origin::kIgp, Origin::kIncomplete);
      b.attributes.med = static_cast<std::uint32_t>(pick(0, 10));
      all.push_back(b());
    }
    std::vector<std::size_t> order(all.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::optional<std::vector<std::string>> expected;
    do {
      std::vector<Candidate> shuffled;
      for (const std::size_t i : order) shuffled.push_back(all[i]);
      std::vector<std::string> names;
      for (const std::size_t i : decide(shuffled, {}).selected) names.push_back(shuffled[i].source->name);
      if (!expected) expected = names;
      ASSERT_EQ(names, *expected);
    } while (std::ranges::next_permutation(order).found);
  }
}

TEST(Decide, EqualsUpToStep7ShareTheTrafficUpToTheMaximum) {
  std::vector<Candidate> all;
  for (unsigned i = 0; i < 10; ++i) {
    Build b;
    b.source.name = std::string(1, static_cast<char>('a' + i));
    b.source.router_id = ip("192.0.2." + std::to_string(20 - i));
    b.attributes.as_path = AsPath::sequence({65021 + i});  // multipath-relax: only the length counts
    all.push_back(b());
  }
  const Decision d = decide(all, {});
  EXPECT_EQ(d.selected, (std::vector<std::size_t>{9, 8, 7, 6, 5, 4, 3, 2}));
  EXPECT_EQ(d.ranked[1].place, Place::kNotUsed);
  EXPECT_EQ(d.ranked[1].step, Step::kRouterId);
}

TEST(Decide, PermutationsOfTheWholeTableAgree) {
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < rows().size(); ++i) {
    auto [winner, loser] = make(rows()[i]);
    Source renamed = *loser.source;
    renamed.name = "row" + std::to_string(i);
    renamed.peer_address = ip("198.51.100." + std::to_string(i));
    loser.source = std::make_shared<const Source>(renamed);
    all.push_back(loser);
  }
  const auto names = [](const std::vector<Candidate>& from) {
    std::vector<std::string> out;
    for (const std::size_t i : decide(from, {}).selected) out.push_back(from[i].source->name);
    return out;
  };
  const auto expected = names(all);
  std::ranges::sort(all, {}, [](const Candidate& c) { return c.source->name; });
  for (std::size_t turn = 0; turn < all.size(); ++turn) {
    std::ranges::rotate(all, all.begin() + 1);
    EXPECT_EQ(names(all), expected);
    std::vector<Candidate> reversed(all.rbegin(), all.rend());
    EXPECT_EQ(names(reversed), expected);
  }
}

TEST(AsPath, PrintsAsRoutersDo) {
  const AsPath path({{AsSegment::Type::kSequence, {65021, 4200000000}}, {AsSegment::Type::kSet, {1, 2}}});
  EXPECT_EQ(path.to_string(), "65021 4200000000 {1,2}");
  EXPECT_EQ(path.length(), 3U);
  EXPECT_EQ(path.neighbour_as(), 65021U);
  EXPECT_TRUE(path.contains(2));
  EXPECT_EQ(AsPath().neighbour_as(), 0U);
}

TEST(AsPath, PrivateAsnsGoPrependsComeInFrontAndOverrideReplaces) {
  const AsPath path({{AsSegment::Type::kSequence, {64512, 3, 4200000000}}, {AsSegment::Type::kSet, {65534}}});
  EXPECT_EQ(path.without_private(), AsPath::sequence({3}));
  EXPECT_EQ(path.prepended(7, 2).to_string(), "7 7 64512 3 4200000000 {65534}");
  EXPECT_EQ(AsPath({{AsSegment::Type::kSet, {1}}}).prepended(7, 1).to_string(), "7 {1}");
  EXPECT_EQ(path.replaced(3, 65515).to_string(), "64512 65515 4200000000 {65534}");
  EXPECT_FALSE(is_private_asn(65535));
  EXPECT_FALSE(is_private_asn(4294967295));
}

}  // namespace
}  // namespace gw::routes
