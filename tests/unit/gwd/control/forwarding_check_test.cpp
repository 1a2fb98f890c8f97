// Which address stands for a prefix, and what counts as the same; the questions over the real RPC are in
// tests/system/test_doctor.py.
#include "gwd/control/forwarding_check.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

Prefix prefix(const char* text) { return *Prefix::parse(text); }
IpAddress address(const char* text) { return *IpAddress::parse(text); }

ForwardingTable table(std::initializer_list<const char*> prefixes) {
  ForwardingTable table;
  for (const char* text : prefixes) table[prefix(text)] = {};
  return table;
}

std::string own(const ForwardingTable& table, const char* text) {
  const auto found = address_of_its_own(table, prefix(text));
  return found ? found->to_string() : "none";
}

TEST(AddressOfItsOwn, IsTheFirstWhereNobodyElseHasIt) {
  const auto t = table({"10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "0.0.0.0/0"});
  EXPECT_EQ(own(t, "10.0.0.0/8"), "10.0.0.0");
  EXPECT_EQ(own(t, "10.1.0.0/16"), "10.1.0.0");
  EXPECT_EQ(own(t, "2001:db8::/32"), "2001:db8::");
  EXPECT_EQ(own(t, "0.0.0.0/0"), "0.0.0.0");
}

TEST(AddressOfItsOwn, IsBehindLongerOnes) {
  EXPECT_EQ(own(table({"10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "10.1.0.0/24"}), "10.0.0.0/8"), "10.2.0.0");
  EXPECT_EQ(own(table({"10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/32"}), "10.0.0.0/8"), "10.128.0.0");
  EXPECT_EQ(own(table({"2001:db8::/32", "2001:db8::/48"}), "2001:db8::/32"), "2001:db8:1::");
  EXPECT_EQ(own(table({"10.0.0.0/24", "10.0.0.0/25"}), "10.0.0.0/24"), "10.0.0.128");
}

TEST(AddressOfItsOwn, IsNoneWhereOthersHaveAll) {
  EXPECT_EQ(own(table({"10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"}), "10.0.0.0/8"), "none");
  EXPECT_EQ(own(table({"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"}), "0.0.0.0/0"), "none");
  EXPECT_EQ(own(table({"::/0", "::/1", "8000::/1"}), "::/0"), "none");
}

fp::Route found(fp::NextHopKind kind, std::initializer_list<std::uint32_t> tunnels,
                std::initializer_list<const char*> gateways) {
  fp::Route route;
  route.set_kind(kind);
  for (const std::uint32_t id : tunnels) route.add_tunnel_ids(id);
  for (const char* gateway : gateways) route.add_gateways(address(gateway).bytes_string());
  return route;
}

TEST(IsAsDecided, KindTunnelsGatewaysAndWhatIsBehindThem) {
  const ForwardingEntry tunnels{.kind = fp::NEXT_HOP_TUNNELS, .tunnel_ids = {3, 7}, .gateways = {}};
  EXPECT_TRUE(is_as_decided(tunnels, found(fp::NEXT_HOP_TUNNELS, {7, 3}, {})));
  EXPECT_FALSE(is_as_decided(tunnels, found(fp::NEXT_HOP_TUNNELS, {3}, {})));
  EXPECT_FALSE(is_as_decided(tunnels, found(fp::NEXT_HOP_TUNNELS, {3, 0}, {})));
  EXPECT_FALSE(is_as_decided(tunnels, found(fp::NEXT_HOP_UNSPECIFIED, {}, {})));
  EXPECT_FALSE(is_as_decided(tunnels, found(fp::NEXT_HOP_VNET, {}, {})));
  EXPECT_TRUE(is_as_decided(tunnels, found(fp::NEXT_HOP_LOCAL, {}, {}))) << "an address of ours in the prefix";

  const ForwardingEntry circuit{
      .kind = fp::NEXT_HOP_CIRCUIT, .tunnel_ids = {}, .gateways = {address("192.0.2.1"), address("192.0.2.2")}};
  EXPECT_TRUE(is_as_decided(circuit, found(fp::NEXT_HOP_CIRCUIT, {}, {"192.0.2.1", "192.0.2.2"})));
  EXPECT_FALSE(is_as_decided(circuit, found(fp::NEXT_HOP_CIRCUIT, {}, {"192.0.2.1"})));

  const ForwardingEntry other{
      .kind = fp::NEXT_HOP_VNET, .tunnel_ids = {}, .gateways = {address("10.0.0.5")}, .behind = fp::BEHIND_TUNNELS};
  fp::Route route = found(fp::NEXT_HOP_VNET, {}, {"10.0.0.5"});
  EXPECT_FALSE(is_as_decided(other, route)) << "transit is judged by what is behind";
  route.set_behind(fp::BEHIND_TUNNELS);
  EXPECT_TRUE(is_as_decided(other, route));
}

}  // namespace
}  // namespace gw::gwd
