// etcd's addresses as operators write them, and the encoding of its JSON gateway.
#include "gwd/sync/etcd_client.hpp"

#include <gtest/gtest.h>

namespace gw::gwd::sync {
namespace {

std::string parsed(std::string_view url) {
  const auto address = EtcdClient::parse(url);
  return address ? (address->tls ? "tls " : "") + address->host + " " + address->port : address.error().describe();
}

TEST(EtcdAddress, Forms) {
  EXPECT_EQ(parsed("http://127.0.0.1:2379"), "127.0.0.1 2379");
  EXPECT_EQ(parsed("https://etcd.example/"), "tls etcd.example 2379");
  EXPECT_EQ(parsed("https://[2001:db8::1]:1234"), "tls 2001:db8::1 1234");
  EXPECT_EQ(parsed("https://[2001:db8::1]"), "tls 2001:db8::1 2379");
  EXPECT_EQ(parsed("etcd:2379"), "'etcd:2379' begins with neither http:// nor https://");
  EXPECT_EQ(parsed("http://:2379"), "'http://:2379' has no host or port");
}

TEST(EtcdBase64, BothWays) {
  for (const std::string text : {"", "a", "ab", "abc", "/gw/hub/lease/2001:db8::1"})
    EXPECT_EQ(from_base64(to_base64(text)), text);
  EXPECT_EQ(to_base64("/gw/"), "L2d3Lw==");
  EXPECT_FALSE(from_base64("L2d3L"));
  EXPECT_FALSE(from_base64("####"));
}

}  // namespace
}  // namespace gw::gwd::sync
