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

}  // namespace

std::string port_mismatch(const ::gw::fastpath::v1::PortList& served, const GuardPorts& document) {
  std::string found = difference(served, "wan", document.wan);
  const std::string vnet = difference(served, "vnet", document.vnet);
  if (!found.empty() && !vnet.empty()) found += "; ";
  found += vnet;
  if (found.empty()) return {};
  return found + std::format(": correct the document, or start gw-fastpath with --wan {} --vnet {}", document.wan,
                             document.vnet);
}

}  // namespace gw::gwd
