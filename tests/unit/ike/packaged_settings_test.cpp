// What the package gives charon is what the product was tested with.
#include <gtest/gtest.h>

#include <format>
#include <fstream>
#include <sstream>
#include <string>

#include "ike/connection.hpp"

namespace gw::ike {
namespace {

TEST(PackagedSettings, StrongswanConfHasAllOfThem) {
  std::ifstream file("images/packages/gw-charon/files/usr/lib/gw/strongswan.conf");
  ASSERT_TRUE(file) << "run from the top of the tree";
  std::ostringstream text;
  text << file.rdbuf();
  for (const auto& [key, value] : charon_settings())
    EXPECT_NE(text.str().find(std::format("\n  {} = {}\n", key, value)), std::string::npos) << key << " = " << value;
}

}  // namespace
}  // namespace gw::ike
