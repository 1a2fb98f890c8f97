#include "gwd/control/session_turns.hpp"

namespace gw::gwd {

// A SYN that was held back is sent again by its kernel (after 1 s, Linux 6.5 and later each second four times). It
// counts as asked when it passes, and what has been asked once (30 s are all its repetitions that matter) holds nobody
// back again: a site that cannot be connected to is not kept from connecting. A connection that ends gives its turn
// back: a router may refuse the first one because it has not yet noticed that the session of before is gone. When the
// sets are full, nobody is held back.
std::string_view render_turn_chains() {
  return "  set asked_by_us { type ifname . inet_service; flags dynamic,timeout; timeout 30s; size 65536; }\n"
         "  set asked_by_site { type ifname . inet_service; flags dynamic,timeout; timeout 30s; size 65536; }\n"
         "  set our_turn { type ifname; flags dynamic,timeout; timeout 2s; size 65536; }\n"
         "  set the_sites_turn { type ifname; flags dynamic,timeout; timeout 2s; size 65536; }\n"
         "  chain site_asks {\n"
         "    iifname @our_turn counter drop comment \"BGP: this side asked first\"\n"
         "    iifname . tcp sport @asked_by_site return\n"
         "    add @asked_by_site { iifname . tcp sport } add @the_sites_turn { iifname }\n"
         "  }\n"
         "  chain we_ask {\n"
         "    oifname @the_sites_turn counter drop comment \"BGP: the site asked first\"\n"
         "    oifname . tcp sport @asked_by_us return\n"
         "    add @asked_by_us { oifname . tcp sport } add @our_turn { oifname }\n"
         "  }\n"
         "  chain from_site {\n"
         "    tcp dport 179 tcp flags & (syn | ack) == syn goto site_asks\n"
         "    tcp flags & (fin | rst) != 0 delete @our_turn { iifname }\n"
         "    tcp flags & (fin | rst) != 0 delete @the_sites_turn { iifname }\n"
         "  }\n"
         "  chain to_site {\n"
         "    tcp dport 179 tcp flags & (syn | ack) == syn goto we_ask\n"
         "    tcp flags & (fin | rst) != 0 delete @our_turn { oifname }\n"
         "    tcp flags & (fin | rst) != 0 delete @the_sites_turn { oifname }\n"
         "  }\n";
}

std::string_view render_turn_input() {
  return "    iifname \"tun*\" tcp dport 179 jump from_site\n"
         "    iifname \"tun*\" tcp sport 179 jump from_site\n";
}

std::string_view render_turn_output() {
  return "    oifname \"tun*\" tcp dport 179 jump to_site\n"
         "    oifname \"tun*\" tcp sport 179 jump to_site\n";
}

}  // namespace gw::gwd
