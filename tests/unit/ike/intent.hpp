// The tunnel that the tests of this package talk about.
#pragma once

#include "ike/connection.hpp"

namespace gw::ike::test {

inline TunnelIntent paris() {
  TunnelIntent t;
  t.name = "paris-ce1/gw-a";
  t.tunnel_id = 7;
  t.local = {IpAddress::parse("203.0.113.10").value(), ""};
  t.remote = {IpAddress::parse("198.51.100.1").value(), "ce1.paris.example"};
  t.psk = Secret("correct horse");
  return t;
}

}  // namespace gw::ike::test
