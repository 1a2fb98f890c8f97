#include "base/ip.hpp"

#include <gtest/gtest.h>

#include <unordered_set>

namespace gw {
namespace {

IpAddress ip(std::string_view t) { return IpAddress::parse(t).value(); }
Prefix pfx(std::string_view t) { return Prefix::parse(t).value(); }

TEST(IpAddress, RoundTripsCanonicalText) {
  for (const char* t : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "2001:db8::1", "fe80::1:2"})
    EXPECT_EQ(ip(t).to_string(), t);
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const char* t : {"", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4/32", "2001:db8::g", "fe80::1%eth0",
                        "::ffff:192.0.2.1", "localhost", " 1.2.3.4"})
    EXPECT_FALSE(IpAddress::parse(t)) << t;
  EXPECT_FALSE(IpAddress::parse(std::string(1000, '1')));
}

TEST(IpAddress, BytesAreNetworkOrderAndOnly4Or16) {
  EXPECT_EQ(ip("192.0.2.1").v4(), 0xc0000201U);
  EXPECT_EQ(ip("192.0.2.1").bytes_string(), std::string("\xc0\x00\x02\x01", 4));
  EXPECT_EQ(IpAddress::from_bytes(ip("2001:db8::7").bytes_string()).value(), ip("2001:db8::7"));
  for (const std::size_t n : {0U, 1U, 3U, 5U, 15U, 17U}) EXPECT_FALSE(IpAddress::from_bytes(std::string(n, 'x')));
}

TEST(IpAddress, Classes) {
  EXPECT_TRUE(ip("169.254.21.1").is_link_local());
  EXPECT_TRUE(ip("fe80::1").is_link_local());
  EXPECT_FALSE(ip("fec0::1").is_link_local());
  EXPECT_TRUE(ip("224.0.0.5").is_multicast());
  EXPECT_TRUE(ip("ff02::5").is_multicast());
  EXPECT_TRUE(ip("127.9.9.9").is_loopback());
  EXPECT_TRUE(ip("::1").is_loopback());
  EXPECT_FALSE(ip("::2").is_loopback());
  EXPECT_TRUE(ip("::").is_unspecified());
}

TEST(Prefix, HostBitsAreRefusedWithTheNetwork) {
  const auto bad = Prefix::parse("10.1.2.3/16");
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("10.1.0.0/16"), std::string::npos);
  for (const char* t : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x", "::/129", "/8"})
    EXPECT_FALSE(Prefix::parse(t)) << t;
}

TEST(Prefix, ContainsAtEveryLength) {
  const IpAddress a = ip("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
  for (unsigned len = 0; len <= 128; ++len) {
    const Prefix p = Prefix::make(a, len).value();
    EXPECT_TRUE(p.contains(a)) << len;
    if (len > 0) {
      // Flip the last bit that counts.
      auto bytes = a.bytes_string();
      bytes[(len - 1) / 8] = static_cast<char>(bytes[(len - 1) / 8] ^ (0x80 >> ((len - 1) % 8)));
      EXPECT_FALSE(p.contains(IpAddress::from_bytes(bytes).value())) << len;
    }
  }
}

TEST(Prefix, FamiliesNeverMix) {
  EXPECT_FALSE(pfx("0.0.0.0/0").contains(ip("::1")));
  EXPECT_FALSE(pfx("::/0").contains(pfx("10.0.0.0/8")));
  EXPECT_NE(pfx("0.0.0.0/0"), pfx("::/0"));
}

TEST(Prefix, ContainsPrefix) {
  EXPECT_TRUE(pfx("10.0.0.0/8").contains(pfx("10.1.0.0/16")));
  EXPECT_TRUE(pfx("10.0.0.0/8").contains(pfx("10.0.0.0/8")));
  EXPECT_FALSE(pfx("10.1.0.0/16").contains(pfx("10.0.0.0/8")));
  EXPECT_TRUE(pfx("10.1.0.0/16").overlaps(pfx("10.0.0.0/8")));
  EXPECT_FALSE(pfx("10.1.0.0/16").overlaps(pfx("10.2.0.0/16")));
}

TEST(Prefix, HashTellsLengthsApart) {
  std::unordered_set<Prefix> set{pfx("10.0.0.0/8"), pfx("10.0.0.0/9"), pfx("::/8"), pfx("0.0.0.0/8")};
  EXPECT_EQ(set.size(), 4U);
}

TEST(InterfaceAddress, KeepsHostBits) {
  EXPECT_EQ(InterfaceAddress::parse("192.168.30.17/29")->to_string(), "192.168.30.17/29");
  EXPECT_FALSE(InterfaceAddress::parse("192.168.30.17"));
}

}  // namespace
}  // namespace gw
