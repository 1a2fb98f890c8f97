#include "gwd/control/port_check.hpp"

#include <algorithm>
#include <format>
#include <string_view>

namespace gw::gwd {
namespace {

std::string difference(const ::gw::fastpath::v1::PortList& served, std::string_view side, std::string_view document) {
  const auto port = std::ranges::find(served.ports(), side, [](const auto& p) -> std::string_view { return p.side(); });
  if (port == served.ports().end() || port->interface() == document) return {};
  return std::format("its {0} port is {1}, the document's {0}.interface is {2}", side, port->interface(), document);
}

std::string circuit_difference(const ::gw::fastpath::v1::PortList& served, const std::string& document) {
  const bool has = std::ranges::any_of(served.ports(), [](const auto& port) { return port.side() == "circuit"; });
  // Before it has answered there are no ports at all.
  if (has || document.empty() || served.ports().empty()) return difference(served, "circuit", document);
  return std::format("it has no circuit port, the document's circuit.interface is {}", document);
}

}  // namespace

std::string port_mismatch(const ::gw::fastpath::v1::PortList& served, const GuardPorts& document) {
  std::string found = difference(served, "wan", document.wan);
  for (const std::string& other :
       {difference(served, "vnet", document.vnet), circuit_difference(served, document.circuit)}) {
    if (!found.empty() && !other.empty()) found += "; ";
    found += other;
  }
  if (found.empty()) return {};
  return found +
         std::format(
             ": correct the document, or let gw-fastpath take its ports: systemctl restart gw-fastpath (without "
             "its unit: start it with --wan {} --vnet {}{})",
             document.wan, document.vnet, document.circuit.empty() ? "" : " --circuit " + document.circuit);
}

}  // namespace gw::gwd
