#include "gwd/control/guard_keeper.hpp"

#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstring>
#include <string_view>
#include <vector>

namespace gw::gwd {
namespace {

using Bytes = std::vector<std::uint8_t>;

template <class T>
void append(Bytes& out, const T& value) {
  const auto* from = reinterpret_cast<const std::uint8_t*>(&value);
  out.insert(out.end(), from, from + sizeof value);
}

/// As nf_tables sends it: nfgenmsg, the table's name, and something behind it.
Bytes message(int type, std::string_view table, std::uint8_t family = NFPROTO_INET) {
  Bytes name(table.begin(), table.end());
  name.push_back(0);
  const auto length = static_cast<std::uint16_t>(sizeof(nlattr) + name.size());
  name.resize((name.size() + 3) / 4 * 4);
  Bytes body;
  append(body, nfgenmsg{.nfgen_family = family, .version = NFNETLINK_V0, .res_id = 0});
  append(body, nlattr{.nla_len = length, .nla_type = NFTA_TABLE_NAME});
  body.insert(body.end(), name.begin(), name.end());
  append(body, nlattr{.nla_len = 8, .nla_type = NFTA_TABLE_FLAGS});
  append(body, std::uint32_t{0});
  Bytes out;
  append(out, nlmsghdr{.nlmsg_len = static_cast<std::uint32_t>(NLMSG_HDRLEN + body.size()),
                       .nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type),
                       .nlmsg_flags = 0,
                       .nlmsg_seq = 1,
                       .nlmsg_pid = 7});
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

Bytes both(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

TEST(TakesFromGuard, ItsTableChainsRulesAndSets) {
  for (const int type : {NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET})
    EXPECT_TRUE(takes_from_guard(message(type, "gw_guard"))) << type;
  EXPECT_TRUE(takes_from_guard(both(message(NFT_MSG_DELTABLE, "filter"), message(NFT_MSG_DELTABLE, "gw_guard"))));
}

TEST(TakesFromGuard, NothingElse) {
  EXPECT_FALSE(takes_from_guard({}));
  EXPECT_FALSE(takes_from_guard(message(NFT_MSG_NEWRULE, "gw_guard")));
  EXPECT_FALSE(takes_from_guard(message(NFT_MSG_DELSETELEM, "gw_guard"))) << "a turn that ended";
  EXPECT_FALSE(takes_from_guard(message(NFT_MSG_DELTABLE, "gw_guard2")));
  EXPECT_FALSE(takes_from_guard(message(NFT_MSG_DELTABLE, "gw_guar")));
  EXPECT_FALSE(takes_from_guard(message(NFT_MSG_DELTABLE, "gw_guard", NFPROTO_IPV4))) << "another table of this name";
}

TEST(TakesFromGuard, LengthsThatDoNotFitAreNothing) {
  const Bytes whole = message(NFT_MSG_DELTABLE, "gw_guard");
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_FALSE(takes_from_guard(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)))) << n;
  for (const int value : {0, 3, 4, 1000}) {
    const auto length = static_cast<std::uint16_t>(value);
    Bytes damaged = whole;
    std::memcpy(&damaged[NLMSG_HDRLEN + sizeof(nfgenmsg)], &length, sizeof length);
    EXPECT_FALSE(takes_from_guard(damaged)) << length;
  }
  for (const std::uint32_t length : {0U, 15U, 19U, 1000U}) {
    Bytes damaged = whole;
    std::memcpy(damaged.data(), &length, sizeof length);
    EXPECT_FALSE(takes_from_guard(damaged)) << length;
  }
}

}  // namespace
}  // namespace gw::gwd
