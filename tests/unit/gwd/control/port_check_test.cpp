// gw-fastpath's command line against the document.
#include "gwd/control/port_check.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

::gw::fastpath::v1::PortList served(const std::string& wan, const std::string& vnet) {
  ::gw::fastpath::v1::PortList list;
  auto* port = list.add_ports();
  port->set_side("wan");
  port->set_interface(wan);
  port = list.add_ports();
  port->set_side("vnet");
  port->set_interface(vnet);
  return list;
}

TEST(PortMismatch, NothingToSayWhenTheyAgreeOrNothingIsKnown) {
  EXPECT_EQ(port_mismatch(served("eth0", "eth1"), {"eth0", "eth1"}), "");
  EXPECT_EQ(port_mismatch({}, {"eth0", "eth1"}), "");
}

TEST(PortMismatch, NamesBothAndTheRemedy) {
  EXPECT_EQ(port_mismatch(served("eth0", "eth1"), {"eth2", "eth1"}),
            "its wan port is eth0, the document's wan.interface is eth2: correct the document, or let gw-fastpath "
            "take its ports: systemctl restart gw-fastpath (without its unit: start it with --wan eth2 --vnet eth1)");
  EXPECT_EQ(
      port_mismatch(served("eth1", "eth0"), {"eth0", "eth1"}),
      "its wan port is eth1, the document's wan.interface is eth0; its vnet port is eth0, the document's "
      "vnet.interface is eth1: correct the document, or let gw-fastpath take its ports: systemctl restart gw-fastpath "
      "(without its unit: start it with --wan eth0 --vnet eth1)");
}

TEST(PortMismatch, ACircuitWantsAPort) {
  const GuardPorts document{"eth0", "eth1", "eth2"};
  EXPECT_EQ(port_mismatch(served("eth0", "eth1"), document),
            "it has no circuit port, the document's circuit.interface is eth2: correct the document, or let "
            "gw-fastpath take its ports: systemctl restart gw-fastpath (without its unit: start it with --wan eth0 "
            "--vnet eth1 "
            "--circuit eth2)");
  ::gw::fastpath::v1::PortList list = served("eth0", "eth1");
  auto* port = list.add_ports();
  port->set_side("circuit");
  port->set_interface("eth2");
  EXPECT_EQ(port_mismatch(list, document), "");
  EXPECT_EQ(port_mismatch({}, document), "");
  port->set_interface("eth3");
  EXPECT_TRUE(port_mismatch(list, document).starts_with("its circuit port is eth3, the document's")) << "another one";
}

}  // namespace
}  // namespace gw::gwd
