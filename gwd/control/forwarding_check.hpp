// Asks gw-fastpath what packets really meet, prefix by prefix, and compares that with what was decided. Read-only; what
// is on its way to gw-fastpath is not judged. Owner: whoever takes a snapshot; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <optional>
#include <vector>

#include "base/ip.hpp"
#include "gwd/control/fastpath_client.hpp"
#include "gwd/control/forwarding.hpp"

namespace gw::gwd {

struct ForwardingDifference {
  Prefix prefix;
  ForwardingEntry decided;
  fp::Route found;  // kind unspecified: no route
};

struct ForwardingCheck {
  std::size_t asked = 0;  // prefixes
  std::vector<ForwardingDifference> differences;
};

/// Of more prefixes than this every n-th is asked about.
inline constexpr std::size_t kMostAsked = 65536;

/// An address of the prefix that is of no longer one: what it meets is this prefix's. None: they have them all, or so
/// much that it is not worth a search.
std::optional<IpAddress> address_of_its_own(const ForwardingTable& table, const Prefix& prefix);

/// Whether gw-fastpath's answer is what was decided.
bool is_as_decided(const ForwardingEntry& decided, const fp::Route& found);

boost::asio::awaitable<ForwardingCheck> check_forwarding(const Forwarding& forwarding, FastpathClient& client);

}  // namespace gw::gwd
